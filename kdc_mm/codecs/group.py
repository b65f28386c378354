"""Group: follow the kinematic graph from keypoint to keypoint (paper, 3.4)."""
from typing import Tuple

import numba
import numpy as np

from .agreement import GroupingTolerance, disagreement, distance
from .merge import Keypoints
from .people import Poses
from .skeleton import KinematicGraph


def group_keypoints(keypoints: Keypoints, graph: KinematicGraph,
                    tolerance: GroupingTolerance) -> np.ndarray:
    """Connect keypoints into persons (paper, 3.4).

    Connections enter a priority queue by confidence and are taken best first over the whole image,
    so that a person cannot claim what fits a neighbour better. A person holds at most one keypoint
    of a kind. A pose that lacks a joint falls apart there.

    Args:
        keypoints (Keypoints): n detected keypoints.
        graph (KinematicGraph): K keypoints, 2E directed limbs.
        tolerance (GroupingTolerance): When two keypoints may belong together.

    Returns:
        np.ndarray: (n,) int64 number of the person that each keypoint belongs to, below n.
    """
    pairs, costs = limb_connections(keypoints, graph, tolerance)
    score = keypoints.score
    confidence = score[pairs[:, 0]] * score[pairs[:, 1]] * np.exp(-costs / 2)
    person_of_keypoint = np.arange(len(score))
    _connect(pairs[np.argsort(-confidence, kind='stable')], person_of_keypoint,
             kinds_of_persons(keypoints, person_of_keypoint, len(graph.outgoing)))
    return person_of_keypoint


def limb_connections(keypoints: Keypoints, graph: KinematicGraph,
                     tolerance: GroupingTolerance) -> Tuple[np.ndarray, np.ndarray]:
    """All pairs of keypoints whose limb displacements and person centroids agree.

    Returns:
        tuple: pairs (P, 2) int64 and costs (P,) float32: limb error² + centroid error².
    """
    return _limb_connections(keypoints, channel_bounds(keypoints, graph), graph, tolerance)


def assemble_poses(keypoints: Keypoints, person_of_keypoint: np.ndarray,
                   graph: KinematicGraph) -> Poses:
    """Lay keypoints out by person and follow the graph to those that are missing.

    Args:
        keypoints (Keypoints): n detected keypoints.
        person_of_keypoint (np.ndarray): (n,) number of the person of each.
        graph (KinematicGraph): K keypoints.

    Returns:
        Poses: strongest first. Missing keypoints have score 0 and lie where the limbs of the
        detected ones end, or at the person's centroid where no limb leads.
    """
    numbers, row = np.unique(person_of_keypoint, return_inverse=True)
    shape = len(numbers), len(graph.outgoing)
    scores, detected = np.zeros(shape, np.float32), np.zeros(shape, bool)
    scores[row, keypoints.channel] = keypoints.score
    detected[row, keypoints.channel] = True
    positions = _where_limbs_lead(keypoints, row, shape, graph)
    positions[row, keypoints.channel] = keypoints.position
    order = np.argsort(-scores.sum(1), kind='stable')
    return Poses(positions[order], scores[order], detected[order])


def _where_limbs_lead(keypoints: Keypoints, row: np.ndarray, shape: Tuple[int, int],
                      graph: KinematicGraph) -> np.ndarray:
    """Score-weighted mean end of the limbs that lead to each keypoint of each person: (N, K, 2)."""
    edge = graph.outgoing[keypoints.channel]
    start, rank = np.nonzero(edge >= 0)
    far_end = np.ravel_multi_index((row[start], graph.edges[edge[start, rank], 1]), shape)
    ends, weight = _weighted_mean(keypoints.ends[start, rank], keypoints.score[start], far_end,
                                  shape[0] * shape[1])
    centroids, _ = _weighted_mean(keypoints.person_centroid, keypoints.score, row, shape[0])
    return np.where(weight.reshape(*shape, 1) > 0, ends.reshape(*shape, 2), centroids[:, None])


