"""Merge: votes that agree become one keypoint (paper, 3.4)."""
from typing import NamedTuple

import numba
import numpy as np

from .agreement import Tolerance, disagreement
from .gaussians import gaussian
from .vote import Votes

#: Votes merge in order of weight to this fineness, and among equals in the order of cells.
_WEIGHT_STEPS = 63
#: Person centroids that votes name may differ by this share of how far they lie from the keypoint.
_CENTROID_SHARE = 0.25
#: A keypoint with this share of an undisturbed disk's weight has full support.
_FULL_SUPPORT = 0.25

#: Votes that differ by up to so many σ may mean one keypoint.
_SIGMAS_TO_MERGE = 4
#: Median of |x − y| for independent x, y of a Gaussian with σ = 1.
_MEDIAN_DIFFERENCE = 0.954
#: Cells between votes that are compared: near enough for one disk, far enough to differ in the
#: errors of a network, which neighbours share.
_LAG = 2
#: Votes whose scatter stands for that of all.
_SCATTER_SAMPLES = 4000


class Keypoints(NamedTuple):
    """n detected keypoints of one image, ordered by channel.

    ``channel`` (n,), ``score`` (n,), ``support`` (n,) weight of the votes, ``position`` (n, 2),
    ``centroid`` (n, 2) of the person, ``ends`` (n, D, 2) of the limbs, as in :class:`Votes`.
    """
    channel: np.ndarray
    score: np.ndarray
    support: np.ndarray
    position: np.ndarray
    centroid: np.ndarray
    ends: np.ndarray


