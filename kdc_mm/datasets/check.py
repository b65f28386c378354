"""What is missing or broken in the data of a config, before anything trains on it."""
import json
import os.path as osp
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import mmcv
import numpy as np
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

#: Keys of an annotation that hold keypoints; all but the first are COCO-WholeBody's.
KEYPOINT_KEYS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')

#: Examples named per kind of problem.
NUM_EXAMPLES = 3


@dataclass
class SplitCheck:
    """One data set of a config.

    Attributes:
        name (str): Part of the config: train, val or test, with a number where it holds several.
        ann_file (str): Path of the annotation file.
        counts (dict): Numbers of ``images``, ``persons`` (crowd regions left out), persons
            ``with keypoints`` and ``with mask``, and ``crowd regions``.
        errors (list[str]): What stops training or evaluation, or spoils it.
        warnings (list[str]): What training copes with.
        persons (np.ndarray): (images,) persons in each image.
        overlap (np.ndarray): (persons,) IoU of each person's box with the box that covers it most
            in the same image.
    """
    name: str
    ann_file: str
    counts: Dict[str, int] = field(default_factory=dict)
    errors: List[str] = field(default_factory=list)
    warnings: List[str] = field(default_factory=list)
    persons: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    overlap: np.ndarray = field(default_factory=lambda: np.zeros(0))


def check_config(cfg: Config,
                 read_images: bool = True,
                 progress: Callable[[SplitCheck, List], Iterator] = lambda _, jobs: jobs
                 ) -> List[SplitCheck]:
    """Check all data sets of a config; the test set only where it is not that of validation.

    Args:
        cfg (Config): The config.
        read_images (bool): Decode every image; otherwise only look whether it is there.
        progress (callable): ``(check, iterable)`` → the same iterable, while images are read.
    """
    checks = []
    for part in parts_to_check(cfg):
        metrics = evaluators(cfg, part)
        for number, dataset in enumerate(leaf_datasets(cfg[f'{part}_dataloader'].dataset)):
            ann_file, folder = dataset_paths(dataset)
            check = SplitCheck(f'{part} {number + 1}' if number else part, ann_file)
            checks.append(check)
            content = read_annotations(check, dataset)
            if content is None:
                continue
            check_annotations(check, content, number_of_keypoints(dataset))
            check_masks(check, uses_masks(cfg, part, metrics))
            check_evaluation(check, content, metrics)
            check_images(check, content['images'], folder, read_images, progress)
    return checks


def parts_to_check(cfg: Config) -> List[str]:
    """Those of train, val and test that the config has, without a test that repeats validation."""
    parts = [part for part in ('train', 'val', 'test') if cfg.get(f'{part}_dataloader')]
    repeated = {'val', 'test'} <= set(parts) and all(
        cfg[f'val_{kind}'] == cfg[f'test_{kind}'] for kind in ('dataloader', 'evaluator'))
    return [part for part in parts if not (repeated and part == 'test')]


def evaluators(cfg: Config, part: str) -> List[dict]:
    """Evaluators of validation or test as a list; none for training."""
    found = cfg.get(f'{part}_evaluator') or []
    return [found] if isinstance(found, dict) else list(found)


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """The data sets within wrappers such as ``CombinedDataset`` and ``RepeatDataset``."""
    if 'datasets' in dataset:
        for part in dataset['datasets']:
            yield from leaf_datasets(part)
    elif 'dataset' in dataset:
        yield from leaf_datasets(dataset['dataset'])
    else:
        yield dataset


def dataset_paths(dataset: dict) -> Tuple[str, str]:
    """Annotation file and image folder, joined to ``data_root`` as MMEngine joins them."""
    root = dataset.get('data_root') or ''
    folder = (dataset.get('data_prefix') or {}).get('img', '')
    return osp.join(root, dataset['ann_file']), osp.join(root, folder)


def number_of_keypoints(dataset: dict) -> int:
    """Keypoints of a person according to the data set's class or its own ``metainfo``."""
    metainfo = dataset.get('metainfo') or DATASETS.get(dataset['type']).METAINFO
    return parse_pose_metainfo(dict(metainfo))['num_keypoints']


def uses_masks(cfg: Config, part: str, metrics: List[dict]) -> bool:
    """Whether this part of the config learns or evaluates masks."""
    if part == 'train':
        return cfg.model.head.type in ('KDCHead', 'KDCSegHead')
    return any(one['type'] == 'PersonSegMetric' and not one.get('format_only') for one in metrics)


def read_annotations(check: SplitCheck, dataset: dict) -> Optional[dict]:
    """The content of the annotation file, or None and an error."""
    if not osp.isfile(check.ann_file):
        help_text = getattr(DATASETS.get(dataset['type']), 'DOWNLOAD', '')
        check.errors.append(f'{check.ann_file} does not exist. {help_text}'.strip())
        return None
    try:
        with open(check.ann_file) as file:
            content = json.load(file)
    except ValueError as error:
        check.errors.append(f'{check.ann_file} is no JSON file ({error}): download it again.')
        return None
    if not isinstance(content, dict) or not content.get('images'):
        check.errors.append(f"{check.ann_file} lists no images: it is not in COCO's layout.")
        return None
    return content


