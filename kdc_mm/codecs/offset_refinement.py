"""Recursive offset refinement (PersonLab; Papandreou et al., 2018, 3.1.2)."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .targets import cell_positions


def refine_offsets(offset: Tensor, stride: int, steps: int) -> Tensor:
    """Follow offsets to their target: e ← e + v(e), where e = p + v(p) to begin with.

    A network sees little of what is far away. Where its offset leads, the target is near, and what
    the field says there corrects it.

    Args:
        offset (Tensor): v (B, 2C, h, w), C fields of (x, y) in input pixels, cell (u, v) on input
            pixel (stride · u, stride · v).
        stride (int): Stride of the map.
        steps (int): How often; 0 leaves the offsets as they are.

    Returns:
        Tensor: e − p, of the same shape. v is interpolated between cells, and beyond the map it is
        that of the border.
    """
    if not steps:
        return offset
    field = offset.unflatten(1, (-1, 2)).flatten(0, 1)
    height, width = field.shape[2:]
    start = cell_positions(height, width, stride, field.device)
    half = stride * torch.tensor([max(width - 1, 1), max(height - 1, 1)], device=field.device) / 2
    end = start + field
    for _ in range(steps):
        grid = end.permute(0, 2, 3, 1) / half - 1  # the map spans [-1, 1]
        end = end + F.grid_sample(field, grid, padding_mode='border', align_corners=True)
    return (end - start).view_as(offset)
