"""What MMPose's AssociativeEmbedding head lacks to be trained; no part of KDC."""
from typing import Optional

from mmpose.models.losses import KeypointMSELoss
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class ImageHeatmapMSELoss(KeypointMSELoss):
    """MMPose's ``KeypointMSELoss`` over the heatmaps of whole images.

    MMPose's ``AssociativeEmbeddingHead`` hands its heatmap loss the keypoint weights of every
    person, (N, K), which do not fit the heatmaps of B images, (B, K, h, w), that show all: with
    ``KeypointMSELoss`` a batch cannot be trained on. This loss leaves them out and keeps the mask,
    as the original implementation does.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__(loss_weight=loss_weight)

    def forward(self,
                output: Tensor,
                target: Tensor,
                target_weights: Tensor,
                mask: Optional[Tensor] = None) -> Tensor:
        """
        Args:
            output (Tensor): (B, K, h, w).
            target (Tensor): The same shape.
            target_weights (Tensor): (N, K) weights of the batch's persons, not used.
            mask (Tensor, optional): (B, 1, h, w), 0 where ignored.

        Returns:
            Tensor: scalar.
        """
        return super().forward(output, target, mask=mask)
