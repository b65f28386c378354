"""Backbones that run a graph of TensorFlow's operations, so that weights trained there fit."""
from collections import Counter
from typing import Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, empty, nn

from .tf_architectures import ARCHITECTURES, IMAGE, Node


def same_padding(size: Sequence[int], extent: int, stride: int) -> List[int]:
    """TensorFlow's SAME padding of a map of ``size`` (h, w), as ``F.pad`` takes it.

    The output has ceil(side / stride) cells. At sides s·n + 1 both ends get the same; else the far
    end gets one more.
    """
    padding = []
    for side in reversed(size):
        total = max((side - 1) // stride * stride + extent - side, 0)
        padding += [total // 2, total - total // 2]
    return padding


def _padded(node: Node, x: Tensor, window: int, value: float = 0.) -> Tensor:
    if node.padding == 'VALID':
        return x
    extent = (window - 1) * node.dilation + 1
    return F.pad(x, same_padding(x.shape[2:], extent, node.stride), value=value)


def _conv2d(node: Node, x: Tensor, kernel: Tensor) -> Tensor:
    groups = x.shape[1] // kernel.shape[1]
    return F.conv2d(_padded(node, x, kernel.shape[2]), kernel, stride=node.stride,
                    dilation=node.dilation, groups=groups)


def _max_pool(node: Node, x: Tensor) -> Tensor:
    return F.max_pool2d(_padded(node, x, node.size, float('-inf')), node.size, node.stride)


#: The operations that a graph may have, by TensorFlow's name: f(node, *inputs).
OPERATIONS: Dict[str, Callable[..., Tensor]] = dict(
    Conv2D=_conv2d,
    DepthwiseConv2dNative=_conv2d,
    BiasAdd=lambda node, x, bias: x + bias[:, None, None],
    Relu=lambda node, x: F.relu(x),
    Relu6=lambda node, x: F.relu6(x),
    Add=lambda node, x, y: x + y,
    AddV2=lambda node, x, y: x + y,
    Pad=lambda node, x: F.pad(x, node.pads),
    MaxPool=_max_pool)


def run_graph(nodes: Iterable[Node], weights: Mapping[str, Tensor], image: Tensor,
              outputs: Sequence[str]) -> List[Tensor]:
    """Run the nodes of a graph, each after its inputs.

    Args:
        nodes (iterable[Node]): In an order that can be computed.
        weights (mapping): Kernels (out, in / groups, h, w) and biases (out,) by name.
        image (Tensor): (B, 3, H, W), the value of the node :data:`IMAGE`.
        outputs (sequence[str]): Names of the nodes wanted.

    Returns:
        list[Tensor]: their values (B, C, h, w).
    """
    nodes = list(nodes)
    uses = Counter([name for node in nodes for name in node.inputs] + list(outputs))
    values = {IMAGE: image}
    for node in nodes:
        inputs = [values[name] if name in values else weights[name] for name in node.inputs]
        values[node.name] = OPERATIONS[node.op](node, *inputs)
        for name in node.inputs:
            uses[name] -= 1
            if not uses[name]:
                values.pop(name, None)
    return [values[name] for name in outputs]


@MODELS.register_module()
class TFGraph(BaseModule):
    """A network that was trained in TensorFlow, with its SAME padding and its names of weights.

    Batch norm is folded into the convolutions, as in networks exported for inference. All weights
    can be trained, or those behind a stride alone. A map of stride s has ceil(side / s) cells; at
    sides s·n + 1 its cell (u, v) lies on input pixel (s·u, s·v).

    Args:
        architecture (str): Of :data:`~.tf_architectures.ARCHITECTURES`.
        output_stride (int): Stride of the last features, 8, 16 or 32; layers that would pass it
            dilate instead, with the same weights. Defaults to 16.
        out_strides (sequence[int], optional): Strides whose last features are put out, the finest
            first. By default the output stride alone.
        frozen_stride (int, optional): Layers up to the last features of this stride keep their
            weights, as with ``frozen_stages`` of other backbones, and cost no backward pass. By
            default none do.
        init_cfg (dict, optional): Initialisation, by default He's.

    Raises:
        ValueError: for an unknown architecture, or a stride that it does not have.
    """

    def __init__(self,
                 architecture: str,
                 output_stride: int = 16,
                 out_strides: Sequence[int] = None,
                 frozen_stride: int = None,
                 init_cfg: dict = None) -> None:
        super().__init__(init_cfg)
        if architecture not in ARCHITECTURES:
            raise ValueError(f'TFGraph: architecture must be one of {sorted(ARCHITECTURES)}, '
                             f'got {architecture!r}.')
        self.nodes, shapes, stages = ARCHITECTURES[architecture](output_stride)
        out_strides = (output_stride, ) if out_strides is None else tuple(out_strides)
        if not set(out_strides) <= stages.keys():
            raise ValueError(f'TFGraph: {architecture} of output stride {output_stride} has '
                             f'features of strides {sorted(stages)}, got {out_strides}.')
        if frozen_stride is not None and frozen_stride not in stages:
            raise ValueError(f'TFGraph: frozen_stride of {architecture} must be one of '
                             f'{sorted(stages)}, got {frozen_stride}.')
        self.outputs = [stages[stride] for stride in out_strides]
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(empty(shape)) for name, shape in shapes.items()})
        for weight in self.weights.values():
            if weight.dim() == 4:
                nn.init.kaiming_normal_(weight, nonlinearity='relu')
            else:
                nn.init.zeros_(weight)
        if frozen_stride is not None:
            self._freeze(stages[frozen_stride])

    def _freeze(self, last: str) -> None:
        """Take the weights of the nodes up to ``last`` as they are."""
        for node in self.nodes:
            for name in node.inputs:
                if name in self.weights:
                    self.weights[name].requires_grad_(False)
            if node.name == last:
                return

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Images (B, 3, H, W) to the features (B, C, h, w) of each of ``out_strides``."""
        return tuple(run_graph(self.nodes, self.weights, x, self.outputs))
