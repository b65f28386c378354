"""Segmentations of any shape that tools write, as COCO writes them."""
import ast
import json
from typing import Any, Iterable, List, Optional, Sequence

import numpy as np
import pycocotools.mask as cocomask

#: Polygons of this area, in pixels, cover pixel centres whatever their shape.
_SURELY_DRAWN = 100.

#: No outline reaches farther from the image than so many times its width and height together;
#: drawing takes memory for the way there.
FAR = 10


def as_numbers(values: Any) -> np.ndarray:
    """An array of floats, None as NaN.

    Raises:
        ValueError: The values are no numbers, or of ragged lists.
    """
    try:
        return np.array(values, dtype=float)
    except (TypeError, OverflowError) as error:
        raise ValueError('no numbers') from error


def as_rle(segmentation, height: int, width: int) -> dict:
    """One compressed RLE of a segmentation that :func:`clean_segmentation` has passed."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation['counts'], list):
            return cocomask.frPyObjects(segmentation, height, width)
        return segmentation
    return cocomask.merge(cocomask.frPyObjects(segmentation, height, width))


def is_own_box(segmentation, box: Sequence[float]) -> bool:
    """Whether polygons are the four corners of a box x, y, w, h, to half a pixel, as tools write
    what was drawn as a rectangle."""
    if not isinstance(segmentation, list) or len(segmentation) != 1:
        return False
    x, y, w, h = box
    points = as_numbers(segmentation[0]).reshape(-1, 1, 2)
    same = (abs(points - [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]) <= 0.5).all(2)
    return bool(same.any(0).all() and same.any(1).all())


def text_rle(rle: dict) -> dict:
    """A compressed RLE whose counts are text, as JSON needs it."""
    counts = rle['counts']
    return dict(size=[int(side) for side in rle['size']],
                counts=counts.decode() if isinstance(counts, bytes) else counts)


def clean_segmentation(segmentation: Any, height: int, width: int):
    """A segmentation as COCO writes it: polygons that can be drawn, or one RLE.

    Args:
        segmentation: Whatever a file holds.
        height, width (int): Of the image in pixels.

    Returns:
        list | dict | None: None where nothing can be drawn.

    Raises:
        ValueError: An RLE has another size than the image.
    """
    if isinstance(segmentation, str):
        try:
            segmentation = json.loads(segmentation)
        except (ValueError, RecursionError):
            return None
    if isinstance(segmentation, dict):
        return _clean_rle(segmentation, height, width)
    if not isinstance(segmentation, list):
        return None
    if segmentation and all(isinstance(part, dict) and 'counts' in part for part in segmentation):
        parts = [_clean_rle(part, height, width) for part in segmentation]
        parts = [as_rle(part, height, width) for part in parts if part is not None]
        if not parts:
            return None
        return text_rle(cocomask.merge(parts))
    try:
        polygons = list(_polygons(segmentation))
    except RecursionError:
        return None
    reach = FAR * (height + width)
    polygons = [polygon for polygon in polygons if _has_area(polygon, reach)]
    if not any(_is_in_image(polygon, height, width) for polygon in polygons):
        return None
    if polygons == segmentation and all(
            set(map(type, polygon)) <= {int, float} for polygon in polygons):
        return segmentation
    return [np.array(polygon, dtype=float).tolist() for polygon in polygons]


def _clean_rle(rle: dict, height: int, width: int) -> Optional[dict]:
    counts, size = rle.get('counts'), rle.get('size')
    try:
        if isinstance(counts, str) and counts[:2] in ("b'", 'b"'):
            counts = ast.literal_eval(counts).decode()
        runs = _runs(counts) if isinstance(counts, str) else [int(run) for run in counts]
        size = [height, width] if size is None else [int(side) for side in size]
    except (TypeError, ValueError, SyntaxError, OverflowError):
        return None
    if size != [height, width]:
        raise ValueError(
            f'masks are {size[1]}x{size[0]} pixels, but their images are {width}x{height}'
            if len(size) == 2 else f'masks have the size {size}')
    if min(runs, default=-1) < 0 or sum(runs) != height * width or not sum(runs[1::2]):
        return None
    counts = counts if isinstance(counts, str) else runs
    is_cocos = rle.get('size') == size and rle['counts'] == counts
    return rle if is_cocos else dict(size=size, counts=counts)


def _runs(counts: str) -> List[int]:
    """The run lengths of a compressed RLE: numbers of 5 bits per character, the lowest first, from
    the fourth on as differences to the last but one."""
    runs: List[int] = []
    value = shift = 0
    for character in counts.encode('ascii'):
        part = character - 48
        if not 0 <= part < 64:
            raise ValueError('no RLE')
        value |= (part & 31) << shift
        shift += 5
        if not part & 32:
            if part & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs


def _polygons(parts: Any) -> Iterable[list]:
    """The polygons x0, y0, x1, y1, ... in lists of any depth, of numbers or of points."""
    if not isinstance(parts, list) or not parts:
        return
    if not any(isinstance(part, (list, dict)) for part in parts):
        yield parts
        return
    points = [_point(part) for part in parts]
    if len(parts) > 2 and all(point is not None for point in points):
        yield [value for point in points for value in point]
    else:
        for part in parts:
            yield from _polygons(part)


def _point(part: Any) -> Optional[list]:
    if isinstance(part, dict):
        part = [part.get('x'), part.get('y')]
    while isinstance(part, list) and len(part) == 1:  # a contour of OpenCV
        part = part[0]
    is_pair = isinstance(part, list) and len(part) == 2
    return part if is_pair and not any(isinstance(one, (list, dict)) for one in part) else None


def _has_area(polygon: list, reach: float) -> bool:
    """Whether a polygon is one, covers something and does not reach farther, in pixels."""
    if len(polygon) < 6 or len(polygon) % 2:
        return False
    try:
        points = as_numbers(polygon)
    except ValueError:
        return False
    return bool((np.abs(points) <= reach).all()) and _area(points) > 1e-6


def _area(points: np.ndarray) -> float:
    """Area of a polygon x0, y0, x1, y1, ..."""
    x, y = points[::2], points[1::2]
    return abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2


def _is_in_image(polygon: list, height: int, width: int) -> bool:
    """Whether a polygon covers something of the image."""
    points = np.array(polygon, dtype=float)
    x, y = points[::2], points[1::2]
    if min(x.min(), y.min()) >= 0 and x.max() <= width and y.max() <= height \
            and _area(points) >= _SURELY_DRAWN:
        return True
    return bool(cocomask.area(cocomask.frPyObjects([points.tolist()], height, width))[0])
