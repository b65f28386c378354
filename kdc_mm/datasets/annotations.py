"""The one reading of annotation files in COCO's layout, for whatever trains on them, evaluates on
them or draws them.

Annotation tools, mergers and converters write the same people in many ways. What is meant is
brought into COCO's own form, and every change is noted; what could mean two things is refused.
"""
import json
import os.path as osp
import re
from collections import Counter, defaultdict
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

import numpy as np
import pycocotools.mask as cocomask
from mmengine.fileio import get
from PIL import Image

from .segmentations import FAR, as_numbers, as_rle, clean_segmentation

#: Keys of an annotation that hold keypoints; all but the first are COCO-WholeBody's.
KEYPOINT_KEYS = ('keypoints', 'foot_kpts', 'face_kpts', 'lefthand_kpts', 'righthand_kpts')

#: Id of the only category of what was read.
PERSON_ID = 1

#: Examples named per kind of problem.
NUM_EXAMPLES = 3

#: Share of a person's box that is taken for its area where no mask tells it, as by xtcocotools.
_BOX_AREA = 0.53

#: Pixels by which a person may be wider or higher than its box.
_BOX_MARGIN = 2

#: Pixels of an image's longest possible side.
_MAX_SIDE = 10**5

#: Ids up to this size are exact where evaluation puts them into floats.
_MAX_ID = 2**53

#: Characters of a name in a message.
_MAX_SHOWN = 160

#: The change that does not matter to who leaves areas alone.
NO_AREA = 'annotations have no area, taken from the mask or the box'

Changes = Dict[str, List[str]]


class AnnotationError(ValueError):
    """An annotation file that cannot be used as it is.

    Attributes:
        problems (list[str]): A line for each kind of problem.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(' '.join(problems))
        self.problems = list(problems)


class Reading(NamedTuple):
    """What an annotation file says.

    Attributes:
        content (dict): ``images``, ``annotations`` (unless the file is a list of images) and
            ``categories`` in COCO's layout. Ids are integers, annotation ids start from 1, the
            only category is that of persons. Each annotation has ``bbox``, ``area``, ``iscrowd``,
            ``keypoints`` and ``num_keypoints``; ``segmentation`` only where it can be drawn.
        changes (dict): What differs from the file, and the images and annotations that it was
            changed in, by their ids in the file.
    """
    content: dict
    changes: Changes

    @property
    def persons(self) -> List[dict]:
        """The annotations that are no crowd regions."""
        return [ann for ann in self.content.get('annotations', []) if not ann['iscrowd']]


def read_annotations(path: str,
                     metainfo: Optional[dict] = None,
                     image_folder: Optional[str] = None) -> Reading:
    """Read an annotation file.

    Args:
        path (str): The file, anywhere that MMEngine reads.
        metainfo (dict, optional): The data set's, as MMPose has parsed it: its keypoints'
            number and names, and ``person_categories``, the categories of the file that the user
            has named as persons, or None. Keypoints are not checked without it.
        image_folder (str, optional): Where missing image sizes are read from; without it they are
            an error.

    Raises:
        AnnotationError: The file cannot be used as it is.
    """
    return clean_annotations(load_annotations(path), path, metainfo or {}, image_folder)


def load_annotations(path: str) -> dict:
    """The content of an annotation file as it is, in any encoding of Unicode.

    Raises:
        AnnotationError: It is no JSON file, or not in COCO's layout.
    """
    try:
        content = json.loads(get(path))
    except OSError as error:
        raise AnnotationError([f'{path} cannot be read: {error}.']) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(
            [f'{path} is not encoded as UTF-8 ({error}): save it as UTF-8.']) from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            [f'{path} is no JSON file ({error}): export it or download it again.']) from error
    if not isinstance(content, dict) or not isinstance(content.get('images'), list) \
            or not content['images']:
        raise AnnotationError([f"{path} lists no images: it is not in COCO's layout."])
    if not isinstance(content.get('annotations', []), (list, type(None))):
        raise AnnotationError(
            [f"{path} has no list of annotations: it is not in COCO's layout."])
    return content


def clean_annotations(content: dict, path: str, metainfo: dict,
                      image_folder: Optional[str] = None) -> Reading:
    """The persons in the content of a file; arguments as of :func:`read_annotations`."""
    changes: Changes = defaultdict(list)
    refused: Changes = defaultdict(list)
    images = _clean_images(content['images'], image_folder, changes, refused)
    _raise_refused(path, refused)
    _number_images(images, changes)
    cleaned = dict(content, images=list(images.values()))
    if 'annotations' not in content:
        return Reading(dict(cleaned, categories=[_category({}, metainfo)]), dict(changes))

    rows = _listed_rows(content['annotations'] or [], images, changes)
    listed = content.get('categories')
    categories = {
        as_id(row['id']): row
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, dict) and 'id' in row
    }
    persons = _person_categories(rows, categories, metainfo.get('person_categories'), path)
    _note_merged_people(rows, persons, categories, refused)
    _raise_refused(path, refused)
    rows = _rows_of_persons(rows, persons, categories, changes)
    row = categories.get(min(persons, key=str), {}) if persons else {}
    if persons - {PERSON_ID} or row.get('name', 'person') != _category(row, metainfo)['name']:
        changes[f'persons are written as category {PERSON_ID}'] = [
            f'category {_name(categories, one)!r}, id {one}' for one in sorted(persons, key=str)]
    if not persons & categories.keys():
        changes['categories do not list that of persons'] = [f'{len(categories)} are listed']
    order = _keypoint_order(row, metainfo, path, changes)

    annotations = []
    for ann in rows:
        image = images[as_id(ann.get('image_id'))]
        person = _clean_person(ann, image, metainfo, order, changes, refused)
        if person is not None:
            annotations.append(person)
    _raise_refused(path, refused)
    if 'num_keypoints' in metainfo:
        _count_keypoints(annotations, changes)
    cleaned.update(
        annotations=_number(annotations, changes), categories=[_category(row, metainfo)])
    return Reading(cleaned, dict(changes))


def describe(path: str, changes: Changes) -> List[str]:
    """A line for each kind of change or problem in a file."""
    return [f'{path}: {what} ({len(found)}): {examples(found)}.' for what, found in changes.items()]


def examples(names: Sequence) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - NUM_EXAMPLES
    return ', '.join(map(shown, names[:NUM_EXAMPLES])) + (f' and {rest} more' if rest > 0 else '')


def shown(name: Any) -> str:
    """What a file holds, as part of a line: printable and not long."""
    text = str(name)
    if len(text) > _MAX_SHOWN:
        text = f'{text[:_MAX_SHOWN]}…'
    return ''.join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def as_id(value: Any) -> Any:
    """An id as an integer if it is one, however it is written; others are words or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and re.fullmatch(r'\s*-?\d{1,18}(\.0)?\s*', value):
        value = int(float(value)) if '.' in value else int(value)
    if value is None or isinstance(value, str) \
            or type(value) is int and abs(value) <= _MAX_ID:
        return value
    return repr(value)


