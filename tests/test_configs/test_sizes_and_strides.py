"""A head moves between input sizes and map strides by its config alone."""
import numpy as np
import pytest

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from tests.test_codecs.people import STANDING

from .small import check_losses, run, small_config, use_data

SIZES = [(401, 401), (512, 512), (640, 640), (512, 320), (321, 481)]
STRIDES = [(4, 2), (8, 4), (16, 4)]
NARROW = dict(
    model__backbone=dict(depth=18, stem_channels=8, base_channels=8),
    model__neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    model__head=dict(
        in_channels=16, pose_head=dict(feat_channels=8, num_convs=1),
        seg_head=dict(feat_channels=8, num_convs=1)))


def flip_step(cfg):
    return next(step for step in cfg.train_dataloader.dataset.pipeline
                if step.type == 'RandomFlip')


@pytest.mark.parametrize('size, strides', [*((size, (4, 2)) for size in SIZES),
                                           *(((401, 401), strides) for strides in STRIDES[1:])])
def test_a_config_trains_and_validates_at_any_size_and_stride(size, strides, synth, tmp_path):
    cfg = use_data(small_config('kdc_rn101_coco.py', tmp_path, size, **NARROW), synth)
    cfg.model.head.decoder.update(heatmap_stride=strides[0], mask_stride=strides[1], radius=32)
    if size[0] != size[1]:
        flip_step(cfg).prob = 0.
    losses, metrics, runner = run(cfg)
    check_losses(losses)
    assert {'coco/AP', 'coco/segm_mAP'} <= metrics.keys()
    assert runner.model.head.decoder.heatmap_size == tuple(
        (side - 1) // strides[0] + 1 for side in size)


@pytest.mark.parametrize('strides', STRIDES)
@pytest.mark.parametrize('size', SIZES)
def test_people_come_back_from_perfect_maps_of_any_size_and_stride(size, strides):
    codec = PoseSeg(size, heatmap_stride=strides[0], mask_stride=strides[1], radius=32)
    width, height = size
    people = np.stack([
        0.8 * min(size) * STANDING + (x * width, 0.5 * height) for x in (0.25, 0.75)])
    encoded = codec.encode(people, np.ones((2, 17)))
    found = codec.batch_decode(perfect_maps(codec, encoded), [None])[0].poses
    assert len(found.keypoints) == 2 and found.detected.all()
    order = found.keypoints[:, :, 0].mean(1).argsort()
    assert np.abs(found.keypoints[order] - people).max() < 1


def test_an_oblong_input_that_is_flipped_is_refused_with_what_to_do(synth, tmp_path):
    cfg = use_data(small_config('kdc_rn101_coco.py', tmp_path, (161, 97), **NARROW), synth)
    flip_step(cfg).prob = 1.
    with pytest.raises(ValueError, match='not square.*Use a square input or no flip'):
        run(cfg)
