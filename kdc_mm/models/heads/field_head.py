"""What KDC's heads share: features in, named fields out, decoding, checks against the data."""
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmcv.cnn import ConvModule
from mmengine.structures import PixelData
from mmpose.models.heads.base_head import BaseHead
from mmpose.utils.typing import (
    ConfigType,
    Features,
    InstanceList,
    OptConfigType,
    OptSampleList,
    Predictions,
)
from torch import Tensor, nn

from kdc_mm_runtime.found_people import FoundPeople
from kdc_mm_runtime.people import ImageFrame, Poses

from ...codecs.pose_seg import PoseSeg
from ...codecs.sampling import resize_map
from .flip import Fields, merge_flipped
from .instances import annotated_poses, pack_instances
from .settings import build_codec, check_test_cfg, refuse_unknown


class FieldHead(BaseHead):
    """Base of the heads that put out fields for the PoseSeg codec.

    Training wants of each sample, as
    :class:`~kdc_mm.datasets.transforms.BottomupGetPersonMasks` leaves it for ``PackPoseInputs``:

    - ``gt_instance_labels.keypoint_table`` (N, K, 3) float32: x, y in input pixels, labelled
    - ``gt_instance_labels.keypoint_undefined`` (N, K) bool: keypoints that the image's data set
      does not define; absent where it defines all
    - ``gt_fields.heatmap_ignore`` (1, H, W) bool: people whose keypoints are not known; cells
      within R of them take no part in the heatmap loss
    - ``gt_fields.mask_owner`` (1, H, W) uint8: whose mask each pixel is; absent without masks

    A checkpoint remembers :attr:`output_settings`. Predicting under other ones is refused until
    the head is trained again; checkpoints that remember none are taken as they are.

    Args:
        in_channels (int): Channels of each feature map used.
        decoder (dict | PoseSeg): The :class:`~kdc_mm.codecs.PoseSeg` codec or its config; needed
            for training too, since it says what the maps mean.
        num_keypoints (int, optional): Checked against the codec's data set if given.
        in_index (int | sequence[int]): Feature map to use; several are summed at the size of the
            first. Defaults to -1, the last.
        coarse_channels (int, optional): Channels of the last feature map, where a converted
            network's outputs are a 1×1 convolution of it. They are kept as ``coarse``, interpolated
            to the head's stride, and what the head itself puts out corrects them, from 0.
        init_cfg (dict, optional): Initialisation.

    Raises:
        TypeError: if head or decoder is given a setting that it does not have, as those of another
            head are left in a config that inherits it, or the decoder is another codec.
        ValueError: if ``num_keypoints`` is not that of the codec's data set.
    """

    def __new__(cls, *args, **settings):
        refuse_unknown(settings, cls)
        return super().__new__(cls)

    def __init__(self,
                 in_channels: int,
                 decoder: Union[ConfigType, PoseSeg],
                 num_keypoints: Optional[int] = None,
                 in_index: Union[int, Sequence[int]] = -1,
                 coarse_channels: Optional[int] = None,
                 init_cfg: OptConfigType = None) -> None:
        super().__init__(init_cfg or self.default_init_cfg)
        self.in_channels = in_channels
        self.coarse_channels = coarse_channels
        self.in_index = (in_index, ) if isinstance(in_index, int) else tuple(in_index)
        self.decoder = decoder if isinstance(decoder, PoseSeg) else build_codec(
            decoder, type(self).__name__)
        expected = self.decoder.skeleton.num_keypoints
        if num_keypoints not in (None, expected):
            raise ValueError(
                f'{type(self).__name__}: num_keypoints={num_keypoints}, but the metainfo of the '
                f'decoder names {expected} keypoints. Give both the same data set.')
        self.num_keypoints = expected
        #: ``output_settings`` that the loaded weights were trained with, where known.
        self.trained_with: Optional[Dict[str, Any]] = None
        self.register_state_dict_post_hook(_store_output_settings)

    @property
    def field_names(self) -> Tuple[str, ...]:
        """Names of the fields in the order in which :meth:`forward` gives them."""
        raise NotImplementedError

    @property
    def output_settings(self) -> Dict[str, Any]:
        """Settings by which the same weights give other fields; plain values, by name."""
        codec = self.decoder
        names = codec.skeleton.names
        half = len(codec.skeleton.edges) // 2
        return dict(
            radius=float(codec.radius),
            heatmap_stride=codec.heatmap_stride,
            use_key_centroid=codec.use_key_centroid,
            use_person_centroid=codec.use_person_centroid,
            use_limbs=codec.use_limbs,
            limbs=[[names[a], names[b]] for a, b in codec.skeleton.edges[:half].tolist()])

    @property
    def default_init_cfg(self) -> List[dict]:
        return [
            dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu'),
            dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1)
        ]

    def _make_outputs(self, channels: int, out_channels: int) -> None:
        """The 1×1 convolutions ``out`` of the head's own features, and ``coarse``."""
        self.out = nn.Conv2d(channels, out_channels, 1)
        self.coarse = None if self.coarse_channels is None else nn.Conv2d(
            self.coarse_channels, out_channels, 1)

    def _init_outputs(self, prior: Sequence[float]) -> None:
        """A fresh network puts out ``prior``, one value for each channel, give or take."""
        first = self.out if self.coarse is None else self.coarse
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        nn.init.normal_(first.weight, std=0.01)
        first.bias.data.copy_(torch.as_tensor(prior))

    def _outputs(self, features: Tensor, feats: Features) -> Tensor:
        """The head's maps (B, C, h, w) from its own features and those that came in."""
        maps = self.out(features)
        if self.coarse is None:
            return maps
        return maps + resize_map(self.coarse(feats[-1]), maps.shape[2:])

    def select_features(self, feats: Features) -> Tensor:
        """Pick the feature maps of ``in_index`` and sum them: (B, C, h, w).

        Raises:
            ValueError: if the features do not have the channels that the head was built for.
        """
        if not all(-len(feats) <= i < len(feats) for i in self.in_index):
            raise ValueError(f'{type(self).__name__}: in_index={self.in_index}, but backbone and '
                             f'neck give {len(feats)} feature maps.')
        chosen = [feats[i] for i in self.in_index]
        channels = [feat.shape[1] for feat in chosen]
        if any(c != self.in_channels for c in channels):
            raise ValueError(
                f'{type(self).__name__}: in_channels={self.in_channels}, but the feature maps of '
                f'in_index={self.in_index} have {channels} channels (all maps: '
                f'{[tuple(feat.shape[1:]) for feat in feats]}). Set in_channels or in_index.')
        return sum(resize_map(feat, chosen[0].shape[2:]) for feat in chosen)

    def predict(self,
                feats: Features,
                batch_data_samples: OptSampleList,
                test_cfg: ConfigType = {}) -> Predictions:
        """Decode people from features.

        Args:
            feats (Features): Feature maps, or with ``flip_test`` a list of two: of the images and
                of the mirrored images.
            batch_data_samples (list[PoseDataSample]): Samples with the metainfo of the test resize.
            test_cfg (dict): ``flip_test``, ``output_heatmaps``; ``score_thr``, below which a
                pose's score leaves a person out (MMPose's inferencers put their ``bbox_thr`` there
                if it is there at all); and ``keypoints``: ``'decoded'`` (default), or
                ``'annotated'`` for the masks around the poses that are annotated (see
                :func:`.instances.annotated_poses`): it tells errors of masks from those of poses.

        Returns:
            list[InstanceData], or with ``output_heatmaps`` a tuple of it and list[PixelData]:
            instances as :func:`.instances.pack_instances` lays them out.

        Raises:
            ValueError: for settings that ``test_cfg`` cannot have, samples that do not fit the
                codec, or a checkpoint of other settings.
        """
        check_test_cfg(test_cfg, type(self).__name__)
        self._check_samples(batch_data_samples)
        self._check_output_settings()
        if test_cfg.get('flip_test', False):
            fields = merge_flipped(
                self.forward(feats[0]), self.forward(feats[1]), self.decoder)
        else:
            fields = self.forward(feats)
        poses = None
        if test_cfg.get('keypoints') == 'annotated':
            self._check_annotated(fields, batch_data_samples)
            poses = [
                annotated_poses(sample.gt_instances, ImageFrame.from_metainfo(sample.metainfo),
                                self.num_keypoints) for sample in batch_data_samples
            ]
        instances = self.decode(fields, batch_data_samples, poses)
        if 'score_thr' in test_cfg:
            instances = [found[found.bbox_scores >= test_cfg['score_thr']] for found in instances]
        if test_cfg.get('output_heatmaps', False):
            return instances, self._pack_fields(fields)
        return instances

    def decode(self,
               batch_outputs: Union[Fields, Tensor, Sequence[Tensor]],
               batch_data_samples: OptSampleList = None,
               poses: Optional[Sequence[Poses]] = None) -> InstanceList:
        """Decode people from the fields of a batch, wherever they were computed.

        Args:
            batch_outputs (dict | Tensor | sequence[Tensor]): What :meth:`forward` gives, by name or
                in the order of :attr:`field_names`, as an exported network gives it.
            batch_data_samples (list[PoseDataSample], optional): B samples with the metainfo of the
                test resize. Without them the input itself counts as the image, and masks are of
                its size.
            poses (sequence[Poses], optional): B times the persons whose masks are wanted, instead
                of those that the fields show.

        Returns:
            list[InstanceData]: B instances as :func:`.instances.pack_instances` lays them out.

        Raises:
            ValueError: if the fields are not those of this head.
        """
        fields = self._named_fields(batch_outputs)
        if batch_data_samples is None:
            whole_input = ImageFrame(self.decoder.input_size, (1., 1.), (0., 0.))
            frames = [whole_input] * len(next(iter(fields.values())))
        else:
            frames = [ImageFrame.from_metainfo(sample.metainfo) for sample in batch_data_samples]
        people = self.decoder.batch_decode(fields, frames, poses)
        return [pack_instances(FoundPeople.of(*decoded)) for decoded in zip(people, frames)]

    def _named_fields(self, outputs: Union[Fields, Tensor, Sequence[Tensor]]) -> Fields:
        """A network's outputs as float32 fields by name."""
        if not isinstance(outputs, dict):
            outputs = (outputs, ) if isinstance(outputs, Tensor) else tuple(outputs)
            if len(outputs) != len(self.field_names):
                raise ValueError(
                    f'{type(self).__name__}: there are {len(outputs)} outputs to decode, and the '
                    f'head has {len(self.field_names)}: {", ".join(self.field_names)}. Give all.')
            outputs = dict(zip(self.field_names, outputs))
        return {name: field.float() for name, field in outputs.items()}

    def _check_samples(self, batch_data_samples) -> None:
        sample = batch_data_samples[0]
        shape = tuple(sample.metainfo['img_shape'][:2])
        if shape != self.decoder.input_size[::-1]:
            raise ValueError(self._wrong_size(shape))
        flip_indices = sample.metainfo.get('flip_indices')
        if flip_indices is not None and len(flip_indices) != self.num_keypoints:
            raise ValueError(self._wrong_keypoints(len(flip_indices)))

    def _check_annotated(self, fields: Fields, batch_data_samples) -> None:
        if 'semantic' not in fields:
            raise ValueError(f"{type(self).__name__}: test_cfg has keypoints='annotated', whose "
                             'masks alone are predicted, and this head predicts none. Take '
                             'KDCHead.')
        for sample in batch_data_samples:
            found = sample.gt_instances.get('keypoints')
            if found is not None and found.shape[1] != self.num_keypoints:
                raise ValueError(self._wrong_keypoints(found.shape[1]))

    def _check_output_settings(self) -> None:
        if self.trained_with is None:
            return
        changed = [
            f'{name} = {self.trained_with[name]}, and is now to predict with {value}'
            for name, value in self.output_settings.items()
            if self.trained_with.get(name, value) != value
        ]
        if changed:
            raise ValueError(
                f'{type(self).__name__}: the checkpoint was trained with {"; ".join(changed)}. '
                'Give the head the settings of its training, or train it with the new ones.')

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args, **kwargs):
        self.trained_with = local_metadata.get('output_settings')
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)

    def _keypoint_tables(self, batch_data_samples, device) -> List[Tensor]:
        """Keypoint tables of a batch on a device, and the check that its samples hold targets."""
        for sample in batch_data_samples:
            self._check_targets(sample)
        return [
            sample.gt_instance_labels.keypoint_table.to(device) for sample in batch_data_samples
        ]

    def _defined_keypoints(self, batch_data_samples, device) -> Tensor:
        """(B, K, 1, 1) bool: false for keypoints that the data set of an image does not define, so
        that the image says nothing about them, not even where they are not."""
        defined = torch.ones(len(batch_data_samples), self.num_keypoints, dtype=torch.bool)
        for row, sample in enumerate(batch_data_samples):
            undefined = sample.gt_instance_labels.get('keypoint_undefined')
            if undefined is not None:
                defined[row] = ~undefined.any(0)
        return defined[..., None, None].to(device)

    def _check_targets(self, sample) -> None:
        fields = sample.get('gt_fields')
        if fields is None or 'heatmap_ignore' not in fields:
            encoded = fields is not None and set(fields.keys()) - {'heatmap_mask'}
            raise ValueError(
                f'{type(self).__name__}: a training sample '
                f'{"was encoded by GenerateTarget" if encoded else "lacks its people"}. The head '
                "draws its targets itself: take GenerateTarget out of the training pipeline, "
                "BottomupGetHeatmapMask too, and put dict(type='BottomupGetPersonMasks') before "
                'PackPoseInputs.')
        shape = tuple(fields.shape)
        if shape != self.decoder.input_size[::-1]:
            raise ValueError(self._wrong_size(shape))
        num_keypoints = sample.gt_instance_labels.keypoint_table.shape[1]
        if num_keypoints != self.num_keypoints:
            raise ValueError(self._wrong_keypoints(num_keypoints))

    def _wrong_size(self, shape: Tuple[int, int]) -> str:
        return (f'{type(self).__name__}: the input has (h, w) = {shape}, the codec was set up for '
                f'{self.decoder.input_size[::-1]}. Use the same input_size in codec and pipeline: '
                "in BottomupRandomAffine, and in BottomupResize with size_factor=1 and "
                "resize_mode='fit'.")

    def _wrong_keypoints(self, num_keypoints: int) -> str:
        return (f'{type(self).__name__} predicts {self.num_keypoints} keypoints, the data set has '
                f'{num_keypoints}. Give the codec the metainfo of the data set.')

    def _pack_fields(self, fields: Fields) -> List[PixelData]:
        """Fields at heatmap stride for drawing: probabilities and pixel vectors."""
        width, height = self.decoder.heatmap_size
        drawn = {}
        for name in ('heatmaps', 'key_centroids', 'semantic', 'mask_centroids'):
            if name in fields:
                field = resize_map(fields[name], (height, width))
                drawn[name] = field.sigmoid() if name in ('heatmaps', 'semantic') else field
        batch = len(next(iter(drawn.values())))
        return [PixelData(**{k: v[i].detach() for k, v in drawn.items()}) for i in range(batch)]


def conv_stack(in_channels: int, channels: int, num_convs: int, norm_cfg: dict) -> nn.Sequential:
    """``num_convs`` 3×3 convolutions with norm and ReLU; the identity for none."""
    return nn.Sequential(*[
        ConvModule(
            in_channels if i == 0 else channels, channels, 3, padding=1, norm_cfg=norm_cfg)
        for i in range(num_convs)
    ])


def _store_output_settings(head: FieldHead, state_dict, prefix: str, local_metadata: dict) -> None:
    """Hook of ``state_dict()``: in its metadata, so that the keys stay those of the weights."""
    local_metadata['output_settings'] = head.output_settings