def is_labelled(ann: dict) -> bool:
    """Whether an annotation as it is in a file has a labelled keypoint."""
    try:
        values = as_numbers(ann.get('keypoints') or []).ravel()
    except ValueError:
        return True  # the reading will refuse it, if it is a person's
    return bool((values[2::3] > 0).any())


def _raise_refused(path: str, refused: Changes) -> None:
    if refused:
        raise AnnotationError(describe(path, refused))


def _where(ann: dict) -> str:
    return f'annotation {ann.get("id")} of image {ann.get("image_id")}'


# Images


def _clean_images(rows: List[Any], folder: Optional[str], changes: Changes,
                  refused: Changes) -> Dict[Any, dict]:
    """The images by their ids as annotations refer to them, :func:`as_id`."""
    images: Dict[Any, dict] = {}
    for row in rows:
        if not isinstance(row, dict) or row.get('id') is None \
                or not isinstance(row.get('file_name'), str) or not row['file_name']:
            refused['images lack an id or a file name'].append(f'{str(row)[:80]}')
            continue
        image = dict(row, id=as_id(row['id']), file_name=row['file_name'].replace('\\', '/'))
        if type(row['id']) is not int:
            changes['images have an id that is not written as an integer'].append(
                f'image {row["id"]!r}')
        if image['file_name'] != row['file_name']:
            changes['images have backslashes in their file name, read as /'].append(
                f'image {row["id"]}')
        _clean_size(image, folder, changes, refused)
        before = images.setdefault(image['id'], image)
        if before is not image:
            _note_repeated(before, image, changes, refused)
    return images


