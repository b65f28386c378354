"""Refine: the corrections that the paper does not have.

Networks miss, and a person breaks into several: a keypoint into duplicates, a pose into fragments.
All corrections, those of other modules too, in the order in which decoding calls them; a switch
without a name before it is one of :class:`Refinement`.

======================================= =================================== =======================
correction                              function                            switch
======================================= =================================== =======================
the merge radius fits the votes         merge.fitting_merge_radius          codec's ``merge_radius``
votes for other persons stay apart      agreement.merging_tolerance         always
few votes make a low score              merge.merge_votes                   always
duplicates of a keypoint are dropped    suppress_duplicates                 ``duplicate_support``
keypoints of one person agree on it     group.limb_connections              codec's ``tolerance``
fragments of a pose are joined,         join_fragments                      ``join_fragments``
... but not against their limbs         join_fragments                      ``opposed_limits``
missing keypoints lie where limbs lead  group.assemble_poses                always, score 0
spurious persons are dropped            suppress_spurious_persons           ``spurious_threshold``
embeddings on occluders do not count    cluster.candidate_centroids         always
hidden persons have their own centroid  cluster.take_second_choices         ``second_choice``
persons without keypoints are found     cluster.unposed_persons             ``unposed_area``
doubles of a person get no pixels,      cluster.cluster_masks               always
... masks rank by their poses too       mask_trust                          always
======================================= =================================== =======================
"""
from dataclasses import dataclass
from typing import NamedTuple, Optional, Tuple

import numba
import numpy as np

from .agreement import GroupingTolerance, disagreement, distance, duplicate_tolerance
from .cluster import MaskCentroids, MaskMaps, unposed_persons
from .gaussians import gaussian_njit
from .group import as_array, channel_bounds, kinds_of_persons, limb_error, neighbours, unite
from .merge import Keypoints
from .people import Poses
from .skeleton import KinematicGraph

#: Duplicates of a keypoint lie within this share of the disk radius.
_DUPLICATE_SHARE = 0.75
#: Keypoints of a kind are alike within this share of the larger side of a person's box (1 σ).
_ALIKE_SHARE = 0.1
#: A spurious person's keypoints score less than those of the real one by this factor.
_SURER = 1.5
#: Trust in a person whom no keypoint shows, against the cube root of a pose's score.
_UNPOSED_TRUST = 0.2


@dataclass(frozen=True)
class Refinement:
    """Switches of the corrections; ``None`` or ``False`` turns one off.

    - ``duplicate_support``: keypoints with less than this share of the support of one close by, of
      the same kind and person, are its duplicates, see :func:`suppress_duplicates`.
    - ``join_fragments``: fragments of a pose with one person centroid are joined, see
      :func:`join_fragments`;
    - ``opposed_limits``: but not those whose limbs miss each other by more than this many limits
      of the tolerance.
    - ``spurious_threshold``: persons more alike than this to surer ones are dropped, in (0, 1), see
      :func:`suppress_spurious_persons`.
    - ``second_choice``: a person whose MaskCentroid belongs to another one takes its next best one
      with at least this share of the best one's support.
    - ``unposed_area``: masks of persons without a visible keypoint are found from this area on, in
      input pixels squared.

    Raises:
        ValueError: if ``spurious_threshold`` is out of range.
    """
    duplicate_support: Optional[float] = 0.5
    join_fragments: bool = True
    opposed_limits: Optional[float] = 2.
    spurious_threshold: Optional[float] = 0.2
    second_choice: Optional[float] = 0.05
    unposed_area: Optional[float] = 4.

    def __post_init__(self) -> None:
        if self.spurious_threshold is not None and not 0 < self.spurious_threshold < 1:
            raise ValueError('Refinement: spurious_threshold must lie in (0, 1), got '
                             f'{self.spurious_threshold}.')


def duplicate_radius(radius: float, vote_radius: float, merge_radius: float = 0.) -> float:
    """How far from a keypoint its duplicates lie: ``_DUPLICATE_SHARE`` of the disk radius, or as
    far as votes reach; all in input pixels."""
    return max(_DUPLICATE_SHARE * radius, vote_radius, merge_radius)


