"""The heads of a study on one backbone and neck: KDC's, and those of MMPose and mmdet.

Each function turns a KDC config, which has the data, augmentation, input size, backbone, FPN and
schedule of a study, into the same with another head. Codec, losses and test settings are those of
the head's own config in MMPose or mmdet; what differs is said beside it, and why: the peers are to
be at their best. Letters: input size s (193, 257: 4·n + 1, KDC's cells lie on its pixels), even
size s − 1 for codecs whose cells span input pixels.
"""
from typing import Callable, List, NamedTuple, Optional, Tuple

from mmengine.config import Config, ConfigDict

from kdc_mm.config_types import evaluators_of, type_name

from ..network.named_configs import config_as_read

_PEERS = 'mmpose::body_2d_keypoint/'
AE_CONFIG = _PEERS + 'associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py'
DEKR_CONFIG = _PEERS + 'dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py'
CID_CONFIG = _PEERS + 'cid/coco/cid_hrnet-w32_8xb20-140e_coco-512x512.py'
MASK_RCNN_CONFIG = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

#: Side of the maps that the loss weights of MMPose's configs are made for.
_PUBLISHED_MAP = 128
_STRIDE = 4


def own(cfg: Config) -> None:
    """The network of the study's config as it is, for studies that compare nothing else."""


def kdc(cfg: Config) -> None:
    """KDC as the study's config has it, on the same neck as the others."""
    _merge_levels(cfg, 'sum')
    cfg.model.head.in_index = -1


def kdc_poses(cfg: Config) -> None:
    """KDC without its masks: neither their layers, nor their losses, nor their decoding."""
    kdc(cfg)
    head = cfg.model.head
    head.pop('seg_head', None)
    head.update(head.pop('pose_head', {}), type='KDCPoseHead')
    cfg.val_evaluator = _pose_metrics(cfg)


def associative_embedding(cfg: Config) -> None:
    """MMPose's AssociativeEmbedding.

    - Maps are encoded, refined and decoded without bias (``use_udp``) at stride 4 and not shifted:
      on perfect maps the published decoding of enlarged, shifted maps loses 5 points of AP.
    - The published weight of the tags balances a mean of squares over maps of 128×128. On smaller
      maps peaks of the same size weigh more, and so do the tags here.
    - A 3×3 convolution before the output, as KDC's heads have one: HRNet's features need none.
    """
    published = config_as_read(AE_CONFIG)
    side = _input_side(cfg)
    cells = (side - 1) // _STRIDE + 1
    codec = ConfigDict(published.codec, input_size=(side, side), heatmap_size=(cells, cells),
                       use_udp=True, decode_center_shift=0.)
    _merge_levels(cfg, 'concat')
    width = cfg.model.head.get('pose_head', {}).get('feat_channels', 128)
    _replace_head(
        cfg, published, codec, [dict(type='PackKeypointIndices')],
        conv_out_channels=(width, ), conv_kernel_sizes=(3, ),
        keypoint_loss=dict(type='ImageHeatmapMSELoss'),
        tag_loss=_weighed(published.model.head.tag_loss, codec))


def dekr(cfg: Config) -> None:
    """MMPose's DEKR, without the network that rescores, which was trained on COCO's poses.

    - Gaussians have half the published width on maps of half the size: people whose middles are
      near have one peak otherwise, and on perfect maps of rendered crowds a fifth of AP is lost.
    - The displacements' weight grows on smaller maps as AE's weight of tags does.
    - Its deformable convolutions are computed in a way that suits CPUs
      (:class:`.deform_conv.SampledDeformConv2d`).
    """
    published = config_as_read(DEKR_CONFIG)
    codec = _even_codec(cfg, published)
    codec.sigma = tuple(sigma / 2 for sigma in codec.sigma)
    _merge_levels(cfg, 'concat')
    _replace_head(cfg, published, codec, type='SampledDEKRHead', rescore_cfg=None,
                  displacement_loss=_weighed(published.model.head.displacement_loss, codec))


