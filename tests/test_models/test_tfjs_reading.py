"""TensorFlow.js graph models: what is read from them, how it runs, what is refused."""
import json

import numpy as np
import pytest
import torch

from kdc_mm.models.backbones.tf_graph import run_graph, same_padding
from kdc_mm.models.converters.tfjs import ConversionError, read_graph_model

from .tfjs_files import node, run_slowly, write_model


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small_graph():
    """Every kind of node, listed last to first."""
    weights = dict(
        kernel=random(3, 3, 3, 4), bias=random(4, seed=1), deep=random(3, 3, 4, 2, seed=2),
        wide=random(1, 1, 4, 8, seed=3), pads=np.array([[0, 0], [1, 2], [3, 0], [0, 0]], np.int32))
    nodes = [
        node('Conv2D', 'conv', 'sub_2', 'kernel', stride=2),
        node('BiasAdd', 'biased', 'conv', 'bias'),
        node('Relu6', 'six', 'biased'),
        node('DepthwiseConv2dNative', 'deepened', 'six', 'deep', dilation=2),
        node('Conv2D', 'widened', 'six', 'wide'),
        node('Add', 'added', 'deepened', 'widened'),
        node('AddV2', 'twice', 'added', 'deepened'),
        node('Pad', 'padded', 'twice', 'pads'),
        node('Conv2D', 'valid', 'padded', 'across', stride=2, padding='VALID'),
        node('MaxPool', 'pooled', 'valid', size=2, stride=2),
        node('Relu', 'out', 'pooled'),
        node('Softmax', 'unused', 'out'),
    ]
    weights['across'] = random(3, 3, 8, 5, seed=4)
    return nodes, weights


@pytest.mark.parametrize('side', [(17, 20), (33, 33)])
def test_a_graph_of_all_kinds_gives_what_the_definition_gives(tmp_path, side):
    nodes, weights = small_graph()
    write_model(tmp_path, list(reversed(nodes)), weights)
    image = torch.tensor(random(2, 3, *side, seed=5))
    found, = run_graph(*read_graph_model(tmp_path / 'model-stride16.json', ['out']), image, ['out'])
    expected = run_slowly(nodes[:-1], weights, image)['out'].permute(0, 3, 1, 2)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('side, extent, stride, pads', [
    (401, 3, 2, (1, 1)), (400, 3, 2, (0, 1)), (401, 7, 2, (3, 3)), (26, 5, 1, (2, 2)),
    (5, 1, 2, (0, 0)), (7, 2, 2, (0, 1)),
])
def test_same_padding_is_tensorflows_formula(side, extent, stride, pads):
    assert same_padding((side, 1 + 3 * stride), extent, stride)[2:] == list(pads)


@pytest.mark.parametrize('stored', ['float32', 'float16', 'uint16', 'uint8'])
def test_weights_are_read_whatever_their_storage_and_files(tmp_path, stored):
    nodes, weights = small_graph()
    readable = write_model(tmp_path, nodes, weights, stored, shards=3)
    _, found = read_graph_model(tmp_path / 'model-stride16.json', ['out'])
    assert found.keys() == weights.keys() - {'pads'}
    np.testing.assert_array_equal(found['kernel'].permute(2, 3, 1, 0), readable['kernel'])
    np.testing.assert_array_equal(found['bias'], readable['bias'])
    deep = found['deep'].view(4, 2, 3, 3).permute(2, 3, 0, 1)
    np.testing.assert_array_equal(deep, readable['deep'])
    steps = dict(float32=0, float16=2e-3, uint16=1e-4, uint8=2e-2)[stored]
    np.testing.assert_allclose(readable['deep'], weights['deep'], atol=steps)


def refusal(file, outputs=('out', )):
    with pytest.raises(ConversionError) as caught:
        read_graph_model(file, outputs)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_an_unknown_operation_is_named_where_the_outputs_need_it(tmp_path):
    nodes, weights = small_graph()
    write_model(tmp_path, nodes, weights)
    message = refusal(tmp_path / 'model-stride16.json', ['unused'])
    assert 'unused is of kind Softmax' in message and 'MaxPool' in message


@pytest.mark.parametrize('change, expected', [
    (dict(padding='EXPLICIT'), 'padding EXPLICIT'), (dict(layout='NCHW'), 'layout'),
])
def test_other_paddings_and_layouts_are_refused(tmp_path, change, expected):
    write_model(tmp_path, [node('Conv2D', 'out', 'sub_2', 'kernel', **change)],
                dict(kernel=random(1, 1, 3, 2)))
    assert expected in refusal(tmp_path / 'model-stride16.json')


def test_missing_and_short_files_of_weights_are_named(tmp_path):
    write_model(tmp_path, *small_graph())
    last = tmp_path / 'shard1.bin'
    last.write_bytes(last.read_bytes()[:-4])
    assert 'bytes of weights' in refusal(tmp_path / 'model-stride16.json')
    last.unlink()
    assert f'{last} is missing' in refusal(tmp_path / 'model-stride16.json')


def test_files_that_are_no_graph_models_are_refused(tmp_path):
    file = tmp_path / 'model.json'
    (tmp_path / 'other.json').write_text('{}')
    assert 'does not exist (there: other.json)' in refusal(file)
    file.write_text('no JSON')
    assert 'is no JSON' in refusal(file)
    file.write_text(json.dumps(dict(layers=[])))
    assert 'no TensorFlow.js graph model' in refusal(file)
    file.write_text(json.dumps(dict(modelTopology=dict(model_config={}), weightsManifest=[])))
    assert 'model of layers' in refusal(file)


def test_an_output_or_weights_that_are_not_there_make_it_another_network(tmp_path):
    nodes, weights = small_graph()
    write_model(tmp_path, nodes, weights)
    assert 'no output float_heatmaps' in refusal(
        tmp_path / 'model-stride16.json', ['out', 'float_heatmaps'])
    del weights['across']
    write_model(tmp_path, nodes + [dict(op='Const', name='across', attr={})], weights)
    assert 'no weights for across' in refusal(tmp_path / 'model-stride16.json')
