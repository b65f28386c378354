"""``head.decode``: people from fields that were computed elsewhere, as MMPose's heads have it."""
import numpy as np
import pytest
import torch
from mmpose.registry import MODELS
from pycocotools import mask as coco_mask

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from tests.test_models.samples import (
    codec_config,
    outlines,
    pack,
    pack_two_people,
    two_people,
)

SMALL = dict(feat_channels=8, num_convs=1)
NAMES = ('heatmaps', 'key_centroids', 'person_centroids', 'limbs', 'semantic', 'mask_centroids',
         'log_bandwidth')


def build(kind='KDCHead'):
    parts = dict(pose_head=SMALL, seg_head=SMALL) if kind == 'KDCHead' else SMALL
    head = MODELS.build(dict(type=kind, in_channels=6, decoder=codec_config(), **parts))
    head.init_weights()
    return head


def fields_of_two_people(head):
    encoded = head.decoder.encode(*two_people(), outlines(two_people()))
    return perfect_maps(head.decoder, encoded)


def assert_same(found, expected):
    assert set(found.keys()) == set(expected.keys())
    for name in found.keys():
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize('kind, names', [
    ('KDCHead', NAMES), ('KDCPoseHead', NAMES[:4]), ('KDCSegHead', NAMES[4:])])
def test_the_names_of_fields_stand_in_the_order_of_the_outputs(kind, names):
    head = build(kind)
    assert head.field_names == names == tuple(head.eval()((torch.zeros(1, 6, 13, 13), )))


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead'])
def test_fields_decode_by_name_and_as_a_sequence_to_what_the_head_predicts(kind):
    head = build(kind)
    fields = {name: field for name, field in fields_of_two_people(head).items()
              if name in head.field_names}
    samples = [pack_two_people(codec_config())['data_samples']]
    head.forward = lambda feats: fields
    [expected] = head.predict(None, samples)
    assert len(expected.scores) == 2 and ('masks' in expected) == (kind == 'KDCHead')
    for outputs in (fields, [fields[name] for name in head.field_names]):
        [found] = head.decode(outputs, samples)
        assert_same(found, expected)


def test_without_samples_the_input_is_the_image():
    head = build()
    fields = fields_of_two_people(head)
    [found] = head.decode(fields)
    [framed] = head.decode(fields, [pack(codec_config(), two_people())['data_samples']])
    assert_same(found, framed)
    owner = outlines(two_people())
    masks = coco_mask.decode(found.masks).transpose(2, 0, 1) > 0
    assert masks.shape == (2, 97, 97)
    for mask in masks:
        overlap = max((mask & (owner == j)).sum() / (mask | (owner == j)).sum() for j in (1, 2))
        assert overlap > 0.85


def test_outputs_of_another_number_are_refused_with_those_that_are_wanted():
    head = build()
    fields = list(fields_of_two_people(head).values())
    with pytest.raises(ValueError, match='1 outputs to decode, and the head has 7: heatmaps, key'):
        head.decode(fields[0])
    with pytest.raises(ValueError, match='KDCHead: there are 2 outputs'):
        head.decode(fields[:2])


def test_a_segmentation_head_decodes_to_nobody():
    head = build('KDCSegHead')
    found = head.decode((torch.zeros(2, 1, 25, 25), torch.zeros(2, 2, 25, 25),
                         torch.zeros(2, 1, 25, 25)))
    assert [len(one.scores) for one in found] == [0, 0]
