"""Vote on any device: every confident cell points at its keypoint (paper, 3.4); on the host it is
:mod:`kdc_mm_runtime.vote`."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdc_mm_runtime.vote import PoseMaps, Votes, VoteSettings, heaviest, split_by_image
from kdc_mm_runtime.vote import collect_votes as collect_votes_on_host

from .gaussians import key_centroid_response

__all__ = ['PoseMaps', 'VoteSettings', 'Votes', 'collect_votes', 'on_host', 'split_by_image']

#: Least heat of a disk's middle where there are no KeyCentroids: what is rather keypoint than not.
_LEAST_PEAK_HEAT = 0.5


def collect_votes(maps: PoseMaps, outgoing: np.ndarray, settings: VoteSettings) -> Votes:
    """Gather the votes of a batch on its device and move only them to the host.

    Who votes is said at :func:`kdc_mm_runtime.vote.collect_votes`, which does it on the host: its
    twin here would take twice the time there, 3.1 instead of 1.4 ms for 5 persons at 401 px on one
    core, 11 instead of 4.6 ms for 50. Without KeyCentroids (ablation of table 7) the middles of
    disks vote for themselves.

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
        return collect_votes_on_host(on_host(maps), outgoing, settings)
    else:
        squared = maps.key_centroids.unflatten(1, (-1, 2)).square().sum(2)
        voting = (maps.heatmaps > settings.threshold) & (squared <= settings.vote_radius**2)
        votes = _gather_on_device(maps, outgoing, settings, voting)
    kept = heaviest(votes.image, votes.weight, settings.max_votes)
    return Votes(*(part[kept] for part in votes))


def on_host(maps: PoseMaps) -> PoseMaps:
    """Tensors of any device as arrays, float32 and contiguous; copies only what is not."""
    return PoseMaps(*(None if field is None else field.detach().float().contiguous().cpu().numpy()
                      for field in maps[:4]), maps.stride)


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
