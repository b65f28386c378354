"""The best that any network could reach with a codec: encode ground truth, decode it, evaluate.

For each annotated image the people are encoded as in training, turned into the maps that a perfect
network would give, decoded and evaluated with the benchmark's own metric. Pictures are not needed.

`--compare` does the same with MMPose's codecs on the same images at their own input size (512x512,
the image fitted in as a whole, as for PoseSeg): SPR with the settings and the NMS of DEKR, and
AssociativeEmbedding with perfect tags, at the settings that suit it best
(kdc_mm/benchmarks/codec/bottomup_codecs.py says which).

`--noise PX` adds errors to the maps of every codec in the same way, with the same seed, the same at
each run; pixels are those of the codec's input. kdc_mm/benchmarks/codec/map_noise.py gives the
formulas.
  - every vector of every cell misses by a Gaussian of PX pixels (SPR: displacements; PoseSeg:
    KeyCentroids, limbs, person centroids, MaskCentroids)
  - heatmaps are multiplied by exp(PX/4 * g), g a smooth Gaussian field (correlation length 16 px),
    which moves the peaks of Gaussian heatmaps by about PX pixels; mask boundaries move by PX * g
  - PX/4 false peaks per heatmap channel with heat from 0.1 to 0.6; half of them claim to be a
    person's (vectors lead to that person, tag is that person's), half of them are nobody's
  - tags miss by a Gaussian of PX/32
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine import Config, DictAction, MMLogger, ProgressBar
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, KEYPOINT_CODECS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from kdc_mm.benchmarks.codec.bottomup_codecs import AECodec, PoseSegCodec, SPRCodec  # noqa: E402
from kdc_mm.benchmarks.codec.ceiling import evaluate_keypoints, evaluate_masks, measure_codecs  # noqa: E402
from kdc_mm.config_types import type_class, type_name  # noqa: E402
from kdc_mm.datasets.annotations import is_labelled, read_annotations  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import config_or_end  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file with a PoseSeg decoder')
    parser.add_argument('--ann-file', required=True, help='annotation file in COCO layout')
    parser.add_argument(
        '--iou-type',
        choices=['keypoints', 'keypoints_crowd'],
        help="metric of the keypoints. Defaults to that of the config's evaluator.")
    parser.add_argument(
        '--input-size', nargs=2, type=int, metavar=('W', 'H'), help="instead of the codec's")
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N annotated images')
    parser.add_argument(
        '--noise', type=float, default=0, metavar='PX', help='errors of the maps, see above')
    parser.add_argument(
        '--no-join', action='store_true', help='leave poses apart that limbs do not join')
    parser.add_argument(
        '--compare', nargs='+', default=[], choices=['spr', 'ae'], help="MMPose's codecs too")
    parser.add_argument('--out', type=Path, metavar='F.json', help='write the scores to a file')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    return parser.parse_args()


def keypoint_evaluator(cfg: Config) -> dict:
    """The part of the config's evaluators that reads keypoints."""
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    return next(
        part for part in evaluators if type_name(part) in ('CocoMetric', 'PersonPoseMetric'))


def read_people(path: str, iou_type: str, metainfo: dict, limit=None) -> dict:
    """The annotation file as training reads it, cut to the first ``limit`` annotated images.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be used, or lacks what the metric needs.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no annotation file {path!r}.')
    content = read_annotations(path, metainfo).content
    annotations = content.get('annotations', [])
    if not any(map(is_labelled, annotations)):
        raise ValueError(f'No annotation in {path!r} has a labelled keypoint.')
    if iou_type == 'keypoints_crowd' and not all(
            'crowdIndex' in image for image in content['images']):
        raise ValueError(f'The images in {path!r} have no `crowdIndex`, which the metric '
                         'keypoints_crowd needs: take --iou-type keypoints.')
    annotated = {ann['image_id'] for ann in annotations}
    content['images'] = [image for image in content['images'] if image['id'] in annotated][:limit]
    kept = {image['id'] for image in content['images']}
    content['annotations'] = [ann for ann in annotations if ann['image_id'] in kept]
    return content


def build_codecs(cfg: Config, args) -> list:
    settings = dict(cfg.model.head.decoder)
    if args.input_size:
        settings['input_size'] = tuple(args.input_size)
    if args.no_join:
        settings['refine'] = dict(join_by_centroid=False)
    poseseg = PoseSegCodec(KEYPOINT_CODECS.build(settings))
    rivals = dict(spr=SPRCodec, ae=lambda: AECodec(poseseg.codec.skeleton.names))
    return [poseseg, *(rivals[name]() for name in args.compare)]


def summarize(measured, ann_file: str, iou_type: str, metainfo: dict, has_masks: bool) -> dict:
    """Scores and median times of one codec."""
    summary = dict(
        keypoints=evaluate_keypoints(measured.results, ann_file, iou_type, metainfo),
        segm=None)
    if has_masks and 'mask_ms' in measured.times:
        summary['segm'] = evaluate_masks(measured.results, ann_file)
    for name, times in measured.times.items():
        summary[name] = float(np.median(times))
    return summary


def find_ceiling(cfg: Config, args) -> dict:
    """The scores of all codecs, as they are written to ``--out``."""
    iou_type = args.iou_type or keypoint_evaluator(cfg).get('iou_type', 'keypoints')
    codecs = build_codecs(cfg, args)
    data = cfg.val_dataloader.dataset
    metainfo = type_class(data, DATASETS)._load_metainfo(data.get('metainfo'))
    content = read_people(args.ann_file, iou_type, metainfo, args.limit)
    with tempfile.TemporaryDirectory() as folder:
        ann_file = str(Path(folder) / 'annotations.json')
        Path(ann_file).write_text(json.dumps(content))
        dataset = DATASETS.build(
            dict(type=data.type, ann_file=ann_file, metainfo=data.get('metainfo')))
        progress = ProgressBar(len(dataset), file=sys.stderr)
        measured = measure_codecs(dataset, codecs, args.noise, progress.update)
        has_masks = all('segmentation' in ann for ann in content['annotations'])
        report = {
            name: summarize(part, ann_file, iou_type, dataset.metainfo, has_masks)
            for name, part in measured.items()
        }
    return dict(
        report,
        images=len(content['images']),
        persons=sum(not ann['iscrowd'] and is_labelled(ann) for ann in content['annotations']))


def print_report(report: dict) -> None:
    print(f'\n{report["images"]} images, {report["persons"]} persons with keypoints')
    for name, part in report.items():
        if not isinstance(part, dict):
            continue
        print(name)
        for kind in ('keypoints', 'segm'):
            if part[kind] is not None:
                scores = '  '.join(f'{key} {value:.4f}' for key, value in part[kind].items())
                print(f'  {kind}: {scores}')
        print('  ' + '  '.join(
            f'{key} {value:.2f}' for key, value in part.items() if key.endswith('_ms')))


def main():
    args = parse_args()
    torch.set_num_threads(1)
    cfg = Config.fromfile(config_or_end(args.config))
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    init_default_scope('mmpose')
    MMLogger.get_current_instance().setLevel('WARNING')  # no line per evaluation
    try:
        report = find_ceiling(cfg, args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'error: {error}')
    print_report(report)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
