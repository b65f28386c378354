"""tools/model_converters/bodypix_to_kdc.py: BodyPix's outputs as KDC's fields."""
import math

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from kdc_mm.codecs.skeleton import build_skeleton
from kdc_mm.engine import check_checkpoint
from kdc_mm.models.backbones.tf_architectures import IMAGE, mobilenet_v1_075
from kdc_mm.models.converters.bodypix import (
    CHAIN,
    LOG_BANDWIDTH,
    OUTPUTS,
    fit_log_bandwidth,
    mean_long_offset,
    pose_fields,
)
from kdc_mm.models.converters.tfjs import ConversionError
from tests.conftest import load_module, load_tool
from tests.test_configs.small import run, small_config
from tests.test_models.tfjs_files import node, write_model, write_with_random_weights

CONFIG = 'configs/bodypix/kdc_mobilenet-075_coco-401.py'
TO_TRAIN = 'configs/real/kdc_mobilenet-075_coco-real.py'
CHANNELS = dict(zip(OUTPUTS, (17, 34, 34, 1, 32, 32)))


@pytest.fixture(scope='module')
def tool():
    return load_tool('model_converters/bodypix_to_kdc')


@pytest.fixture(scope='module')
def personlab(data_root):
    folder = data_root.parent / 'personlab'
    if not folder.is_dir():
        pytest.skip(f'no BodyPix at {folder}')
    return folder


def bodypix_nodes(output_stride=16):
    """Nodes and random weights of a BodyPix network."""
    graph = mobilenet_v1_075(output_stride)
    rng = np.random.default_rng(0)
    weights, nodes = {}, []
    for name, shape in graph.shapes.items():
        if len(shape) == 1:
            weights[name] = rng.normal(0, 0.1, shape).astype(np.float32)
        else:
            kernel = rng.normal(0, (2 / np.prod(shape[1:]))**0.5, shape).astype(np.float32)
            weights[name] = kernel.transpose((2, 3, 0, 1) if shape[1] == 1 else (2, 3, 1, 0))
    for one in graph.nodes:
        inputs = ['sub_2' if name == IMAGE else name for name in one.inputs]
        nodes.append(node(one.op, one.name, *inputs, stride=one.stride, dilation=one.dilation))
    for output, count in CHANNELS.items():
        name = f'MobilenetV1/{output}' if output.startswith('disp') else output
        weights[f'{name}/kernel'] = rng.normal(0, 0.1, (1, 1, 384, count)).astype(np.float32)
        weights[f'{name}/bias'] = rng.normal(0, 1, count).astype(np.float32)
        nodes += [node('Conv2D', f'{name}/conv', graph.nodes[-1].name, f'{name}/kernel'),
                  node('BiasAdd', name, f'{name}/conv', f'{name}/bias')]
    return nodes, weights


def load(checkpoint, stride=16, config=CONFIG, **codec):
    cfg = Config.fromfile(config)
    cfg.model.backbone.output_stride = stride
    cfg.model.head.decoder.update(heatmap_stride=stride, mask_stride=stride, **codec)
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, str(checkpoint), strict=True)
    return model


@torch.no_grad()
def fields_of(model, image):
    """Fields of one image (1, 3, H, W) in [-1, 1], without the batch."""
    return {name: field[0] for name, field in model.head(model.backbone(image)).items()}


def test_a_folder_of_16_bit_weights_becomes_a_checkpoint_of_its_config(tool, tmp_path, capsys):
    write_model(tmp_path, *bodypix_nodes(), stored='uint16')
    out = tmp_path / 'new/out.pth'
    tool.main([str(tmp_path), str(out)])
    assert CONFIG in capsys.readouterr().out
    check_checkpoint(str(out))
    fields = fields_of(load(out), torch.rand(1, 3, 401, 401))
    assert {name: tuple(field.shape) for name, field in fields.items()} == {
        name: (channels, 26, 26) for name, channels in dict(
            heatmaps=17, key_centroids=34, person_centroids=34, limbs=64, semantic=1,
            mask_centroids=2, log_bandwidth=1).items()}
    torch.testing.assert_close(fields['log_bandwidth'],
                               torch.full((1, 26, 26), LOG_BANDWIDTH))


