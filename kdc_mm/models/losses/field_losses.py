"""Losses of PoseNet's fields and of the semantic map (paper, 3.1 to 3.3)."""
from typing import Optional

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from .normalise import mean_count


@MODELS.register_module(name=['PixelBCELoss', 'KeypointDiskLoss'])
class PixelBCELoss(nn.Module):
    """Binary cross-entropy over all pixels that are not ignored (eq. 1).

    Serves the keypoint heatmaps and the semantic map alike. Its name used to be
    ``KeypointDiskLoss``, which stays registered.

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


@MODELS.register_module(
    name=['VectorL1Loss', 'KeyCentroidLoss', 'LimbDisplacementLoss', 'MaskCentroidLoss'])
class VectorL1Loss(nn.Module):
    """L1 norm of vector errors, averaged over the vectors of the global batch (eqs. 4 and 5).

    Serves KeyCentroids, limb displacements, person centroids and MaskCentroids, each in the unit
    that the head predicts it in. Its names used to be ``KeyCentroidLoss``,
    ``LimbDisplacementLoss`` and ``MaskCentroidLoss``, which stay registered.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self,
                vectors: Tensor,
                target: Tensor,
                weight: Optional[Tensor] = None) -> Tensor:
        """
        Args:
            vectors (Tensor): (..., 2) in the head's unit.
            target (Tensor): The same shape.
            weight (Tensor, optional): (..., 1), how much each vector counts in the mean.

        Returns:
            Tensor: scalar; 0 without vectors.
        """
        error = (vectors - target).abs().sum(-1, keepdim=True)
        weight = torch.ones_like(error) if weight is None else weight
        return self.loss_weight * (error * weight).sum() / mean_count(weight.sum())


def vector_loss(loss: nn.Module,
                vectors: Tensor,
                target: Tensor,
                unit: float,
                weight: Optional[Tensor] = None) -> Tensor:
    """Any loss of predictions and targets, called with vectors in their unit.

    A mean over no vectors is 0. The loss is called all the same, as it may count over processes.

    Args:
        loss (nn.Module): Called with (M, 2) and (M, 2), and with the weight if there is one.
        vectors (Tensor): (M, 2) in pixels.
        target (Tensor): (M, 2) in pixels.
        unit (float): In pixels.
        weight (Tensor, optional): (M, 1).
    """
    weights = [] if weight is None else [weight]
    value = loss(vectors / unit, target / unit, *weights)
    return value if len(vectors) else vectors.sum()
