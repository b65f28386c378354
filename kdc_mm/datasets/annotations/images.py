"""The images of an annotation file: their ids, names and sizes."""
import os.path as osp
from typing import Any, Dict, List, Optional

from PIL import Image

from .notes import Changes, as_id

#: Pixels of an image's longest possible side.
_MAX_SIDE = 10**5


def clean_images(rows: List[Any], folder: Optional[str], changes: Changes,
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


def number_images(images: Dict[Any, dict], changes: Changes) -> None:
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