def suppress_duplicates(keypoints: Keypoints, radius_px: float, share: float) -> Keypoints:
    """Drop duplicates of keypoints (keypoint NMS).

    Where votes scatter, a keypoint breaks into several: near each other, with the same person
    centroid. From the best supported on, those go that are much less supported than one that stays.

    Args:
        keypoints (Keypoints): n detected keypoints.
        radius_px (float): Duplicates lie within it, and agree on the person by
            :func:`~kdc_mm.codecs.agreement.duplicate_tolerance`.
        share (float): Duplicates have less than this share of the support.

    Returns:
        Keypoints: those that remain.
    """
    kept = _are_no_duplicates(keypoints, np.argsort(-keypoints.support, kind='stable'),
                              duplicate_tolerance(radius_px), share)
    return Keypoints(*(part[kept] for part in keypoints))


@numba.njit(cache=True)
def _are_no_duplicates(keypoints, order, tolerance, share):
    """(n,) bool; ``order`` (n,) of falling support."""
    channel, support = keypoints.channel, keypoints.support
    position, person_centroid = keypoints.position, keypoints.person_centroid
    kept = np.ones(len(order), np.bool_)
    for rank, strong in enumerate(order):
        if not kept[strong]:
            continue
        length = distance(position[strong], person_centroid[strong])
        for weak in order[rank + 1:]:
            if (channel[weak] == channel[strong] and support[weak] < share * support[strong]
                    and disagreement(distance(position[strong], position[weak]), length,
                                     tolerance.place) < 1
                    and disagreement(distance(person_centroid[strong], person_centroid[weak]),
                                     length, tolerance.person_centroid) < 1):
                kept[weak] = False
    return kept


def join_fragments(keypoints: Keypoints, person_of_keypoint: np.ndarray, graph: KinematicGraph,
                   tolerance: GroupingTolerance, opposed_limits: Optional[float]) -> np.ndarray:
    """Join fragments of a pose whose person centroids agree, best pair first.

    A pose falls apart at a joint that is hidden or not labelled. Fragments do not belong together
    if they have a keypoint of one kind, or neighbours whose limbs lead elsewhere.

    Args:
        keypoints (Keypoints): n detected keypoints.
        person_of_keypoint (np.ndarray): (n,) number of the person of each, below n.
        graph (KinematicGraph): K keypoints, 2E directed limbs.
        tolerance (GroupingTolerance): Fragments agree within one tolerance of the person centroid.
        opposed_limits (float, optional): Limbs that miss by more than so many limits of the
            tolerance lead elsewhere. None: wherever they lead.

    Returns:
        np.ndarray: (n,) number of the person of each.
    """
    opposed = np.empty((0, 2), np.int64)
    if opposed_limits is not None:
        opposed = _opposed_pairs(keypoints, channel_bounds(keypoints, graph), graph, tolerance.limb,
                                 opposed_limits * tolerance.limit)
    person_of_keypoint = person_of_keypoint.copy()
    kinds = kinds_of_persons(keypoints, person_of_keypoint, len(graph.outgoing))
    _join_fragments(keypoints, person_of_keypoint, kinds, opposed, tolerance.person_centroid)
    return person_of_keypoint


@numba.njit(cache=True)
def _opposed_pairs(keypoints, bounds, graph, tolerance, limit):
    """(P, 2) pairs of neighbours in the graph whose limbs, both ways, do not lead to each other;
    channel k has keypoints ``bounds[k:k + 2]`` of the (K + 1,)."""
    pairs = []
    for i, j, e in neighbours(bounds, graph):
        if limb_error(i, j, e, keypoints, graph, tolerance) > limit:
            pairs.append((i, j))
    return as_array(pairs)


class Fragments(NamedTuple):
    """Fragments by number: ``alive`` (n,) bool, score-weighted ``person_centroid`` (n, 2) and its
    ``length`` (n,) from the keypoints, ``weight`` (n,) sum of scores, ``kinds`` (n, K) bool of
    keypoints, ``opposed`` (n, n) bool."""
    alive: np.ndarray
    person_centroid: np.ndarray
    length: np.ndarray
    weight: np.ndarray
    kinds: np.ndarray
    opposed: np.ndarray


@numba.njit(cache=True)
def _make_fragments(keypoints, person_of_keypoint, kinds, opposed_pairs):
    """Fragments (n,) of keypoints whose ``person_of_keypoint`` (n,) is known."""
    count = len(person_of_keypoint)
    person_centroid = np.zeros((count, 2), np.float32)
    length, weight = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for i, p in enumerate(person_of_keypoint):
        named = keypoints.person_centroid[i]
        weight[p] += keypoints.score[i]
        share = keypoints.score[i] / weight[p]
        person_centroid[p] += share * (named - person_centroid[p])
        length[p] += share * (distance(keypoints.position[i], named) - length[p])
    opposed = np.zeros((count, count), np.bool_)
    for n in range(len(opposed_pairs)):
        p, q = person_of_keypoint[opposed_pairs[n, 0]], person_of_keypoint[opposed_pairs[n, 1]]
        opposed[p, q] = opposed[q, p] = True
    return Fragments(weight > 0, person_centroid, length, weight, kinds, opposed)


