"""Refine: the corrections that the paper does not have, one function and one switch each.

Networks miss, and a person breaks into several: a keypoint into duplicates, a pose into fragments.
The functions stand in the order in which decoding calls them. Two more need the segmentation maps
and stand in :mod:`~kdc_mm.codecs.cluster`: ``take_second_choices`` and ``unposed_persons``.
"""
from typing import NamedTuple, Optional, Tuple

import numba
import numpy as np

from .agreement import Tolerance, disagreement, distance
from .cluster import Centroids
from .gaussians import largest_deviation, squared_deviation
from .group import GroupingTolerance, as_array, channel_bounds, kinds_of_persons, limb_error, unite
from .merge import Keypoints
from .people import Poses
from .skeleton import KinematicGraph

#: Person centroids of duplicates may differ by this share of how far they lie from the keypoint.
_DUPLICATE_CENTROID_SHARE = 0.3
#: Keypoints of a kind are alike within this share of the larger side of a person's box (1 σ).
_ALIKE_SHARE = 0.1
#: A spurious person's keypoints score less than those of the real one by this factor.
_SURER = 1.5


class Refinement(NamedTuple):
    """Switches of the corrections; ``None`` or ``False`` turns one off.

    - ``duplicate_support``: keypoints with less than this share of the support of one close by, of
      the same kind and person, are its duplicates, see :func:`suppress_duplicates`.
    - ``join_fragments``: fragments of a pose with one person centroid are joined, see
      :func:`join_fragments`;
    - ``opposed_limits``: but not those whose limbs miss each other by more than this many limits
      of the tolerance.
    - ``spurious_threshold``: persons more alike than this to surer ones are dropped, in (0, 1), see
      :func:`suppress_spurious_persons`.
    - ``absorb_fragments``: fragments with a person's MaskCentroid give it their keypoints, see
      :func:`absorb_fragments`.
    - ``second_choice``: a person whose MaskCentroid belongs to another one takes its next best one
      with at least this share of the best one's support.
    - ``unposed_area``: masks of persons without a visible keypoint are found from this area on, in
      input pixels squared.
    """
    duplicate_support: Optional[float] = 0.5
    join_fragments: bool = True
    opposed_limits: Optional[float] = 2.
    spurious_threshold: Optional[float] = 0.2
    absorb_fragments: bool = True
    second_choice: Optional[float] = 0.05
    unposed_area: Optional[float] = 4.


def suppress_duplicates(found: Keypoints, radius_px: float, support: float) -> Keypoints:
    """Drop duplicates of keypoints (keypoint NMS).

    Where votes scatter, a keypoint breaks into several: near each other, with the same person
    centroid. From the best supported on, those go that are much less supported than one that stays.

    Args:
        found (Keypoints): n detected keypoints.
        radius_px (float): Duplicates lie within it; so their person centroids within half of it, or
            within 0.3 of how far those lie from the keypoint.
        support (float): Duplicates have less than this share of the support.

    Returns:
        Keypoints: those that remain.
    """
    place = Tolerance(radius_px, 0.)
    person = Tolerance(0., _DUPLICATE_CENTROID_SHARE, radius_px / 2)
    kept = _are_no_duplicates(found, np.argsort(-found.support, kind='stable'), place, person,
                              support)
    return Keypoints(*(part[kept] for part in found))


@numba.njit(cache=True)
def _are_no_duplicates(found, order, place, person, support):
    """(n,) bool; ``order`` (n,) of falling support."""
    kept = np.ones(len(order), np.bool_)
    for rank, strong in enumerate(order):
        if not kept[strong]:
            continue
        length = distance(found.position[strong], found.centroid[strong])
        for weak in order[rank + 1:]:
            if (found.channel[weak] == found.channel[strong]
                    and found.support[weak] < support * found.support[strong]
                    and disagreement(distance(found.position[strong], found.position[weak]),
                                     length, place) < 1
                    and disagreement(distance(found.centroid[strong], found.centroid[weak]),
                                     length, person) < 1):
                kept[weak] = False
    return kept


