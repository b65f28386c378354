"""Vote: every confident cell points at its keypoint (paper, 3.4)."""
from typing import NamedTuple, Optional

import numba
import numpy as np

from .gaussians import key_centroid_response_njit


class PoseMaps(NamedTuple):
    """Pose maps of a batch at ``stride``; vectors are (x, y) in input pixels.

    ``heatmaps`` (B, K, h, w) probabilities, ``key_centroids`` (B, 2K, h, w) or None,
    ``person_centroids`` (B, 2K, h, w), ``limbs`` (B, 4E, h, w); arrays, or PyTorch's tensors where
    they are not on the host yet.
    """
    heatmaps: np.ndarray
    key_centroids: Optional[np.ndarray]
    person_centroids: np.ndarray
    limbs: np.ndarray
    stride: int


class VoteSettings(NamedTuple):
    """Who votes: ``radius`` R of the disks and ``vote_radius`` in pixels, ``threshold`` least heat,
    ``max_votes`` of each image, the heaviest."""
    radius: float
    vote_radius: float
    threshold: float
    max_votes: int


class Votes(NamedTuple):
    """M votes, ordered by image, channel and cell. Positions are input pixels (x, y).

    ``image`` (M,), ``channel`` (M,), ``cell`` (M, 2) row v and column u of the voting cell,
    ``heat`` (M,) heatmap value, ``weight`` (M,) heat times F*, ``position`` (M, 2) voted keypoint,
    ``person_centroid`` (M, 2) predicted, ``ends`` (M, D, 2) predicted far ends of the limbs that
    leave this keypoint.
    """
    image: np.ndarray
    channel: np.ndarray
    cell: np.ndarray
    heat: np.ndarray
    weight: np.ndarray
    position: np.ndarray
    person_centroid: np.ndarray
    ends: np.ndarray


def collect_votes(maps: PoseMaps, outgoing: np.ndarray, settings: VoteSettings) -> Votes:
    """Gather the votes of a batch in one walk over its maps, where most cells see nothing and cost
    one comparison.

    Cell p votes at p + k_v(p) with weight heat(p)·F*(k_v(p)) if its heat exceeds the threshold and
    the keypoint is within ``vote_radius``: where disks overlap, the cells next to a keypoint are
    its own.

    Args:
        maps (PoseMaps): Arrays, float32 and contiguous, with KeyCentroids.
        outgoing (np.ndarray): (K, D) directed edges that leave each keypoint, -1 for none.
        settings (VoteSettings): Who votes.
    """
    index, weight = _find_voters(
        maps.heatmaps, maps.key_centroids, np.float32(settings.threshold),
        np.float32(settings.vote_radius**2), np.float32(settings.radius))
    kept = heaviest(index[:, 0], weight, settings.max_votes)
    return _gather(maps, outgoing, index[kept], weight[kept])


def split_by_image(votes: Votes, num_images: int):
    """The votes of each image of a batch, one after the other."""
    bounds = np.searchsorted(votes.image, np.arange(num_images + 1))
    for low, high in zip(bounds[:-1], bounds[1:]):
        yield Votes(*(part[low:high] for part in votes))


def heaviest(image: np.ndarray, weight: np.ndarray, limit: int):
    """Index of at most ``limit`` votes of each image, those of the most weight, in their order."""
    bounds = np.searchsorted(image, np.arange(image.max(initial=-1) + 2))
    if (np.diff(bounds) <= limit).all():
        return slice(None)
    kept = np.ones(len(weight), bool)
    for low, high in zip(bounds[:-1], bounds[1:]):
        if high - low > limit:
            own = weight[low:high]
            least = np.partition(own, -limit)[-limit]
            kept[low:high] = own > least
            ties = np.flatnonzero(own == least)
            kept[low + ties[:limit - np.count_nonzero(own > least)]] = True
    return np.flatnonzero(kept)


@numba.njit(cache=True)
def _find_voters(heatmaps, key_centroids, threshold, squared_vote_radius, radius):
    """Index (M, 4) of image, channel, row and column, and weight (M,), of the cells that vote;
    ``heatmaps`` (B, K, h, w), ``key_centroids`` (B, 2K, h, w)."""
    batch, channels, height, width = heatmaps.shape
    confident = 0
    for heat in heatmaps.flat:
        confident += heat > threshold
    index = np.empty((confident, 4), np.int64)
    weight = np.empty(confident, np.float32)
    count = 0
    for b in range(batch):
        for k in range(channels):
            for v in range(height):
                for u in range(width):
                    heat = heatmaps[b, k, v, u]
                    if not heat > threshold:  # NaN neither
                        continue
                    dx, dy = key_centroids[b, 2 * k, v, u], key_centroids[b, 2 * k + 1, v, u]
                    squared = dx * dx + dy * dy
                    if squared <= squared_vote_radius:
                        index[count] = b, k, v, u
                        weight[count] = heat * key_centroid_response_njit(squared, radius)
                        count += 1
    return index[:count], weight[:count]


@numba.njit(cache=True)
def _gather(maps, outgoing, index, weight):
    """Votes of the cells with ``index`` (M, 4) and ``weight`` (M,) of the PoseMaps."""
    count, degree = len(index), outgoing.shape[1]
    heat = np.empty(count, np.float32)
    position = np.empty((count, 2), np.float32)
    person_centroid = np.empty((count, 2), np.float32)
    ends = np.empty((count, degree, 2), np.float32)
    for m in range(count):
        b, k, v, u = index[m]
        heat[m] = maps.heatmaps[b, k, v, u]
        for axis in range(2):
            start = (u if axis == 0 else v) * maps.stride
            position[m, axis] = start + maps.key_centroids[b, 2 * k + axis, v, u]
            person_centroid[m, axis] = start + maps.person_centroids[b, 2 * k + axis, v, u]
            for d in range(degree):
                edge = max(outgoing[k, d], 0)
                ends[m, d, axis] = start + maps.limbs[b, 2 * edge + axis, v, u]
    return Votes(index[:, 0].copy(), index[:, 1].copy(), index[:, 2:].copy(), heat, weight,
                 position, person_centroid, ends)