@numba.njit(cache=True)
def _join_fragments(keypoints, person_of_keypoint, kinds, opposed_pairs, tolerance):
    """Unite the fragments whose centroids agree best, again and again until none do; changes
    ``person_of_keypoint`` (n,) and ``kinds`` (n, K)."""
    fragments = _make_fragments(keypoints, person_of_keypoint, kinds, opposed_pairs)
    # every fragment remembers its best partner, so that a union costs one walk, not one per pair
    error = np.ones(len(person_of_keypoint), np.float32)
    partner = np.full(len(person_of_keypoint), -1)
    numbers = np.unique(person_of_keypoint)
    for p in numbers:
        error[p], partner[p] = _best_partner(p, numbers, fragments, tolerance)
    while len(numbers):
        first = numbers[np.argmin(error[numbers])]
        second = partner[first]
        if second < 0:
            return
        if fragments.weight[second] > fragments.weight[first]:
            first, second = second, first
        unite(person_of_keypoint, kinds, first, second)
        _unite_fragments(fragments, first, second)
        error[second], partner[second] = 1, -1
        for p in numbers:
            if p == first or partner[p] == first or partner[p] == second:
                error[p], partner[p] = _best_partner(p, numbers, fragments, tolerance)


@numba.njit(cache=True)
def _unite_fragments(fragments, first, second):
    """Fragment ``first`` takes what ``second`` knows."""
    centroid, length, weight = fragments.person_centroid, fragments.length, fragments.weight
    share = weight[second] / (weight[first] + weight[second])
    centroid[first] += share * (centroid[second] - centroid[first])
    length[first] += share * (length[second] - length[first])
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
        gap = distance(fragments.person_centroid[p], fragments.person_centroid[q])
        error = disagreement(gap, (fragments.length[p] + fragments.length[q]) / 2, tolerance)
        if error < best and not (fragments.kinds[p] & fragments.kinds[q]).any():
            best, partner = np.float32(error), q
    return best, partner


def suppress_spurious_persons(poses: Poses, threshold: float) -> Poses:
    """Drop persons whose keypoints lie by much surer ones of other persons (pose NMS).

    Where the disks of two persons meet, a network's vectors turn from one to the other, and the
    few cells between name keypoints between: a spurious person made of both. A keypoint is alike by
    a Gaussian of its distance, σ the ``_ALIKE_SHARE`` of the larger side of the other person's box,
    if the other's keypoint of this kind scores at least ``_SURER`` times as high. Persons who
    really stand so close have keypoints as sure as each other's.

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
                    gap = distance(poses.keypoints[p, k], poses.keypoints[q, k])
                    alike[q, k] = max(alike[q, k], gaussian_njit(gap**2, width))
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


def add_unposed_persons(poses: Poses, centroids: MaskCentroids, maps: MaskMaps, threshold: float,
                        min_area: float) -> Tuple[Poses, MaskCentroids]:
    """Poses and MaskCentroids with those that only a mask shows, see
    :func:`~kdc_mm.codecs.cluster.unposed_persons`; all their keypoints lie in the mask's middle."""
    unposed, middles = unposed_persons(maps, centroids, threshold, min_area)
    shape = len(middles), poses.scores.shape[1]
    added = Poses(np.repeat(middles[:, None], shape[1], axis=1), np.zeros(shape, np.float32),
                  np.zeros(shape, bool))
    return (Poses(*map(np.concatenate, zip(poses, added))),
            MaskCentroids(*map(np.concatenate, zip(centroids, unposed))))


def mask_trust(poses: Poses) -> np.ndarray:
    """How much poses confirm masks: s_j (n,), by which pixels choose their person and masks rank.

    The cube root of a pose's score, as a person cut off at the waist shows half its keypoints, but
    all of its mask; ``_UNPOSED_TRUST`` without a keypoint."""
    return np.where(poses.detected.any(1), np.cbrt(poses.strength), np.float32(_UNPOSED_TRUST))
