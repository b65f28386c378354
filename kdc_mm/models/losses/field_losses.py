"""Losses of PoseNet's fields (paper, 3.1 and 3.2)."""
from typing import Optional

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from .normalise import mean_count


@MODELS.register_module()
class KeypointDiskLoss(nn.Module):
    """Binary cross-entropy over all pixels that are not ignored (eq. 1).

    Serves the keypoint heatmaps and the semantic map alike.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """
        Args:
            logits (Tensor): (..., h, w) before the sigmoid.
            target (Tensor): The same shape, 1 inside disks.
            weight (Tensor): The same shape, 0 where ignored.

        Returns:
            Tensor: scalar; 0 if every pixel is ignored.
        """
        loss = F.binary_cross_entropy_with_logits(logits, target, weight, reduction='sum')
        return self.loss_weight * loss / mean_count(weight.sum())


class _MaskedL1Loss(nn.Module):
    """L1 norm of vector errors, averaged over the vectors that count.

    Args:
        unit_px (float): Errors count in this many pixels.
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, unit_px: float, loss_weight: float = 1.) -> None:
        super().__init__()
        if unit_px <= 0:
            raise ValueError(f'{type(self).__name__}: the unit must be greater than 0 px, '
                             f'got {unit_px}.')
        self.unit_px = unit_px
        self.loss_weight = loss_weight

    def forward(self, vectors: Tensor, target: Tensor, weight: Optional[Tensor] = None) -> Tensor:
        """
        Args:
            vectors (Tensor): (..., 2) pixels.
            target (Tensor): The same shape.
            weight (Tensor, optional): (...), 1 where the target is defined. All count without it.

        Returns:
            Tensor: scalar; 0 if nothing counts.
        """
        error = (vectors - target).abs().sum(-1) / self.unit_px
        if weight is None:
            weight = torch.ones_like(error)
        return self.loss_weight * (error * weight).sum() / mean_count(weight.sum())


@MODELS.register_module()
class KeyCentroidLoss(_MaskedL1Loss):
    """L1 of the KeyCentroid vectors over disk pixels, in units of R (eq. 4).

    Args:
        radius (float): Disk radius R in pixels, so that vectors range within [-1, 1] as the
            heatmap within [0, 1].
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, radius: float = 32., loss_weight: float = 1.) -> None:
        super().__init__(radius, loss_weight)


@MODELS.register_module()
class LimbDisplacementLoss(_MaskedL1Loss):
    """L1 of displacements that lead out of the disk: along limbs, or to the person's centroid.

    Args:
        unit_px (float): Typical length of a limb in pixels. Defaults to 64.
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, unit_px: float = 64., loss_weight: float = 1.) -> None:
        super().__init__(unit_px, loss_weight)
