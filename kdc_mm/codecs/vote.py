"""Vote: every confident cell points at its keypoint (paper, 3.4)."""
from typing import NamedTuple, Optional

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .gaussians import key_centroid_response, key_centroid_response_njit

#: Least heat of a disk's middle where there are no KeyCentroids: what is rather keypoint than not.
_LEAST_PEAK_HEAT = 0.5


class PoseMaps(NamedTuple):
    """Pose maps of a batch at ``stride``; vectors are (x, y) in input pixels.

    ``heatmaps`` (B, K, h, w) probabilities, ``key_centroids`` (B, 2K, h, w) or None,
    ``person_centroids`` (B, 2K, h, w), ``limbs`` (B, 4E, h, w).
    """
    heatmaps: Tensor
    key_centroids: Optional[Tensor]
    person_centroids: Tensor
    limbs: Tensor
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
    """Gather the votes of a batch on its device and move only them to the host.

    Cell p votes at p + k_v(p) with weight heat(p)·F*(k_v(p)) if its heat exceeds the threshold and
    the keypoint is within ``vote_radius``: where disks overlap, the cells next to a keypoint are
    its own. Without KeyCentroids (ablation of table 7) the middles of disks vote for themselves.

    Args:
        maps (PoseMaps): Maps of any device.
        outgoing (np.ndarray): (K, D) directed edges that leave each keypoint, -1 for none.
        settings (VoteSettings): Who votes.

    Returns:
        Votes: arrays on the host.
    """
    if maps.key_centroids is None:
        voting = _disk_middles(maps.heatmaps, settings.radius / maps.stride, settings.threshold)
        still = torch.zeros_like(maps.heatmaps).repeat_interleave(2, dim=1)
        votes = _gather_on_device(maps._replace(key_centroids=still), outgoing, settings, voting)
    elif _is_on_host(maps.heatmaps):
        return _collect_on_host(maps, outgoing, settings)
    else:
        squared = maps.key_centroids.unflatten(1, (-1, 2)).square().sum(2)
        voting = (maps.heatmaps > settings.threshold) & (squared <= settings.vote_radius**2)
        votes = _gather_on_device(maps, outgoing, settings, voting)
    kept = _heaviest(votes.image, votes.weight, settings.max_votes)
    return Votes(*(part[kept] for part in votes))


def split_by_image(votes: Votes, num_images: int):
    """The votes of each image of a batch, one after the other."""
    bounds = np.searchsorted(votes.image, np.arange(num_images + 1))
    for low, high in zip(bounds[:-1], bounds[1:]):
        yield Votes(*(part[low:high] for part in votes))


def _heaviest(image: np.ndarray, weight: np.ndarray, limit: int):
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


def _is_on_host(maps: Tensor) -> bool:
    return maps.device.type == 'cpu'


def _gather_on_device(maps: PoseMaps, outgoing: np.ndarray, settings: VoteSettings,
                      voting: Tensor) -> Votes:
    """Gather the cells that are ``voting`` (B, K, h, w) bool at once, and copy them in two pieces.
    """
    b, k, v, u = voting.nonzero(as_tuple=True)
    heat = maps.heatmaps[b, k, v, u]
    key_centroid = maps.key_centroids.unflatten(1, (-1, 2))[b, k, :, v, u]
    weight = heat * key_centroid_response(key_centroid.square().sum(1), settings.radius)
    start = torch.stack([u, v], 1) * maps.stride
    person_centroid = start + maps.person_centroids.unflatten(1, (-1, 2))[b, k, :, v, u]
    edge = torch.as_tensor(outgoing, device=k.device)[k].clamp(min=0)
    ends = start[:, None] + maps.limbs.unflatten(1, (maps.limbs.shape[1] // 2, 2))[
        b[:, None], edge, :, v[:, None], u[:, None]]
    index = torch.stack([b, k, v, u], 1).cpu().numpy()
    values = torch.cat([heat[:, None], weight[:, None], start + key_centroid, person_centroid,
                        ends.flatten(1)], 1).float().cpu().numpy()
    image, channel, cell = np.split(index, [1, 2], axis=1)
    heat, weight, position, person_centroid, ends = np.split(values, [1, 2, 4, 6], axis=1)
    return Votes(*map(np.ascontiguousarray, (
        image[:, 0], channel[:, 0], cell, heat[:, 0], weight[:, 0], position, person_centroid,
        ends.reshape(len(ends), outgoing.shape[1], 2))))


def _collect_on_host(maps: PoseMaps, outgoing: np.ndarray, settings: VoteSettings) -> Votes:
    """The same in one walk over the maps, where most cells see nothing and cost one comparison.

    A twin of the device's text because decoding would take twice the time without it: for 5
    persons at 401 px on one core 1.4 ms instead of 3.1 ms, for 50 persons 4.6 ms instead of 11.
    """
    maps = PoseMaps(*(field.detach().float().contiguous().numpy() for field in maps[:4]),
                    maps.stride)
    index, weight = _find_voters(
        maps.heatmaps, maps.key_centroids, np.float32(settings.threshold),
        np.float32(settings.vote_radius**2), np.float32(settings.radius))
    kept = _heaviest(index[:, 0], weight, settings.max_votes)
    return _gather_on_host(maps, outgoing, index[kept], weight[kept])


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
def _gather_on_host(maps, outgoing, index, weight):
    """Votes of the cells with ``index`` (M, 4) and ``weight`` (M,) of PoseMaps of NumPy arrays."""
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


def _disk_middles(heatmaps: Tensor, radius_cells: float, threshold: float) -> Tensor:
    """Cells (B, K, h, w) bool that are maxima of the heatmap averaged over F*: a disk is a plateau,
    and so its middle is found."""
    size = int(radius_cells)
    v, u = torch.meshgrid(
        torch.arange(-size, size + 1), torch.arange(-size, size + 1), indexing='ij')
    kernel = key_centroid_response(u**2 + v**2, radius_cells).to(heatmaps)
    kernel = (kernel / kernel.sum()).expand(heatmaps.shape[1], 1, -1, -1)
    smooth = F.conv2d(heatmaps, kernel, padding=size, groups=heatmaps.shape[1])
    peak = smooth == F.max_pool2d(smooth, 3, stride=1, padding=1)
    return peak & (heatmaps > max(threshold, _LEAST_PEAK_HEAT))
