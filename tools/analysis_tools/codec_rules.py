"""What each rule and constant of decoding is worth, on the maps of a network or on perfect ones.

The maps are made once and decoded many times, each time with another rule changed
(kdc_mm/benchmarks/codec/rules.py lists them).

    codec_rules.py measure CONFIG CHECKPOINT --out NETWORK.json
    codec_rules.py measure CONFIG --ann-file F.json [--noise PX] --out PERFECT.json
    codec_rules.py table NETWORK.json PERFECT.json > rules.md

With a checkpoint, the config's test data and what tools/test.py would do with it; without, the maps
that a perfect network would give for an annotation file, as codec_ceiling.py makes them.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional

import torch
from mmengine import Config, DictAction, MMLogger, ProgressBar
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.apis import init_model
from mmpose.registry import DATASETS

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file
sys.path.insert(0, str(Path(__file__).resolve().parent))

from codec_ceiling import keypoint_evaluator, read_people  # noqa: E402

from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec  # noqa: E402
from kdc_mm.benchmarks.codec.ceiling import (  # noqa: E402
    ImageResult,
    crowd_in_input,
    evaluate_keypoints,
    evaluate_masks,
)
from kdc_mm.benchmarks.codec.map_noise import MapNoise  # noqa: E402
from kdc_mm.benchmarks.codec.rules import (  # noqa: E402
    DEFAULTS,
    RULES,
    changed_codec,
    codec_arguments,
)
from kdc_mm.codecs import PoseSeg  # noqa: E402
from kdc_mm.config_types import type_class  # noqa: E402
from kdc_mm.engine import CheckpointError, check_checkpoint  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import config_or_end  # noqa: E402
from kdc_mm.engine.whole_files import WholeFilesBackend  # noqa: E402
from kdc_mm_runtime.people import ImageFrame, People  # noqa: E402


class ImageMaps(NamedTuple):
    """``maps`` of one image, a batch of one as :meth:`PoseSeg.batch_decode` takes it, and the
    ``frame`` of its masks."""
    img_id: int
    maps: Dict[str, torch.Tensor]
    frame: ImageFrame


class MapStore:
    """Maps of many images in files of a folder, as float32.

    Args:
        folder (str): An empty folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.img_ids = []

    def add(self, image: ImageMaps) -> None:
        maps = {name: field.float().contiguous().clone() for name, field in image.maps.items()}
        torch.save((maps, tuple(image.frame)), self.folder / f'{len(self.img_ids)}.pt')
        self.img_ids.append(image.img_id)

    def __iter__(self) -> Iterator[ImageMaps]:
        for index, img_id in enumerate(self.img_ids):
            maps, frame = torch.load(self.folder / f'{index}.pt', weights_only=False)
            yield ImageMaps(img_id, maps, ImageFrame(*frame))


class Truth(NamedTuple):
    """What maps are judged by: ``ann_file``, ``iou_type`` and ``metainfo`` of the keypoints, and
    whether it ``has_masks``."""
    ann_file: str
    iou_type: str
    metainfo: dict
    has_masks: bool


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    measure = commands.add_parser('measure', help='decode one kind of maps with all rules')
    measure.add_argument('config', help='config file with a PoseSeg decoder')
    measure.add_argument('checkpoint', nargs='?', help='of a network; perfect maps without')
    measure.add_argument('--ann-file', help='annotation file of perfect maps')
    measure.add_argument('--noise', type=float, default=0, metavar='PX',
                         help="errors of perfect maps, as codec_ceiling.py's")
    measure.add_argument('--iou-type', choices=['keypoints', 'keypoints_crowd'],
                         help="metric of the keypoints. Defaults to that of the config's evaluator")
    measure.add_argument('--limit', type=int, metavar='N', help='only the first N images')
    measure.add_argument('--rules', nargs='+', metavar='NAME',
                         help='only the rules whose names contain one of these')
    measure.add_argument('--name', help='of the maps, in the table')
    measure.add_argument('--out', type=Path, required=True, metavar='F.json')
    measure.add_argument('--cfg-options', nargs='+', action=DictAction, default={},
                         help='override settings of the config, as key=value pairs')
    table = commands.add_parser('table', help='set what was measured side by side, in Markdown')
    table.add_argument('reports', nargs='+', type=Path, metavar='F.json')
    return parser.parse_args()


def store_network_maps(cfg: Config, checkpoint: str, limit: Optional[int],
                       store: MapStore) -> None:
    """Run a network over the test data of its config and keep what it would decode."""
    if limit is not None:
        cfg.test_dataloader.dataset.indices = limit
    model = init_model(cfg, checkpoint, device='cpu')
    kept = []

    def keep(maps, frames, poses=None):
        kept.append((maps, frames))
        return [People.none(model.head.num_keypoints) for _ in frames]

    model.head.decoder.batch_decode = keep
    loader = Runner.build_dataloader(cfg.test_dataloader)
    progress = ProgressBar(len(loader), file=sys.stderr)
    for batch in loader:
        samples = model.test_step(batch)
        maps, frames = kept.pop()
        for b, (sample, frame) in enumerate(zip(samples, frames)):
            of_image = {name: field[[b]] for name, field in maps.items()}
            store.add(ImageMaps(sample.img_id, of_image, frame))
        progress.update()


def store_perfect_maps(settings: dict, dataset, noise_px: float, store: MapStore) -> None:
    """The maps that a perfect network would give for annotated images, with errors or without."""
    codec = PoseSegCodec(PoseSeg(**codec_arguments(settings)))
    progress = ProgressBar(len(dataset), file=sys.stderr)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        crowd = crowd_in_input(info, codec.input_size)
        maps = codec.perfect_maps(crowd, codec.encode(crowd))
        if noise_px:
            maps = codec.perturb(maps, crowd, MapNoise(noise_px, index))
        store.add(ImageMaps(info['img_id'], maps, crowd.frame))
        progress.update()


