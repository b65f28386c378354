"""The backbone's strides, and what differs from MMPose's."""
import pytest
import torch
from mmpose.registry import MODELS


def build(**settings):
    return MODELS.build(dict(type='KDCResNet', depth=18, **settings))


@pytest.mark.parametrize('output_stride, sides', [
    (8, [101, 51, 51, 51]),
    (16, [101, 51, 26, 26]),
    (32, [101, 51, 26, 13]),
])
def test_the_output_stride_bounds_the_stages_of_a_401_px_input(output_stride, sides):
    with torch.no_grad():
        stages = build(output_stride=output_stride).eval()(torch.zeros(1, 3, 401, 401))
    assert [tuple(stage.shape) for stage in stages] == [
        (1, channels, side, side) for channels, side in zip((64, 128, 256, 512), sides)
    ]


def test_any_of_the_stages_can_be_left_out():
    with torch.no_grad():
        stages = build(out_indices=(3, )).eval()(torch.zeros(1, 3, 65, 65))
    assert [tuple(stage.shape) for stage in stages] == [(1, 512, 5, 5)]


def test_dilation_changes_no_weight_so_that_pretrained_ones_load():
    plain = {name: value.shape for name, value in build(output_stride=32).state_dict().items()}
    dilated = {name: value.shape for name, value in build(output_stride=8).state_dict().items()}
    assert plain == dilated


def test_train_and_eval_return_the_module_as_in_torch():
    backbone = build()
    assert backbone.train() is backbone and backbone.training
    assert backbone.eval() is backbone and not backbone.training


@pytest.mark.parametrize('norm_eval', [False, True])
def test_norm_eval_keeps_the_statistics_of_batch_norms_while_weights_train(norm_eval):
    backbone = build(norm_eval=norm_eval).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    sum(stage.sum() for stage in backbone(torch.randn(2, 3, 33, 33) + 1)).backward()
    same = [torch.equal(value, before[name]) for name, value in backbone.named_buffers()]
    assert all(same) if norm_eval else not any(same)
    assert backbone.bn1.training != norm_eval and backbone.layer4.training
    assert backbone.bn1.weight.grad.any() and backbone.conv1.weight.grad.any()


def test_frozen_stages_stay_in_evaluation():
    backbone = build(frozen_stages=1).train()
    assert not backbone.layer1.training and backbone.layer2.training
    assert not any(weight.requires_grad for weight in backbone.layer1.parameters())


@pytest.mark.parametrize('output_stride', [4, 12, 64])
def test_other_output_strides_are_refused(output_stride):
    with pytest.raises(ValueError, match=f'8, 16 or 32, got {output_stride}'):
        build(output_stride=output_stride)
