"""Group: follow the kinematic graph from keypoint to keypoint (paper, 3.4)."""
from typing import NamedTuple, Tuple

import numba
import numpy as np

from .agreement import Tolerance, disagreement, distance
from .merge import Keypoints
from .people import Poses
from .skeleton import KinematicGraph


class GroupingTolerance(NamedTuple):
    """``limb`` for where a limb ends, ``centroid`` for where a person's centroid lies; pairs beyond
    ``limit`` tolerances do not belong together."""
    limb: Tolerance
    centroid: Tolerance
    limit: float


def grouping_tolerance(limb_px: float = 4.,
                       limb_relative: float = 0.2,
                       centroid_px: float = 6.,
                       centroid_relative: float = 0.3,
                       limit: float = 2.5) -> GroupingTolerance:
    """The tolerances as settings of the codec, in float32 as the maps."""
    limb_px, limb_relative, centroid_px, centroid_relative, limit, least_px = np.float32(
        (limb_px, limb_relative, centroid_px, centroid_relative, limit, 0))
    return GroupingTolerance(Tolerance(limb_px, limb_relative, least_px),
                             Tolerance(centroid_px, centroid_relative, least_px), limit)


def group_keypoints(found: Keypoints, graph: KinematicGraph,
                    tolerance: GroupingTolerance) -> np.ndarray:
    """Connect keypoints into persons (paper, 3.4).

    Connections enter a priority queue by confidence and are taken best first over the whole image,
    so that a person cannot claim what fits a neighbour better. A person holds at most one keypoint
    of a kind. A pose that lacks a joint falls apart there.

    Args:
        found (Keypoints): n detected keypoints.
        graph (KinematicGraph): K keypoints, 2E directed limbs.
        tolerance (GroupingTolerance): When two keypoints may belong together.

    Returns:
        np.ndarray: (n,) int64 number of the person that each keypoint belongs to, below n.
    """
    pairs, costs = limb_connections(found, graph, tolerance)
    confidence = found.score[pairs[:, 0]] * found.score[pairs[:, 1]] * np.exp(-costs / 2)
    person = np.arange(len(found.channel))
    _connect(pairs[np.argsort(-confidence, kind='stable')], person,
             kinds_of_persons(found, person, len(graph.outgoing)))
    return person


def limb_connections(found: Keypoints, graph: KinematicGraph,
                     tolerance: GroupingTolerance) -> Tuple[np.ndarray, np.ndarray]:
    """All pairs of keypoints whose limb displacements and person centroids agree.

    Returns:
        tuple: pairs (P, 2) int64 and costs (P,) float32: limb error² + centroid error².
    """
    return _limb_connections(found, channel_bounds(found, graph), graph, tolerance)


def assemble_poses(found: Keypoints, person: np.ndarray, graph: KinematicGraph) -> Poses:
    """Lay keypoints out by person and follow the graph to those that are missing.

    Args:
        found (Keypoints): n detected keypoints.
        person (np.ndarray): (n,) number of the person of each.
        graph (KinematicGraph): K keypoints.

    Returns:
        Poses: strongest first. Missing keypoints have score 0 and lie where the limbs of the
        detected ones end, or at the person's centroid where no limb leads.
    """
    numbers, row = np.unique(person, return_inverse=True)
    shape = len(numbers), len(graph.outgoing)
    scores, detected = np.zeros(shape, np.float32), np.zeros(shape, bool)
    scores[row, found.channel] = found.score
    detected[row, found.channel] = True
    keypoints = _where_limbs_lead(found, row, shape, graph)
    keypoints[row, found.channel] = found.position
    order = np.argsort(-scores.sum(1), kind='stable')
    return Poses(keypoints[order], scores[order], detected[order])


