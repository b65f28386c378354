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
    if len(votes.channel) == 0:
        return 0.
    height, width = votes.cell.max(0) + 1 + _LAG
    place = (votes.channel * height + votes.cell[:, 0]) * width + votes.cell[:, 1]
    differences = np.concatenate([
        _differences(place, votes.position, step) for step in (_LAG, _LAG * width)])
    return float(np.median(differences) / _MEDIAN_DIFFERENCE) if len(differences) else 0.


@numba.njit(cache=True)
def _differences(place, position, step):
    """|Difference| of x and of y for all pairs whose places, in order, lie ``step`` apart."""
    found = np.empty(2 * len(place), np.float32)
    count, other = 0, 0
    for i in range(len(place)):
        while other < len(place) and place[other] < place[i] + step:
            other += 1
        if other < len(place) and place[other] == place[i] + step:
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
def _agreement(x, y, cx, cy, other, merge_radius):
    """Squared distance of two votes over tolerance; below 1 they mean the same keypoint."""
    spread = (x - cx)**2 + (y - cy)**2
    tolerance = max(merge_radius, 0.25 * np.sqrt(spread))
    return (((x - other[0, 0])**2 + (y - other[0, 1])**2) / merge_radius**2 +
            ((cx - other[1, 0])**2 + (cy - other[1, 1])**2) / tolerance**2)


@numba.njit(cache=True)
def _merge_votes(bounds, score, weight, position, centroid, ends, merge_radius, echo_radius,
                 full_weight, min_score):
    num_votes, degree = ends.shape[0], ends.shape[1]
    mean = np.zeros((num_votes, 2 + degree, 2), np.float32)  # position, centroid, limb ends
    total = np.zeros(num_votes, np.float32)
    heat = np.zeros(num_votes, np.float32)
    channel = np.empty(num_votes, np.int64)
    count = 0
    for k in range(len(bounds) - 1):
        first = count
        for i in _by_weight(weight, bounds[k], bounds[k + 1]):
            x, y = position[i]
            cx, cy = centroid[i]
            best, best_cost = -1, 1.
            for n in range(first, count):
                if abs(mean[n, 0, 0] - x) < merge_radius:
                    cost = _agreement(x, y, cx, cy, mean[n], merge_radius)
                    if cost < best_cost:
                        best, best_cost = n, cost
            if best < 0:
                best = count
                channel[best] = k
                count += 1
            total[best] += weight[i]
            heat[best] += weight[i] * score[i]
            rate = weight[i] / total[best]
            mean[best, 0] += rate * (position[i] - mean[best, 0])
            mean[best, 1] += rate * (centroid[i] - mean[best, 1])
            for d in range(degree):
                mean[best, 2 + d] += rate * (ends[i, d] - mean[best, 2 + d])
    value = heat[:count] / total[:count] * np.minimum(1, 4 * total[:count] / full_weight)
    keep = value >= min_score
    _drop_echoes(keep, channel, total[:count], mean, echo_radius)
    return channel[:count][keep], value[keep].astype(np.float32), mean[:count][keep]


@numba.njit(cache=True)
def _drop_echoes(keep, channel, total, mean, echo_radius):
    """Where votes scatter, a keypoint breaks into several: near each other, with the same person
    centroid. From the strongest on, those with less than half the support of one that stays go."""
    for strong in np.argsort(-total):
        for weak in range(len(keep)):
            if keep[strong] and keep[weak] and channel[weak] == channel[strong] and (
                    total[weak] < 0.5 * total[strong]) and _are_echoes(
                        mean[strong], mean[weak], echo_radius):
                keep[weak] = False


@numba.njit(cache=True)
def _are_echoes(a, b, echo_radius):
    apart = np.sqrt((a[0, 0] - b[0, 0])**2 + (a[0, 1] - b[0, 1])**2)
    centroids_apart = np.sqrt((a[1, 0] - b[1, 0])**2 + (a[1, 1] - b[1, 1])**2)
    reach = np.sqrt((a[0, 0] - a[1, 0])**2 + (a[0, 1] - a[1, 1])**2)
    return apart < echo_radius and centroids_apart < max(echo_radius / 2, 0.3 * reach)
