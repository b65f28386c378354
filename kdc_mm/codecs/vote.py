"""Vote: every confident cell points at its keypoint."""
from typing import NamedTuple, Optional

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class Votes(NamedTuple):
    """M votes, ordered by image, channel and cell. Positions are input pixels (x, y).

    ``image`` (M,), ``channel`` (M,), ``cell`` (M, 2) row and column of the voting cell, ``score``
    (M,) heatmap value, ``weight`` (M,) score times F*, ``position`` (M, 2) voted keypoint,
    ``centroid`` (M, 2) predicted person centroid, ``ends`` (M, D, 2) predicted far ends of the
    limbs that leave this keypoint.
    """
    image: np.ndarray
    channel: np.ndarray
    cell: np.ndarray
    score: np.ndarray
    weight: np.ndarray
    position: np.ndarray
    centroid: np.ndarray
    ends: np.ndarray


def gaussian_response(squared_distance, sigma: float):
    """F* of eq. 3: exp(−|p − q|²/2σ²)."""
    return torch.exp(-squared_distance / (2 * sigma**2))


def collect_votes(heatmaps: Tensor, key_centroids: Optional[Tensor], person_centroids: Tensor,
                  limbs: Tensor, outgoing: Tensor, stride: int, radius: float,
                  vote_radius: float, threshold: float, max_votes: int) -> Votes:
    """Gather the votes of a batch on its device and move only them to the host.

    Cell p votes at p + k_v(p) with weight heat(p)·F*(k_v(p)) if its heat exceeds the threshold and
    the keypoint is within ``vote_radius``: where disks overlap, the cells next to a keypoint are
    its own.

    Args:
        heatmaps (Tensor): (B, K, h, w) probabilities.
        key_centroids (Tensor, optional): (B, 2K, h, w) pixels. Without it (ablation of table 7)
            local maxima of the disk-smoothed heatmap vote for themselves.
        person_centroids (Tensor): (B, 2K, h, w) pixels.
        limbs (Tensor): (B, 4E, h, w) pixels.
        outgoing (Tensor): (K, D) directed edges that leave each keypoint, -1 for none.
        stride (int): Map stride in pixels.
        radius (float): Disk radius R in pixels; σ of F* is R / 2.
        vote_radius (float): Pixels.
        threshold (float): Least heat of a vote.
        max_votes (int): Most votes per image; the heaviest are kept.

    Returns:
        Votes: arrays on the host.
    """
    if key_centroids is None:
        heatmaps, candidate = _disk_maxima(heatmaps, radius / stride, threshold)
        key_centroids = torch.zeros_like(heatmaps).repeat_interleave(2, dim=1)
    elif _is_on_host(heatmaps):
        return _collect_on_host(heatmaps, key_centroids, person_centroids, limbs, outgoing,
                                stride, radius, vote_radius, threshold, max_votes)
    else:
        squared = key_centroids.unflatten(1, (-1, 2)).square().sum(2)
        candidate = (heatmaps > threshold) & (squared <= vote_radius**2)
    votes = _collect_on_device(heatmaps, key_centroids, person_centroids, limbs, outgoing, stride,
                               radius, candidate)
    kept = _heaviest(votes.image, votes.weight, max_votes)
    return Votes(*(part[kept] for part in votes))


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


def _collect_on_device(heatmaps: Tensor, key_centroids: Tensor, person_centroids: Tensor,
                       limbs: Tensor, outgoing: Tensor, stride: int, radius: float,
                       candidate: Tensor) -> Votes:
    """Gather all candidates (B, K, h, w) at once, and copy them in two pieces."""
    b, k, y, x = candidate.nonzero(as_tuple=True)
    score = heatmaps[b, k, y, x]
    offset = key_centroids.unflatten(1, (-1, 2))[b, k, :, y, x]
    weight = score * gaussian_response(offset.square().sum(1), radius / 2)
    start = torch.stack([x, y], 1) * stride
    centroid = start + person_centroids.unflatten(1, (-1, 2))[b, k, :, y, x]
    edge = outgoing[k].clamp(min=0)
    ends = start[:, None] + limbs.unflatten(1, (-1, 2))[
        b[:, None], edge, :, y[:, None], x[:, None]]
    values = torch.cat([
        torch.stack([score, weight], 1), start + offset, centroid, ends.flatten(1)], 1)
    return _unpack(torch.stack([b, k, y, x], 1).cpu().numpy(), values.float().cpu().numpy())