def _where_limbs_lead(found: Keypoints, row: np.ndarray, shape: Tuple[int, int],
                      graph: KinematicGraph) -> np.ndarray:
    """Score-weighted mean end of the limbs that lead to each keypoint of each person: (N, K, 2)."""
    edge = graph.outgoing[found.channel]
    start, rank = np.nonzero(edge >= 0)
    far_end = np.ravel_multi_index((row[start], graph.edges[edge[start, rank], 1]), shape)
    ends, weight = _weighted_mean(found.ends[start, rank], found.score[start], far_end,
                                  shape[0] * shape[1])
    centroids, _ = _weighted_mean(found.centroid, found.score, row, shape[0])
    return np.where(weight.reshape(*shape, 1) > 0, ends.reshape(*shape, 2), centroids[:, None])


def _weighted_mean(points: np.ndarray, score: np.ndarray, index: np.ndarray, count: int):
    """Mean (count, 2) of the points (M, 2) of each index, and weight (count,); 0 without any."""
    total, weight = np.zeros((2, count), np.float32), np.zeros(count, np.float32)
    np.add.at(weight, index, score)
    for axis in range(2):
        np.add.at(total[axis], index, score * points[:, axis])
    return (total / np.where(weight > 0, weight, 1)).T, weight


def channel_bounds(found: Keypoints, graph: KinematicGraph) -> np.ndarray:
    """(K + 1,) where the keypoints of each channel begin and end."""
    return np.searchsorted(found.channel, np.arange(len(graph.outgoing) + 1))


def kinds_of_persons(found: Keypoints, person: np.ndarray, num_keypoints: int) -> np.ndarray:
    """(n, K) bool: which kinds of keypoints the person of each number holds."""
    kinds = np.zeros((len(person), num_keypoints), np.bool_)
    kinds[person, found.channel] = True
    return kinds


@numba.njit(cache=True)
def limb_error(i, j, e, found, graph, tolerance):
    """Mean miss of the two limb displacements of undirected limb e between keypoints i and j, over
    the Tolerance."""
    back = e + len(graph.edges) // 2
    miss = (distance(found.ends[i, graph.rank[e]], found.position[j]) +
            distance(found.ends[j, graph.rank[back]], found.position[i])) / 2
    return disagreement(miss, distance(found.position[i], found.position[j]), tolerance)


@numba.njit(cache=True)
def _limb_connections(found, bounds, graph, tolerance):
    """Pairs (P, 2) and costs (P,); channel k has keypoints ``bounds[k:k + 2]`` of the (K + 1,)."""
    pairs, costs = [], []
    for e in range(len(graph.edges) // 2):
        a, b = graph.edges[e]
        for i in range(bounds[a], bounds[a + 1]):
            for j in range(bounds[b], bounds[b + 1]):
                limb = limb_error(i, j, e, found, graph, tolerance.limb)
                if limb > tolerance.limit:
                    continue
                length = (distance(found.position[i], found.centroid[i]) +
                          distance(found.position[j], found.centroid[j])) / 2
                centroid = disagreement(distance(found.centroid[i], found.centroid[j]), length,
                                        tolerance.centroid)
                cost = limb**2 + centroid**2
                if cost <= tolerance.limit**2:
                    pairs.append((i, j))
                    costs.append(cost)
    return as_array(pairs), np.array(costs, np.float32)


@numba.njit(cache=True)
def as_array(pairs):
    """List of P pairs as (P, 2) int64."""
    array = np.empty((len(pairs), 2), np.int64)
    for n, (i, j) in enumerate(pairs):
        array[n] = i, j
    return array


@numba.njit(cache=True)
def _connect(pairs, person, kinds):
    """Take the connections (P, 2) in order, which changes ``person`` (n,) and ``kinds`` (n, K)."""
    for n in range(len(pairs)):
        p, q = person[pairs[n, 0]], person[pairs[n, 1]]
        if p != q and not (kinds[p] & kinds[q]).any():
            unite(person, kinds, p, q)


@numba.njit(cache=True)
def unite(person, kinds, winner, loser):
    """Give all keypoints of person ``loser`` to ``winner``; ``person`` (n,), ``kinds`` (n, K)."""
    for i in range(len(person)):
        if person[i] == loser:
            person[i] = winner
    kinds[winner] |= kinds[loser]
    kinds[loser] = False