def test_the_stride_names_the_json_and_what_the_config_needs(tool, tmp_path, capsys):
    write_model(tmp_path, *bodypix_nodes(8), name='model-stride8.json')
    tool.main([str(tmp_path), str(tmp_path / 'out.pth'), '--stride', '8'])
    assert 'model.head.decoder.heatmap_stride=8' in capsys.readouterr().out
    tool.main([str(tmp_path), str(tmp_path / 'same.pth'), '--stride', 'model-stride8.json'])
    weights = [load(tmp_path / name, 8).state_dict() for name in ('out.pth', 'same.pth')]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_network_to_train_on_starts_with_the_maps_of_the_converted_one(tool, tmp_path):
    write_model(tmp_path, *bodypix_nodes())
    tool.main([str(tmp_path), str(tmp_path / 'whole.pth')])
    tool.main([str(tmp_path), str(tmp_path / 'start.pth'), '--config', TO_TRAIN])
    start = MODELS.build(Config.fromfile(TO_TRAIN).model).eval()
    load_checkpoint(start, str(tmp_path / 'start.pth'), strict=True)
    image = torch.rand(1, 3, 401, 401)
    expected = fields_of(load(tmp_path / 'whole.pth'), image)
    with torch.no_grad():
        fields = start.head(start.neck(start.backbone(image)))
    for name, field in expected.items():
        step = (fields[name].shape[-1] - 1) // (field.shape[-1] - 1)
        torch.testing.assert_close(
            fields[name][0, :, ::step, ::step], field,
            rtol=1e-4, atol=1e-4 * float(field.abs().max()))


def test_a_resnet50_becomes_a_checkpoint_of_its_own_config(tool, personlab, tmp_path, capsys):
    write_with_random_weights(tmp_path, personlab / 'bodypix-resnet50-graph/model-stride16.json')
    tool.main([str(tmp_path), str(tmp_path / 'out.pth')])
    config = 'configs/bodypix/kdc_resnet50_coco-513.py'
    assert config in capsys.readouterr().out
    model = load(tmp_path / 'out.pth', config=config)
    black = dict(
        inputs=[torch.zeros(3, 513, 513, dtype=torch.uint8)], data_samples=[PoseDataSample()])
    image = model.data_preprocessor(black)['inputs']
    torch.testing.assert_close(image[0, :, 0, 0], -torch.tensor([123.15, 115.90, 103.06]))
    assert fields_of(model, image)['heatmaps'].shape == (17, 33, 33)


def refusal(tool, folder, *flags):
    with pytest.raises(SystemExit) as caught:
        tool.main([str(folder), str(folder / 'out.pth'), *flags])
    message = str(caught.value)
    assert '\n' not in message and not (folder / 'out.pth').exists()
    return message


def test_what_cannot_be_converted_is_said_in_one_line(tool, tmp_path):
    assert 'model-stride16.json does not exist' in refusal(tool, tmp_path)
    nodes, weights = bodypix_nodes()
    write_model(tmp_path, nodes, weights)
    assert 'holds no images' in refusal(tool, tmp_path, '--fit-bandwidth', str(tmp_path))
    (tmp_path / 'shard1.bin').unlink()
    assert 'shard1.bin is missing' in refusal(tool, tmp_path)
    nodes[2]['op'] = 'LeakyRelu'
    write_model(tmp_path, nodes, weights)
    assert 'is of kind LeakyRelu' in refusal(tool, tmp_path)


