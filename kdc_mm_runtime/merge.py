"""Merge: votes that agree become one keypoint (paper, 3.4)."""
from typing import NamedTuple

import numba
import numpy as np

from .agreement import disagreement, distance, merging_tolerance
from .gaussians import key_centroid_response
from .vote import Votes

#: Votes merge in order of weight to this fineness, and among equals in the order of cells.
_WEIGHT_STEPS = 63
#: A keypoint with this share of an undisturbed disk's weight has full support.
_FULL_SUPPORT = 0.25

#: Votes nearer than so many cells may always mean one keypoint.
_LEAST_CELLS = 0.75
#: Votes that differ by up to so many σ may mean one keypoint.
_SIGMAS_TO_MERGE = 4
#: Median of |x − y| for independent x, y of a Gaussian with σ = 1.
_MEDIAN_DIFFERENCE = 0.954
#: Cells between votes that are compared: near enough for one disk, far enough to differ in the
#: errors of a network, which neighbours share.
_LAG = 2
#: Votes whose scatter stands for that of all.
_SCATTER_SAMPLES = 4000

#: Side of the tiles by which keypoints are looked up, pixels, and how many of them have lists.
_TILE_PX, _TILES = 16, 32


class Keypoints(NamedTuple):
    """n detected keypoints of one image, ordered by channel.

    ``channel`` (n,), ``score`` (n,), ``support`` (n,) weight of the votes, ``position`` (n, 2),
    ``person_centroid`` (n, 2), ``ends`` (n, D, 2) of the limbs, as in :class:`Votes`.
    """
    channel: np.ndarray
    score: np.ndarray
    support: np.ndarray
    position: np.ndarray
    person_centroid: np.ndarray
    ends: np.ndarray


class Neighbours(NamedTuple):
    """Which keypoints of one kind are in a tile: list entry ``latest`` (T, T), -1 for none, is
    ``keypoint``'s (M,), and ``before`` (M,) is the next.

    All tiles T apart have one list, and a keypoint that a vote moves to another tile is in both.
    """
    latest: np.ndarray
    keypoint: np.ndarray
    before: np.ndarray


