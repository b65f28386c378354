"""What is missing or broken in the data of a config, before anything trains on it."""
import json
import os.path as osp
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.fileio import exists
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import DATASETS, METRICS
from PIL import Image

from ..config_types import evaluators_of, type_class, type_name
from ..evaluation import PersonPoseMetric, PersonSegMetric
from .annotations import (
    NO_AREA,
    AnnotationError,
    Reading,
    describe,
    examples,
    is_labelled,
    read_annotations,
)
from .person_rows import PersonRowsMixin
from .segmentations import is_own_box

#: What is wrong with an image that cannot be used.
_MISSING, _UNREADABLE = 'are missing', 'cannot be read'
#: Of images whose EXIF tag turns them, when they are shown and when they are trained on.
_STORED = 'are turned by their EXIF tag, but annotated as they are stored: save them turned'
_TURNED = ('are turned by their EXIF tag: see with tools/misc/browse_dataset.py that annotations '
           'lie on the turned image')


@dataclass
class SplitCheck:
    """One data set of a config.

    Attributes:
        name (str): Part of the config: train, val or test, with a number where it holds several.
        ann_file (str): Path of the annotation file.
        counts (dict): Numbers of ``images``, ``persons`` (crowd regions left out), persons
            ``with keypoints`` and ``with mask``, and ``crowd regions``.
        errors (list[str]): What stops training or evaluation, or spoils it.
        warnings (list[str]): What training and evaluation cope with.
        persons (np.ndarray): (images,) persons in each image.
        overlap (np.ndarray): (persons,) IoU of each person's box with the box that covers it most
            in the same image.
        reading (Reading | None): What the annotation file says, if it can be used.
        unusable (set[str]): File names of images that are missing or cannot be read.
    """
    name: str
    ann_file: str
    counts: Dict[str, int] = field(default_factory=dict)
    errors: List[str] = field(default_factory=list)
    warnings: List[str] = field(default_factory=list)
    persons: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    overlap: np.ndarray = field(default_factory=lambda: np.zeros(0))
    reading: Optional[Reading] = None
    unusable: Set[str] = field(default_factory=set)


class DataFolder(NamedTuple):
    """Where the files of a data set are."""
    ann_file: str
    images: str


def check_config(cfg: Config,
                 read_images: bool = True,
                 progress: Callable[[SplitCheck, List], Iterator] = lambda _, jobs: jobs,
                 fill_sizes: bool = False) -> List[SplitCheck]:
    """Check all data sets of a config; the test set only where it is not that of validation.

    Args:
        cfg (Config): The config.
        read_images (bool): Decode every image; otherwise only look whether it is there.
        progress (callable): ``(check, iterable)`` → the same iterable, while images are read.
        fill_sizes (bool): Take image sizes that the annotation file lacks from the images, which
            training does not do.
    """
    checks = []
    for part in parts_to_check(cfg):
        datasets = list(leaf_datasets(cfg[f'{part}_dataloader'].dataset))
        metrics = evaluators_of(cfg, part)
        folders = [dataset_paths(dataset) for dataset in datasets]
        for number, (dataset, folder) in enumerate(zip(datasets, folders)):
            check = SplitCheck(f'{part} {number + 1}' if number else part, folder.ann_file)
            checks.append(check)
            if number == 0:
                check_files(check, folders, metrics)
            check.reading = read_file(check, dataset, folder.images if fill_sizes else None)
            if check.reading is None:
                continue
            own = [one for one in metrics if is_of(one, check.ann_file)]
            count_annotations(check)
            check_readers(check, dataset, own)
            if part == 'train':
                check_training(check, len(datasets) > 1)
            check_masks(check, uses_masks(cfg, part, own), part == 'train' and len(datasets) > 1)
            check_evaluation(check, own)
            check_images(check, folder.images, read_images, progress)
    return checks


def write_fixed(check: SplitCheck, out: Path) -> List[str]:
    """Write what a data set's annotation file means in COCO's form, without images that cannot be
    used.

    Returns:
        list[str]: What differs from the file.

    Raises:
        FileExistsError: There is a file of that name.
    """
    content, changes = check.reading
    changes = dict(changes)
    if check.unusable:
        gone = {image['id'] for image in content['images'] if image['file_name'] in check.unusable}
        content = dict(
            content, images=[image for image in content['images'] if image['id'] not in gone])
        if 'annotations' in content:
            content['annotations'] = [
                ann for ann in content['annotations'] if ann['image_id'] not in gone]
        changes['images that cannot be used are left out'] = sorted(check.unusable)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, 'x') as file:
        json.dump(content, file)
    return describe(check.ann_file, changes)


def parts_to_check(cfg: Config) -> List[str]:
    """Those of train, val and test that the config has, without a test that repeats validation."""
    parts = [part for part in ('train', 'val', 'test') if cfg.get(f'{part}_dataloader')]
    repeated = {'val', 'test'} <= set(parts) and all(
        cfg[f'val_{kind}'] == cfg[f'test_{kind}'] for kind in ('dataloader', 'evaluator'))
    return [part for part in parts if not (repeated and part == 'test')]


