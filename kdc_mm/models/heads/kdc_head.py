from typing import Optional, Sequence, Union

from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, OptConfigType, OptSampleList

from .field_head import FieldHead, Fields


@MODELS.register_module()
class KDCHead(FieldHead):
    """PoseNet and SegNet over the same features, with one PoseSeg decoder: poses and masks.

    Args:
        in_channels (int): Channels of each feature map used.
        decoder (dict): Config of the PoseSeg codec.
        num_keypoints (int, optional): Checked against the codec's data set if given.
        in_index (int | sequence[int]): Feature maps to use; several are summed. Defaults to -1.
        pose_head (dict): Changes to the config of :class:`KDCPoseHead`.
        seg_head (dict): Changes to the config of :class:`KDCSegHead`.
        init_cfg (dict, optional): Initialisation.
    """

    def __init__(self,
                 in_channels: int,
                 decoder: ConfigType,
                 num_keypoints: Optional[int] = None,
                 in_index: Union[int, Sequence[int]] = -1,
                 pose_head: ConfigType = dict(),
                 seg_head: ConfigType = dict(),
                 init_cfg: OptConfigType = None) -> None:
        super().__init__(in_channels, decoder, num_keypoints, in_index, init_cfg)
        shared = dict(in_channels=in_channels, decoder=decoder, in_index=in_index)
        self.pose_head = MODELS.build({'type': 'KDCPoseHead', **shared, **pose_head})
        self.seg_head = MODELS.build({'type': 'KDCSegHead', **shared, **seg_head})

    def forward(self, feats: Features) -> Fields:
        """
        Args:
            feats (Features): Feature maps of backbone or neck.

        Returns:
            dict: fields of :meth:`KDCPoseHead.forward` and :meth:`KDCSegHead.forward`.
        """
        return {**self.pose_head(feats), **self.seg_head(feats)}

    def loss(self,
             feats: Features,
             batch_data_samples: OptSampleList,
             train_cfg: ConfigType = {}) -> dict:
        """Losses of both heads."""
        return {
            **self.pose_head.loss(feats, batch_data_samples, train_cfg),
            **self.seg_head.loss(feats, batch_data_samples, train_cfg)
        }
