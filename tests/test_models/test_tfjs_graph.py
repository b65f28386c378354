"""TFGraph: TensorFlow's networks as backbones."""
import pytest
import torch
from mmpose.registry import MODELS

from kdc_mm.models.converters.bodypix import backbone_config, load_backbone, read_bodypix

from .tfjs_files import run_slowly, write_with_random_weights


def build(architecture='mobilenet_v1_075', **settings):
    return MODELS.build(dict(type='TFGraph', architecture=architecture, **settings))


@pytest.mark.parametrize('architecture, output_stride, channels', [
    ('mobilenet_v1_075', 8, {2: 48, 4: 96, 8: 384}),
    ('mobilenet_v1_075', 16, {2: 48, 4: 96, 8: 192, 16: 384}),
    ('resnet_v1_50', 8, {4: 256, 8: 2048}),
    ('resnet_v1_50', 16, {4: 256, 8: 512, 16: 2048}),
    ('resnet_v1_50', 32, {4: 256, 8: 512, 16: 1024, 32: 2048}),
])
def test_features_of_each_stride_lie_on_its_multiples(architecture, output_stride, channels):
    backbone = build(architecture, output_stride=output_stride, out_strides=tuple(channels))
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 65, 97))
    assert [tuple(feature.shape) for feature in features] == [
        (1, count, 64 // stride + 1, 96 // stride + 1) for stride, count in channels.items()]


def test_the_last_features_come_alone_by_default():
    backbone = build()
    with torch.no_grad():
        assert [tuple(x.shape) for x in backbone(torch.zeros(2, 3, 33, 33))] == [(2, 384, 3, 3)]


@pytest.mark.parametrize('architecture', ['mobilenet_v1_075', 'resnet_v1_50'])
def test_the_output_stride_changes_no_weight(architecture):
    shapes = [{name: value.shape for name, value in build(
        architecture, output_stride=stride).state_dict().items()} for stride in (8, 16)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize('architecture', ['mobilenet_v1_075', 'resnet_v1_50'])
def test_every_weight_is_trained(architecture):
    backbone = build(architecture)
    backbone(torch.randn(1, 3, 33, 33))[-1].square().sum().backward()
    assert all(weight.requires_grad and weight.grad is not None and weight.grad.any()
               for weight in backbone.parameters())


@pytest.mark.parametrize('frozen_stride, last, next_one', [
    (4, 'Conv2d_3_pointwise', 'Conv2d_4_depthwise'),
    (8, 'Conv2d_5_pointwise', 'Conv2d_6_depthwise'),
    (16, 'Conv2d_13_pointwise', None)])
def test_layers_up_to_a_stride_keep_their_weights(frozen_stride, last, next_one):
    trained = [name for name, weight in build(frozen_stride=frozen_stride).named_parameters()
               if weight.requires_grad]
    assert not any(last in name for name in trained)
    assert any(next_one in name for name in trained) if next_one else trained == []


def test_a_frozen_stride_changes_no_feature_and_no_gradient_behind_it():
    whole, partly = build(out_strides=(4, 16)), build(out_strides=(4, 16), frozen_stride=4)
    partly.load_state_dict(whole.state_dict())
    image = torch.randn(1, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    for backbone in (whole, partly):
        fine, coarse = backbone(image)
        assert fine.requires_grad == (backbone is whole)
        coarse.square().sum().backward()
    gradients = {name: weight.grad for name, weight in whole.named_parameters()}
    compared = [name for name, weight in partly.named_parameters() if weight.grad is not None]
    assert 0 < len(compared) < len(gradients)
    for name in compared:
        torch.testing.assert_close(partly.get_parameter(name).grad, gradients[name])


@pytest.mark.parametrize('settings, message', [
    (dict(architecture='vgg'), 'one of .*mobilenet_v1_075.*vgg'),
    (dict(output_stride=4), '8, 16 or 32, got 4'),
    (dict(output_stride=32), r'strides \[2, 4, 8, 16\], got \(32,\)'),
    (dict(out_strides=(4, 32)), r'strides \[2, 4, 8, 16\], got \(4, 32\)'),
    (dict(frozen_stride=32), r'frozen_stride .*\[2, 4, 8, 16\], got 32'),
])
def test_what_an_architecture_has_not_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_the_graph_of_bodypix_resnet50_runs_as_it_is_written(data_root, tmp_path):
    source = data_root.parent / 'personlab/bodypix-resnet50-graph/model-stride16.json'
    if not source.exists():
        pytest.skip(f'no graph at {source}')
    nodes, readable = write_with_random_weights(tmp_path, source)
    network = read_bodypix(tmp_path / 'model-stride16.json')
    config = backbone_config(network)
    assert config == dict(type='TFGraph', architecture='resnet_v1_50', output_stride=16)
    backbone = MODELS.build(config)
    load_backbone(backbone, network)

    image = torch.randn(1, 3, 65, 49, generator=torch.Generator().manual_seed(0))
    values = run_slowly(nodes, readable, image)
    with torch.no_grad():
        features = backbone(image)[-1][0]
    expected = values['resnet_v1_50/block4/unit_3/bottleneck_v1/Relu'][0].permute(2, 0, 1)
    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    cells = torch.cat([features.flatten(1), torch.ones(1, features[0].numel())])
    heatmaps = values['float_heatmaps'][0].permute(2, 0, 1).flatten(1)
    torch.testing.assert_close(network.maps['float_heatmaps'] @ cells, heatmaps,
                               rtol=1e-4, atol=1e-4)