def is_of(metric: dict, ann_file: str) -> bool:
    """Whether a metric reads this file, or whatever the data set reads."""
    file = metric.get('ann_file') or ann_file
    return osp.normpath(file) == osp.normpath(ann_file)


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """The data sets within wrappers such as ``CombinedDataset`` and ``RepeatDataset``."""
    if 'datasets' in dataset:
        for part in dataset['datasets']:
            yield from leaf_datasets(part)
    elif 'dataset' in dataset:
        yield from leaf_datasets(dataset['dataset'])
    else:
        yield dataset


def dataset_paths(dataset: dict) -> DataFolder:
    """Annotation file and image folder, joined to ``data_root`` as MMEngine joins them."""
    root = dataset.get('data_root') or ''
    folder = (dataset.get('data_prefix') or {}).get('img', '')
    return DataFolder(osp.join(root, dataset['ann_file']), osp.join(root, folder))


def uses_masks(cfg: Config, part: str, metrics: List[dict]) -> bool:
    """Whether this part of the config learns or evaluates masks."""
    if part == 'train':
        return type_name(cfg.model.head) in ('KDCHead', 'KDCSegHead')
    return any(
        issubclass(type_class(one, METRICS), PersonSegMetric) and not one.get('format_only')
        and 'segm' in one.get('metric', 'segm') for one in metrics)


def read_file(check: SplitCheck, dataset: dict, image_folder: Optional[str]) -> Optional[Reading]:
    """What the annotation file says, or None and errors."""
    kind = type_class(dataset, DATASETS)
    if not exists(check.ann_file):
        help_text = getattr(kind, 'DOWNLOAD', '')
        check.errors.append(f'{check.ann_file} does not exist. {help_text}'.strip())
        return None
    metainfo = kind._load_metainfo(dataset.get('metainfo'))
    try:
        reading = read_annotations(check.ann_file, metainfo, image_folder)
    except AnnotationError as error:
        check.errors += error.problems
        return None
    check.warnings += describe(check.ann_file, reading.changes)
    return reading


def count_annotations(check: SplitCheck) -> None:
    """Count images and persons, and name what is odd about them."""
    content = check.reading.content
    people: Dict[int, list] = {image['id']: [] for image in content['images']}
    for ann in check.reading.persons:
        people[ann['image_id']].append(ann)
    persons = [ann for anns in people.values() for ann in anns]
    crowds = [ann for ann in content.get('annotations', []) if ann['iscrowd']]
    check.persons = np.array([len(anns) for anns in people.values()])
    check.overlap = np.concatenate(
        [np.zeros(0), *(largest_overlaps([ann['bbox'] for ann in anns])
                        for anns in people.values())])
    check.counts.update({
        'images': len(people),
        'persons': len(persons),
        'with keypoints': sum(map(is_labelled, persons)),
        'with mask': sum('segmentation' in ann for ann in persons),
        'crowd regions': len(crowds),
    })
    files: Dict[str, list] = defaultdict(list)
    for image in content['images']:
        files[image['file_name']].append(image['id'])
    posed = [f'annotation {ann["id"]} of image {ann["image_id"]}' for ann in crowds
             if is_labelled(ann)]
    repeated = [f'{name} as {", ".join(map(str, ids))}' for name, ids in files.items()
                if len(ids) > 1]
    boxes = [f'annotation {ann["id"]} of image {ann["image_id"]}' for ann in persons
             if is_own_box(ann.get('segmentation'), ann['bbox'])]
    odd = {
        'masks are the four corners of their box: leave out the segmentation of what was drawn as '
        'a rectangle, or boxes are learnt as masks': boxes,
        "image files are listed under several ids: each shows only its own id's people": repeated,
        "crowd regions have keypoints, which are not learnt: some tools write iscrowd=1 for one "
        "person's mask": posed if len(posed) > len(persons) else [],
    }
    check.warnings += describe(
        check.ann_file, {what: found for what, found in odd.items() if found})


def check_readers(check: SplitCheck, dataset: dict, metrics: List[dict]) -> None:
    """Whoever reads a file as it is needs one in COCO's own form."""
    readers = [] if issubclass(type_class(dataset, DATASETS), PersonRowsMixin) else [dataset]
    readers += [
        metric for metric in metrics
        if ('ann_file' in metric or issubclass(type_class(metric, METRICS), CocoMetric))
        and not issubclass(type_class(metric, METRICS), (PersonPoseMetric, PersonSegMetric))
    ]
    for reader in readers:
        if check.reading.changes.keys() - ({NO_AREA} if not reader.get('use_area', True) else {}):
            check.errors.append(
                f"{type_name(reader)} reads {check.ann_file} as it is, which is not in COCO's "
                'form (see the warnings): take a data set and metrics of kdc_mm, or write a copy '
                'with --fix OUT.json.')