def _weighted_mean(points: np.ndarray, score: np.ndarray, index: np.ndarray, count: int):
    """Mean (count, 2) of the points (M, 2) of each index, and weight (count,); 0 without any."""
    total, weight = np.zeros((2, count), np.float32), np.zeros(count, np.float32)
    np.add.at(weight, index, score)
    for axis in range(2):
        np.add.at(total[axis], index, score * points[:, axis])
    return (total / np.where(weight > 0, weight, 1)).T, weight


def channel_bounds(keypoints: Keypoints, graph: KinematicGraph) -> np.ndarray:
    """(K + 1,) where the keypoints of each channel begin and end."""
    return np.searchsorted(keypoints.channel, np.arange(len(graph.outgoing) + 1))


def kinds_of_persons(keypoints: Keypoints, person_of_keypoint: np.ndarray,
                     num_keypoints: int) -> np.ndarray:
    """(n, K) bool: which kinds of keypoints the person of each number holds."""
    kinds = np.zeros((len(person_of_keypoint), num_keypoints), np.bool_)
    kinds[person_of_keypoint, keypoints.channel] = True
    return kinds


@numba.njit(cache=True)
def neighbours(bounds, graph):
    """All pairs of keypoints i, j of the kinds that an undirected limb e joins: (P, 3) int64 of i,
    j, e; channel k has keypoints ``bounds[k:k + 2]`` of the (K + 1,)."""
    limbs = graph.edges[:len(graph.edges) // 2]
    counts = bounds[1:] - bounds[:-1]
    triples = np.empty(((counts[limbs[:, 0]] * counts[limbs[:, 1]]).sum(), 3), np.int64)
    n = 0
    for e, (a, b) in enumerate(limbs):
        for i in range(bounds[a], bounds[a + 1]):
            for j in range(bounds[b], bounds[b + 1]):
                triples[n] = i, j, e
                n += 1
    return triples


@numba.njit(cache=True)
def limb_error(i, j, e, keypoints, graph, tolerance):
    """Mean miss of the two limb displacements of undirected limb e between keypoints i and j, over
    the Tolerance."""
    position, ends = keypoints.position, keypoints.ends
    back = e + len(graph.edges) // 2
    miss = (distance(ends[i, graph.rank[e]], position[j]) +
            distance(ends[j, graph.rank[back]], position[i])) / 2
    return disagreement(miss, distance(position[i], position[j]), tolerance)


@numba.njit(cache=True)
def _limb_connections(keypoints, bounds, graph, tolerance):
    """Pairs (P, 2) and costs (P,); channel k has keypoints ``bounds[k:k + 2]`` of the (K + 1,)."""
    position, person_centroid = keypoints.position, keypoints.person_centroid
    pairs, costs = [], []
    for i, j, e in neighbours(bounds, graph):
        limb = limb_error(i, j, e, keypoints, graph, tolerance.limb)
        if limb > tolerance.limit:
            continue
        length = (distance(position[i], person_centroid[i]) +
                  distance(position[j], person_centroid[j])) / 2
        whose = disagreement(distance(person_centroid[i], person_centroid[j]), length,
                             tolerance.person_centroid)
        cost = limb**2 + whose**2
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
def _connect(pairs, person_of_keypoint, kinds):
    """Take the connections (P, 2) in order, which changes ``person_of_keypoint`` (n,) and ``kinds``
    (n, K)."""
    for n in range(len(pairs)):
        p, q = person_of_keypoint[pairs[n, 0]], person_of_keypoint[pairs[n, 1]]
        if p != q and not (kinds[p] & kinds[q]).any():
            unite(person_of_keypoint, kinds, p, q)


@numba.njit(cache=True)
def unite(person_of_keypoint, kinds, winner, loser):
    """Give all keypoints of person ``loser`` to ``winner``; ``person_of_keypoint`` (n,), ``kinds``
    (n, K)."""
    for i in range(len(person_of_keypoint)):
        if person_of_keypoint[i] == loser:
            person_of_keypoint[i] = winner
    kinds[winner] |= kinds[loser]
    kinds[loser] = False