def _number_images(images: Dict[Any, dict], changes: Changes) -> None:
    """Numbers from 1 on for the images' ids, if one of them is no integer."""
    words = [f'image {key}' for key in images if type(key) is not int]
    if words:
        changes['images get numbers for ids, from 1 in their order'] = words
        for number, image in enumerate(images.values(), 1):
            image['id'] = number


def _clean_size(image: dict, folder: Optional[str], changes: Changes, refused: Changes) -> None:
    where = f'image {image["id"]}, {image["file_name"]}'
    size = [_integer(image.get(key)) for key in ('width', 'height')]
    if None in size or not 1 <= min(size) <= max(size) <= _MAX_SIDE:
        size = None if folder is None else _size_on_disk(osp.join(folder, image['file_name']))
        if size is None:
            refused[f'images have no width and height from 1 to {_MAX_SIDE:,} (check_data.py --fix '
                    'reads them from the image files)'].append(where)
            return
        changes['images have no width and height, taken from the image files'].append(where)
    elif size != [image['width'], image['height']] or any(
            type(image[key]) is not int for key in ('width', 'height')):
        changes['images have a width or height that is not written as an integer'].append(where)
    image.update(width=size[0], height=size[1])


def _integer(value: Any) -> Optional[int]:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def _size_on_disk(path: str) -> Optional[List[int]]:
    """Width and height of an image file as training sees it, turned by its EXIF tag."""
    try:
        with Image.open(path) as image:
            size = list(image.size)
            return size[::-1] if image.getexif().get(0x0112, 1) >= 5 else size
    except Exception:  # Pillow's decoders raise what they like
        return None


def _note_repeated(first: dict, second: dict, changes: Changes, refused: Changes) -> None:
    keys = ('file_name', 'width', 'height')
    if all(first.get(key) == second.get(key) for key in keys):
        changes['images are listed twice'].append(f'image {first["id"]}, {first["file_name"]}')
    else:
        refused['image ids stand for two images each (merge the files with new ids)'].append(
            f'image {first["id"]}, {first["file_name"]} and {second["file_name"]}')


# Categories


def _listed_rows(rows: List[Any], images: Dict[Any, dict], changes: Changes) -> List[dict]:
    """The annotations of listed images, each of them once."""
    kept, seen = [], {}
    for ann in rows:
        if not isinstance(ann, dict):
            changes['annotations are no objects, left out'].append(str(ann)[:80])
        elif as_id(ann.get('image_id')) not in images:
            changes['annotations belong to images that are not listed, left out'].append(
                _where(ann))
        elif ann.get('id') is not None and seen.setdefault(as_id(ann['id']), ann) is not ann \
                and seen[as_id(ann['id'])] == ann:
            changes['annotations are repeated, taken once'].append(_where(ann))
        else:
            kept.append(ann)
    return kept


def _name(categories: Dict[Any, dict], category: Any) -> Any:
    return categories.get(category, {}).get('name', category)


def _person_categories(rows: List[dict], categories: Dict[Any, dict],
                       names: Optional[Sequence[str]], path: str) -> Set[Any]:
    """Ids of the categories whose annotations are persons; None for those without a category."""
    listed = ', '.join(repr(row.get('name')) for row in categories.values()) or 'none'
    if names:
        wanted = {name.casefold() for name in names}
        found = {key for key in categories if str(_name(categories, key)).casefold() in wanted}
        if not found:
            raise AnnotationError([
                f'{path} has no category {" or ".join(map(repr, names))}, which metainfo.classes '
                f'names. Its categories: {listed}.'])
        return found
    used = {as_id(ann.get('category_id')) for ann in rows}
    posed = {as_id(ann.get('category_id')) for ann in rows if is_labelled(ann)}
    named = {key for key in categories if str(_name(categories, key)).casefold() == 'person'}
    found = posed | named & used
    if len(found) > 1:
        found.discard(None)
    if len(found) > 1:
        several = ', '.join(sorted(repr(_name(categories, key)) for key in found))
        raise AnnotationError([
            f'{path} has {"keypoints" if len(posed) > 1 else "persons or keypoints"} in several '
            f'categories: {several}. Say which of them are persons, in the data set: '
            "metainfo=dict(classes=('NAME', ))."])
    if found or named:
        return found or named
    if used and categories:
        raise AnnotationError([
            f'{path} has no category of persons and no keypoints. Its categories: {listed}. If '
            "one of them is persons, say so in the data set: metainfo=dict(classes=('NAME', ))."])
    return used


