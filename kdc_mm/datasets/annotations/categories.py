"""The categories of an annotation file: which of them are persons, whose keypoints they name."""
import re
from collections import Counter
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set

from .notes import (
    PERSON_ID,
    AnnotationError,
    Changes,
    as_id,
    examples,
    is_labelled,
    place_of,
    raise_refused,
)


class PersonRows(NamedTuple):
    """The persons among a file's annotations: their ``rows`` as they are, the row of their
    ``category`` as it is written, and the ``order`` of their keypoints, see
    :func:`_keypoint_order`."""
    rows: List[dict]
    category: dict
    order: Optional[List[int]]


def find_persons(content: dict, images: Dict[Any, dict], metainfo: dict, path: str,
                 changes: Changes, refused: Changes) -> PersonRows:
    """The annotations that are persons.

    Args:
        content (dict): Of the file.
        images (dict): Its images by their ids.
        metainfo (dict): As :func:`.reading.read_annotations` takes it.
        path (str): The file, for messages.
        changes, refused (dict): What is noted.

    Raises:
        AnnotationError: It could be several categories, or there is none.
    """
    rows = _listed_rows(content['annotations'] or [], images, changes)
    categories = _categories(content.get('categories'))
    persons = _person_categories(rows, categories, metainfo.get('person_categories'), path)
    _note_merged_people(rows, persons, categories, refused)
    raise_refused(path, refused)
    rows = _rows_of_persons(rows, persons, categories, changes)
    row = categories.get(min(persons, key=str), {}) if persons else {}
    written = person_category(row, metainfo)
    if persons - {PERSON_ID} or row.get('name', 'person') != written['name']:
        changes[f'persons are written as category {PERSON_ID}'] = [
            f'category {_name(categories, one)!r}, id {one}' for one in sorted(persons, key=str)]
    if not persons & categories.keys():
        changes['categories do not list that of persons'] = [f'{len(categories)} are listed']
    return PersonRows(rows, written, _keypoint_order(row, metainfo, path, changes))


def _categories(listed: Any) -> Dict[Any, dict]:
    """The rows of the categories by their ids; what is none is left out."""
    rows = listed if isinstance(listed, list) else []
    return {as_id(row['id']): row for row in rows if isinstance(row, dict) and 'id' in row}


def _listed_rows(rows: List[Any], images: Dict[Any, dict], changes: Changes) -> List[dict]:
    """The annotations of listed images, each of them once."""
    kept, seen = [], {}
    for ann in rows:
        if not isinstance(ann, dict):
            changes['annotations are no objects, left out'].append(str(ann)[:80])
        elif as_id(ann.get('image_id')) not in images:
            changes['annotations belong to images that are not listed, left out'].append(
                place_of(ann))
        elif ann.get('id') is not None and seen.setdefault(as_id(ann['id']), ann) is not ann \
                and seen[as_id(ann['id'])] == ann:
            changes['annotations are repeated, taken once'].append(place_of(ann))
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
                changes['annotations have no integer for their category'].append(place_of(ann))
        else:
            name = _name(categories, category)
            changes[f'annotations are of category {name!r}, left out'].append(place_of(ann))
    return kept


def person_category(row: dict, metainfo: dict) -> dict:
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
