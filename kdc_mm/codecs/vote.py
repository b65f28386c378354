"""Vote: every confident cell points at its keypoint, and votes that agree become one keypoint."""
from typing import NamedTuple, Optional

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .fields import cell_positions

_WEIGHT_BINS = 64


class Votes(NamedTuple):
    """M votes, ordered by image, then by keypoint channel. Positions are input pixels (x, y).

    ``image`` (M,), ``channel`` (M,), ``score`` (M,) heatmap value, ``weight`` (M,) score times F*,
    ``position`` (M, 2) voted keypoint, ``centroid`` (M, 2) predicted person centroid,
    ``ends`` (M, D, 2) predicted far ends of the limbs that leave this keypoint.
    """
    image: np.ndarray
    channel: np.ndarray
    score: np.ndarray
    weight: np.ndarray
    position: np.ndarray
    centroid: np.ndarray
    ends: np.ndarray


class Keypoints(NamedTuple):
    """n detected keypoints of one image, ordered by channel; fields as in :class:`Votes`."""
    channel: np.ndarray
    score: np.ndarray
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
        max_votes (int): Most votes per image; the strongest are kept.

    Returns:
        Votes: arrays on the host.
    """
    batch, num_keypoints, height, width = heatmaps.shape
    position = cell_positions(height, width, stride, heatmaps.device)
    if key_centroids is None:
        heatmaps, candidate = _disk_maxima(heatmaps, radius / stride, threshold)
        squared = torch.zeros_like(heatmaps)
    else:
        offset = key_centroids.view(batch, num_keypoints, 2, height, width)
        squared = offset.square().sum(2)
        candidate = (heatmaps > threshold) & (squared <= vote_radius**2)
    candidate = _strongest(candidate, heatmaps, max_votes)
    b, k, y, x = candidate.nonzero(as_tuple=True)

    score = heatmaps[b, k, y, x]
    weight = score * gaussian_response(squared[b, k, y, x], radius / 2)
    start = position[:, y, x].T
    voted = start if key_centroids is None else start + offset[b, k, :, y, x]
    centroid = start + person_centroids.view(batch, num_keypoints, 2, height, width)[b, k, :, y, x]
    edge = outgoing[k]
    limb = limbs.view(batch, -1, 2, height, width)
    ends = start[:, None] + limb[b[:, None], edge.clamp(min=0), :, y[:, None], x[:, None]]

    packed = torch.cat(
        [torch.stack([score, weight], 1), voted, centroid, ends.flatten(1)], 1).float()
    packed = packed.cpu().numpy()
    index = torch.stack([b, k]).cpu().numpy()
    return Votes(index[0], index[1], packed[:, 0], packed[:, 1], packed[:, 2:4], packed[:, 4:6],
                 packed[:, 6:].reshape(len(packed), outgoing.shape[1], 2))


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


def _strongest(candidate: Tensor, heatmaps: Tensor, max_votes: int) -> Tensor:
    """Drop the weakest candidates of images that have more than ``max_votes``."""
    for image in (candidate.flatten(1).sum(1) > max_votes).nonzero().flatten().tolist():
        score = torch.where(candidate[image], heatmaps[image], -1.).flatten()
        keep = torch.zeros_like(score, dtype=torch.bool)
        keep[score.topk(max_votes).indices] = True
        candidate[image] &= keep.view_as(candidate[image])
    return candidate


def full_disk_weight(radius: float, vote_radius: float, stride: int) -> float:
    """Weight that all cells of one undisturbed disk give together, at heat 1."""
    steps = np.arange(-int(vote_radius // stride), int(vote_radius // stride) + 1) * stride
    squared = steps[:, None]**2 + steps[None]**2
    return float(np.exp(-squared / (2 * (radius / 2)**2))[squared <= vote_radius**2].sum())


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