def cid(cfg: Config) -> None:
    """MMPose's CID.

    - It is decoded to where it encodes (:class:`.parts.UnshiftedDecoupledHeatmap`).
    - Its weights start large enough to tell keypoints apart (:class:`.parts.XavierCIDHead`).
    """
    published = config_as_read(CID_CONFIG)
    codec = _even_codec(cfg, published)
    codec.type = 'UnshiftedDecoupledHeatmap'
    _merge_levels(cfg, 'concat')
    _replace_head(cfg, published, codec, type='XavierCIDHead')
    cfg.model.train_cfg = published.model.train_cfg


def mask_rcnn(cfg: Config) -> None:
    """mmdet's Mask R-CNN for persons.

    - Heads are as wide as the FPN, and sample 128 boxes of an image, a share of the 512 for images
      of 800 px; anchors have half their side.
    - What is ignored is no background to the proposals and boxes near it.
    """
    published = config_as_read(MASK_RCNN_CONFIG)
    model, side = published.model, _use_even_input(cfg)
    width = cfg.model.neck.out_channels
    model.backbone = _scoped(cfg.model.backbone)
    model.neck = _scoped(ConfigDict(cfg.model.neck, type='FPN', num_outs=5))
    model.neck.upsample_cfg = _EVEN_UPSAMPLING
    source = cfg.model.data_preprocessor
    model.data_preprocessor.update(mean=source.mean, std=source.std, bgr_to_rgb=source.bgr_to_rgb)
    model.type = 'mmpose.MixedMaskRCNN'
    model.rpn_head.update(type='mmpose.MixedRPNHead', in_channels=width, feat_channels=width)
    model.rpn_head.anchor_generator.scales = [4]
    for part in ('bbox', 'mask'):
        model.roi_head[f'{part}_roi_extractor'].out_channels = width
        model.roi_head[f'{part}_head'].update(in_channels=width, num_classes=1)
    model.roi_head.bbox_head.fc_out_channels = 4 * width
    model.roi_head.mask_head.conv_out_channels = width
    for part in ('rpn', 'rcnn'):
        model.train_cfg[part].assigner.ignore_iof_thr = 0.5
    model.train_cfg.rcnn.sampler.num = 128
    model.train_cfg.rpn_proposal.update(nms_pre=1000, max_per_img=300)
    model.test_cfg.rpn.update(nms_pre=1000, max_per_img=300)
    cfg.model = model
    cfg.default_scope = 'mmdet'
    cfg.visualizer = dict(type='DetLocalVisualizer')
    _detector_data(cfg, side)


