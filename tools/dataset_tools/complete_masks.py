"""Write an annotation file whose persons all have masks to learn from, as far as a network sees
them: who has keypoints and no mask gets the one that the network draws around these keypoints,
unless it does not fit the annotated box. The network draws keypoints='annotated' masks of the
config's test data set, so name the training file and images with --cfg-options.
"""
import argparse
import json
import sys
from pathlib import Path

from mmengine import Config, DictAction
from mmengine.registry import init_default_scope
from mmpose.apis import init_model
from mmpose.registry import DATASETS
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401
from kdc_mm.datasets.annotations import read_annotations  # noqa: E402
from kdc_mm.datasets.complete_masks import complete_masks, masks_by_id  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.checkpoint import check_checkpoint  # noqa: E402
from kdc_mm.engine.faults import FAULTS, config_or_end, end  # noqa: E402
from kdc_mm.visualization.rows import predict  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('out', type=Path, metavar='OUT.json', help='annotation file to write')
    parser.add_argument(
        '--min-box-iou',
        type=float,
        default=0.75,
        help="smallest IoU of the mask's box and the annotated one. Defaults to 0.75")
    parser.add_argument('--device', default='cpu', help='such as cpu or cuda:0')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of the config, as key=value pairs')
    return parser.parse_args()


def complete(cfg: Config, args: argparse.Namespace) -> None:
    """Predict, complete and write."""
    if args.out.exists():
        raise FileExistsError(f'{args.out} is there already: name another file.')
    check_checkpoint(args.checkpoint)
    cfg.model.test_cfg.keypoints = 'annotated'
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    model = init_model(cfg, args.checkpoint, device=args.device)
    masks = {}
    for index in track(range(len(dataset)), 'drawing masks'):
        masks.update(masks_by_id(predict(model, dataset, index)))
    content = read_annotations(dataset.ann_file, dataset.metainfo).content
    for kind, count in sorted(
            complete_masks(content['annotations'], masks, args.min_box_iou).items()):
        print(f'{count:7,} {kind}')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(content))
    print(f'wrote {args.out}')


def main():
    args = parse_args()
    cfg = Config.fromfile(config_or_end(args.config))
    merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    try:
        complete(cfg, args)
    except FAULTS as error:
        end(error)


if __name__ == '__main__':
    main()
