"""The heads in MMPose's BottomupPoseEstimator, on several of its backbones."""
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from mmpose.registry import MODELS

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from tests.test_codecs.people import Scene

from .samples import codec_config, narrow_hrnet, outlines, pack, pack_two_people, two_people

BACKBONES = {
    'ResNet': (dict(type='ResNet', depth=18), dict(in_channels=512)),
    'KDCResNet': (dict(type='KDCResNet', depth=18, output_stride=16),
                  dict(in_channels=512, in_index=3)),
    'MobileNetV2': (dict(type='MobileNetV2', widen_factor=0.35, out_indices=(7, )),
                    dict(in_channels=1280)),
    'HRNet': (dict(type='HRNet', extra=narrow_hrnet(8, 16, 32, 64)), dict(in_channels=8)),
}


def estimator(backbone, head, in_channels, in_index=-1, codec=None, flip_test=False, **settings):
    small = dict(feat_channels=8, num_convs=1)
    settings.update(dict(pose_head=small, seg_head=small) if head == 'KDCHead' else small)
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='BottomupPoseEstimator',
            data_preprocessor=dict(type='PoseDataPreprocessor', mean=[128.] * 3, std=[64.] * 3),
            backbone=backbone,
            head=dict(type=head, in_channels=in_channels, in_index=in_index,
                      decoder=codec or codec_config(), **settings),
            test_cfg=dict(flip_test=flip_test)))
    model.init_weights()
    return model


def batch_of_two(codec=None):
    codec = codec or codec_config()
    people = two_people(codec['input_size'][0])
    return pseudo_collate([pack_two_people(codec), pack(codec, people)])


@pytest.mark.parametrize('head', ['KDCPoseHead', 'KDCHead'])
@pytest.mark.parametrize('backbone', BACKBONES)
def test_a_head_learns_and_predicts_on_any_backbone(backbone, head):
    config, features = BACKBONES[backbone]
    codec = codec_config(96 if backbone == 'HRNet' else 97)  # HRNet takes multiples of 32 only
    model = estimator(config, head, **features, codec=codec)
    batch = model.data_preprocessor(batch_of_two(codec), training=True)
    losses = model(**batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert next(model.backbone.parameters()).grad.any()
    found = model.eval().val_step(batch_of_two(codec))
    assert len(found) == 2
    assert all(('masks' in one.pred_instances) == (head == 'KDCHead') for one in found)


def test_the_segmentation_head_alone_validates_with_fields_and_nobody():
    model = estimator(BACKBONES['ResNet'][0], 'KDCSegHead', in_channels=512)
    found = model.eval().val_step(batch_of_two())
    assert [len(one.pred_instances.scores) for one in found] == [0, 0]
    assert found[0].pred_fields.semantic.shape == (1, 25, 25)


class Shows(torch.nn.Module):
    """In place of a head's layers: perfect maps of a scene if the image's left half is bright, and
    of its mirror image otherwise."""

    def __init__(self, codec, scene, owner):
        super().__init__()
        flip = list(codec.skeleton.flip_indices)
        width = codec.input_size[0]
        opposite = Scene(scene.keypoints[:, flip] * [-1, 1] + [width - 1, 0],
                         scene.labelled[:, flip])
        self.maps = perfect_maps(codec, codec.encode(*scene, owner))
        self.mirrored = perfect_maps(
            codec, codec.encode(*opposite, np.ascontiguousarray(owner[:, ::-1])))

    def forward(self, feats):
        return self.maps if feats[0][0, 0, 0, 0] > 0 else self.mirrored


class Image(torch.nn.Module):
    """A backbone that hands the image on."""

    def forward(self, inputs):
        return (inputs, )


@pytest.mark.parametrize('flip_test', [False, True])
def test_predictions_are_the_people_in_the_images_own_pixels(flip_test):
    """Of an image twice as large as the input and 40 px narrower than it is high."""
    model = estimator(BACKBONES['ResNet'][0], 'KDCHead', in_channels=512, flip_test=flip_test)
    scene, owner = two_people(), outlines(two_people())
    model.head.forward = Shows(model.head.decoder, scene, owner).forward
    model.backbone = Image()
    sample = pack_two_people(codec_config())
    sample['inputs'][:] = torch.where(torch.arange(97) < 48, 255, 0).to(torch.uint8)
    sample['data_samples'].set_metainfo(
        dict(ori_shape=(194, 154), input_scale=np.array([194., 194.]),
             input_center=np.array([77., 97.])))
    found = model.eval().val_step(pseudo_collate([sample]))[0].pred_instances
    order = found.keypoints[:, :, 0].mean(1).argsort()
    expected = scene.keypoints * 2 - [20, 0]
    np.testing.assert_allclose(found.keypoints[order], expected, atol=0.1)
    np.testing.assert_allclose(found.bboxes[order, :2], expected.min(1), atol=0.1)
    assert [rle['size'] for rle in found.masks] == [[194, 154]] * 2


def tensors_of(element):
    """All tensors in a data element and in those that it holds."""
    for value in element.values():
        if isinstance(value, BaseDataElement):
            yield from tensors_of(value)
        else:
            values = value if isinstance(value, list) else [value]
            yield from (one for one in values if isinstance(one, torch.Tensor))


def test_a_sample_of_401_px_moves_no_more_to_the_device_than_owner_maps_would():
    """Of 30 persons with 17 keypoints: the image, and all tensors of the packed sample."""
    crowd = Scene(*(np.repeat(part, 15, axis=0) for part in two_people(401)))
    sample = pack(codec_config(401, radius=32), crowd, outlines(crowd, 401))
    tensors = [sample['inputs'], *tensors_of(sample['data_samples'])]
    assert len(tensors) == 4, 'the image, two maps of its size and the table of keypoints'
    moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    table = 30 * 17 * 3 * 4
    assert moved == (3 + 2) * 401 * 401 + table
    assert moved <= (3 + 1) * 401 * 401 + 17 * 101 * 101 + table