def join_fragments(found: Keypoints, person: np.ndarray, graph: KinematicGraph,
                   tolerance: GroupingTolerance, opposed_limits: Optional[float]) -> np.ndarray:
    """Join fragments of a pose whose person centroids agree, best pair first.

    A pose falls apart at a joint that is hidden or not labelled. Fragments do not belong together
    if they have a keypoint of one kind, or neighbours whose limbs lead elsewhere.

    Args:
        found (Keypoints): n detected keypoints.
        person (np.ndarray): (n,) number of the person of each, below n.
        graph (KinematicGraph): K keypoints, 2E directed limbs.
        tolerance (GroupingTolerance): Fragments agree within one tolerance of the centroid.
        opposed_limits (float, optional): Limbs that miss by more than so many limits of the
            tolerance lead elsewhere. None: wherever they lead.

    Returns:
        np.ndarray: (n,) number of the person of each.
    """
    opposed = np.empty((0, 2), np.int64)
    if opposed_limits is not None:
        opposed = _opposed_pairs(found, channel_bounds(found, graph), graph, tolerance.limb,
                                 opposed_limits * tolerance.limit)
    person = person.copy()
    _join_fragments(found, person, kinds_of_persons(found, person, len(graph.outgoing)), opposed,
                    tolerance.centroid)
    return person


