"""Group: join detected keypoints into persons along the kinematic graph, then by centroid."""
from typing import NamedTuple, Tuple

import numba
import numpy as np

from .merge import Keypoints
from .people import Poses


class GroupingTolerance(NamedTuple):
    """When predictions agree: an error counts relative to ``px + relative · length``.

    ``limb_*`` for where a limb ends, ``centroid_*`` for where a person's centroid lies; pairs
    beyond ``limit`` tolerances do not belong together.
    """
    limb_px: float = 4.
    limb_relative: float = 0.2
    centroid_px: float = 6.
    centroid_relative: float = 0.3
    limit: float = 2.5


def group_keypoints(found: Keypoints, num_keypoints: int, edges: np.ndarray, outgoing: np.ndarray,
                    tolerance: GroupingTolerance, join: bool) -> Poses:
    """Connect keypoints into persons (paper, 3.4).

    Connections enter a priority queue by confidence and are taken best first over the whole image,
    so that a person cannot claim what fits a neighbour better. A pose that lacks a joint falls
    apart there; ``join`` puts fragments with the same person centroid together again.

    Args:
        found (Keypoints): n detected keypoints.
        num_keypoints (int): K.
        edges (np.ndarray): (2E, 2) directed limbs.
        outgoing (np.ndarray): (K, D) edges leaving each keypoint, -1 for none.
        tolerance (GroupingTolerance): When two keypoints may belong together.
        join (bool): Join fragments by their person centroid.

    Returns:
        Poses: undetected keypoints are where the limbs of the detected ones end, score 0.
    """
    person = np.arange(len(found.channel))
    members = np.zeros((len(person), num_keypoints), np.bool_)
    members[person, found.channel] = True
    slots = _edge_slots(edges, outgoing)
    pairs, costs = limb_connections(found, edges, slots, tolerance)
    confidence = found.score[pairs[:, 0]] * found.score[pairs[:, 1]] * np.exp(-costs / 2)
    _link(pairs[np.argsort(-confidence, kind='stable')], person, members)
    if join:
        bounds = np.searchsorted(found.channel, np.arange(num_keypoints + 1))
        apart = _contradictions(bounds, found.position, found.ends, edges, slots,
                                np.array(tolerance, np.float32))
        _join_fragments(found.channel, found.score, found.position, found.centroid, person,
                        members, apart, np.array(tolerance, np.float32))
    return _assemble(found, person, num_keypoints, outgoing, edges)


def suppress_ghosts(poses: Poses, threshold: float) -> Poses:
    """Drop ghosts: persons whose keypoints lie by much surer ones of other persons.

    Where the disks of two persons meet, a network's vectors turn from one to the other, and the
    few cells between name keypoints between: a ghost of both. A keypoint is ghostly by exp(−d²
    / 2(0.1 l)²), l the larger side of the other person's box, if the other's keypoint of this kind
    scores at least 1.5 times as high. Persons who really stand so close have keypoints as sure as
    each other's.

    Args:
        poses (Poses): n persons, strongest first.
        threshold (float): Most ghostliness, averaged over a person's detected keypoints.

    Returns:
        Poses: those that remain.
    """
    keep = _are_no_ghosts(poses.keypoints, poses.scores, poses.detected, np.float32(threshold))
    return Poses(*(part[keep] for part in poses))


@numba.njit(cache=True)
def _are_no_ghosts(keypoints, scores, detected, threshold):
    count, num_keypoints = detected.shape
    keep = np.ones(count, np.bool_)
    ghostly = np.zeros((count, num_keypoints), np.float32)
    for p in range(count):
        keep[p] = ghostly[p].sum() <= threshold * detected[p].sum()
        if not keep[p]:
            continue
        width = np.float32(0.1) * _longer_side(keypoints[p], detected[p])
        for k in range(num_keypoints):
            if not detected[p, k]:
                continue
            for q in range(p + 1, count):
                if detected[q, k] and scores[p, k] >= 1.5 * scores[q, k]:
                    apart = _distance(keypoints[p, k], keypoints[q, k]) / width
                    ghostly[q, k] = max(ghostly[q, k], np.exp(-apart**2 / 2))
    return keep


@numba.njit(cache=True)
def _longer_side(keypoints, detected):
    """Longer side of the box around a person's detected keypoints, at least a pixel."""
    side = np.float32(1)
    for axis in range(2):
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for k in range(len(detected)):
            if detected[k]:
                low = min(low, keypoints[k, axis])
                high = max(high, keypoints[k, axis])
        side = max(side, high - low)
    return side


