"""SegNet (paper, 3.3): whose each person pixel is."""
import warnings
from math import log
from typing import Dict, Optional, Sequence, Tuple, Union

import torch
from mmpose.registry import MODELS
from mmpose.utils.typing import (
    ConfigType,
    Features,
    InstanceList,
    OptConfigType,
    OptSampleList,
    Predictions,
)
from torch import Tensor

from kdc_mm_runtime.found_people import FoundPeople
from kdc_mm_runtime.people import People

from ...codecs.owner_maps import IGNORED, is_person
from ...codecs.pose_seg import PoseSeg
from ...codecs.sampling import resize_map, upsample_to_input
from ...codecs.targets import build_mask_fields
from ...config_types import build_of_mmpose
from ..losses.field_losses import vector_loss
from ..losses.instance_losses import instance_means
from .field_head import FieldHead, conv_stack
from .flip import Fields
from .instances import pack_instances
from .settings import check_test_cfg, take_old_unit

CENTROID_KINDS = ('static', 'dynamic', 'keypoint')
#: Batches without any mask after which training is told so.
_PATIENCE = 100
#: Bandwidths lie within e^±4 of R.
_WIDEST = 4.


@MODELS.register_module()
class KDCSegHead(FieldHead):
    """SegNet: semantic map, MaskCentroid offsets and bandwidth.

    Without keypoints there are no dynamic centroids to gather pixels around, so alone it trains and
    gives its fields, but no instances; :class:`KDCHead` adds PoseNet.

    Args:
        in_channels (int): Channels of each feature map used.
        decoder (dict | PoseSeg): The PoseSeg codec or its config.
        num_keypoints (int, optional): Checked against the codec's data set if given.
        in_index (int | sequence[int]): Feature maps to use; several are summed. Defaults to -1.
        coarse_channels (int, optional): See :class:`FieldHead`.
        centroid (str): What the instances' φ_j (eq. 6) are trained around, and the only difference
            between the three. ``'static'``: mean of the mask's pixels; ``'dynamic'``: mean of their
            embeddings (eq. 7); ``'keypoint'``: mean of the embeddings at the person's labelled
            keypoints that lie on its mask, as decoding has it, or ``'dynamic'`` where there are
            none. Decoding takes the embeddings at the keypoints whatever the kind: a static
            network has learnt to let them point to the mean of the mask. Defaults to
            ``'dynamic'``.
        feat_channels (int): Channels of the 3×3 convolutions. Defaults to 64.
        num_convs (int): 3×3 convolutions before the up-sampling to the mask stride; one more with
            half the channels follows it. With 0 both are left out. Defaults to 2.
        norm_cfg (dict): Defaults to batch norm.
        mask_unit (float): A 1 of the network is this many pixels of a MaskCentroid offset.
            Defaults to 64.
        loss_semantic (dict): Loss of logits, targets and weights (B, H, W), by registry name.
        loss_mask_centroid (dict, optional): Loss of the embeddings and their instances' centroids
            (P, 2) in ``mask_unit`` (eq. 5), by registry name: any that takes these two. Serves
            every kind of centroid; by default φ_j alone trains the embeddings.
        loss_instance (dict): Loss of the embeddings, centroids, bandwidths and owners in pixels,
            see :class:`~kdc_mm.models.losses.InstanceGaussianLoss`.
        init_cfg (dict, optional): Initialisation.

    Raises:
        ValueError: for an unknown kind of centroid.
    """

    def __init__(self,
                 in_channels: int,
                 decoder: Union[ConfigType, PoseSeg],
                 num_keypoints: Optional[int] = None,
                 in_index: Union[int, Sequence[int]] = -1,
                 coarse_channels: Optional[int] = None,
                 centroid: str = 'dynamic',
                 feat_channels: int = 64,
                 num_convs: int = 2,
                 norm_cfg: ConfigType = dict(type='BN'),
                 mask_unit: float = 64.,
                 loss_semantic: ConfigType = dict(type='PixelBCELoss', loss_weight=2.),
                 loss_mask_centroid: OptConfigType = None,
                 loss_instance: ConfigType = dict(type='InstanceGaussianLoss'),
                 init_cfg: OptConfigType = None) -> None:
        if centroid not in CENTROID_KINDS:
            raise ValueError(f'KDCSegHead: centroid must be one of {CENTROID_KINDS}, '
                             f'got {centroid!r}.')
        super().__init__(in_channels, decoder, num_keypoints, in_index, coarse_channels, init_cfg)
        self.centroid = centroid
        self.convs = conv_stack(in_channels, feat_channels, num_convs, norm_cfg)
        fine_channels = feat_channels // 2 if num_convs else in_channels
        self.fine_convs = conv_stack(feat_channels, fine_channels, min(num_convs, 1), norm_cfg)
        self._make_outputs(fine_channels, 4)
        self._batches_without_masks: Optional[int] = 0  # None once there was one with masks
        self.loss_semantic = build_of_mmpose(loss_semantic, MODELS)
        self.loss_instance = build_of_mmpose(loss_instance, MODELS)
        loss_mask_centroid, self.mask_unit = take_old_unit(
            loss_mask_centroid or {}, 'unit_px', 'mask_unit', mask_unit)
        self.loss_mask_centroid = build_of_mmpose(
            loss_mask_centroid, MODELS) if loss_mask_centroid else None

    @property
    def field_names(self) -> Tuple[str, ...]:
        return 'semantic', 'mask_centroids', 'log_bandwidth'

    @property
    def output_settings(self) -> dict:
        return dict(
            super().output_settings,
            mask_stride=self.decoder.mask_stride,
            mask_unit=float(self.mask_unit))

    def init_weights(self) -> None:
        super().init_weights()
        self._init_outputs([0.] * 4)

    def forward(self, feats: Features) -> Fields:
        """
        Args:
            feats (Features): Feature maps of backbone or neck.

        Returns:
            dict: at the mask stride ``semantic`` (B, 1, h', w') logits, ``mask_centroids``
            (B, 2, h', w') offsets v and ``log_bandwidth`` (B, 1, h', w') ln σ, in input pixels.
        """
        width, height = self.decoder.mask_size
        features = self.convs(self.select_features(feats))
        maps = self._outputs(self.fine_convs(resize_map(features, (height, width))), feats)
        semantic, offset, log_bandwidth = maps.split([1, 2, 1], 1)
        return dict(
            semantic=semantic,
            mask_centroids=offset.float() * self.mask_unit,
            # a fresh network starts with σ = R
            log_bandwidth=log_bandwidth.clamp(-_WIDEST, _WIDEST) + log(self.decoder.radius))

    def predict(self,
                feats: Features,
                batch_data_samples: OptSampleList,
                test_cfg: ConfigType = {}) -> Predictions:
        """Fields of every image and no instances, see the class."""
        check_test_cfg(test_cfg, type(self).__name__)
        self._check_output_settings()
        fields = self.forward(feats[0] if test_cfg.get('flip_test', False) else feats)
        return self.decode(fields), self._pack_fields(fields)

    def decode(self,
               batch_outputs: Union[Fields, Tensor, Sequence[Tensor]],
               batch_data_samples: OptSampleList = None,
               poses: None = None) -> InstanceList:
        """No instances for any image, see the class."""
        batch = len(self._named_fields(batch_outputs)['semantic'])
        nobody = FoundPeople.of(People.none(self.num_keypoints))
        return [pack_instances(nobody) for _ in range(batch)]

    def loss(self,
             feats: Features,
             batch_data_samples: OptSampleList,
             train_cfg: ConfigType = {}) -> dict:
        """Losses of a batch (eqs. 5 to 7), at input resolution.

        Returns:
            dict: ``loss_semantic``, ``loss_instance`` and, if the head has it,
            ``loss_mask_centroid``; all 0 for images without masks.
        """
        self.trained_with = None
        self._look_for_masks(batch_data_samples)
        fields = {
            name: upsample_to_input(field.float(), self.decoder.mask_stride,
                                    self.decoder.input_size)
            for name, field in self.forward(feats).items()
        }
        tables = self._keypoint_tables(batch_data_samples, fields['semantic'].device)
        owner = self._mask_owners(batch_data_samples, fields['semantic'].device)
        target = build_mask_fields(owner)
        return dict(
            loss_semantic=self.loss_semantic(
                fields['semantic'][:, 0], target['semantic'], target['semantic_weight']),
            **self._instance_losses(fields['mask_centroids'], fields['log_bandwidth'][:, 0], owner,
                                    tables))

    def _look_for_masks(self, samples) -> None:
        """Warn, once, where training has begun and no image had masks."""
        if any('mask_owner' in sample.get('gt_fields', ()) for sample in samples):
            self._batches_without_masks = None
        elif self._batches_without_masks is not None:
            self._batches_without_masks += 1
            if self._batches_without_masks == _PATIENCE:
                warnings.warn(
                    f'KDCSegHead: none of the first {_PATIENCE} batches has masks, so none are '
                    'learnt. Take KDCPoseHead instead of KDCHead, or data with segmentations '
                    '(tools/dataset_tools/check_data.py counts them).')

    def _mask_owners(self, samples, device) -> Tensor:
        """Owner maps (B, H, W) of the images' masks; all ignored without masks."""
        width, height = self.decoder.input_size
        return torch.stack([
            sample.gt_fields.mask_owner[0].to(device) if 'mask_owner' in sample.gt_fields else
            torch.full((height, width), IGNORED, dtype=torch.uint8, device=device)
            for sample in samples
        ])

    def _instance_losses(self, offset: Tensor, log_bandwidth: Tensor, owner: Tensor,
                         tables: Sequence[Tensor]) -> Dict[str, Tensor]:
        """Losses of a batch's embeddings, all its instances at once.

        Args:
            offset (Tensor): (B, 2, H, W) MaskCentroid offsets v in pixels.
            log_bandwidth (Tensor): (B, H, W).
            owner (Tensor): (B, H, W) uint8 owner maps.
            tables (sequence[Tensor]): B keypoint tables (N, K, 3).
        """
        index = is_person(owner).nonzero(as_tuple=True)
        image, row, column = index
        pixels = torch.stack([column, row], 1).float()
        embeddings = pixels + offset[image, :, row, column]
        image, instance = number_instances(image, owner[index])
        sigmas = instance_means(log_bandwidth[index][:, None], instance, len(image))[:, 0].exp()
        centroids = instance_means(
            pixels if self.centroid == 'static' else embeddings, instance, len(image),
            count_keypoints(tables, owner)[index] if self.centroid == 'keypoint' else None)
        losses = dict(
            loss_instance=self.loss_instance(embeddings, centroids, sigmas, instance, image))
        if self.loss_mask_centroid is not None:
            losses['loss_mask_centroid'] = vector_loss(
                self.loss_mask_centroid, embeddings, centroids[instance], self.mask_unit)
        return losses