def full_disk_weight(radius: float, vote_radius: float, stride: int) -> float:
    """Weight that all cells of one undisturbed disk give together, at heat 1."""
    steps = np.arange(-int(vote_radius // stride), int(vote_radius // stride) + 1) * stride
    squared = steps[:, None]**2 + steps[None]**2
    return float(gaussian(squared, radius / 2)[squared <= vote_radius**2].sum())


def fitting_merge_radius(votes: Votes, least_px: float, most_px: float) -> float:
    """Merge radius in pixels that fits the scatter of an image's votes."""
    return float(np.clip(_SIGMAS_TO_MERGE * vote_scatter(votes), least_px, most_px))


def vote_scatter(votes: Votes) -> float:
    """How far the votes of one image miss their keypoints: σ per axis, in pixels.

    Cells two apart in a row or a column mostly lie in one disk, and differ in their votes by their
    errors alone. The median keeps out the pairs between which a disk ends.

    Args:
        votes (Votes): Votes of one image.

    Returns:
        float: 0 without such pairs.
    """
    if not len(votes.channel):
        return 0.
    row, column = votes.cell.T
    rows, columns = row.max() + 1 + _LAG, column.max() + 1 + _LAG
    cell = (votes.channel * rows + row) * columns + column
    vote_of_cell = np.full(cell[-1] + 1 + _LAG * columns, -1, np.int32)
    vote_of_cell[cell] = np.arange(len(cell))
    sample = np.arange(0, len(cell), 1 + len(cell) // _SCATTER_SAMPLES)
    differences = []
    for lag in (_LAG, _LAG * columns):
        other = vote_of_cell.take(cell[sample] + lag)
        paired = other >= 0
        differences.append(votes.position.take(sample[paired], 0) -
                           votes.position.take(other[paired], 0))
    differences = np.abs(np.concatenate(differences))
    return float(np.median(differences) / _MEDIAN_DIFFERENCE) if len(differences) else 0.


def merge_votes(votes: Votes, num_keypoints: int, merge_radius: float,
                full_weight: float) -> Keypoints:
    """Merge the votes of one image into keypoints.

    Two votes belong to one keypoint if they agree on where it is **and** on whose it is: near
    joints of two persons stay apart because their votes name different person centroids.

    Args:
        votes (Votes): Votes of one image.
        num_keypoints (int): K.
        merge_radius (float): Pixels within which votes agree.
        full_weight (float): Weight of an undisturbed disk; a quarter of it counts as full support.

    Returns:
        Keypoints: position, centroid and limb ends are weighted means of the votes; the score is
        their weighted mean heat, less where support is thin.
    """
    bounds = np.searchsorted(votes.channel, np.arange(num_keypoints + 1))
    found = _merge_votes(votes, bounds, _by_weight(votes, bounds),
                         Tolerance(merge_radius, 0.),
                         Tolerance(0., _CENTROID_SHARE, merge_radius))
    thinness = np.minimum(1, found.support.astype(np.float64) / (
        _FULL_SUPPORT * full_weight))
    return found._replace(score=(found.score / found.support * thinness).astype(np.float32))


def keep_keypoints(found: Keypoints, min_score: float) -> Keypoints:
    """The keypoints that score at least ``min_score``."""
    return Keypoints(*(part[found.score >= min_score] for part in found))


def strongest_of_each_kind(found: Keypoints, limit: int) -> Keypoints:
    """At most ``limit`` keypoints of every channel, those with the best scores."""
    order = np.lexsort((-found.score, found.channel))
    rank = np.arange(len(order)) - np.searchsorted(found.channel, found.channel)
    kept = np.sort(order[rank < limit])
    return Keypoints(*(part[kept] for part in found))


def _by_weight(votes: Votes, bounds: np.ndarray) -> np.ndarray:
    """Order (M,) of the votes by channel, then by falling weight in steps of the heaviest's."""
    heaviest = [votes.weight[low:high].max(initial=1e-12)
                for low, high in zip(bounds[:-1], bounds[1:])]
    heaviest = np.repeat(np.array(heaviest, np.float64), np.diff(bounds))
    step = (votes.weight / heaviest * _WEIGHT_STEPS).astype(np.int16)
    key = votes.channel.astype(np.int16) * np.int16(_WEIGHT_STEPS + 1) - step
    return np.argsort(key, kind='stable')


@numba.njit(cache=True)
def _merge_votes(votes, bounds, order, place, person):
    """Keypoints, whose score is still the sum of weighted heat. Each vote in ``order`` (M,) joins
    the keypoint it agrees with best, or founds one; channel k has votes ``bounds[k:k + 2]`` of the
    (K + 1,). ``place`` and ``person`` are Tolerances of position and of person centroid."""
    num_votes, degree = votes.ends.shape[0], votes.ends.shape[1]
    found = Keypoints(
        np.empty(num_votes, np.int64), np.zeros(num_votes, np.float32),
        np.zeros(num_votes, np.float32), np.zeros((num_votes, 2), np.float32),
        np.zeros((num_votes, 2), np.float32), np.zeros((num_votes, degree, 2), np.float32))
    count = 0
    for k in range(len(bounds) - 1):
        first = count
        for i in order[bounds[k]:bounds[k + 1]]:
            n = _best_keypoint(votes, i, found, first, count, place, person)
            if n == count:
                found.channel[n] = k
                count += 1
            _add_vote(found, n, votes, i)
    return Keypoints(found.channel[:count], found.score[:count], found.support[:count],
                     found.position[:count], found.centroid[:count], found.ends[:count])


@numba.njit(cache=True, inline='always')
def _best_keypoint(votes, i, found, first, count, place, person):
    """Which of the keypoints ``first`` to ``count`` vote i agrees with best, or ``count``."""
    x, y = votes.position[i]
    cx, cy = votes.centroid[i]
    length = np.sqrt((x - cx)**2 + (y - cy)**2)
    best, best_cost = count, 1.
    for n in range(first, count):
        dx = x - found.position[n, 0]
        if abs(dx) >= place.px:
            continue
        dy = y - found.position[n, 1]
        cost = disagreement(np.sqrt(dx * dx + dy * dy), length, place)**2
        if cost < best_cost:
            dx, dy = cx - found.centroid[n, 0], cy - found.centroid[n, 1]
            cost += disagreement(np.sqrt(dx * dx + dy * dy), length, person)**2
            if cost < best_cost:
                best, best_cost = n, cost
    return best


@numba.njit(cache=True, inline='always')
def _add_vote(found, n, votes, i):
    """Move the means of keypoint n to vote i by its share of the weight."""
    weight = votes.weight[i]
    found.support[n] += weight
    found.score[n] += weight * votes.score[i]
    rate = weight / found.support[n]
    for axis in range(2):
        found.position[n, axis] += rate * (votes.position[i, axis] - found.position[n, axis])
        found.centroid[n, axis] += rate * (votes.centroid[i, axis] - found.centroid[n, axis])
        for d in range(votes.ends.shape[1]):
            found.ends[n, d, axis] += rate * (votes.ends[i, d, axis] - found.ends[n, d, axis])
