"""Look at a data set as the network gets it: keypoints, masks and, on request, encoded targets."""
import argparse
import sys
from pathlib import Path
from typing import Optional

import mmcv
import numpy as np
from mmengine import Config, DictAction, ProgressBar
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, KEYPOINT_CODECS
from mmpose.structures import PoseDataSample

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from kdc_mm.codecs import PoseSeg  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import config_or_end  # noqa: E402
from kdc_mm.visualization.draw import add_label, draw_people, person_colors, stack_panels, zoom_for  # noqa: E402
from kdc_mm.visualization.fields import target_panels  # noqa: E402
from kdc_mm.visualization.people import DrawnPeople, people_in_input, people_of_annotations  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description='Browse a dataset')
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--output-dir', default=None, type=Path, help='folder to write the pictures to')
    parser.add_argument(
        '--not-show', default=False, action='store_true', help='do not open a window')
    parser.add_argument(
        '--max-item-per-dataset', default=50, type=int, help='number of samples at most')
    parser.add_argument(
        '--phase',
        default='train',
        choices=['train', 'test', 'val'],
        help='part of the data set. Defaults to "train".')
    parser.add_argument(
        '--show-interval', type=float, default=2, help='seconds that a picture is shown')
    parser.add_argument(
        '--mode',
        default='transformed',
        choices=['original', 'transformed'],
        help='"original" shows images as on disk, "transformed" what the pipeline makes of them. '
        'Defaults to "transformed".')
    parser.add_argument(
        '--targets',
        action='store_true',
        help="also show the targets that the head's codec draws, over the transformed image: "
        'keypoint disks, KeyCentroids, limb displacements, person centroids and MaskCentroids')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    args = parser.parse_args()
    if args.targets and (args.mode, args.phase) != ('transformed', 'train'):
        parser.error('--targets needs --mode transformed and --phase train: '
                     'only the training pipeline hands on people')
    return args


def original_people(item: dict) -> tuple:
    """The image on disk and its people, of a sample that no pipeline has touched."""
    image = mmcv.imread(item['img_path'], channel_order='rgb')
    return image, people_of_annotations(item['raw_ann_info'] or [], image.shape[:2])


def transformed_people(item: dict) -> tuple:
    """The network input as RGB and its people, of a sample that the pipeline has packed."""
    image = np.ascontiguousarray(item['inputs'].numpy().transpose(1, 2, 0)[..., ::-1])
    return image, people_in_input(item['data_samples'])


def encoded_targets(data_sample: PoseDataSample, codec: PoseSeg) -> dict:
    """What the head's codec makes of a training sample, as arrays."""
    if 'keypoint_table' not in data_sample.gt_instance_labels:
        sys.exit("--targets needs dict(type='BottomupGetPersonMasks') before PackPoseInputs in the "
                 'training pipeline, and no GenerateTarget.')
    table = data_sample.gt_instance_labels.keypoint_table.numpy()
    maps = {name: field[0].numpy() for name, field in data_sample.gt_fields.items()}
    return codec.encode(table[..., :2], table[..., 2], **maps)


def draw_item(image: np.ndarray, people: DrawnPeople, links: list,
              targets: Optional[dict] = None) -> np.ndarray:
    """Picture of the people, with panels of the ``targets`` if there are any."""
    colors = person_colors(len(people.keypoints))
    zoom = zoom_for(image)
    picture = draw_people(
        image, people.keypoints, people.scores, people.masks, links, colors=colors, zoom=zoom)
    if targets is None:
        return picture
    panels = target_panels(image, **targets, skeleton_links=links, colors=colors, zoom=zoom)
    return stack_panels([add_label(picture, 'keypoints and masks'), *panels])


def free_name(path: Path, written: dict) -> str:
    """A file name for the picture of an image, with its folders' names where another image in
    ``written``, by names, has its own."""
    for depth in range(len(path.parts)):
        name = '_'.join(path.parts[-1 - depth:])
        if written.setdefault(name, path) == path:
            break
    return name


def main():
    args = parse_args()
    cfg = Config.fromfile(config_or_end(args.config))
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpose'))

    dataset_cfg = cfg[f'{args.phase}_dataloader'].dataset
    if args.mode == 'original':
        dataset_cfg.pipeline = []
    dataset = DATASETS.build(dataset_cfg)
    links = dataset.metainfo['skeleton_links']
    codec = KEYPOINT_CODECS.build(cfg.model.head.decoder) if args.targets else None
    if args.output_dir is not None:
        args.output_dir.mkdir(parents=True, exist_ok=True)

    written = {}
    progress = ProgressBar(min(len(dataset), args.max_item_per_dataset))
    for index in range(progress.task_num):
        item = dataset[index]
        if args.mode == 'original':
            path = Path(item['img_path'])
            picture = draw_item(*original_people(item), links)
        else:
            data_sample = item['data_samples']
            path = Path(data_sample.img_path)
            targets = encoded_targets(data_sample, codec) if args.targets else None
            picture = draw_item(*transformed_people(item), links, targets)
        if args.output_dir is not None:
            mmcv.imwrite(picture[..., ::-1], str(args.output_dir / free_name(path, written)))
        if not args.not_show:
            mmcv.imshow(picture[..., ::-1], 'browse', wait_time=round(1000 * args.show_interval))
        progress.update()


if __name__ == '__main__':
    main()
