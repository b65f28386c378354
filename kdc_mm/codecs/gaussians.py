"""Gaussian optimisation: each channel smoothed by a kernel of its own (paper, eqs. 2 and 8)."""
from typing import Sequence

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Weight below which a tap changes nothing.
_NEGLIGIBLE = 1e-9


def gaussian_kernels(sigmas: Sequence[float], device=None) -> Tensor:
    """Sampled, normalised 1-D kernels G(x) ∝ exp(−x²/2σ²).

    Args:
        sigmas (sequence[float]): One σ > 0 per channel, in map cells.

    Returns:
        Tensor: (C, 2r + 1) where r covers three σ of the widest kernel.
    """
    sigma = torch.tensor(sigmas, dtype=torch.float32, device=device)[:, None]
    radius = max(1, int(torch.ceil(3 * sigma.max())))
    x = torch.arange(-radius, radius + 1, dtype=torch.float32, device=device)
    kernel = torch.exp(-x**2 / (2 * sigma**2))
    return kernel / kernel.sum(1, keepdim=True)


def smooth_channels(maps: Tensor, sigmas: Sequence[float]) -> Tensor:
    """Smooth each channel with its own Gaussian (eq. 2 point-wise, eq. 8 instance-wise).

    Args:
        maps (Tensor): (B, C, h, w).
        sigmas (sequence[float]): C values of σ in map cells.

    Returns:
        Tensor: (B, C, h, w); the border repeats its values.
    """
    kernels = gaussian_kernels(sigmas, maps.device).to(maps.dtype)
    if maps.device.type == 'cpu':
        return torch.from_numpy(_smooth_on_host(maps.detach().contiguous().numpy(),
                                                kernels.numpy()))
    return _smooth_on_device(maps, kernels)


def _smooth_on_device(maps: Tensor, kernels: Tensor) -> Tensor:
    channels, size = kernels.shape
    pad = size // 2
    maps = F.pad(maps, (pad, pad, pad, pad), mode='replicate')
    maps = F.conv2d(maps, kernels.view(channels, 1, 1, size), groups=channels)
    return F.conv2d(maps, kernels.view(channels, 1, size, 1), groups=channels)


@numba.njit(cache=True)
def _smooth_on_host(maps, kernels):
    """The same with loops: depthwise convolutions of a few taps are slow on CPUs."""
    batch, channels, height, width = maps.shape
    size = kernels.shape[1]
    reach = size // 2
    padded = np.empty((height, width + 2 * reach), maps.dtype)
    rows = np.empty((height, width), maps.dtype)
    smooth = np.zeros_like(maps)
    for b in range(batch):
        for c in range(channels):
            for y in range(height):
                padded[y, :reach] = maps[b, c, y, 0]
                padded[y, reach:reach + width] = maps[b, c, y]
                padded[y, reach + width:] = maps[b, c, y, width - 1]
                rows[y] = 0
                for t in range(size):
                    tap = kernels[c, t]
                    if tap > _NEGLIGIBLE:
                        for x in range(width):
                            rows[y, x] += tap * padded[y, x + t]
            for y in range(height):
                for t in range(size):
                    tap = kernels[c, t]
                    source = min(max(y + t - reach, 0), height - 1)
                    if tap > _NEGLIGIBLE:
                        for x in range(width):
                            smooth[b, c, y, x] += tap * rows[source, x]
    return smooth
