"""TensorFlow.js graph models written on the fly, and a slow reference that runs them."""
import base64
import json

import numpy as np
import torch
import torch.nn.functional as F


def text(value):
    return dict(s=base64.b64encode(value.encode()).decode())


def node(op, name, *inputs, stride=1, dilation=1, padding='SAME', size=1, layout='NHWC'):
    """A node as the JSON has it; kinds without strides and the like ignore theirs."""
    def sides(value):
        return dict(list=dict(i=['1', str(value), str(value), '1']))

    return dict(
        op=op, name=name, input=list(inputs),
        attr=dict(strides=sides(stride), dilations=sides(dilation), ksize=sides(size),
                  padding=text(padding), data_format=text(layout)))


def write_model(folder, nodes, weights, stored='float32', name='model-stride16.json', shards=2):
    """Write a graph model.

    Args:
        folder (Path): Made if it is not there.
        nodes (list[dict]): Made by :func:`node`; the constants and the image are added.
        weights (dict): Arrays by name, kernels (h, w, in, out).
        stored (str): How floats are stored: float32, float16, uint16 or uint8.
        name (str): Of the JSON file.
        shards (int): Files that the weights are cut into, wherever the cuts fall.

    Returns:
        dict: the weights as they can be read, float32.
    """
    folder.mkdir(exist_ok=True, parents=True)
    entries, data, readable = [], b'', {}
    for key, value in weights.items():
        value = np.asarray(value)
        entry = dict(name=key, shape=list(value.shape), dtype=str(value.dtype))
        kept = value
        if value.dtype == np.float32 and stored == 'float16':
            entry['quantization'] = dict(dtype='float16')
            kept = value.astype(np.float16)
            value = kept.astype(np.float32)
        elif value.dtype == np.float32 and stored != 'float32':
            low, scale = float(value.min()), float(np.ptp(value)) / np.iinfo(stored).max or 1.
            entry['quantization'] = dict(dtype=stored, min=low, scale=scale)
            kept = np.round((value - low) / scale).astype(stored)
            value = kept.astype(np.float32) * scale + low
        entries.append(entry)
        data += kept.tobytes()
        readable[key] = value
    paths = [f'shard{i}.bin' for i in range(shards)]
    cuts = [len(data) * i // shards for i in range(shards + 1)]
    for path, low, high in zip(paths, cuts[:-1], cuts[1:]):
        (folder / path).write_bytes(data[low:high])
    constants = [dict(op='Placeholder', name='sub_2', attr={})]
    constants += [dict(op='Const', name=key, attr={}) for key in weights]
    (folder / name).write_text(json.dumps(dict(
        format='graph-model', modelTopology=dict(node=constants + nodes),
        weightsManifest=[dict(paths=paths, weights=entries)])))
    return readable


def _random_weights(manifest):
    """Random weights for all entries of a manifest, small enough for activations to stay."""
    rng = np.random.default_rng(0)
    weights = {}
    for entry in manifest:
        shape = entry['shape']
        if entry['dtype'] == 'int32':  # paddings: 3 before the stem, else 1
            width = 1 if 'Pad_1' in entry['name'] else 3
            weights[entry['name']] = np.array(
                [[0, 0], [width, width], [width, width], [0, 0]], np.int32)
        else:
            bound = (3 / np.prod(shape[:-1]))**0.5 if len(shape) == 4 else 0.1
            weights[entry['name']] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def write_with_random_weights(folder, source):
    """Write the graph of a JSON file with random weights of 8 bits; its nodes, and the weights."""
    model = json.loads(source.read_text())
    nodes = [one for one in model['modelTopology']['node'] if one['op'] != 'Const']
    weights = _random_weights(model['weightsManifest'][0]['weights'])
    return nodes, write_model(folder, nodes, weights, 'uint8')


def run_slowly(nodes, weights, image):
    """Values (B, h, w, C) of all nodes of a JSON, one after the other."""
    values = dict(sub_2=image.permute(0, 2, 3, 1))
    for one in nodes:
        if one['op'] in ('Const', 'Placeholder', 'Minimum', 'Maximum'):
            continue
        x = values[one['input'][0]]
        other = [values[name] if name in values else torch.tensor(weights[name])
                 for name in one['input'][1:]]
        values[one['name']] = REFERENCE[one['op']](one, x, *other)
    return values


def _side(one, attribute):
    return int(one['attr'][attribute]['list']['i'][1])


def _windows(one, x, size, fill):
    """The cells that each output cell sees: (B, h', w', C, size, size).

    As TensorFlow's documentation has it: SAME gives ceil(n / stride) cells, VALID
    ceil((n − extent + 1) / stride).
    """
    stride = _side(one, 'strides')
    dilation = _side(one, 'dilations') if one['op'] != 'MaxPool' else 1
    extent = (size - 1) * dilation + 1
    positions = []
    for axis in (1, 2):
        side = x.shape[axis]
        if base64.b64decode(one['attr']['padding']['s']) == b'SAME':
            count = int(np.ceil(side / stride))
            before = max((count - 1) * stride + extent - side, 0) // 2
        else:
            count, before = int(np.ceil((side - extent + 1) / stride)), 0
        positions.append(torch.arange(count)[:, None] * stride - before +
                         torch.arange(size) * dilation)
    margin = extent
    x = F.pad(x, (0, 0, margin, margin, margin, margin), value=fill)
    rows, columns = (position + margin for position in positions)
    return x[:, rows][:, :, :, columns].permute(0, 1, 3, 5, 2, 4)


def _conv(one, x, kernel):
    return torch.einsum('bhwcij,ijco->bhwo', _windows(one, x, kernel.shape[0], 0.), kernel)


def _depthwise(one, x, kernel):
    y = torch.einsum('bhwcij,ijcm->bhwcm', _windows(one, x, kernel.shape[0], 0.), kernel)
    return y.flatten(3)


def _pad(one, x, paddings):
    (_, _), (top, bottom), (left, right), (_, _) = paddings.tolist()
    return F.pad(x, (0, 0, left, right, top, bottom))


REFERENCE = dict(
    Conv2D=_conv,
    DepthwiseConv2dNative=_depthwise,
    BiasAdd=lambda one, x, bias: x + bias,
    Relu=lambda one, x: x.clamp(min=0),
    Relu6=lambda one, x: x.clamp(0, 6),
    Add=lambda one, x, y: x + y,
    AddV2=lambda one, x, y: x + y,
    Pad=_pad,
    MaxPool=lambda one, x: _windows(one, x, _side(one, 'ksize'), -np.inf).amax((4, 5)))
