"""A feature pyramid that leaves the backbone's last features within the heads' reach."""
from typing import Sequence, Tuple

from mmpose.models.necks import FPN
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class FPNBesideInput(FPN):
    """MMPose's FPN, and after its outputs its last input as it came.

    For heads with ``coarse_channels``, which correct what a converted network's last features say.
    """

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """
        Args:
            inputs (sequence[Tensor]): Features (B, C_i, h_i, w_i) of the backbone.

        Returns:
            tuple[Tensor]: ``num_outs`` maps (B, out_channels, h_i, w_i), and the last input.
        """
        return (*super().forward(inputs), inputs[-1])
