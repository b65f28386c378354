"""The persons of an annotation file: their keypoints, masks, boxes, areas and ids."""
from collections import Counter
from typing import List, Optional

import numpy as np
import pycocotools.mask as cocomask

from ..segmentations import FAR, as_numbers, as_rle, clean_segmentation
from .notes import PERSON_ID, Changes, as_id, is_labelled, place_of

#: Keys of an annotation that hold keypoints; all but the first are COCO-WholeBody's.
KEYPOINT_KEYS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')

#: Share of a person's box that is taken for its area where no mask tells it, as by xtcocotools.
_BOX_AREA = 0.53

#: Pixels by which a person may be wider or higher than its box.
_BOX_MARGIN = 2

#: The change that does not matter to who leaves areas alone.
NO_AREA = 'annotations have no area, taken from the mask or the box'


def clean_person(ann: dict, image: dict, metainfo: dict, order: Optional[List[int]],
                 changes: Changes, refused: Changes) -> Optional[dict]:
    """An annotation in COCO's form, or None and a note of what is wrong with it."""
    where = place_of(ann)
    person = dict(ann, image_id=image['id'], category_id=PERSON_ID)
    if ann.get('iscrowd') not in (0, 1):
        changes['annotations have no iscrowd of 0 or 1, taken for 0'].append(where)
    person['iscrowd'] = int(ann.get('iscrowd') in (1, '1'))
    drawn = ann.get('segmentation')
    if drawn and ann.get('isbbox') is True:
        changes['segmentations are boxes (isbbox), left out'].append(where)
        drawn = None
    try:
        _clean_keypoints(person, image, metainfo.get('num_keypoints'), order, where, changes)
        segmentation = clean_segmentation(drawn, image['height'], image['width'])
    except ValueError as error:
        refused[str(error)].append(where)
        return None
    if segmentation is not None:
        person['segmentation'] = segmentation
    else:
        person.pop('segmentation', None)
    if drawn and segmentation != drawn:
        what = 'cannot be drawn, left out' if segmentation is None else \
            "cannot be drawn in part, or are not in COCO's form"
        changes[f'segmentations {what}'].append(where)
    box = _clean_box(person, image, where, changes)
    if box is None:
        changes['annotations have no box, mask or keypoint in the image, left out'].append(where)
        return None
    person['bbox'] = box
    _clean_area(person, image, where, changes)
    return person


def _clean_keypoints(person: dict, image: dict, num_keypoints: Optional[int],
                     order: Optional[List[int]], where: str, changes: Changes) -> None:
    if num_keypoints is None:
        return
    values = person.get('keypoints')
    try:
        others = sum(as_numbers(person[key]).size for key in KEYPOINT_KEYS[1:] if person.get(key))
        table = as_numbers(values or [])
    except ValueError:
        raise ValueError('annotations have keypoints that are no list of numbers') from None
    expected = 3 * num_keypoints - others
    if not values:
        changes['annotations have no keypoints, taken for not labelled'].append(where)
        person.update(keypoints=[0] * expected, num_keypoints=0)
        return
    if table.size != expected:
        raise ValueError(f'annotations have {(table.size + others) / 3:g} keypoints, but the data '
                         f'set has {num_keypoints}')
    changed = table.ndim > 1 or not set(map(type, values)) <= {int, float}
    table = table.reshape(-1, 3)
    reach = FAR * (image['width'] + image['height'])
    unknown = ~np.isfinite(table).all(1) | (table[:, 2] < 0) \
        | (np.abs(table[:, :2]) > reach).any(1)
    if changed or unknown.any():
        changes['annotations have keypoints that are not written as numbers, or far from the '
                'image; what is none is not labelled'].append(where)
        table[unknown] = 0
    if order is not None and not others:
        table = table[order]
    if changed or unknown.any() or order is not None:
        person['keypoints'] = table.ravel().tolist()
    given = person.get('num_keypoints')  # CrowdPose's does not count heads and necks
    if unknown.any() or type(given) is not int or not 0 <= given <= num_keypoints:
        person['num_keypoints'] = int(np.count_nonzero(table[:, 2]))


