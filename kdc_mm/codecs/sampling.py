"""Bilinear look-up between the cells of a map; cell (u, v) lies on input pixel (s·u, s·v)."""
from typing import NamedTuple

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


#: :func:`bilinear` for compiled kernels, one sample at a time.
bilinear_njit = numba.njit(cache=True)(bilinear)
