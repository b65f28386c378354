"""PoseNet and SegNet as one head."""
from typing import Optional, Sequence, Tuple, Union

from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, OptConfigType, OptSampleList
from torch import Tensor

from ...codecs.pose_seg import PoseSeg
from ...config_types import build_of_mmpose
from .field_head import FieldHead
from .flip import Fields


@MODELS.register_module()
class KDCHead(FieldHead):
    """PoseNet and SegNet over the same features, with one PoseSeg decoder: poses and masks.

    Args:
        in_channels (int): Channels of each feature map used.
        decoder (dict | PoseSeg): The PoseSeg codec or its config.
        num_keypoints (int, optional): Checked against the codec's data set if given.
        in_index (int | sequence[int]): Feature maps to use; several are summed. Defaults to -1.
        coarse_channels (int, optional): Channels of the last feature map, whose 1×1 convolutions
            are outputs of a converted network, see :class:`FieldHead`.
        pose_head (dict): Changes to the config of :class:`KDCPoseHead`.
        seg_head (dict): Changes to the config of :class:`KDCSegHead`.
        init_cfg (dict, optional): Initialisation.
    """

    def __init__(self,
                 in_channels: int,
                 decoder: Union[ConfigType, PoseSeg],
                 num_keypoints: Optional[int] = None,
                 in_index: Union[int, Sequence[int]] = -1,
                 coarse_channels: Optional[int] = None,
                 pose_head: ConfigType = dict(),
                 seg_head: ConfigType = dict(),
                 init_cfg: OptConfigType = None) -> None:
        super().__init__(in_channels, decoder, num_keypoints, in_index, coarse_channels, init_cfg)
        shared = dict(in_channels=in_channels, decoder=self.decoder, in_index=0,
                      coarse_channels=coarse_channels)
        for name, part in dict(pose_head=pose_head, seg_head=seg_head).items():
            for key in shared:
                if key in part:
                    raise ValueError(f'KDCHead: {name} cannot have its own {key}; both parts take '
                                     f'that of KDCHead.')
        self.pose_head = build_of_mmpose({'type': 'KDCPoseHead', **shared, **pose_head}, MODELS)
        self.seg_head = build_of_mmpose({'type': 'KDCSegHead', **shared, **seg_head}, MODELS)

    @property
    def field_names(self) -> Tuple[str, ...]:
        return self.pose_head.field_names + self.seg_head.field_names

    @property
    def output_settings(self) -> dict:
        return {**self.pose_head.output_settings, **self.seg_head.output_settings}

    def _shared_features(self, feats: Features) -> Tuple[Tensor, ...]:
        """What both parts look at: the features chosen, and the last ones if ``coarse`` is."""
        chosen = self.select_features(feats)
        return (chosen, ) if self.coarse_channels is None else (chosen, feats[-1])

    def forward(self, feats: Features) -> Fields:
        """
        Args:
            feats (Features): Feature maps of backbone or neck.

        Returns:
            dict: fields of :meth:`KDCPoseHead.forward` and :meth:`KDCSegHead.forward`.
        """
        shared = self._shared_features(feats)
        return {**self.pose_head(shared), **self.seg_head(shared)}

    def loss(self,
             feats: Features,
             batch_data_samples: OptSampleList,
             train_cfg: ConfigType = {}) -> dict:
        """Losses of both heads."""
        self.trained_with = None
        shared = self._shared_features(feats)
        return {
            **self.pose_head.loss(shared, batch_data_samples, train_cfg),
            **self.seg_head.loss(shared, batch_data_samples, train_cfg)
        }
