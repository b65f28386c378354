"""What MMPose's and mmdet's networks lack to be trained as KDC is; no part of KDC."""
from typing import Dict, List, Sequence, Tuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2d
from mmcv.transforms import BaseTransform
from mmdet.models import MaskRCNN, RPNHead
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from mmpose.codecs import DecoupledHeatmap
from mmpose.datasets.transforms.formatting import image_to_tensor
from mmpose.models.heads import CIDHead, DEKRHead
from mmpose.models.heads.heatmap_heads.cid_head import TruncSigmoid
from mmpose.models.necks import FPN
from mmpose.registry import KEYPOINT_CODECS, MODELS, TRANSFORMS
from torch import Tensor, nn

from kdc_mm.codecs.owner_maps import IGNORED, NOBODY

from .deform_conv import SampledDeformConv2d


@MODELS.register_module()
class MergedFPN(FPN):
    """MMPose's FPN with its levels, enlarged to the first, summed or one beside the other.

    MMPose's bottom-up heads read one feature map, and MMPose builds one neck: of a list of necks
    it builds none and says nothing. Merging has no weights: the network has those of the FPN.

    Args:
        levels (str): 'sum', as KDC's heads merge the levels of ``in_index``, or 'concat', as the
            configs of DEKR and CID merge those of HRNet. Defaults to 'sum'.
        **kwargs: Those of MMPose's ``FPN``; ``upsample_cfg`` is how levels are enlarged.

    Raises:
        ValueError: if ``levels`` is neither.
    """

    def __init__(self, levels: str = 'sum', **kwargs) -> None:
        if levels not in ('sum', 'concat'):
            raise ValueError(f"MergedFPN: levels must be 'sum' or 'concat', got {levels!r}.")
        super().__init__(**kwargs)
        self.levels = levels

    def forward(self, inputs: Sequence[Tensor]) -> List[Tensor]:
        """
        Args:
            inputs (sequence[Tensor]): Features (B, C_i, h_i, w_i) of the backbone.

        Returns:
            list[Tensor]: one map (B, out_channels or num_outs · out_channels, h_0, w_0). It is a
            list because MMPose's ``AssociativeEmbeddingHead`` predicts without flip test from
            lists alone.
        """
        maps = super().forward(inputs)
        size = maps[0].shape[2:]
        maps = [maps[0], *(F.interpolate(one, size=size, **self.upsample_cfg)
                           for one in maps[1:])]
        return [sum(maps) if self.levels == 'sum' else torch.cat(maps, 1)]


@MODELS.register_module()
class SampledDEKRHead(DEKRHead):
    """MMPose's ``DEKRHead`` with :class:`.deform_conv.SampledDeformConv2d`, so that a CPU can train
    it."""

    def _make_displacement_conv_layers(self, **settings) -> nn.Module:
        layers = super()._make_displacement_conv_layers(**settings)
        for layer in layers.modules():
            if isinstance(layer, DeformConv2d):
                layer.__class__ = SampledDeformConv2d
        return layers


@MODELS.register_module()
class XavierCIDHead(CIDHead):
    """MMPose's ``CIDHead``, whose layers start at Xavier's scale.

    MMPose starts them at a deviation of 0.001, whatever ``init_cfg`` says. A person's heatmaps are
    a product of five such layers, and a step of Adam moves each weight by as much: they grow along
    one direction, and hundreds of iterations later all keypoints of a person have the same
    heatmap. The last layer starts as in MMPose, at the prior probability.

    Its heatmaps are held below 1 by 1e-4, which bfloat16 rounds to 1, of whose complement the loss
    takes the logarithm: they are computed in float32.
    """

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        for layer in self.modules():
            if isinstance(layer, TruncSigmoid):
                layer.register_forward_pre_hook(lambda _, logits: (logits[0].float(), ))

    def init_weights(self) -> None:
        super().init_weights()
        for layer in self.gfd_module.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer is not (
                    self.gfd_module.heatmap_conv):
                nn.init.xavier_normal_(layer.weight)