def test_another_network_is_said_to_be_one(tool, tmp_path):
    nodes, weights = bodypix_nodes()
    write_model(tmp_path, nodes[:-2], weights)
    assert 'no output displacement_bwd_2/BiasAdd: it is another network' in refusal(tool, tmp_path)

    moved = [dict(one) for one in nodes]
    moved[-2]['input'] = [nodes[-20]['name'], moved[-2]['input'][1]]
    write_model(tmp_path, moved, weights)
    assert 'different features' in refusal(tool, tmp_path)

    renamed = {name.replace('Conv2d_0', 'Stem'): value for name, value in weights.items()}
    moved = [dict(one, input=[name.replace('Conv2d_0', 'Stem') for name in one['input']],
                  name=one['name'].replace('Conv2d_0', 'Stem')) for one in nodes]
    write_model(tmp_path, moved, renamed)
    assert 'names of mobilenet_v1_075 or resnet_v1_50' in refusal(tool, tmp_path)

    narrow = dict(weights, **{'MobilenetV1/Conv2d_0/weights': np.zeros((3, 3, 3, 16), np.float32)})
    write_model(tmp_path, nodes, narrow)
    assert '(24, 3, 3, 3), and has (16, 3, 3, 3)' in refusal(tool, tmp_path)

    moved = [dict(one) for one in nodes]
    relu = next(one for one in moved if one['op'] == 'Relu6')
    relu['op'] = 'Relu'
    loud = dict(weights, **{'MobilenetV1/Conv2d_0/Conv2D_bias': np.full(24, 9, np.float32)})
    write_model(tmp_path, moved, loud)
    assert 'the same weights give other features' in refusal(tool, tmp_path)


def test_vectors_turn_to_xy_limbs_to_the_skeletons_order_and_long_offsets_to_their_mean():
    generator = torch.Generator().manual_seed(0)
    maps = {name: torch.randn(count, 6, generator=generator) for name, count in CHANNELS.items()}
    skeleton = build_skeleton('configs/_base_/datasets/coco.py', CHAIN)
    fields = pose_fields(maps, skeleton)
    assert fields['heatmaps'] is maps['float_heatmaps']
    short, long = maps['float_short_offsets'], maps['float_long_offsets']
    mean = torch.stack([long[17:].mean(0), long[:17].mean(0)])
    torch.testing.assert_close(mean_long_offset(maps), mean)
    for k in range(17):
        assert fields['key_centroids'][2 * k].equal(short[17 + k])
        assert fields['key_centroids'][2 * k + 1].equal(short[k])
        torch.testing.assert_close(fields['person_centroids'][2 * k:2 * k + 2], mean)
    for e, (a, b) in enumerate(skeleton.edges.tolist()):
        a, b = skeleton.names[a], skeleton.names[b]
        along = (a, b) in CHAIN
        i = CHAIN.index((a, b) if along else (b, a))
        rows = maps['displacement_fwd_2/BiasAdd' if along else 'displacement_bwd_2/BiasAdd']
        assert fields['limbs'][2 * e].equal(rows[16 + i])
        assert fields['limbs'][2 * e + 1].equal(rows[i])


def test_other_limbs_than_personlabs_are_refused():
    maps = {name: torch.zeros(count, 6) for name, count in CHANNELS.items()}
    with pytest.raises(ValueError, match='limbs are not PersonLab'):
        pose_fields(maps, build_skeleton('configs/_base_/datasets/coco.py'))


def test_the_bandwidth_is_the_least_squares_fit_at_cells_of_persons():
    rng = np.random.default_rng(0)
    maps = {name: torch.tensor(rng.normal(size=(count, 4)), dtype=torch.float32)
            for name, count in CHANNELS.items()}
    features = [torch.tensor(rng.normal(size=(3, 7, 9)), dtype=torch.float32) for _ in range(4)]
    found, error = fit_log_bandwidth(iter(features), maps)

    rows, targets = [], []
    for feature in features:
        for cell in feature.flatten(1).T.numpy():
            cell = np.append(cell, 1)
            if maps['float_segments'].numpy()[0] @ cell > 0:
                ends = (maps['float_long_offsets'].numpy() @ cell).reshape(2, 17)
                spread = ((ends - ends.mean(1, keepdims=True))**2).sum(0).mean()**0.5
                rows.append(cell)
                targets.append(math.log(spread))
    expected, *_ = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    misses = np.array(rows) @ expected - targets
    assert error == pytest.approx(np.sqrt((misses**2).mean()), abs=1e-4)
    with pytest.raises(ConversionError, match='no cell'):
        fit_log_bandwidth([], maps)