def number_instances(image: Tensor, owner: Tensor) -> Tuple[Tensor, Tensor]:
    """Number the n instances of a batch that own a pixel, image by image.

    Args:
        image (Tensor): (P,) int64 image of each person pixel.
        owner (Tensor): (P,) uint8 owner of each, 1 to 254.

    Returns:
        tuple: image of each instance (n,), ascending, and instance of each pixel (P,), both int64.
    """
    name = image * 256 + owner
    present = name.bincount() > 0
    return present.nonzero()[:, 0] // 256, (present.cumsum(0) - 1)[name]


def count_keypoints(tables: Sequence[Tensor], owner: Tensor) -> Tensor:
    """How many labelled keypoints of the pixel's own person lie on each pixel.

    Args:
        tables (sequence[Tensor]): B keypoint tables (N, K, 3): x, y in pixels, labelled. Row j is
            person j + 1 of the owner map.
        owner (Tensor): (B, H, W) uint8 owner maps.

    Returns:
        Tensor: (B, H, W) float32.
    """
    height, width = owner.shape[1:]
    person = torch.cat([torch.arange(len(table)) + 1 for table in tables]).to(owner.device)
    image = torch.cat([torch.full((len(table), ), i) for i, table in enumerate(tables)])
    x, y, labelled = torch.cat(list(tables)).unbind(-1)
    column, row = x.round().clamp(-1, width), y.round().clamp(-1, height)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    position = (image.to(owner.device)[:, None].expand_as(x),
                row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long())
    counts = inside & (labelled > 0) & (owner[position] == person[:, None])
    return torch.zeros(owner.shape, device=owner.device).index_put(
        position, counts.float(), accumulate=True)
