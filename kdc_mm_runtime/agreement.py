"""When two predictions mean the same keypoint, limb end or person: one rule for all steps.

Errors are measured in tolerances, and several of one pair add as squares; each step sets its limit,
1 unless it says otherwise.
"""
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


class KeypointTolerance(NamedTuple):
    """When two predictions mean one keypoint: ``place`` for where it is, ``person_centroid`` for
    whose it is."""
    place: Tolerance
    person_centroid: Tolerance


class GroupingTolerance(NamedTuple):
    """When two keypoints belong to one person: ``limb`` for where a limb ends, ``person_centroid``
    for whose they are."""
    limb: Tolerance
    person_centroid: Tolerance


# Two steps ask whether person centroids mean one person, each of other predictions. Votes of one
# keypoint are neighbours, which share their errors, so a quarter of the length tells two persons
# apart. Two keypoints of a person lie apart and err independently: they may miss by some pixels
# however near the centroid is. Their tolerance is narrow, since a hypothesis that misses a keypoint
# still places it, and one that takes a neighbour's is lost.


def merging_tolerance(merge_radius: float) -> KeypointTolerance:
    """Of two votes for a keypoint.

    Args:
        merge_radius (float): How far apart the places may be, input pixels; near the person
            centroid that may differ by as much.
    """
    return KeypointTolerance(Tolerance(merge_radius, 0.), Tolerance(0., 0.25, merge_radius))


def grouping_tolerance(limb_px: float = 4.,
                       limb_relative: float = 0.1,
                       centroid_px: float = 2.,
                       centroid_relative: float = 0.075) -> GroupingTolerance:
    """Of two keypoints of a person, in float32 as the maps.

    Args:
        limb_px (float): How far a limb displacement may miss its keypoint, input pixels,
        limb_relative (float): and by which share of the limb's length more.
        centroid_px (float): How far two person centroids may lie apart, input pixels,
        centroid_relative (float): and by which share of their distance from the keypoints more.
    """
    limb_px, limb_relative, centroid_px, centroid_relative, least_px = np.float32(
        (limb_px, limb_relative, centroid_px, centroid_relative, 0))
    return GroupingTolerance(Tolerance(limb_px, limb_relative, least_px),
                             Tolerance(centroid_px, centroid_relative, least_px))


@numba.njit(cache=True, inline='always')
def disagreement(error_px, length_px, tolerance):
    """An error in tolerances: over what the length allows. NaN where the length is."""
    allowed = tolerance.px + tolerance.relative * length_px
    if allowed < tolerance.least_px:
        allowed = tolerance.least_px
    return error_px / allowed


@numba.njit(cache=True, inline='always')
def distance(a, b):
    """|a − b| of two points (2,)."""
    dx, dy = a[0] - b[0], a[1] - b[1]
    return np.sqrt(dx * dx + dy * dy)
