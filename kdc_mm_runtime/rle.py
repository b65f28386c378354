"""COCO's run-length encoding of masks, as pycocotools writes it."""
from typing import Dict

import numba
import numpy as np

#: A number is cut into pieces of 5 bits, each a character from "0" on; the next bit says that more
#: follow.
_BITS, _MORE, _FIRST = 5, 0x20, 48


def encode_runs(start: np.ndarray, length: np.ndarray, height: int, width: int) -> Dict:
    """COCO RLE of a mask.

    Args:
        start (np.ndarray): (r,) where its runs of foreground start, column by column, ascending.
        length (np.ndarray): (r,) of each.
        height (int): Of the image.
        width (int): Of the image.

    Returns:
        dict: ``size`` [h, w] and ``counts``, bytes.
    """
    boundaries = np.stack([start, start + length], 1).ravel()
    counts = np.diff(boundaries, prepend=0, append=height * width)
    if counts[-1] == 0:
        counts = counts[:-1]  # as pycocotools writes it, so that equal masks have equal RLEs
    return dict(size=[height, width], counts=_write_counts(counts).tobytes())


def decode_rle(rle: Dict) -> np.ndarray:
    """The mask of a COCO RLE, (h, w) bool; its counts are bytes or text."""
    height, width = rle['size']
    counts = _counts(rle)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape(width, height).T


def mask_area(rle: Dict) -> int:
    """Pixels of the mask of a COCO RLE."""
    return int(_counts(rle)[1::2].sum())


def mask_box(rle: Dict) -> np.ndarray:
    """x, y, width, height (4,) around the pixels of a COCO RLE; zeros without any."""
    height = rle['size'][0]
    counts = _counts(rle)
    end = counts.cumsum()[1::2]
    start = end - counts[1::2]
    start, last = start[start < end], end[start < end] - 1
    if not len(start):
        return np.zeros(4)
    (left, first_row), (right, last_row) = np.divmod(start, height), np.divmod(last, height)
    top, bottom = first_row.min(), last_row.max()
    if (left < right).any():  # from the bottom of one column to the top of the next
        top, bottom = 0, height - 1
    return np.array([left[0], top, right[-1] - left[0] + 1, bottom - top + 1], float)


def _counts(rle: Dict) -> np.ndarray:
    """Run lengths (c,) of a COCO RLE, background first."""
    text = rle['counts']
    text = text.encode() if isinstance(text, str) else text
    return _read_counts(np.frombuffer(text, np.uint8))


@numba.njit(cache=True)
def _write_counts(counts):
    """Run lengths (c,), background first, as characters (m,) uint8; from the fourth on as
    differences from the one before the last."""
    text = np.empty(13 * len(counts), np.uint8)  # of 64 bits
    size = 0
    for i in range(len(counts)):
        number = counts[i] - counts[i - 2] if i > 2 else counts[i]
        while True:
            piece = number & (_MORE - 1)
            number >>= _BITS
            is_last = number == (-1 if piece & (_MORE >> 1) else 0)  # the highest bit is the sign
            text[size] = _FIRST + (piece if is_last else piece | _MORE)
            size += 1
            if is_last:
                break
    return text[:size]


@numba.njit(cache=True)
def _read_counts(text):
    """Run lengths (c,) of characters (m,) uint8: the inverse of :func:`_write_counts`."""
    counts = np.empty(len(text), np.int64)
    size = at = 0
    while at < len(text):
        number, shift = np.int64(0), 0
        while True:
            piece = np.int64(text[at]) - _FIRST
            at += 1
            number |= (piece & (_MORE - 1)) << shift
            shift += _BITS
            if not piece & _MORE:
                break
        if piece & (_MORE >> 1):
            number |= np.int64(-1) << shift
        counts[size] = number + counts[size - 2] if size > 2 else number
        size += 1
    return counts[:size]