def full_disk_weight(radius: float, vote_radius: float, stride: int) -> float:
    """Weight that all cells of one undisturbed disk give together, at heat 1."""
    steps = np.arange(-int(vote_radius // stride), int(vote_radius // stride) + 1) * stride
    squared = steps[:, None]**2 + steps[None]**2
    return float(key_centroid_response(squared, radius)[squared <= vote_radius**2].sum())


def fitting_merge_radius(votes: Votes, stride: int, most_px: float) -> float:
    """Merge radius in pixels for the scatter of an image's votes, at least ``_LEAST_CELLS``."""
    return float(np.clip(_SIGMAS_TO_MERGE * vote_scatter(votes), _LEAST_CELLS * stride, most_px))


def vote_scatter(votes: Votes) -> float:
    """How far the votes of one image miss their keypoints: σ per axis, in pixels.

    Cells ``_LAG`` apart in a row or a column mostly lie in one disk, and differ in their votes by
    their errors alone. The median keeps out the pairs between which a disk ends.

    Args:
        votes (Votes): Votes of one image.

    Returns:
        float: 0 without such pairs.
    """
    step = 1 + len(votes.channel) // _SCATTER_SAMPLES
    differences = _lagged_differences(votes.channel, votes.cell, votes.position, step, _LAG)
    return float(np.median(differences) / _MEDIAN_DIFFERENCE) if len(differences) else 0.


@numba.njit(cache=True)
def _lagged_differences(channel, cell, position, step, lag):
    """|x − x'| and |y − y'| (D,) of every ``step``-th vote and the one ``lag`` cells on in its row
    or its column; ``channel`` (M,), ``cell`` (M, 2) and ``position`` (M, 2) as of Votes."""
    differences = np.empty(4 * len(channel), np.float32)
    count = 0
    for lag_v, lag_u in ((0, lag), (lag, 0)):
        j = 0
        for i in range(0, len(channel), step):
            sought = channel[i], cell[i, 0] + lag_v, cell[i, 1] + lag_u
            while j < len(channel) and (channel[j], cell[j, 0], cell[j, 1]) < sought:
                j += 1
            if j < len(channel) and (channel[j], cell[j, 0], cell[j, 1]) == sought:
                for axis in range(2):
                    differences[count] = abs(position[i, axis] - position[j, axis])
                    count += 1
    return differences[:count]


def merge_votes(votes: Votes, num_keypoints: int, merge_radius: float,
                full_weight: float) -> Keypoints:
    """Merge the votes of one image into keypoints.

    Two votes belong to one keypoint if they agree on where it is **and** on whose it is: near
    joints of two persons stay apart because their votes name different person centroids.

    Args:
        votes (Votes): Votes of one image.
        num_keypoints (int): K.
        merge_radius (float): Pixels within which votes agree.
        full_weight (float): Weight of an undisturbed disk; ``_FULL_SUPPORT`` of it is full support.

    Returns:
        Keypoints: position, person centroid and limb ends are weighted means of the votes; the
        score is their weighted mean heat, less in proportion where support is not full.
    """
    bounds = np.searchsorted(votes.channel, np.arange(num_keypoints + 1))
    order = np.argsort(_weight_keys(votes.weight, bounds), kind='stable')
    keypoints = _merge_votes(votes, bounds, order, merging_tolerance(merge_radius))
    support = keypoints.support.astype(np.float64)
    heat = keypoints.score / keypoints.support
    score = heat * np.minimum(1, support / (_FULL_SUPPORT * full_weight))
    return keypoints._replace(score=score.astype(np.float32))


def keep_keypoints(keypoints: Keypoints, min_score: float) -> Keypoints:
    """The keypoints that score at least ``min_score``."""
    return Keypoints(*(part[keypoints.score >= min_score] for part in keypoints))


def strongest_of_each_kind(keypoints: Keypoints, limit: int) -> Keypoints:
    """At most ``limit`` keypoints of every channel, those with the best scores."""
    order = np.lexsort((-keypoints.score, keypoints.channel))
    rank = np.arange(len(order)) - np.searchsorted(keypoints.channel, keypoints.channel)
    kept = np.sort(order[rank < limit])
    return Keypoints(*(part[kept] for part in keypoints))


@numba.njit(cache=True)
def _weight_keys(weight, bounds):
    """(M,) int16 that sort votes by channel, then by falling weight in steps of the heaviest's."""
    keys = np.empty(len(weight), np.int16)
    for k in range(len(bounds) - 1):
        heaviest = 1e-12
        for i in range(bounds[k], bounds[k + 1]):
            heaviest = max(heaviest, weight[i])
        for i in range(bounds[k], bounds[k + 1]):
            keys[i] = k * (_WEIGHT_STEPS + 1) - np.int64(weight[i] / heaviest * _WEIGHT_STEPS)
    return keys


@numba.njit(cache=True)
def _merge_votes(votes, bounds, order, tolerance):
    """Keypoints, whose score is still the sum of weighted heat. Each vote in ``order`` (M,) joins
    the keypoint it agrees with best, or founds one; channel k has votes ``bounds[k:k + 2]`` of the
    (K + 1,). ``tolerance`` is a KeypointTolerance."""
    num_votes, degree = votes.ends.shape[0], votes.ends.shape[1]
    keypoints = Keypoints(
        np.empty(num_votes, np.int64), np.zeros(num_votes, np.float32),
        np.zeros(num_votes, np.float32), np.zeros((num_votes, 2), np.float32),
        np.zeros((num_votes, 2), np.float32), np.zeros((num_votes, degree, 2), np.float32))
    near = Neighbours(np.empty((_TILES, _TILES), np.int64), np.empty(num_votes, np.int64),
                      np.empty(num_votes, np.int64))
    count = entries = 0
    for k in range(len(bounds) - 1):
        near.latest[:] = -1
        for i in order[bounds[k]:bounds[k + 1]]:
            n = _best_keypoint(votes, i, keypoints, near, tolerance)
            is_new = n < 0
            if is_new:
                n = count
                keypoints.channel[n] = k
                count += 1
            x, y = keypoints.position[n]
            _add_vote(keypoints, n, votes, i)
            row, column = _tile(keypoints.position[n, 1]), _tile(keypoints.position[n, 0])
            if is_new or row != _tile(y) or column != _tile(x):
                row, column = row % _TILES, column % _TILES
                near.keypoint[entries], near.before[entries] = n, near.latest[row, column]
                near.latest[row, column] = entries
                entries += 1
    return Keypoints(keypoints.channel[:count], keypoints.score[:count], keypoints.support[:count],
                     keypoints.position[:count], keypoints.person_centroid[:count],
                     keypoints.ends[:count])


@numba.njit(cache=True, inline='always')
def _tile(pixel):
    """The tile along one axis that a pixel is in."""
    return int(np.floor(pixel / _TILE_PX))


@numba.njit(cache=True)
def _best_keypoint(votes, i, keypoints, near, tolerance):
    """Which of the keypoints vote i agrees with best, of several the first, or -1."""
    position, person_centroid = votes.position[i], votes.person_centroid[i]
    length, px = distance(position, person_centroid), tolerance.place.px
    best, best_cost = -1, 1.
    for row in range(_tile(position[1] - px), _tile(position[1] + px) + 1):
        for column in range(_tile(position[0] - px), _tile(position[0] + px) + 1):
            entry = near.latest[row % _TILES, column % _TILES]
            while entry >= 0:
                n, entry = near.keypoint[entry], near.before[entry]
                if (abs(position[0] - keypoints.position[n, 0]) >= px
                        or abs(position[1] - keypoints.position[n, 1]) >= px):
                    continue
                cost = disagreement(distance(position, keypoints.position[n]), length,
                                    tolerance.place)**2
                if cost <= best_cost:
                    cost += disagreement(distance(person_centroid, keypoints.person_centroid[n]),
                                         length, tolerance.person_centroid)**2
                    if cost < best_cost or cost == best_cost and n < best:
                        best, best_cost = n, cost
    return best


@numba.njit(cache=True, inline='always')
def _add_vote(keypoints, n, votes, i):
    """Move the means of keypoint n to vote i by its share of the weight."""
    weight = votes.weight[i]
    keypoints.support[n] += weight
    keypoints.score[n] += weight * votes.heat[i]
    share = weight / keypoints.support[n]
    position, person_centroid, ends = keypoints.position, keypoints.person_centroid, keypoints.ends
    for axis in range(2):
        position[n, axis] += share * (votes.position[i, axis] - position[n, axis])
        person_centroid[n, axis] += share * (
            votes.person_centroid[i, axis] - person_centroid[n, axis])
        for d in range(ends.shape[1]):
            ends[n, d, axis] += share * (votes.ends[i, d, axis] - ends[n, d, axis])
