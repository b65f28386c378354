from typing import List, Optional, Sequence, Tuple, Union

import torch
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, OptConfigType, OptSampleList
from torch import Tensor, nn

from ...codecs.owner_maps import IGNORED
from ...codecs.targets import build_disk_cells
from .field_head import FieldHead, Fields, conv_stack, owner_maps_of, resize_map

#: Share of cells that a fresh network takes for a keypoint: below the codec's threshold.
_PRIOR_LOGIT = -3.


@MODELS.register_module()
class KDCPoseHead(FieldHead):
    """PoseNet: keypoint heatmaps, KeyCentroids, limb and person-centroid displacements.

    A complete bottom-up head: with MMPose's ``BottomupPoseEstimator`` and any backbone it needs
    nothing else.

    Args:
        in_channels (int): Channels of each feature map used.
        decoder (dict): Config of the PoseSeg codec.
        num_keypoints (int, optional): Checked against the codec's data set if given.
        in_index (int | sequence[int]): Feature maps to use; several are summed. Defaults to -1.
        feat_channels (int): Channels of the 3×3 convolutions. Defaults to 128.
        num_convs (int): 3×3 convolutions before the 1×1 output layer. Defaults to 2.
        norm_cfg (dict): Defaults to batch norm.
        loss_heatmap, loss_key_centroid, loss_limb, loss_person_centroid (dict, optional): Losses
            by registry name; the defaults follow the codec's radius.
        init_cfg (dict, optional): Initialisation.
    """

    def __init__(self,
                 in_channels: int,
                 decoder: ConfigType,
                 num_keypoints: Optional[int] = None,
                 in_index: Union[int, Sequence[int]] = -1,
                 feat_channels: int = 128,
                 num_convs: int = 2,
                 norm_cfg: ConfigType = dict(type='BN'),
                 loss_heatmap: ConfigType = dict(type='KeypointDiskLoss', loss_weight=4.),
                 loss_key_centroid: OptConfigType = None,
                 loss_limb: ConfigType = dict(type='LimbDisplacementLoss', loss_weight=0.5),
                 loss_person_centroid: ConfigType = dict(
                     type='LimbDisplacementLoss', loss_weight=0.5),
                 init_cfg: OptConfigType = None) -> None:
        super().__init__(in_channels, decoder, num_keypoints, in_index, init_cfg)
        skeleton = self.decoder.skeleton
        self.register_buffer('edges', torch.as_tensor(skeleton.edges), persistent=False)
        self.register_buffer('outgoing', torch.as_tensor(skeleton.outgoing), persistent=False)
        self.field_channels = dict(heatmaps=self.num_keypoints)
        if self.decoder.use_key_centroid:
            self.field_channels['key_centroids'] = 2 * self.num_keypoints
        self.field_channels.update(
            person_centroids=2 * self.num_keypoints, limbs=2 * len(skeleton.edges))
        self.convs = conv_stack(in_channels, feat_channels, num_convs, norm_cfg)
        self.out = nn.Conv2d(feat_channels if num_convs else in_channels,
                             sum(self.field_channels.values()), 1)

        self.loss_heatmap = MODELS.build(loss_heatmap)
        self.loss_limb = MODELS.build(loss_limb)
        self.loss_person_centroid = MODELS.build(loss_person_centroid)
        if self.decoder.use_key_centroid:
            self.loss_key_centroid = MODELS.build(
                loss_key_centroid or dict(type='KeyCentroidLoss', radius=self.decoder.radius))

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)
        nn.init.constant_(self.out.bias[:self.num_keypoints], _PRIOR_LOGIT)

    def forward(self, feats: Features) -> Fields:
        """
        Args:
            feats (Features): Feature maps of backbone or neck.

        Returns:
            dict: at the heatmap stride ``heatmaps`` (B, K, h, w) logits, and in input pixels
            ``key_centroids`` (B, 2K, h, w), ``person_centroids`` (B, 2K, h, w), ``limbs``
            (B, 4E, h, w).
        """
        width, height = self.decoder.heatmap_size
        maps = self.out(self.convs(resize_map(self.select_features(feats), (height, width))))
        fields = dict(zip(self.field_channels, maps.split(list(self.field_channels.values()), 1)))
        # the network predicts numbers around 1, the fields are pixels
        if 'key_centroids' in fields:
            fields['key_centroids'] = fields['key_centroids'] * self.decoder.radius
        for name, loss in (('limbs', self.loss_limb),
                           ('person_centroids', self.loss_person_centroid)):
            fields[name] = fields[name] * loss.unit_px
        return fields

    def loss(self,
             feats: Features,
             batch_data_samples: OptSampleList,
             train_cfg: ConfigType = {}) -> dict:
        """Losses of a batch (eqs. 1 and 4), targets built on the features' device.

        Returns:
            dict: ``loss_heatmap``, ``loss_key_centroid``, ``loss_limb``, ``loss_person_centroid``.
        """
        fields = {name: field.float() for name, field in self.forward(feats).items()}
        heatmaps = fields['heatmaps']
        owner, tables = self._owners_and_tables(batch_data_samples, heatmaps.device)
        cells = build_disk_cells(owner, tables, self.decoder.heatmap_stride, self.edges,
                                 self.outgoing)
        image, channel, row, column = cells.index
        heatmap = torch.zeros_like(heatmaps)
        heatmap[cells.index] = 1
        limbs = fields['limbs'].unflatten(1, (-1, 2))[
            image[:, None], cells.edge, :, row[:, None], column[:, None]]

        def at_cells(name: str) -> Tensor:
            return fields[name].unflatten(1, (-1, 2))[image, channel, :, row, column]

        losses = dict(
            loss_heatmap=self.loss_heatmap(heatmaps, heatmap, (owner != IGNORED).float()),
            loss_limb=self.loss_limb(limbs, cells.limb, cells.limb_weight),
            loss_person_centroid=self.loss_person_centroid(
                at_cells('person_centroids'), cells.person_centroid))
        if 'key_centroids' in fields:
            losses['loss_key_centroid'] = self.loss_key_centroid(
                at_cells('key_centroids'), cells.key_centroid)
        return losses

    def _owners_and_tables(self, samples, device) -> Tuple[Tensor, List[Tensor]]:
        """Owner maps (B, K, h, w) and keypoint tables of a batch."""
        owners = owner_maps_of(samples, 0, device)
        for owner in owners:
            if owner.shape[0] != self.num_keypoints:
                raise ValueError(
                    f'KDCPoseHead predicts {self.num_keypoints} keypoints, the data set encodes '
                    f'{owner.shape[0]}. Use one codec config in head and pipeline.')
        tables = [sample.gt_instance_labels.keypoint_table.to(device) for sample in samples]
        return torch.stack(owners), tables