def _note_merged_people(rows: List[dict], persons: Set[Any], categories: Dict[Any, dict],
                        refused: Changes) -> None:
    """Label Studio's COCO export puts the keypoints of all people of an image into one annotation
    of its category ``default``, beside the boxes and outlines of each."""
    merged = {key for key in persons & categories.keys()
              if categories[key].get('name') == categories[key].get('supercategory') == 'default'}
    if not merged:
        return
    drawn = Counter(
        (ann['image_id'], as_id(ann.get('category_id')), bool(ann.get('segmentation')))
        for ann in rows if as_id(ann.get('category_id')) not in merged)
    several = dict.fromkeys(f'image {image}' for (image, *_), number in drawn.items() if number > 1)
    if several:
        refused['one annotation has all keypoints of an image, of whomever, as Label Studio writes '
                'COCO. Export as JSON (docs/own_data.md)'] = list(several)


def _rows_of_persons(rows: List[dict], persons: Set[Any], categories: Dict[Any, dict],
                     changes: Changes) -> List[dict]:
    """The annotations of these categories, and those without one that can only be of them."""
    kept = []
    for ann in rows:
        category = as_id(ann.get('category_id'))
        if category in persons or category is None and (len(categories) < 2 or is_labelled(ann)):
            kept.append(ann)
            if type(ann.get('category_id')) is not int:
                changes['annotations have no integer for their category'].append(_where(ann))
        else:
            name = _name(categories, category)
            changes[f'annotations are of category {name!r}, left out'].append(_where(ann))
    return kept


def _category(row: dict, metainfo: dict) -> dict:
    """The row of the category of persons."""
    names = metainfo.get('person_categories') or ('person', )
    row = dict(row, id=PERSON_ID, name=names[0])
    names = list(metainfo.get('keypoint_id2name', {}).values())
    if isinstance(row.get('keypoints'), list) and len(row['keypoints']) == len(names):
        row['keypoints'] = names
    return row


def _keypoint_order(category: dict, metainfo: dict, path: str,
                    changes: Changes) -> Optional[List[int]]:
    """Where the data set's keypoints are in the file's, if its category names them in another
    order than the data set."""
    wanted = [_plain(name) for name in metainfo.get('keypoint_id2name', {}).values()]
    found = category.get('keypoints')
    if not isinstance(found, list) or len(found) != len(wanted):
        return None
    found = [_plain(name) for name in found]
    moved = [name for name in found if name in wanted
             and (found.index(name) != wanted.index(name) or found.count(name) > 1)]
    if not moved:
        return None
    if sorted(found) != sorted(wanted) or len(set(found)) < len(found):
        raise AnnotationError([
            f'{path} names its keypoints in another order than the data set, and not all of them '
            f'alike: {examples(moved)}. The data set has {", ".join(wanted)}.'])
    changes['keypoints are in another order than in the data set'] = moved
    return [found.index(name) for name in wanted]


def _plain(name: Any) -> str:
    return re.sub(r'[\s_-]+', '_', str(name).strip().casefold())


# Persons


def _clean_person(ann: dict, image: dict, metainfo: dict, order: Optional[List[int]],
                  changes: Changes, refused: Changes) -> Optional[dict]:
    """An annotation in COCO's form, or None and a note of what is wrong with it."""
    where = _where(ann)
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


def _count_keypoints(annotations: List[dict], changes: Changes) -> None:
    """Count the labelled keypoints where the file says of all persons that they have none: nobody
    would be evaluated."""
    labelled = [ann for ann in annotations if is_labelled(ann)]
    if any(ann['num_keypoints'] for ann in labelled):
        return
    for ann in labelled:
        changes['annotations have labelled keypoints, but a num_keypoints of 0'].append(_where(ann))
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


def _number(annotations: List[dict], changes: Changes) -> List[dict]:
    """The annotations with ids from 1 on, each once: their own if they are such."""
    ids = [as_id(ann.get('id')) for ann in annotations]
    counts = Counter(map(str, ids))
    wrong = [_where(ann) for ann, key in zip(annotations, ids)
             if type(ann.get('id')) is not int or type(key) is not int or key < 1
             or counts[str(key)] > 1]
    if not wrong:
        return annotations
    changes['annotations have no id of their own from 1 on; all get new ids'] = wrong
    return [dict(ann, id=number) for number, ann in enumerate(annotations, 1)]