def _detector_data(cfg: Config, side: int) -> None:
    """The study's data sets with pipelines and metric of a detector."""
    for part in ('train', 'val'):
        dataset = cfg[f'{part}_dataloader'].dataset
        dataset.type = f'mmpose.{dataset.type}'
    steps = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset.pipeline = [
        *map(_scoped, steps[:-1]), dict(type='mmpose.PackPersonInstances')]
    load = next(step for step in cfg.val_dataloader.dataset.pipeline if 'Load' in type_name(step))
    cfg.val_dataloader.dataset.pipeline = [
        _scoped(load),
        dict(type='mmdet.Resize', scale=(side, side), keep_ratio=True),
        dict(type='mmdet.PackDetInputs',
             meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
    cfg.val_evaluator = [
        dict(type='mmpose.DetectedPersonSegMetric', ann_file=evaluators_of(cfg, 'val')[0].ann_file)]


class Head(NamedTuple):
    """A head of a study: ``put`` puts it on the study's config, in place; ``tasks`` it can be
    evaluated on, compared by the first; ``kind`` of method, for tables."""
    put: Callable[[Config], None]
    tasks: Tuple[str, ...]
    kind: str


_BOTH, _POSES = ('keypoints', 'segm'), ('keypoints', )
#: By the names that studies call them by.
HEADS = dict(
    own=Head(own, _BOTH, 'poses and masks, bottom-up'),
    kdc=Head(kdc, _BOTH, 'poses and masks, bottom-up'),
    kdc_poses=Head(kdc_poses, _POSES, 'poses, bottom-up'),
    associative_embedding=Head(associative_embedding, _POSES, 'poses, bottom-up'),
    dekr=Head(dekr, _POSES, 'poses, bottom-up'),
    cid=Head(cid, _POSES, 'poses, bottom-up'),
    mask_rcnn=Head(mask_rcnn, ('segm', ), 'masks, two stages'))

#: At sides s·n of even inputs a coarse cell lies between two fine ones.
_EVEN_UPSAMPLING = dict(mode='bilinear', align_corners=False)


def _input_side(cfg: Config) -> int:
    width, height = cfg.model.head.decoder.input_size
    if width != height or width % 32 != 1:
        raise ValueError(f'A study needs square inputs of 32·n + 1 pixels, such as 193 and 257, '
                         f'for its heads to differ by one pixel at most; its config has '
                         f'{width}x{height}.')
    return width


def _use_even_input(cfg: Config) -> int:
    """Make the input a pixel smaller wherever the config names it; the new side."""
    side = _input_side(cfg) - 1
    for part in ('train', 'val'):
        for step in cfg[f'{part}_dataloader'].dataset.pipeline:
            if 'input_size' in step:
                step.input_size = (side, side)
    cfg.model.neck.upsample_cfg = _EVEN_UPSAMPLING
    return side


def _even_codec(cfg: Config, published: Config) -> ConfigDict:
    """A peer's codec for an even input and its maps of stride 4."""
    side = _use_even_input(cfg)
    cells = side // _STRIDE
    return ConfigDict(published.codec, input_size=(side, side), heatmap_size=(cells, cells))


def _weighed(loss: ConfigDict, codec: ConfigDict) -> ConfigDict:
    """A loss that stands beside a mean of squares over the codec's maps."""
    area = codec.heatmap_size[0] * codec.heatmap_size[1]
    return ConfigDict(loss, loss_weight=loss.loss_weight * _PUBLISHED_MAP**2 / area)


def _merge_levels(cfg: Config, levels: str) -> None:
    """The config's FPN as one map of stride 4."""
    neck = cfg.model.neck
    neck.update(type='MergedFPN', levels=levels)
    neck.setdefault('upsample_cfg', dict(mode='bilinear', align_corners=True))


def _replace_head(cfg: Config, published: Config, codec: ConfigDict,
                  after_target: Optional[List[dict]] = None, **changes) -> None:
    """A peer's head, targets, test settings and way of scoring, on the study's data."""
    neck = cfg.model.neck
    maps = neck.num_outs if neck.levels == 'concat' else 1
    cfg.model.head = ConfigDict(
        published.model.head, in_channels=maps * neck.out_channels, decoder=codec, **changes)
    cfg.model.test_cfg = ConfigDict(published.model.test_cfg, flip_test=False)
    steps = cfg.train_dataloader.dataset.pipeline
    place = [type_name(step) for step in steps].index('BottomupGetPersonMasks')
    steps[place:place + 1] = [
        ConfigDict(type='GenerateTarget', encoder=codec), *(after_target or []),
        ConfigDict(type='BottomupGetHeatmapMask')]
    cfg.train_dataloader.dataset.pipeline = steps
    cfg.val_evaluator = [
        dict(published.val_evaluator, type='PersonPoseMetric',
             ann_file=_pose_metrics(cfg)[0].ann_file)]


def _pose_metrics(cfg: Config) -> List[ConfigDict]:
    """The study's own evaluators of poses."""
    return [one for one in evaluators_of(cfg, 'val') if type_name(one) == 'PersonPoseMetric']


def _scoped(settings: ConfigDict) -> ConfigDict:
    """Settings of a class of MMPose's for a config of mmdet's."""
    return ConfigDict(settings, type=f'mmpose.{settings["type"]}')
