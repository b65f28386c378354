"""Merge: votes that agree become one keypoint."""
from typing import NamedTuple

import numba
import numpy as np

from .vote import Votes

_WEIGHT_BINS = 64

#: Median of |x − y| for independent x, y of a Gaussian with σ = 1.
_MEDIAN_DIFFERENCE = 0.954
#: Cells between votes that are compared: near enough for one disk, far enough to differ in the
#: errors of a network, which neighbours share.
_LAG = 2
#: Votes whose scatter stands for that of all.
_ENOUGH = 4000


class Keypoints(NamedTuple):
    """n detected keypoints of one image, ordered by channel; fields as in :class:`Votes`."""
    channel: np.ndarray
    score: np.ndarray
    position: np.ndarray
    centroid: np.ndarray
    ends: np.ndarray


def full_disk_weight(radius: float, vote_radius: float, stride: int) -> float:
    """Weight that all cells of one undisturbed disk give together, at heat 1."""
    steps = np.arange(-int(vote_radius // stride), int(vote_radius // stride) + 1) * stride
    squared = steps[:, None]**2 + steps[None]**2
    return float(np.exp(-squared / (2 * (radius / 2)**2))[squared <= vote_radius**2].sum())


def vote_scatter(votes: Votes) -> float:
    """How far the votes of one image miss their keypoints: σ per axis, in pixels.

    Cells two apart in a row or a column mostly lie in one disk, and differ in their votes by their
    errors alone. The median keeps out the pairs between which a disk ends.

    Args:
        votes (Votes): Votes of one image.

    Returns:
        float: 0 without such pairs.
    """
    every = 1 + len(votes.channel) // _ENOUGH
    differences = np.concatenate([
        _differences(votes.channel, votes.cell, votes.position, row, column, every)
        for row, column in ((0, _LAG), (_LAG, 0))])
    return float(np.median(differences) / _MEDIAN_DIFFERENCE) if len(differences) else 0.


@numba.njit(cache=True)
def _place(channel, cell, i):
    """A number that grows in the order of the votes."""
    return (channel[i] << 40) + (cell[i, 0] << 20) + cell[i, 1]


@numba.njit(cache=True)
def _differences(channel, cell, position, row, column, every):
    """|Difference| of x and of y for pairs of votes whose cells lie ``row`` and ``column`` apart;
    every so many-th vote is looked at."""
    count, other, num_votes = 0, 0, len(channel)
    step = (row << 20) + column
    found = np.empty(2 * num_votes, np.float32)
    for i in range(0, num_votes, every):
        place = _place(channel, cell, i) + step
        while other < num_votes and _place(channel, cell, other) < place:
            other += 1
        if other < num_votes and _place(channel, cell, other) == place:
            for axis in range(2):
                found[count] = abs(position[i, axis] - position[other, axis])
                count += 1
    return found[:count]


def merge_votes(votes: Votes, num_keypoints: int, merge_radius: float, echo_radius: float,
                full_weight: float, min_score: float) -> Keypoints:
    """Merge the votes of one image into keypoints.

    Two votes belong to one keypoint if they agree on where it is **and** on whose it is: near
    joints of two persons stay apart because their votes name different person centroids.

    Args:
        votes (Votes): Votes of one image.
        num_keypoints (int): K.
        merge_radius (float): Pixels within which votes agree.
        echo_radius (float): Pixels within which two keypoints of a kind with the same person
            centroid are one.
        full_weight (float): Weight of an undisturbed disk; a quarter of it counts as full support.
        min_score (float): Keypoints that score less are dropped.

    Returns:
        Keypoints: position, centroid and limb ends are weighted means of the votes; the score is
        their weighted mean heat, less where support is thin.
    """
    bounds = np.searchsorted(votes.channel, np.arange(num_keypoints + 1))
    channel, score, values = _merge_votes(bounds, votes.score, votes.weight, votes.position,
                                          votes.centroid, votes.ends, merge_radius, echo_radius,
                                          full_weight, min_score)
    return Keypoints(channel, score, values[:, 0], values[:, 1], values[:, 2:])


def strongest_of_each_kind(found: Keypoints, limit: int) -> Keypoints:
    """At most ``limit`` keypoints of every channel, those with the best scores."""
    order = np.lexsort((-found.score, found.channel))
    rank = np.arange(len(order)) - np.searchsorted(found.channel, found.channel)
    kept = np.sort(order[rank < limit])
    return Keypoints(*(part[kept] for part in found))


@numba.njit(cache=True)
def _by_weight(weight, low, high):
    """Indices low..high in order of falling weight (to 1/64 of the largest)."""
    counts = np.zeros(_WEIGHT_BINS + 1, np.int64)
    order = np.empty(high - low, np.int64)
    top = 1e-12
    for i in range(low, high):
        top = max(top, weight[i])
    for i in range(low, high):
        counts[_WEIGHT_BINS - int(weight[i] / top * (_WEIGHT_BINS - 1))] += 1
    for bin_ in range(1, _WEIGHT_BINS + 1):
        counts[bin_] += counts[bin_ - 1]
    for i in range(high - 1, low - 1, -1):
        bin_ = _WEIGHT_BINS - int(weight[i] / top * (_WEIGHT_BINS - 1))
        counts[bin_] -= 1
        order[counts[bin_]] = i
    return order


@numba.njit(cache=True)
def _merge_votes(bounds, score, weight, position, centroid, ends, merge_radius, echo_radius,
                 full_weight, min_score):
    num_votes, degree = ends.shape[0], ends.shape[1]
    mean = np.zeros((num_votes, 2 + degree, 2), np.float32)  # position, centroid, limb ends
    total = np.zeros(num_votes, np.float32)
    heat = np.zeros(num_votes, np.float32)
    channel = np.empty(num_votes, np.int64)
    left, top = np.empty(num_votes, np.float32), np.empty(num_votes, np.float32)  # mean position
    squared_radius = merge_radius**2
    count = 0
    for k in range(len(bounds) - 1):
        first = count
        for i in _by_weight(weight, bounds[k], bounds[k + 1]):
            x, y = position[i, 0], position[i, 1]
            cx, cy = centroid[i, 0], centroid[i, 1]
            # squared distance over tolerance; below 1 two votes mean the same keypoint
            reach = (x - cx)**2 + (y - cy)**2
            squared_tolerance = max(squared_radius, reach / 16)
            best, best_cost = -1, 1.
            for n in range(first, count):
                dx = x - left[n]
                if abs(dx) >= merge_radius:
                    continue
                dy = y - top[n]
                cost = (dx * dx + dy * dy) / squared_radius
                if cost < best_cost:
                    dx, dy = cx - mean[n, 1, 0], cy - mean[n, 1, 1]
                    cost += (dx * dx + dy * dy) / squared_tolerance
                    if cost < best_cost:
                        best, best_cost = n, cost
            if best < 0:
                best = count
                channel[best] = k
                count += 1
            total[best] += weight[i]
            heat[best] += weight[i] * score[i]
            rate = weight[i] / total[best]
            for axis in range(2):
                mean[best, 0, axis] += rate * (position[i, axis] - mean[best, 0, axis])
                mean[best, 1, axis] += rate * (centroid[i, axis] - mean[best, 1, axis])
                for d in range(degree):
                    mean[best, 2 + d, axis] += rate * (ends[i, d, axis] - mean[best, 2 + d, axis])
            left[best], top[best] = mean[best, 0]
    value = heat[:count] / total[:count] * np.minimum(1, 4 * total[:count] / full_weight)
    keep = value >= min_score
    first = 0
    for n in range(1, count + 1):
        if n == count or channel[n] != channel[first]:
            _drop_echoes(keep, total, mean, first, n, echo_radius)
            first = n
    return channel[:count][keep], value[keep].astype(np.float32), mean[:count][keep]


@numba.njit(cache=True)
def _drop_echoes(keep, total, mean, first, end, echo_radius):
    """Where votes scatter, a keypoint breaks into several: near each other, with the same person
    centroid. From the strongest on, those with less than half the support of one that stays go.
    Keypoints ``first`` to ``end`` are of one kind."""
    for strong in first + np.argsort(-total[first:end]):
        for weak in range(first, end):
            if keep[strong] and keep[weak] and total[weak] < 0.5 * total[strong] and _are_echoes(
                    mean[strong], mean[weak], echo_radius):
                keep[weak] = False


@numba.njit(cache=True)
def _are_echoes(a, b, echo_radius):
    apart = np.sqrt((a[0, 0] - b[0, 0])**2 + (a[0, 1] - b[0, 1])**2)
    centroids_apart = np.sqrt((a[1, 0] - b[1, 0])**2 + (a[1, 1] - b[1, 1])**2)
    reach = np.sqrt((a[0, 0] - a[1, 0])**2 + (a[0, 1] - a[1, 1])**2)
    return apart < echo_radius and centroids_apart < max(echo_radius / 2, 0.3 * reach)