def _edge_slots(edges: np.ndarray, outgoing: np.ndarray) -> np.ndarray:
    """(2E,) column of ``outgoing`` that holds each directed edge."""
    slots = np.empty(len(edges), np.int64)
    keypoint, slot = np.nonzero(outgoing >= 0)
    slots[outgoing[keypoint, slot]] = slot
    return slots


def limb_connections(found: Keypoints, edges: np.ndarray, slots: np.ndarray,
                     tolerance: GroupingTolerance) -> Tuple[np.ndarray, np.ndarray]:
    """All pairs of keypoints whose limb displacements and person centroids agree.

    Returns:
        tuple: pairs (P, 2) int64 and costs (P,): squared error over tolerance, limb plus centroid.
    """
    bounds = np.searchsorted(found.channel, np.arange(edges.max() + 2))
    return _limb_connections(bounds, found.position, found.centroid, found.ends,
                             edges[:len(edges) // 2], slots, np.array(tolerance, np.float32))


@numba.njit(cache=True)
def _distance(a, b):
    dx, dy = a[0] - b[0], a[1] - b[1]
    return np.sqrt(dx * dx + dy * dy)


@numba.njit(cache=True)
def _limb_error(i, j, slot_ij, slot_ji, position, ends, tolerance):
    """Mean miss of the two limb displacements between keypoints i and j, over tolerance."""
    length = _distance(position[i], position[j])
    miss = (_distance(ends[i, slot_ij], position[j]) + _distance(ends[j, slot_ji], position[i])) / 2
    return miss / (tolerance[0] + tolerance[1] * length)


@numba.njit(cache=True)
def _centroid_error(gap, reach, tolerance):
    """Distance of two predicted person centroids over tolerance; ``reach`` is how far the
    predictions had to reach."""
    return gap / (tolerance[2] + tolerance[3] * reach)


@numba.njit(cache=True)
def _limb_connections(bounds, position, centroid, ends, edges, slots, tolerance):
    num_edges = len(edges)
    pairs, costs = [], []
    for e in range(num_edges):
        a, b = edges[e]
        for i in range(bounds[a], bounds[a + 1]):
            for j in range(bounds[b], bounds[b + 1]):
                limb = _limb_error(i, j, slots[e], slots[e + num_edges], position, ends, tolerance)
                if limb > tolerance[4]:
                    continue
                reach = (_distance(position[i], centroid[i]) +
                         _distance(position[j], centroid[j])) / 2
                apart = _centroid_error(_distance(centroid[i], centroid[j]), reach, tolerance)
                cost = limb**2 + apart**2
                if cost <= tolerance[4]**2:
                    pairs.append((i, j))
                    costs.append(cost)
    out = np.empty((len(pairs), 2), np.int64)
    for n, (i, j) in enumerate(pairs):
        out[n, 0], out[n, 1] = i, j
    return out, np.array(costs, np.float32)


@numba.njit(cache=True)
def _unite(person, members, winner, loser):
    """Give all keypoints of person ``loser`` to ``winner``."""
    for i in range(len(person)):
        if person[i] == loser:
            person[i] = winner
    members[winner] |= members[loser]
    members[loser] = False


@numba.njit(cache=True)
def _link(pairs, person, members):
    """Take connections in order; a person holds at most one keypoint of a kind."""
    for n in range(len(pairs)):
        p, q = person[pairs[n, 0]], person[pairs[n, 1]]
        if p != q and not (members[p] & members[q]).any():
            _unite(person, members, p, q)


@numba.njit(cache=True)
def _contradictions(bounds, position, ends, edges, slots, tolerance):
    """(C, 2) pairs of neighbours in the graph whose limbs, both ways, do not lead to each other."""
    num_edges = len(edges) // 2
    pairs = []
    for e in range(num_edges):
        a, b = edges[e]
        for i in range(bounds[a], bounds[a + 1]):
            for j in range(bounds[b], bounds[b + 1]):
                if _limb_error(i, j, slots[e], slots[e + num_edges], position, ends,
                               tolerance) > 2 * tolerance[4]:
                    pairs.append((i, j))
    apart = np.empty((len(pairs), 2), np.int64)
    for n, (i, j) in enumerate(pairs):
        apart[n, 0], apart[n, 1] = i, j
    return apart


@numba.njit(cache=True)
def _fragment_centroids(score, position, centroid, person):
    """Score-weighted person centroid, its reach and weight for every person id."""
    count = len(person)
    centre = np.zeros((count, 2), np.float32)
    reach = np.zeros(count, np.float32)
    weight = np.zeros(count, np.float32)
    for i in range(count):
        p = person[i]
        weight[p] += score[i]
        rate = score[i] / weight[p]
        centre[p] += rate * (centroid[i] - centre[p])
        reach[p] += rate * (_distance(position[i], centroid[i]) - reach[p])
    return centre, reach, weight


@numba.njit(cache=True)
def _join_fragments(channel, score, position, centroid, person, members, apart, tolerance):
    """Unite the fragments whose centroids agree best, again and again until none do."""
    centre, reach, weight = _fragment_centroids(score, position, centroid, person)
    blocked = np.zeros((len(person), len(person)), np.bool_)
    for n in range(len(apart)):
        p, q = person[apart[n, 0]], person[apart[n, 1]]
        blocked[p, q] = blocked[q, p] = True
    # every fragment remembers its best partner, so that a union costs one walk, not one per pair
    error = np.ones(len(person), np.float32)
    partner = np.full(len(person), -1)
    alive = weight > 0
    ids = np.unique(person)
    for p in ids:
        error[p], partner[p] = _best_partner(p, ids, centre, reach, members, blocked, alive,
                                             tolerance)
    while len(ids):
        first = ids[np.argmin(error[ids])]
        second = partner[first]
        if second < 0:
            return
        if weight[second] > weight[first]:
            first, second = second, first
        _unite(person, members, first, second)
        rate = weight[second] / (weight[first] + weight[second])
        centre[first] += rate * (centre[second] - centre[first])
        reach[first] += rate * (reach[second] - reach[first])
        weight[first] += weight[second]
        alive[second] = False
        error[second], partner[second] = 1, -1
        blocked[first] |= blocked[second]
        blocked[:, first] |= blocked[:, second]
        for p in ids:
            if p == first or partner[p] == first or partner[p] == second:
                error[p], partner[p] = _best_partner(p, ids, centre, reach, members, blocked,
                                                     alive, tolerance)


@numba.njit(cache=True)
def _best_partner(p, ids, centre, reach, members, blocked, alive, tolerance):
    """The fragment whose centroid agrees best with that of p, and their error; else 1 and -1."""
    best, partner = np.float32(1), -1
    for q in ids:
        if q == p or not alive[q] or blocked[p, q]:
            continue
        error = _centroid_error(
            _distance(centre[p], centre[q]), (reach[p] + reach[q]) / 2, tolerance)
        if error < best and not (members[p] & members[q]).any():
            best, partner = np.float32(error), q
    return best, partner


def _assemble(found: Keypoints, person: np.ndarray, num_keypoints: int, outgoing: np.ndarray,
              edges: np.ndarray) -> Poses:
    """Lay the keypoints out by person and follow the graph to the ones that are missing."""
    ids, row = np.unique(person, return_inverse=True)
    member = np.full((len(ids), num_keypoints), -1, np.int64)
    member[row, found.channel] = np.arange(len(person))
    detected = member >= 0
    scores = np.where(detected, found.score[member], 0).astype(np.float32) if len(ids) else (
        np.zeros((0, num_keypoints), np.float32))
    keypoints = np.zeros((len(ids), num_keypoints, 2), np.float32)
    if len(ids):
        _place(member, found.position, found.centroid, found.score, found.ends, outgoing, edges,
               keypoints)
    order = np.argsort(-scores.sum(1), kind='stable')
    return Poses(keypoints[order], scores[order], detected[order])


@numba.njit(cache=True)
def _place(member, position, centroid, score, ends, outgoing, edges, keypoints):
    """Missing keypoints go where the limbs of their detected neighbours end, else to the person's
    centroid."""
    for p in range(member.shape[0]):
        reach = np.zeros(keypoints.shape[1:], np.float32)
        weight = np.zeros(keypoints.shape[1], np.float32)
        centre = np.zeros(2, np.float32)
        total = np.float32(0)
        for k in range(member.shape[1]):
            i = member[p, k]
            if i < 0:
                continue
            keypoints[p, k] = position[i]
            centre += score[i] * centroid[i]
            total += score[i]
            for d in range(outgoing.shape[1]):
                if outgoing[k, d] >= 0:
                    end = edges[outgoing[k, d], 1]
                    reach[end] += score[i] * ends[i, d]
                    weight[end] += score[i]
        for k in range(member.shape[1]):
            if member[p, k] < 0:
                if weight[k] > 0:
                    keypoints[p, k] = reach[k] / weight[k]
                else:
                    keypoints[p, k] = centre / total
