"""Between the cells of a map, bilinearly; cell (u, v) lies on input pixel (s·u, s·v)."""
from typing import NamedTuple, Tuple

import numba
import numpy as np


class AxisSamples(NamedTuple):
    """Positions along one axis of a map: ``pixel`` in input pixels, ``cell`` the map cell before
    each and ``weight`` of the cell after it, all of one shape."""
    pixel: np.ndarray
    cell: np.ndarray
    weight: np.ndarray


def sample_axis(pixel: np.ndarray, stride: int, num_cells: int) -> AxisSamples:
    """Where positions lie between the cells of one axis; those beyond it read its border.

    Args:
        pixel (np.ndarray): Positions of any shape, input pixels.
        stride (int): Stride of the map.
        num_cells (int): Cells along the axis.
    """
    position = np.clip(pixel / stride, 0, num_cells - 1)
    cell = np.minimum(position.astype(np.int64), max(num_cells - 2, 0))
    return AxisSamples(pixel, cell, (position - cell).astype(np.float32))


def bilinear(field, rows, columns):
    """Values of a map between its cells, of the samples' shape.

    Args:
        field (np.ndarray): (h, w).
        rows (AxisSamples): y of the samples.
        columns (AxisSamples): x of the samples.
    """
    below = np.minimum(rows.cell + 1, field.shape[0] - 1)
    right = np.minimum(columns.cell + 1, field.shape[1] - 1)
    upper = (field[rows.cell, columns.cell] * (1 - columns.weight) +
             field[rows.cell, right] * columns.weight)
    lower = field[below, columns.cell] * (1 - columns.weight) + field[below, right] * columns.weight
    return upper * (1 - rows.weight) + lower * rows.weight


def corners(rows: AxisSamples, columns: AxisSamples, size) -> Tuple[np.ndarray, np.ndarray]:
    """What :func:`bilinear` sums, for maps that are the unknown.

    Args:
        rows (AxisSamples): y of M samples, each (M,).
        columns (AxisSamples): x of the samples.
        size (tuple[int, int]): Size [w, h] of the map.

    Returns:
        tuple: index v·w + u of the four cells around each sample and their weights, (4, M).
    """
    width, height = size
    v = np.stack([rows.cell, np.minimum(rows.cell + 1, height - 1)])
    u = np.stack([columns.cell, np.minimum(columns.cell + 1, width - 1)])
    down, right = (np.stack([1 - axis.weight, axis.weight]) for axis in (rows, columns))
    cells, weights = v[:, None] * width + u, down[:, None] * right
    return cells.reshape(4, -1), weights.reshape(4, -1)


#: :func:`bilinear` for compiled kernels, one sample at a time.
bilinear_njit = numba.njit(cache=True)(bilinear)


@numba.njit(cache=True)
def interpolate(field, position, stride):
    """Value of a map (h, w) at an input pixel (2,); beyond the border the border's."""
    return bilinear_njit(field, _sample(position[1], stride, field.shape[0]),
                         _sample(position[0], stride, field.shape[1]))


@numba.njit(cache=True)
def _sample(pixel, stride, num_cells):
    """:func:`sample_axis` of one position."""
    position = pixel / stride
    position = min(position, num_cells - 1.) if position > 0 else 0.  # also for NaN
    cell = min(int(position), max(num_cells - 2, 0))
    return AxisSamples(pixel, cell, np.float32(position - cell))


@numba.njit(cache=True)
def follow_vectors(field, position, stride, steps):
    """p ← p + v(p), so many times; vectors (2, h, w) in input pixels, p (2,) an input pixel."""
    reached = position.copy()
    for _ in range(steps):
        row = _sample(reached[1], stride, field.shape[1])
        column = _sample(reached[0], stride, field.shape[2])
        for axis in range(2):
            reached[axis] += bilinear_njit(field[axis], row, column)
    return reached