def check_annotations(check: SplitCheck, content: dict, num_keypoints: int) -> None:
    """Count the persons, and find annotations that do not fit their images or the data set."""
    people: Dict[int, list] = {image['id']: [] for image in content['images']}
    wrong: Dict[str, list] = {}
    ids = Counter(ann['id'] for ann in content.get('annotations', []))
    crowds = 0
    for ann in content.get('annotations', []):
        values = sum(len(ann.get(key) or ()) for key in KEYPOINT_KEYS)
        if ann['image_id'] not in people:
            wrong.setdefault('belong to images that are not listed', []).append(ann['id'])
        elif values not in (0, 3 * num_keypoints):
            wrong.setdefault(f'have other than {num_keypoints} keypoints', []).append(ann['id'])
        elif 'bbox' not in ann or min(ann['bbox'][2:]) <= 0:
            wrong.setdefault('have no bounding box, or an empty one', []).append(ann['id'])
        elif ids[ann['id']] > 1:
            wrong.setdefault('share their id with another', []).append(ann['id'])
        elif ann.get('iscrowd'):
            crowds += 1
        else:
            people[ann['image_id']].append(ann)
    check.errors += [
        f'{len(found)} annotations in {check.ann_file} {what}: {examples(found)}.'
        for what, found in wrong.items()
    ]
    persons = [ann for anns in people.values() for ann in anns]
    check.persons = np.array([len(anns) for anns in people.values()])
    check.overlap = np.concatenate(
        [np.zeros(0), *(largest_overlaps([ann['bbox'] for ann in anns])
                        for anns in people.values())])
    check.counts.update({
        'images': len(people),
        'persons': len(persons),
        'with keypoints': sum(any(ann.get('keypoints', [])[2::3]) for ann in persons),
        'with mask': sum(bool(ann.get('segmentation')) for ann in persons),
        'crowd regions': crowds,
    })


def check_masks(check: SplitCheck, needed: bool) -> None:
    """Persons whose mask is missing where the config learns or evaluates masks."""
    lacking = check.counts['persons'] - check.counts['with mask']
    if not needed or not lacking:
        return
    if check.counts['with mask']:
        check.warnings.append(
            f'{lacking} of {check.counts["persons"]} persons in {check.ann_file} have no mask: '
            'nothing is learnt from their pixels, and they cannot be found as masks.')
    else:
        check.errors.append(
            f'No person in {check.ann_file} has a mask. Take KDCPoseHead instead of KDCHead, and '
            'PersonSegMetric out of the evaluators.')


def check_evaluation(check: SplitCheck, content: dict, metrics: List[dict]) -> None:
    """What the evaluators of this data set miss in it."""
    for metric in metrics:
        file = metric.get('ann_file', check.ann_file)
        if osp.normpath(file) != osp.normpath(check.ann_file):
            state = 'another file than the data set' if osp.isfile(file) else 'a missing file'
            check.errors.append(f'{metric["type"]} reads {state}: {file}.')
        if 'annotations' not in content and not metric.get('format_only'):
            check.errors.append(f'{check.ann_file} has no annotations: {metric["type"]} can only '
                                'write results with format_only=True.')
        lacking = [image['id'] for image in content['images'] if 'crowdIndex' not in image]
        if metric.get('iou_type') == 'keypoints_crowd' and lacking:
            check.errors.append(
                f'{len(lacking)} images in {check.ann_file} have no crowdIndex, which '
                f"keypoints_crowd needs: {examples(lacking)}. Take MMPose's annotation files.")


def check_images(check: SplitCheck, images: List[dict], folder: str, read: bool,
                 progress: Callable) -> None:
    """Find images that are missing, cannot be decoded, or have another size than annotated."""

    def trouble_of(image: dict) -> Tuple[str, Optional[str]]:
        return image['file_name'], image_trouble(osp.join(folder, image['file_name']), image, read)

    found: Dict[str, list] = {}
    with ThreadPoolExecutor() as pool:
        for name, trouble in progress(check, pool.map(trouble_of, images)):
            if trouble is not None:
                found.setdefault(trouble, []).append(name)
    check.errors += [
        f'{len(names)} of {len(images)} images in {folder} {trouble}: {examples(names)}.'
        for trouble, names in found.items()
    ]


def image_trouble(path: str, image: dict, read: bool) -> Optional[str]:
    """What is wrong with an image file, or None; read as training reads it."""
    if not osp.isfile(path):
        return 'are missing'
    if not read:
        return None
    try:
        height, width = mmcv.imread(path, backend='pillow').shape[:2]
    except Exception:  # Pillow's decoders raise what they like
        return 'cannot be read'
    if (height, width) != (image['height'], image['width']):
        return 'have another size than annotated'
    return None


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


def examples(names: list) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - NUM_EXAMPLES
    return ', '.join(map(str, names[:NUM_EXAMPLES])) + (f' and {rest} more' if rest > 0 else '')