def decode_all(codec, store: MapStore) -> List[ImageResult]:
    """Results of all images, keypoints in original pixels."""
    codec = PoseSegCodec(codec)
    results = []
    for img_id, maps, frame in store:
        decoded = codec.decode(maps, frame)
        keypoints = (decoded.keypoints - frame.offset) / frame.scale
        results.append(ImageResult(img_id, decoded._replace(keypoints=keypoints)))
    return results


def score(codec, store: MapStore, truth: Truth) -> Dict[str, float]:
    """AP of keypoints, and of masks where the truth has them."""
    results = decode_all(codec, store)
    scores = dict(keypoints=evaluate_keypoints(results, *truth[:3])['AP'])
    if truth.has_masks:
        scores['masks'] = evaluate_masks(results, truth.ann_file)['AP']
    return scores


def chosen_rules(names: Optional[List[str]]) -> list:
    """The rules whose names contain one of the given.

    Raises:
        ValueError: A name is none's.
    """
    if names is None:
        return RULES
    for name in names:
        if not any(name in rule.name for rule in RULES):
            raise ValueError(f'No rule is named {name!r}; there are: '
                             f'{", ".join(dict.fromkeys(rule.name for rule in RULES))}.')
    return [rule for rule in RULES if any(name in rule.name for name in names)]


def measure_rules(settings: dict, rules: list, store: MapStore, truth: Truth) -> Iterator[dict]:
    """A row for the defaults and one for each rule: ``rule``, ``change``, ``keypoints``, ``masks``.
    """
    progress = ProgressBar(len(rules) + 1, file=sys.stderr)
    for rule in [DEFAULTS, *rules]:
        with changed_codec(settings, rule) as codec:
            row = dict(rule=rule.name, change=rule.change, **score(codec, store, truth))
        yield row
        progress.update()


def annotations_of_images(path: str, img_ids: List[int]) -> dict:
    """The annotation file, cut to some of its images."""
    content = json.loads(Path(path).read_text())
    seen = set(img_ids)
    content['images'] = [image for image in content['images'] if image['id'] in seen]
    content['annotations'] = [ann for ann in content['annotations'] if ann['image_id'] in seen]
    return content


def measure(cfg: Config, args) -> dict:
    """The report on one kind of maps, which is written to ``--out`` as it grows."""
    if (args.checkpoint is None) == (args.ann_file is None):
        raise ValueError('Give either a checkpoint, or --ann-file for perfect maps.')
    rules, settings = chosen_rules(args.rules), dict(cfg.model.head.decoder)
    evaluator, tested = keypoint_evaluator(cfg), cfg.test_dataloader.dataset
    iou_type = args.iou_type or evaluator.get('iou_type', 'keypoints')
    with tempfile.TemporaryDirectory() as folder:
        store, ann_file = MapStore(folder), str(Path(folder) / 'annotations.json')
        if args.checkpoint is not None:
            check_checkpoint(args.checkpoint)
            store_network_maps(cfg, args.checkpoint, args.limit, store)
            content = annotations_of_images(evaluator.ann_file, store.img_ids)
        else:
            metainfo = type_class(tested, DATASETS)._load_metainfo(tested.get('metainfo'))
            content = read_people(args.ann_file, iou_type, metainfo, args.limit)
        Path(ann_file).write_text(json.dumps(content))
        dataset = DATASETS.build(dict(type=tested.type, ann_file=ann_file))
        if args.checkpoint is None:
            store_perfect_maps(settings, dataset, args.noise, store)
        has_masks = all(ann.get('segmentation') for ann in content['annotations'])
        truth = Truth(ann_file, iou_type, dataset.metainfo, has_masks)
        report = dict(
            name=args.name or Path(args.config).stem, images=len(store.img_ids), rows=[])
        for row in measure_rules(settings, rules, store, truth):
            report['rows'].append(row)
            WholeFilesBackend().put_text(json.dumps(report, indent=2) + '\n', args.out)
    return report


def figures(row: dict) -> List[float]:
    return [row[part] for part in ('keypoints', 'masks') if part in row]


def table(reports: List[dict]) -> str:
    """Markdown: AP of keypoints / masks by default, and by how much each change moves them."""
    columns = []
    for report in reports:
        defaults, *rows = report['rows']
        changes = {
            (row['rule'], row['change']):
                ' / '.join(f'{a - b:+.3f}' for a, b in zip(figures(row), figures(defaults)))
            for row in rows
        }
        changes['defaults', ''] = ' / '.join(f'{a:.3f}' for a in figures(defaults))
        columns.append(changes)
    keys = dict.fromkeys([('defaults', ''), *(key for changes in columns for key in changes)])
    lines = [['rule', 'changed to', *(report['name'] for report in reports)]]
    lines.append(['---'] * len(lines[0]))
    lines += [[*key, *(changes.get(key, '') for changes in columns)] for key in keys]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def main():
    args = parse_args()
    if args.command == 'table':
        print(table([json.loads(path.read_text()) for path in args.reports]))
        return
    torch.set_num_threads(1)
    cfg = Config.fromfile(config_or_end(args.config))
    merge_options(cfg, args.cfg_options)
    init_default_scope('mmpose')
    MMLogger.get_current_instance().setLevel('WARNING')  # no line per evaluation
    try:
        report = measure(cfg, args)
    except (CheckpointError, FileNotFoundError, ValueError) as error:
        sys.exit(f'error: {error}')
    print('\n' + table([report]))


if __name__ == '__main__':
    main()
