"""When two predictions mean the same keypoint, limb end or person: one rule for all steps."""
from typing import NamedTuple

import numba
import numpy as np


class Tolerance(NamedTuple):
    """An error counts relative to ``px + relative · length``, or to ``least_px`` if that is more.

    ``length`` is how far the predictions had to point: vectors that lead far miss by more.
    """
    px: float
    relative: float
    least_px: float = 0.


@numba.njit(cache=True)
def disagreement(error_px, length_px, tolerance):
    """Error over what its length allows; from 1 on, two predictions do not mean the same.

    Errors of several kinds (where a limb ends, where the centroid lies) add as squares.
    """
    return error_px / max(tolerance.least_px, tolerance.px + tolerance.relative * length_px)


@numba.njit(cache=True)
def distance(a, b):
    """|a − b| of two points (2,)."""
    dx, dy = a[0] - b[0], a[1] - b[1]
    return np.sqrt(dx * dx + dy * dy)
