"""Maps of PyTorch at another size; between their cells: :mod:`kdc_mm_runtime.sampling`."""
import torch.nn.functional as F
from torch import Tensor

from kdc_mm_runtime.sampling import (
    AxisSamples,
    bilinear,
    bilinear_njit,
    corners,
    follow_vectors,
    interpolate,
    sample_axis,
)

__all__ = [
    'AxisSamples', 'bilinear', 'bilinear_njit', 'corners', 'follow_vectors', 'interpolate',
    'resize_map', 'sample_axis', 'upsample_to_input'
]


def resize_map(maps: Tensor, size) -> Tensor:
    """Bilinear resize to (h, w) that keeps the corner cells in place."""
    size = tuple(size)
    if tuple(maps.shape[2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode='bilinear', align_corners=True)


def upsample_to_input(maps: Tensor, stride: int, input_size) -> Tensor:
    """Bilinear up-sampling that keeps cell (u, v) on input pixel (s·u, s·v).

    Pixels beyond the last cell repeat its value; there are none at sizes s·n + 1.

    Args:
        maps (Tensor): (B, C, h, w).
        stride (int): Stride s of the maps.
        input_size (tuple[int, int]): Input size [W, H].

    Returns:
        Tensor: (B, C, H, W).
    """
    width, height = input_size
    covered = ((maps.shape[2] - 1) * stride + 1, (maps.shape[3] - 1) * stride + 1)
    maps = resize_map(maps, covered)
    right, bottom = width - covered[1], height - covered[0]
    if right < 0 or bottom < 0:
        return maps[:, :, :height, :width]
    if right or bottom:
        maps = F.pad(maps, (0, right, 0, bottom), mode='replicate')
    return maps
