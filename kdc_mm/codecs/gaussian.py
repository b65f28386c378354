"""Gaussian optimisation: each channel smoothed by a kernel of its own (paper, eqs. 2 and 8)."""
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


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
    kernel = gaussian_kernels(sigmas, maps.device).to(maps.dtype)
    channels, size = kernel.shape
    pad = size // 2
    maps = F.pad(maps, (pad, pad, pad, pad), mode='replicate')
    maps = F.conv2d(maps, kernel.view(channels, 1, 1, size), groups=channels)
    return F.conv2d(maps, kernel.view(channels, 1, size, 1), groups=channels)
