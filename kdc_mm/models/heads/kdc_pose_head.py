"""PoseNet (paper, 3.1 and 3.2): where keypoints are, and whose."""
from typing import Optional, Sequence, Tuple, Union

import torch
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, OptConfigType, OptSampleList
from torch import Tensor, nn

from ...codecs.gaussians import key_centroid_response
from ...codecs.owner_maps import IGNORED, keypoint_owner_maps
from ...codecs.pose_seg import PoseSeg
from ...codecs.sampling import resize_map
from ...codecs.targets import build_disk_cells
from ...config_types import build_of_mmpose
from ..losses.field_losses import vector_loss
from .field_head import FieldHead, conv_stack
from .flip import Fields
from .settings import take_old_unit

#: Logit of every cell of a fresh network: a heat of 0.05, below the codec's threshold.
_PRIOR_LOGIT = -3.


@MODELS.register_module()
class KDCPoseHead(FieldHead):
    """PoseNet: keypoint heatmaps, KeyCentroids, limb and person-centroid displacements.

    A complete bottom-up head: with MMPose's ``BottomupPoseEstimator`` and any backbone it needs
    nothing else. Fields that the codec does not use are neither predicted nor trained.

    Args:
        in_channels (int): Channels of each feature map used.
        decoder (dict | PoseSeg): The PoseSeg codec or its config.
        num_keypoints (int, optional): Checked against the codec's data set if given.
        in_index (int | sequence[int]): Feature maps to use; several are summed. Defaults to -1.
        coarse_channels (int, optional): See :class:`FieldHead`.
        feat_channels (int): Channels of the 3×3 convolutions. Defaults to 128.
        num_convs (int): 3×3 convolutions before the 1×1 output layer. Defaults to 2.
        norm_cfg (dict): Defaults to batch norm.
        limb_unit (float): A 1 of the network is this many pixels of a limb displacement: about a
            limb's length. KeyCentroids count in radii R. Defaults to 64.
        person_centroid_unit (float, optional): The same for person centroids. Defaults to
            ``limb_unit``.
        key_centroid_weight (str, optional): ``'gaussian'``: a cell's KeyCentroid counts by its
            response F* (eq. 3), with σ = R / 2 as in decoding, so that training looks where
            decoding does. By default all cells of a disk count alike (eq. 4).
        loss_heatmap (dict): Loss of logits, targets and weights (B, K, h, w), by registry name.
        loss_key_centroid, loss_limb, loss_person_centroid (dict): Losses of vectors and targets
            (M, 2) in their unit, by registry name: any that takes these two, and weights (M, 1)
            where KeyCentroids have any.
        init_cfg (dict, optional): Initialisation.

    Raises:
        ValueError: for an unknown weight of KeyCentroids, or a codec that needs MaskCentroids where
            the head is not part of a :class:`KDCHead`.
    """

    def __init__(self,
                 in_channels: int,
                 decoder: Union[ConfigType, PoseSeg],
                 num_keypoints: Optional[int] = None,
                 in_index: Union[int, Sequence[int]] = -1,
                 coarse_channels: Optional[int] = None,
                 feat_channels: int = 128,
                 num_convs: int = 2,
                 norm_cfg: ConfigType = dict(type='BN'),
                 limb_unit: float = 64.,
                 person_centroid_unit: Optional[float] = None,
                 key_centroid_weight: Optional[str] = None,
                 loss_heatmap: ConfigType = dict(type='PixelBCELoss', loss_weight=4.),
                 loss_key_centroid: ConfigType = dict(type='VectorL1Loss'),
                 loss_limb: ConfigType = dict(type='VectorL1Loss', loss_weight=0.5),
                 loss_person_centroid: ConfigType = dict(type='VectorL1Loss', loss_weight=0.1),
                 init_cfg: OptConfigType = None) -> None:
        if key_centroid_weight not in (None, 'gaussian'):
            raise ValueError("KDCPoseHead: key_centroid_weight must be 'gaussian' or None, got "
                             f'{key_centroid_weight!r}.')
        super().__init__(in_channels, decoder, num_keypoints, in_index, coarse_channels, init_cfg)
        is_part = isinstance(decoder, PoseSeg)  # KDCHead hands its parts the codec that it built
        if self.decoder.groups_by_embedding and not is_part:
            raise ValueError('KDCPoseHead: without person centroids and limbs, MaskCentroids tell '
                             "whose a keypoint is. Take KDCHead, or turn the decoder's "
                             'use_person_centroid or use_limbs on.')
        self.key_centroid_weight = key_centroid_weight
        graph = self.decoder.limb_graph
        self.register_buffer('edges', torch.as_tensor(graph.edges), persistent=False)
        self.register_buffer('outgoing', torch.as_tensor(graph.outgoing), persistent=False)
        self.field_channels = dict(heatmaps=self.num_keypoints)
        if self.decoder.use_key_centroid:
            self.field_channels['key_centroids'] = 2 * self.num_keypoints
        if self.decoder.use_person_centroid:
            self.field_channels['person_centroids'] = 2 * self.num_keypoints
        if self.decoder.use_limbs:
            self.field_channels['limbs'] = 2 * len(graph.edges)
        self.convs = conv_stack(in_channels, feat_channels, num_convs, norm_cfg)
        self._make_outputs(feat_channels if num_convs else in_channels,
                           sum(self.field_channels.values()))

        if person_centroid_unit is None:
            person_centroid_unit = limb_unit
        loss_limb, limb_unit = take_old_unit(loss_limb, 'unit_px', 'limb_unit', limb_unit)
        loss_person_centroid, person_centroid_unit = take_old_unit(
            loss_person_centroid, 'unit_px', 'person_centroid_unit', person_centroid_unit)
        self.units = dict(limbs=limb_unit, person_centroids=person_centroid_unit)
        self.loss_heatmap = build_of_mmpose(loss_heatmap, MODELS)
        self.loss_limb = build_of_mmpose(loss_limb, MODELS)
        self.loss_person_centroid = build_of_mmpose(loss_person_centroid, MODELS)
        if self.decoder.use_key_centroid:
            self.units['key_centroids'] = self.decoder.radius
            loss_key_centroid, _ = take_old_unit(
                loss_key_centroid, 'radius', "the codec's radius", self.decoder.radius)
            self.loss_key_centroid = build_of_mmpose(loss_key_centroid, MODELS)

    @property
    def field_names(self) -> Tuple[str, ...]:
        return tuple(self.field_channels)

    @property
    def output_settings(self) -> dict:
        return dict(
            super().output_settings,
            limb_unit=float(self.units['limbs']),
            person_centroid_unit=float(self.units['person_centroids']))

    def init_weights(self) -> None:
        super().init_weights()
        vectors = sum(self.field_channels.values()) - self.num_keypoints
        self._init_outputs([_PRIOR_LOGIT] * self.num_keypoints + [0.] * vectors)

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
        features = self.convs(resize_map(self.select_features(feats), (height, width)))
        maps = self._outputs(features, feats)
        fields = dict(zip(self.field_channels, maps.split(list(self.field_channels.values()), 1)))
        # the network predicts numbers around 1, the fields are pixels, which half precision rounds
        for name in fields.keys() & self.units.keys():
            fields[name] = fields[name].float() * self.units[name]
        return fields

    def loss(self,
             feats: Features,
             batch_data_samples: OptSampleList,
             train_cfg: ConfigType = {}) -> dict:
        """Losses of a batch (eqs. 1, 3 and 4), targets drawn on the features' device.

        Returns:
            dict: ``loss_heatmap``, ``loss_key_centroid``, ``loss_limb``, ``loss_person_centroid``.
        """
        self.trained_with = None
        fields = {name: field.float() for name, field in self.forward(feats).items()}
        heatmaps = fields['heatmaps']
        tables = self._keypoint_tables(batch_data_samples, heatmaps.device)
        ignored = torch.cat([sample.gt_fields.heatmap_ignore for sample in batch_data_samples])
        owner = keypoint_owner_maps(
            tables, self.decoder.heatmap_size, self.decoder.heatmap_stride, self.decoder.radius,
            ignored.to(heatmaps.device))
        cells = build_disk_cells(owner, tables, self.decoder.heatmap_stride, self.edges,
                                 self.outgoing)
        heatmap = torch.zeros_like(heatmaps)
        heatmap[cells.index] = 1

        def loss_at(name: str, loss: nn.Module, index, target: Tensor, weight=None) -> Tensor:
            image, channel, row, column = index
            vectors = fields[name].unflatten(1, (-1, 2))[image, channel, :, row, column]
            return vector_loss(loss, vectors, target, self.units[name], weight)

        learnt = (owner != IGNORED) & self._defined_keypoints(batch_data_samples, owner.device)
        losses = dict(
            loss_heatmap=self.loss_heatmap(heatmaps, heatmap, learnt.float()))
        if 'limbs' in fields:
            losses['loss_limb'] = loss_at('limbs', self.loss_limb, cells.limb_index, cells.limb)
        if 'person_centroids' in fields:
            losses['loss_person_centroid'] = loss_at(
                'person_centroids', self.loss_person_centroid, cells.index, cells.person_centroid)
        if 'key_centroids' in fields:
            losses['loss_key_centroid'] = loss_at(
                'key_centroids', self.loss_key_centroid, cells.index, cells.key_centroid,
                self._response(cells.key_centroid))
        return losses

    def _response(self, key_centroid: Tensor) -> Optional[Tensor]:
        """F* (eq. 3) of cells whose keypoint lies at (M, 2): (M, 1); None if they count alike."""
        if self.key_centroid_weight is None:
            return None
        return key_centroid_response(key_centroid.square().sum(1, keepdim=True),
                                     self.decoder.radius)
