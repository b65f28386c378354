"""Losses of SegNet's embedding (paper, 3.3). P person pixels and n instances of a batch."""
from typing import Optional

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ...codecs.gaussians import (
    largest_deviation,
    mask_centroid_response,
    squared_deviation,
)
from .normalise import mean_count


def instance_means(values: Tensor,
                   instance: Tensor,
                   num_instances: int,
                   weight: Optional[Tensor] = None) -> Tensor:
    """Mean over each instance's pixels, e.g. C_j = Σ e_i / |N_j| of eq. 7.

    Args:
        values (Tensor): (P, C).
        instance (Tensor): (P,) int64 in [0, n), whose each pixel is.
        num_instances (int): n; every instance owns a pixel.
        weight (Tensor, optional): (P,) how much each pixel counts; alike in instances of which
            none does.

    Returns:
        Tensor: (n, C), differentiable.
    """
    def total_of(part: Tensor) -> Tensor:
        return part.new_zeros(num_instances, *part.shape[1:]).index_add(0, instance, part)

    weight = torch.ones_like(values[:, 0]) if weight is None else (
        torch.where(total_of(weight)[instance] > 0, weight, 1.))
    return total_of(values * weight[:, None]) / total_of(weight)[:, None]


@MODELS.register_module()
class InstanceGaussianLoss(nn.Module):
    """Trains φ_j (eqs. 6, 7) against the instance's mask, over all person pixels of its image.

    Two terms: the Dice distance of φ_j and the mask, whose optimum is the mask's IoU but whose
    gradient dies far from the centroid; and the cross-entropy of the margin
    ln 2 − |e_i − C_j|²/2σ_j², positive exactly where φ_j > 0.5, which pulls from any distance.
    Own and foreign pixels weigh the same in the second, however large the instance. Averaged over
    the instances of an image, then over the images of the global batch that have any.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self,
                embeddings: Tensor,
                centroids: Tensor,
                sigmas: Tensor,
                instance: Tensor,
                image: Optional[Tensor] = None) -> Tensor:
        """
        Args:
            embeddings (Tensor): (P, 2) in pixels, one image's after the other's.
            centroids (Tensor): (n, 2) C_j in pixels.
            sigmas (Tensor): (n,) σ_j in pixels.
            instance (Tensor): (P,) int64 in [0, n), whose each pixel is.
            image (Tensor, optional): (n,) int64 image of each instance, ascending. By default all
                are in one.

        Returns:
            Tensor: scalar; 0 without instances.
        """
        if image is None:
            image = torch.zeros_like(sigmas, dtype=torch.int64)
        pixels = image[instance].unique_consecutive(return_counts=True)[1].tolist()
        images = mean_count(sigmas.new_tensor(len(pixels)))
        if not pixels:  # still a part of the graph, which distributed training needs
            return embeddings.sum() + sigmas.sum()
        image = image.unique_consecutive(return_inverse=True)[1]
        losses = self._losses_of_instances(
            pad_sequence(embeddings.split(pixels), batch_first=True)[image], centroids, sigmas,
            pad_sequence(instance.split(pixels), batch_first=True, padding_value=-1)[image])
        return self.loss_weight * instance_means(losses[:, None], image, len(pixels)).sum() / images

    @staticmethod
    def _losses_of_instances(embeddings: Tensor, centroids: Tensor, sigmas: Tensor,
                             instance: Tensor) -> Tensor:
        """Both terms of each instance: (n,).

        Args:
            embeddings (Tensor): (n, P', 2) of all person pixels of the instance's image, padded.
            centroids (Tensor): (n, 2).
            sigmas (Tensor): (n,).
            instance (Tensor): (n, P') int64, whose each pixel is, -1 for padding.
        """
        (x, y), centre = embeddings.unbind(-1), centroids[..., None]
        squared = (x - centre[:, 0]).square() + (y - centre[:, 1]).square()
        exponent = squared_deviation(squared, sigmas[:, None])
        own = instance == torch.arange(len(sigmas), device=instance.device)[:, None]
        pixel = (instance >= 0).to(squared.dtype)
        size = own.sum(1, dtype=squared.dtype)
        phi = mask_centroid_response(squared, sigmas[:, None])
        dice = 1 - 2 * (phi * own).sum(1) / ((phi * pixel).sum(1) + size)
        others = (pixel.sum(1) - size).clamp(min=1)
        weight = torch.where(own, 1 / size[:, None], pixel / others[:, None]) / 2
        entropy = F.binary_cross_entropy_with_logits(
            largest_deviation(0.5) - exponent, own.to(squared.dtype), weight, reduction='none')
        return dice + entropy.sum(1)