def check_training(check: SplitCheck, among_others: bool) -> None:
    """What nothing can be learnt from."""
    if not check.reading.content.get('annotations'):
        check.errors.append(f'{check.ann_file} has no person to train on.')
    elif not check.counts['with keypoints']:
        problems = check.warnings if among_others else check.errors
        problems.append(f'No person in {check.ann_file} has a labelled keypoint.')


def check_masks(check: SplitCheck, needed: bool, among_others: bool) -> None:
    """Persons whose mask is missing where the config learns or evaluates masks."""
    lacking = check.counts['persons'] - check.counts['with mask']
    if not needed or not lacking:
        return
    if check.counts['with mask'] or among_others:
        check.warnings.append(
            f'{lacking} of {check.counts["persons"]} persons in {check.ann_file} have no mask: '
            'nothing is learnt from their pixels, and they cannot be found as masks.')
    else:
        check.errors.append(
            f'No person in {check.ann_file} has a mask. Take KDCPoseHead instead of KDCHead, and '
            'PersonSegMetric out of the evaluators.')


def check_files(check: SplitCheck, folders: Sequence[DataFolder], metrics: List[dict]) -> None:
    """Evaluators that read another file than any of the data sets."""
    for metric in metrics:
        file = metric.get('ann_file')
        if file and not any(is_of(metric, folder.ann_file) for folder in folders):
            state = 'another file than the data set' if osp.isfile(file) else 'a missing file'
            check.errors.append(f'{type_name(metric)} reads {state}: {file}.')


def check_evaluation(check: SplitCheck, metrics: List[dict]) -> None:
    """What the evaluators of this data set miss in it."""
    content = check.reading.content
    for metric in metrics:
        is_scored = not metric.get('format_only')
        if is_scored and not content.get('annotations'):
            check.errors.append(f'{check.ann_file} has no annotations: {type_name(metric)} can '
                                'only write results with format_only=True.')
        elif is_scored and not check.counts['with keypoints'] and issubclass(
                type_class(metric, METRICS), CocoMetric):
            check.errors.append(f'No person in {check.ann_file} has a labelled keypoint: take '
                                f'{type_name(metric)} out of the evaluators.')
        lacking = [image['id'] for image in content['images'] if 'crowdIndex' not in image]
        if metric.get('iou_type') == 'keypoints_crowd' and lacking:
            check.errors.append(
                f'{len(lacking)} images in {check.ann_file} have no crowdIndex, which '
                f"keypoints_crowd needs: {examples(lacking)}. Take MMPose's annotation files.")


def check_images(check: SplitCheck, folder: str, read: bool, progress: Callable) -> None:
    """Find images that are missing, cannot be decoded, have another size than annotated, or may
    have been annotated in another position."""
    images = check.reading.content['images']

    def trouble_of(image: dict) -> tuple:
        return image['file_name'], image_trouble(osp.join(folder, image['file_name']), image, read)

    found: Dict[str, list] = {}
    with ThreadPoolExecutor() as pool:
        for name, trouble in progress(check, pool.map(trouble_of, images)):
            if trouble is not None:
                found.setdefault(trouble, []).append(name)
    for trouble, names in found.items():
        problems = check.warnings if trouble == _TURNED else check.errors
        problems.append(
            f'{len(names)} of {len(images)} images in {folder} {trouble}: {examples(names)}.')
    check.unusable = {*found.get(_MISSING, ()), *found.get(_UNREADABLE, ())}


def image_trouble(path: str, image: dict, read: bool) -> Optional[str]:
    """What is wrong with an image file, or None; read as training reads it."""
    if not exists(path):
        return _MISSING
    if not read:
        return None
    try:
        height, width = mmcv.imread(path, backend='pillow').shape[:2]
        with Image.open(path) as file:
            stored, is_turned = file.size, file.getexif().get(0x0112, 1) != 1
    except Exception:  # Pillow's decoders raise what they like
        return _UNREADABLE
    annotated = image['width'], image['height']
    if annotated != (width, height):
        return _STORED if is_turned and annotated == stored else 'have another size than annotated'
    return _TURNED if is_turned and annotated == stored else None


def largest_overlaps(boxes: List[List[float]]) -> np.ndarray:
    """IoU of each box with the one that overlaps it most, 0 for a box alone.

    Args:
        boxes (list): n boxes (x, y, w, h).

    Returns:
        np.ndarray: (n,).
    """
    if len(boxes) < 2:
        return np.zeros(len(boxes))
    corners = np.asarray(boxes, float)
    low, high = corners[:, :2], corners[:, :2] + corners[:, 2:]
    area = corners[:, 2:].prod(1)
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shared = sides.clip(min=0).prod(2)
    iou = shared / (area[:, None] + area - shared)
    np.fill_diagonal(iou, 0)
    return iou.max(1)