def count_keypoints(annotations: List[dict], changes: Changes) -> None:
    """Count the labelled keypoints where the file says of all persons that they have none: nobody
    would be evaluated."""
    labelled = [ann for ann in annotations if is_labelled(ann)]
    if any(ann['num_keypoints'] for ann in labelled):
        return
    for ann in labelled:
        changes['annotations have labelled keypoints, but a num_keypoints of 0'].append(
            place_of(ann))
        ann['num_keypoints'] = int(np.count_nonzero(as_numbers(ann['keypoints']).ravel()[2::3] > 0))


def _clean_box(person: dict, image: dict, where: str, changes: Changes) -> Optional[List[float]]:
    """A box (x, y, w, h) that shows something of the image, or None."""
    try:
        box = as_numbers(person.get('bbox')).ravel()
    except ValueError:
        box = np.zeros(0)
    if len(box) == 4 and np.isfinite(box).all() and (box[2:] < 0).any():
        box = np.concatenate([np.minimum(box[:2], box[:2] + box[2:]), np.abs(box[2:])])
    if not _shows_box(box, image):
        changes['annotations have no box in the image, taken from mask or keypoints'].append(where)
        box = _box_of_rest(person, image)
        return box.tolist() if _shows_box(box, image) else None
    found = person['bbox']
    if box.tolist() == found:
        return found
    changes['annotations have a box that is not written as x, y, width, height'].append(where)
    return box.tolist()


def _shows_box(box: np.ndarray, image: dict) -> bool:
    if len(box) != 4 or not (np.abs(box) <= FAR * (image['width'] + image['height'])).all():
        return False
    x, y, w, h = box.tolist()
    return w > 0 and h > 0 and x + w > 0 and y + h > 0 and x < image['width'] \
        and y < image['height']


def _box_of_rest(person: dict, image: dict) -> np.ndarray:
    """The box of a mask, or else of the labelled keypoints, at least a pixel wide and high."""
    if 'segmentation' in person:
        return cocomask.toBbox(as_rle(person['segmentation'], image['height'], image['width']))
    try:
        table = as_numbers(person.get('keypoints') or []).reshape(-1, 3)
    except ValueError:  # no keypoints, which is for those to refuse who read them
        return np.zeros(0)
    points = table[table[:, 2] > 0, :2]
    if not len(points):
        return np.zeros(0)
    return np.concatenate([points.min(0), np.ptp(points, axis=0).clip(min=1)])


def _clean_area(person: dict, image: dict, where: str, changes: Changes) -> None:
    """An area that the image holds, and where there is no mask the box."""
    area, most = person.get('area'), image['width'] * image['height']
    if 'segmentation' not in person:
        width, height = person['bbox'][2:]
        most = min(most, (width + _BOX_MARGIN) * (height + _BOX_MARGIN))
    if type(area) in (int, float) and 0 < area <= most:
        return
    changes[NO_AREA].append(where)
    if 'segmentation' in person:
        rle = as_rle(person['segmentation'], image['height'], image['width'])
        person['area'] = int(cocomask.area(rle))
    else:
        area = _BOX_AREA * person['bbox'][2] * person['bbox'][3]
        person['area'] = min(area, image['width'] * image['height'])


def number_annotations(annotations: List[dict], changes: Changes) -> List[dict]:
    """The annotations with ids from 1 on, each once: their own if they are such."""
    ids = [as_id(ann.get('id')) for ann in annotations]
    counts = Counter(map(str, ids))
    wrong = [place_of(ann) for ann, key in zip(annotations, ids)
             if type(ann.get('id')) is not int or type(key) is not int or key < 1
             or counts[str(key)] > 1]
    if not wrong:
        return annotations
    changes['annotations have no id of their own from 1 on; all get new ids'] = wrong
    return [dict(ann, id=number) for number, ann in enumerate(annotations, 1)]
