"""Draw a grid of what a checkpoint predicts beside the ground truth."""
import argparse
import sys
from pathlib import Path

import mmcv
from mmengine import Config, DictAction
from mmengine.registry import init_default_scope
from mmpose.apis import init_model
from mmpose.registry import DATASETS
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from kdc_mm.engine import CheckpointError, check_checkpoint  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import config_or_end  # noqa: E402
from kdc_mm.visualization import picture_grid  # noqa: E402
from kdc_mm.visualization.rows import (  # noqa: E402
    FIELD_TITLES,
    TITLES,
    from_few_to_many_people,
    picture_row,
    predict,
)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', default='grid.png', help='picture to write. Defaults to grid.png')
    parser.add_argument(
        '--num',
        type=int,
        default=8,
        help='images, spread from few to many people. Defaults to 8.')
    parser.add_argument(
        '--phase',
        default='test',
        choices=['test', 'val'],
        help='data loader of the config that gives the images. Defaults to "test".')
    parser.add_argument(
        '--draw-fields', action='store_true', help='add heatmaps, KeyCentroids and MaskCentroids')
    parser.add_argument(
        '--kpt-thr', type=float, default=0.3, help='leave out keypoints of a lower score')
    parser.add_argument('--device', default='cpu', help='such as cpu or cuda:0')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    return parser.parse_args()


def main():
    args = parse_args()
    cfg = Config.fromfile(config_or_end(args.config))
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    if args.draw_fields:
        cfg.merge_from_dict({'model.test_cfg.output_heatmaps': True})
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    try:
        check_checkpoint(args.checkpoint)
    except CheckpointError as error:
        sys.exit(str(error))

    dataset = DATASETS.build(cfg[f'{args.phase}_dataloader'].dataset)
    model = init_model(cfg, args.checkpoint, device=args.device)
    rows = []
    for index in track(from_few_to_many_people(dataset, args.num), 'predicting'):
        data_sample = predict(model, dataset, index)
        links = dataset.metainfo['skeleton_links']
        rows.append(picture_row(data_sample, links, args.kpt_thr, args.draw_fields))
    titles = (TITLES + FIELD_TITLES)[:len(rows[0])]
    mmcv.imwrite(picture_grid(rows, titles)[..., ::-1], args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
