"""Losses of SegNet's embedding (paper, 3.3). P person pixels of one image, n instances."""
import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...codecs.gaussians import gaussian, largest_deviation, squared_deviation


def instance_means(values: Tensor, owner: Tensor, num_instances: int) -> Tensor:
    """Mean over each instance's pixels, e.g. C_j = Σ e_i / |N_j| of eq. 7.

    Args:
        values (Tensor): (P, C).
        owner (Tensor): (P,) int64 in [0, n).
        num_instances (int): n; every instance owns a pixel.

    Returns:
        Tensor: (n, C), differentiable.
    """
    total = values.new_zeros(num_instances, values.shape[1]).index_add(0, owner, values)
    count = torch.bincount(owner, minlength=num_instances)
    return total / count[:, None]


@MODELS.register_module()
class MaskCentroidLoss(nn.Module):
    """L1 between a pixel's embedding and its instance's centroid (eq. 5), of one image.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, embeddings: Tensor, centroids: Tensor) -> Tensor:
        """
        Args:
            embeddings (Tensor): (P, 2) m_i + v_i in the head's unit.
            centroids (Tensor): (P, 2) C_j of the instance that each pixel belongs to, likewise.

        Returns:
            Tensor: scalar; 0 without pixels.
        """
        error = (embeddings - centroids).abs().sum(-1)
        return self.loss_weight * error.sum() / max(len(error), 1)


@MODELS.register_module()
class InstanceGaussianLoss(nn.Module):
    """Trains φ_j (eqs. 6, 7) against the instance's mask, over all person pixels.

    Two terms, averaged over instances: the Dice distance of φ_j and the mask, whose optimum is the
    mask's IoU but whose gradient dies far from the centroid; and the cross-entropy of the margin
    ln 2 − |e_i − C_j|²/2σ_j², positive exactly where φ_j > 0.5, which pulls from any distance.
    Own and foreign pixels weigh the same in the second, however large the instance.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, embeddings: Tensor, centroids: Tensor, sigmas: Tensor,
                owner: Tensor) -> Tensor:
        """
        Args:
            embeddings (Tensor): (P, 2) in pixels.
            centroids (Tensor): (n, 2) C_j in pixels.
            sigmas (Tensor): (n,) σ_j in pixels.
            owner (Tensor): (P,) int64 instance of each pixel.

        Returns:
            Tensor: scalar; 0 without instances.
        """
        squared = (embeddings[None] - centroids[:, None]).square().sum(-1)  # (n, P)
        phi = gaussian(squared, sigmas[:, None])
        margin = largest_deviation(0.5) - squared_deviation(squared, sigmas[:, None])
        instance = torch.arange(len(centroids), device=owner.device)
        mask = (owner == instance[:, None]).to(phi.dtype)
        dice = 1 - 2 * (phi * mask).sum(1) / (phi + mask).sum(1)
        entropy = F.binary_cross_entropy_with_logits(margin, mask, reduction='none')
        own, foreign = mask.sum(1), (1 - mask).sum(1)
        entropy = ((entropy * mask).sum(1) / own +
                   (entropy * (1 - mask)).sum(1) / foreign.clamp(min=1)) / 2
        return self.loss_weight * (dice + entropy).sum() / max(len(centroids), 1)