@numba.njit(cache=True)
def _opposed_pairs(found, bounds, graph, tolerance, limit):
    """(P, 2) pairs of neighbours in the graph whose limbs, both ways, do not lead to each other;
    channel k has keypoints ``bounds[k:k + 2]`` of the (K + 1,)."""
    pairs = []
    for e in range(len(graph.edges) // 2):
        a, b = graph.edges[e]
        for i in range(bounds[a], bounds[a + 1]):
            for j in range(bounds[b], bounds[b + 1]):
                if limb_error(i, j, e, found, graph, tolerance) > limit:
                    pairs.append((i, j))
    return as_array(pairs)


class Fragments(NamedTuple):
    """Fragments by number: ``alive`` (n,) bool, score-weighted person ``centroid`` (n, 2) and its
    ``length`` (n,) from the keypoints, ``weight`` (n,) sum of scores, ``kinds`` (n, K) bool of
    keypoints, ``opposed`` (n, n) bool."""
    alive: np.ndarray
    centroid: np.ndarray
    length: np.ndarray
    weight: np.ndarray
    kinds: np.ndarray
    opposed: np.ndarray


@numba.njit(cache=True)
def _make_fragments(found, person, kinds, opposed_pairs):
    """Fragments (n,) of keypoints whose ``person`` (n,) is known."""
    count = len(person)
    centroid = np.zeros((count, 2), np.float32)
    length, weight = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for i, p in enumerate(person):
        weight[p] += found.score[i]
        rate = found.score[i] / weight[p]
        centroid[p] += rate * (found.centroid[i] - centroid[p])
        length[p] += rate * (distance(found.position[i], found.centroid[i]) - length[p])
    opposed = np.zeros((count, count), np.bool_)
    for n in range(len(opposed_pairs)):
        p, q = person[opposed_pairs[n, 0]], person[opposed_pairs[n, 1]]
        opposed[p, q] = opposed[q, p] = True
    return Fragments(weight > 0, centroid, length, weight, kinds, opposed)


@numba.njit(cache=True)
def _join_fragments(found, person, kinds, opposed_pairs, tolerance):
    """Unite the fragments whose centroids agree best, again and again until none do; changes
    ``person`` (n,) and ``kinds`` (n, K)."""
    fragments = _make_fragments(found, person, kinds, opposed_pairs)
    # every fragment remembers its best partner, so that a union costs one walk, not one per pair
    error = np.ones(len(person), np.float32)
    partner = np.full(len(person), -1)
    numbers = np.unique(person)
    for p in numbers:
        error[p], partner[p] = _best_partner(p, numbers, fragments, tolerance)
    while len(numbers):
        first = numbers[np.argmin(error[numbers])]
        second = partner[first]
        if second < 0:
            return
        if fragments.weight[second] > fragments.weight[first]:
            first, second = second, first
        unite(person, kinds, first, second)
        _unite_fragments(fragments, first, second)
        error[second], partner[second] = 1, -1
        for p in numbers:
            if p == first or partner[p] == first or partner[p] == second:
                error[p], partner[p] = _best_partner(p, numbers, fragments, tolerance)


@numba.njit(cache=True)
def _unite_fragments(fragments, first, second):
    """Fragment ``first`` takes what ``second`` knows."""
    centroid, length, weight = fragments.centroid, fragments.length, fragments.weight
    rate = weight[second] / (weight[first] + weight[second])
    centroid[first] += rate * (centroid[second] - centroid[first])
    length[first] += rate * (length[second] - length[first])
    weight[first] += weight[second]
    fragments.alive[second] = False
    fragments.opposed[first] |= fragments.opposed[second]
    fragments.opposed[:, first] |= fragments.opposed[:, second]


@numba.njit(cache=True)
def _best_partner(p, numbers, fragments, tolerance):
    """Error and number of the fragment whose centroid agrees best with that of p; else 1 and -1."""
    best, partner = np.float32(1), -1
    for q in numbers:
        if q == p or not fragments.alive[q] or fragments.opposed[p, q]:
            continue
        gap = distance(fragments.centroid[p], fragments.centroid[q])
        error = disagreement(gap, (fragments.length[p] + fragments.length[q]) / 2, tolerance)
        if error < best and not (fragments.kinds[p] & fragments.kinds[q]).any():
            best, partner = np.float32(error), q
    return best, partner


def suppress_spurious_persons(poses: Poses, threshold: float) -> Poses:
    """Drop persons whose keypoints lie by much surer ones of other persons (pose NMS).

    Where the disks of two persons meet, a network's vectors turn from one to the other, and the
    few cells between name keypoints between: a spurious person made of both. A keypoint is alike
    by exp(−d² / 2(0.1 l)²), l the larger side of the other person's box, if the other's keypoint of
    this kind scores at least 1.5 times as high. Persons who really stand so close have keypoints as
    sure as each other's.

    Args:
        poses (Poses): n persons, strongest first.
        threshold (float): Most likeness, averaged over a person's detected keypoints.

    Returns:
        Poses: those that remain.
    """
    kept = _are_not_spurious(poses, np.float32(threshold))
    return Poses(*(part[kept] for part in poses))


@numba.njit(cache=True)
def _are_not_spurious(poses, threshold):
    """(n,) bool."""
    count, num_keypoints = poses.detected.shape
    kept = np.ones(count, np.bool_)
    alike = np.zeros((count, num_keypoints), np.float32)
    for p in range(count):
        kept[p] = alike[p].sum() <= threshold * poses.detected[p].sum()
        if not kept[p]:
            continue
        width = np.float32(_ALIKE_SHARE) * _longer_side(poses.keypoints[p], poses.detected[p])
        for k in range(num_keypoints):
            if not poses.detected[p, k]:
                continue
            for q in range(p + 1, count):
                if poses.detected[q, k] and poses.scores[p, k] >= _SURER * poses.scores[q, k]:
                    gap = distance(poses.keypoints[p, k], poses.keypoints[q, k]) / width
                    alike[q, k] = max(alike[q, k], np.exp(-gap**2 / 2))
    return kept


@numba.njit(cache=True)
def _longer_side(keypoints, detected):
    """Longer side of the box around the ``detected`` (K,) of the keypoints (K, 2), at least a
    pixel."""
    side = np.float32(1)
    for axis in range(2):
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for k in range(len(detected)):
            if detected[k]:
                low = min(low, keypoints[k, axis])
                high = max(high, keypoints[k, axis])
        side = max(side, high - low)
    return side


def absorb_fragments(poses: Poses, centroids: Centroids, threshold: float,
                     share: float) -> Tuple[Poses, Centroids]:
    """Give fragments of a pose back to the person whose MaskCentroid they share.

    A network that is unsure of the limbs leaves fragments, and each would take its part of the
    person's mask. A fragment belongs to a stronger person if φ of the stronger one (eq. 6) at the
    fragment's centroid exceeds the threshold: it gives the keypoints that the person lacks.

    Args:
        poses (Poses): n persons, strongest first.
        centroids (Centroids): C_j and σ_j of each.
        threshold (float): In (0, 1), on φ.
        share (float): A fragment scores less than this share of the person; who is about as sure
            is a person too, however near.

    Returns:
        tuple: Poses and Centroids of those that remain.
    """
    keypoints, scores, detected = (part.copy() for part in poses)
    strength = poses.scores.mean(1)
    kept = np.ones(len(strength), bool)
    for person in range(len(strength)):
        if not kept[person]:
            continue
        squared = ((centroids.position - centroids.position[person])**2).sum(1)
        near = squared_deviation(squared, centroids.sigma[person]) < largest_deviation(threshold)
        fragment = kept & near & (strength < share * strength[person])
        for other in np.flatnonzero(fragment):
            lacking = detected[other] & ~detected[person]
            for values in (keypoints, scores, detected):
                values[person, lacking] = values[other, lacking]
        kept &= ~fragment
    return (Poses(keypoints[kept], scores[kept], detected[kept]),
            Centroids(*(part[kept] for part in centroids)))