@KEYPOINT_CODECS.register_module()
class UnshiftedDecoupledHeatmap(DecoupledHeatmap):
    """MMPose's codec of CID, decoded to where it encodes.

    - It encodes a keypoint in the nearest cell, whose middle is on input pixel s·u; ``CIDHead``
      adds half a cell to what it decodes, as if keypoints were rounded down. That is 2 px too far
      right and down, which this codec takes off beforehand.
    - MMPose draws a Gaussian a cell too far left and up where the fraction of 3σ is below one half.
      CID's σ is of any size, one per person: here the fraction is three quarters.
    """

    def _get_instance_wise_sigmas(self, bbox: np.ndarray) -> np.ndarray:
        """σ (N,) of persons with boxes (N, 4, 2), cells."""
        return (np.floor(3 * super()._get_instance_wise_sigmas(bbox)) + 0.75) / 3

    def decode(self, instance_heatmaps: np.ndarray,
               instance_scores: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """
        Args:
            instance_heatmaps (np.ndarray): (N, K, h, w).
            instance_scores (np.ndarray): (N, 1).

        Returns:
            tuple: keypoints (N, K, 2) in input pixels, half a cell before their place, and scores
            (N, K).
        """
        keypoints, scores = super().decode(instance_heatmaps, instance_scores)
        return keypoints - self.scale_factor / 2, scores


@MODELS.register_module()
class MixedMaskRCNN(MaskRCNN):
    """mmdet's ``MaskRCNN`` whose layers may compute in bfloat16 and with channels last on a CPU.

    mmcv's RoIAlign knows neither: it refuses bfloat16, and reads features with channels last as
    if they were first, without a word. It gets float32 with channels first.
    """

    def extract_feat(self, batch_inputs: Tensor) -> Tuple[Tensor, ...]:
        """Features (B, C, h_i, w_i) float32 of each level."""
        return tuple(level.float().contiguous() for level in super().extract_feat(batch_inputs))


@MODELS.register_module()
class MixedRPNHead(RPNHead):
    """mmdet's ``RPNHead`` whose layers may compute in bfloat16, which mmcv's suppression does not
    know."""

    def forward(self, x: Tuple[Tensor, ...]) -> Tuple[List[Tensor], List[Tensor]]:
        """Scores and box deltas of each level, float32."""
        scores, deltas = super().forward(x)
        return [level.float() for level in scores], [level.float() for level in deltas]


@TRANSFORMS.register_module()
class PackPersonInstances(BaseTransform):
    """Hand the persons that ``BottomupGetPersonMasks`` has drawn to a detector of mmdet.

    What a KDC head learns masks from is what the detector does: the same images, the same random
    changes, the same visible pixels of each person. Boxes are those of the masks. What belongs to
    nobody for certain (crowd regions, persons without mask) is ignored.

    Required Keys:

        - img, img_id, img_path, ori_shape
        - mask_owner (h, w) uint8 (optional)

    Added Keys:

        - inputs (Tensor): (3, h, w) uint8
        - data_samples (DetDataSample): ``gt_instances`` and ``ignored_instances`` with ``bboxes``
          (n, 4) x1, y1, x2, y2 in input pixels, ``labels`` and ``masks``
    """

    def transform(self, results: Dict) -> Dict:
        shape = results['img'].shape[:2]
        owner = results.get('mask_owner')
        if owner is None:
            owner = np.full(shape, IGNORED, np.uint8)
        persons = [owner == label for label in np.unique(owner)
                   if label not in (NOBODY, IGNORED)]
        count, regions = cv2.connectedComponents((owner == IGNORED).astype(np.uint8))
        ignored = [regions == label for label in range(1, count)]
        sample = DetDataSample(metainfo=dict(
            img_id=results['img_id'], img_path=results['img_path'], img_shape=shape,
            ori_shape=results['ori_shape'], scale_factor=(1., 1.)))
        sample.gt_instances = _instances(persons, shape)
        sample.ignored_instances = _instances(ignored, shape)
        return dict(inputs=image_to_tensor(results['img']), data_samples=sample)


def _instances(masks: List[np.ndarray], shape: Tuple[int, int]) -> InstanceData:
    """Instances of label 0 with these masks (h, w) bool; those thinner than 2 px, which have no
    box to learn, are left out."""
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
    kept = [index for index, (_, _, w, h) in enumerate(boxes) if min(w, h) > 1]
    corners = [(x, y, x + w, y + h) for x, y, w, h in (boxes[index] for index in kept)]
    return InstanceData(
        bboxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(kept), dtype=torch.int64),
        masks=BitmapMasks([masks[index].astype(np.uint8) for index in kept], *shape))