def _unpack(index: np.ndarray, values: np.ndarray) -> Votes:
    """Votes from rows of (image, channel, row, column) and of their numbers."""
    return Votes(index[:, 0], index[:, 1], index[:, 2:], values[:, 0], values[:, 1],
                 values[:, 2:4], values[:, 4:6],
                 values[:, 6:].reshape(len(values), (values.shape[1] - 6) // 2, 2))


def _collect_on_host(heatmaps: Tensor, key_centroids: Tensor, person_centroids: Tensor,
                     limbs: Tensor, outgoing: Tensor, stride: int, radius: float,
                     vote_radius: float, threshold: float, max_votes: int) -> Votes:
    """The same in one walk over the maps: most cells see nothing and cost one comparison."""
    heat, offset, centroid, limb = (
        maps.detach().float().contiguous().numpy()
        for maps in (heatmaps, key_centroids, person_centroids, limbs))
    index, weight = _weigh(heat, offset, np.float32(threshold), np.float32(vote_radius**2),
                           np.float32(2 * (radius / 2)**2), np.count_nonzero(heat > threshold))
    kept = _heaviest(index[:, 0], weight, max_votes)
    index, weight = index[kept], weight[kept]
    return _unpack(index, _numbers(index, weight, heat, offset, centroid, limb, outgoing.numpy(),
                                   stride))


@numba.njit(cache=True)
def _weigh(heat, offset, threshold, squared_radius, spread, room):
    """(M, 4) image, channel, row and column, and weights (M,), of the cells that vote; there is
    ``room`` for as many as are hot enough."""
    batch, channels, height, width = heat.shape
    index = np.empty((room, 4), np.int64)
    weight = np.empty(room, np.float32)
    count = 0
    for b in range(batch):
        for k in range(channels):
            for y in range(height):
                for x in range(width):
                    if heat[b, k, y, x] <= threshold:
                        continue
                    dx, dy = offset[b, 2 * k, y, x], offset[b, 2 * k + 1, y, x]
                    squared = dx * dx + dy * dy
                    if squared <= squared_radius:
                        index[count, 0], index[count, 1] = b, k
                        index[count, 2], index[count, 3] = y, x
                        weight[count] = heat[b, k, y, x] * np.exp(-squared / spread)
                        count += 1
    return index[:count], weight[:count]


@numba.njit(cache=True)
def _numbers(index, weight, heat, offset, centroid, limb, outgoing, stride):
    """The numbers of each vote in the order of :class:`Votes`, (M, 6 + 2D)."""
    degree = outgoing.shape[1]
    values = np.empty((len(index), 6 + 2 * degree), np.float32)
    for m in range(len(index)):
        b, k, y, x = index[m, 0], index[m, 1], index[m, 2], index[m, 3]
        px, py = x * stride, y * stride
        values[m, 0], values[m, 1] = heat[b, k, y, x], weight[m]
        values[m, 2] = px + offset[b, 2 * k, y, x]
        values[m, 3] = py + offset[b, 2 * k + 1, y, x]
        values[m, 4] = px + centroid[b, 2 * k, y, x]
        values[m, 5] = py + centroid[b, 2 * k + 1, y, x]
        for d in range(degree):
            edge = max(outgoing[k, d], 0)
            values[m, 6 + 2 * d] = px + limb[b, 2 * edge, y, x]
            values[m, 7 + 2 * d] = py + limb[b, 2 * edge + 1, y, x]
    return values


def _disk_maxima(heatmaps: Tensor, radius_cells: float, threshold: float):
    """Peaks of the heatmap averaged over a disk of half the radius; refined cells are not needed
    since a plateau's centre is its maximum after smoothing."""
    size = int(radius_cells)
    y, x = torch.meshgrid(
        torch.arange(-size, size + 1), torch.arange(-size, size + 1), indexing='ij')
    kernel = torch.exp(-(x**2 + y**2) / (2 * (radius_cells / 2)**2)).to(heatmaps)
    kernel = (kernel / kernel.sum()).expand(heatmaps.shape[1], 1, -1, -1)
    smooth = F.conv2d(heatmaps, kernel, padding=size, groups=heatmaps.shape[1])
    peak = smooth == F.max_pool2d(smooth, 3, stride=1, padding=1)
    return heatmaps, peak & (heatmaps > max(threshold, 0.5))