@pytest.fixture(scope='module')
def reader(personlab):
    """The reference's module network.py."""
    return load_module(personlab / 'network.py')


def photo(data_root, size=401):
    """(1, 3, size, size) RGB in [-1, 1]."""
    image = cv2.imread(str(data_root / 'coco-mini/train2017' / min(
        path.name for path in (data_root / 'coco-mini/train2017').iterdir())))
    image = cv2.resize(image, (size, size))[..., ::-1]
    return torch.from_numpy(image / 127.5 - 1).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize('stride', [16, 8])
def test_the_maps_of_bodypix_are_those_of_the_reader(
        tool, personlab, reader, data_root, tmp_path, stride):
    folder = personlab / 'bodypix-mobilenet-075'
    out = tmp_path / 'out.pth'
    tool.main([str(folder), str(out), '--stride', str(stride)])
    model, image = load(out, stride), photo(data_root)
    fields, expected = fields_of(model, image), reader.Network(folder, stride)(image)
    long = reader.vectors(expected['long']).mean(0)
    assert long.abs().max() > 50
    pairs = dict(
        heatmaps=expected['heatmaps'][0],
        semantic=expected['semantic'][0],
        key_centroids=reader.vectors(expected['short']).flatten(0, 1),
        person_centroids=long.repeat(17, 1, 1),
        mask_centroids=long)
    for name, value in pairs.items():
        torch.testing.assert_close(fields[name], value, rtol=0, atol=1e-4, msg=name)
    skeleton = model.head.decoder.skeleton
    edges = [tuple(skeleton.names[k] for k in edge) for edge in skeleton.edges.tolist()]
    limbs = fields['limbs'].unflatten(0, (-1, 2))
    for i, (a, b) in enumerate(reader.CHAIN):
        for edge, name in (((a, b), 'forward'), ((b, a), 'backward')):
            torch.testing.assert_close(limbs[edges.index(edge)],
                                       reader.vectors(expected[name])[i], rtol=0, atol=1e-4)


def test_the_bandwidth_of_bodypix_is_linear_in_its_features(
        tool, personlab, data_root, tmp_path, capsys):
    photos = data_root / 'coco-mini/train2017'
    out = tmp_path / 'out.pth'
    tool.main([str(personlab / 'bodypix-mobilenet-075'), str(out), '--fit-bandwidth', str(photos)])
    assert float(capsys.readouterr().out.split('off by ')[1].split()[0]) < 0.1
    log_bandwidth = fields_of(load(out), photo(data_root))['log_bandwidth']
    assert 2 < log_bandwidth.mean() < 5 and log_bandwidth.std() > 0.1


def test_training_starts_from_the_converted_weights(tool, data_root, tmp_path):
    write_model(tmp_path, *bodypix_nodes())
    tool.main([str(tmp_path), str(tmp_path / 'out.pth')])
    cfg = small_config(
        'bodypix/kdc_mobilenet-075_coco-401.py', tmp_path, load_from=str(tmp_path / 'out.pth'),
        optim_wrapper__optimizer__lr=1e-9)
    folder = data_root / 'mm-samples/coco'
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.update(
            data_root=f'{folder}/', ann_file='test_coco.json', data_prefix=dict(img=''), indices=2)
        if part != 'train':
            for metric in cfg[f'{part}_evaluator']:
                metric.ann_file = f'{folder}/test_coco.json'
    losses, metrics, runner = run(cfg)
    assert all(math.isfinite(line['loss']) for line in losses)
    assert {'coco/AP', 'coco/segm_mAP'} <= metrics.keys()
    start = load(tmp_path / 'out.pth').state_dict()
    for name, value in runner.model.state_dict().items():
        torch.testing.assert_close(value, start[name], rtol=0, atol=1e-6)
