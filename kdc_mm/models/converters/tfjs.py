"""Reads TensorFlow.js graph models: a JSON file with the graph and the layout of the weights, and
binary files with the weights."""
import base64
import json
import math
from pathlib import Path
from typing import Collection, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

from ..backbones.tf_architectures import IMAGE, Node
from ..backbones.tf_graph import OPERATIONS

_CONVOLUTIONS = ('Conv2D', 'DepthwiseConv2dNative')


class ConversionError(ValueError):
    """A file or graph that cannot be converted; the message is one line that says why."""


class GraphModel(NamedTuple):
    """The part of a graph that its outputs need.

    ``nodes`` in an order that can be computed, as
    :func:`~kdc_mm.models.backbones.tf_graph.run_graph` runs them, and ``weights`` by name: kernels
    (out, in / groups, h, w), biases (out,).
    """
    nodes: List[Node]
    weights: Dict[str, Tensor]


def read_graph_model(file: Path, outputs: Sequence[str]) -> GraphModel:
    """Read a TensorFlow.js graph model.

    Args:
        file (Path): The JSON file; the weights lie beside it.
        outputs (sequence[str]): Endings of the names of the nodes wanted, each of one node.

    Raises:
        ConversionError: if the file is no graph model, lacks an output, if a file of weights is
            missing or cut short, or if there are operations other than
            :data:`~kdc_mm.models.backbones.tf_graph.OPERATIONS`.
    """
    model = _read_json(file)
    nodes = {node['name']: node for node in model['modelTopology']['node']}
    wanted = [nodes[name] for name in _ancestors(
        nodes, [find_output(nodes, name, file) for name in outputs])]
    arrays = read_weights(model['weightsManifest'], file.parent)
    for node in wanted:
        if node['op'] == 'Const' and node['name'] not in arrays:
            raise ConversionError(f'{file} names no weights for {node["name"]}.')
    images = {node['name'] for node in wanted if node['op'] == 'Placeholder'}
    graph = [_read_node(node, arrays, images) for node in wanted
             if node['op'] not in ('Const', 'Placeholder')]
    return GraphModel(graph, _torch_weights(graph, arrays))


def find_output(names: Sequence[str], ending: str, file: Path) -> str:
    """The one name that is ``ending``, or ends with it after a slash."""
    found = [name for name in names if f'/{name}'.endswith(f'/{ending}')]
    if len(found) != 1:
        raise ConversionError(f'{file} has no output {ending}: it is another network.')
    return found[0]


def read_weights(manifest: List[dict], folder: Path) -> Dict[str, np.ndarray]:
    """The arrays of a ``weightsManifest`` by name.

    Weights of uint8 and uint16 stand for ``scale · value + min``; they and those of float16 become
    float32.
    """
    arrays = {}
    for group in manifest:
        data = b''.join(_read_shard(folder / name) for name in group['paths'])
        stored = [np.dtype(entry.get('quantization', entry)['dtype']) for entry in group['weights']]
        counts = [math.prod(entry['shape']) for entry in group['weights']]
        expected = sum(dtype.itemsize * count for dtype, count in zip(stored, counts))
        if len(data) != expected:
            raise ConversionError(
                f'{folder / group["paths"][0]}: {len(data)} bytes of weights where the graph names '
                f'{expected} ({len(group["paths"])} files). Fetch them again.')
        at = 0
        for entry, dtype, count in zip(group['weights'], stored, counts):
            value = np.frombuffer(data, dtype, count, at).reshape(entry['shape'])
            at += dtype.itemsize * count
            packed = entry.get('quantization', {})
            if 'scale' in packed:
                value = value.astype(np.float32) * packed['scale'] + packed['min']
            arrays[entry['name']] = value.astype(entry['dtype'])
    return arrays


def _read_json(file: Path) -> dict:
    try:
        model = json.loads(file.read_text())
    except FileNotFoundError:
        others = ', '.join(sorted(path.name for path in file.parent.glob('*.json')))
        raise ConversionError(
            f'{file} does not exist' + (f' (there: {others}).' if others else '.')) from None
    except ValueError:
        raise ConversionError(f'{file} is no JSON.') from None
    if not isinstance(model, dict) or not {'modelTopology', 'weightsManifest'} <= model.keys():
        raise ConversionError(f'{file} is no TensorFlow.js graph model: it lacks modelTopology or '
                              'weightsManifest.')
    if 'node' not in model['modelTopology']:
        raise ConversionError(f'{file} is a TensorFlow.js model of layers; a graph is needed.')
    return model


def _read_shard(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise ConversionError(f'{file} is missing: the JSON names it as a file of its weights. '
                              'Put it beside the JSON.') from None


def _ancestors(nodes: Dict[str, dict], outputs: Sequence[str]) -> List[str]:
    """The outputs and all that they are computed from, each after its inputs."""
    order = {}

    def visit(name):
        if name not in order:
            for source in nodes[name].get('input', []):
                visit(source)
            order[name] = len(order)

    for name in outputs:
        visit(name)
    return list(order)


def _read_node(node: dict, arrays: Dict[str, np.ndarray], images: Collection[str]) -> Node:
    name, op = node['name'], node['op']
    inputs = tuple(IMAGE if source in images else source for source in node.get('input', []))
    if op not in OPERATIONS:
        raise ConversionError(f'node {name} is of kind {op}; known are {", ".join(OPERATIONS)}.')
    attributes = {}
    if op == 'Pad':
        attributes = dict(pads=_pads(name, arrays[inputs[1]]))
        inputs = inputs[:1]
    elif op in _CONVOLUTIONS or op == 'MaxPool':
        attributes = dict(stride=_side(node, 'strides'), padding=_text(node, 'padding'))
        if attributes['padding'] not in ('SAME', 'VALID'):
            raise ConversionError(f'node {name} has padding {attributes["padding"]}; known are '
                                  'SAME and VALID.')
        if _text(node, 'data_format') != 'NHWC':
            raise ConversionError(f'node {name} has another layout than NHWC.')
        if op == 'MaxPool':
            attributes.update(size=_side(node, 'ksize'))
        elif 'dilations' in node['attr']:
            attributes.update(dilation=_side(node, 'dilations'))
    return Node(op, name, inputs, **attributes)


def _text(node: dict, attribute: str) -> str:
    return base64.b64decode(node['attr'][attribute]['s']).decode()


def _side(node: dict, attribute: str) -> int:
    """What an attribute [1, n, n, 1] says; dilations are exported as [n, n, 1, 1]."""
    return int(node['attr'][attribute]['list']['i'][1])


def _pads(name: str, paddings: np.ndarray) -> Tuple[int, ...]:
    if paddings[[0, 3]].any():
        raise ConversionError(f'node {name} pads more than height and width.')
    return (*paddings[2].tolist(), *paddings[1].tolist())


def _torch_weights(nodes: List[Node], arrays: Dict[str, np.ndarray]) -> Dict[str, Tensor]:
    """The nodes' weights with kernels as PyTorch has them."""
    weights = {}
    for node in nodes:
        for name in node.inputs:
            if name in arrays:
                weights[name] = torch.from_numpy(arrays[name])
        if node.op in _CONVOLUTIONS:
            kernel = weights[node.inputs[1]]  # (h, w, in, out), or depthwise (h, w, in, factor)
            if node.op == 'Conv2D':
                kernel = kernel.permute(3, 2, 0, 1)
            else:
                kernel = kernel.permute(2, 3, 0, 1).flatten(0, 1)[:, None]
            weights[node.inputs[1]] = kernel.contiguous()
    return weights
