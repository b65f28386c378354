"""The networks of TensorFlow's slim that BodyPix was built on, as lists of their operations."""
from typing import Dict, List, NamedTuple, Tuple

#: Name of the input.
IMAGE = 'image'


class Node(NamedTuple):
    """An operation of a graph.

    ``op`` is TensorFlow's name of it; ``inputs`` are names of nodes and of weights; ``stride``,
    ``dilation`` and ``padding`` (``'SAME'`` or ``'VALID'``) are those of convolutions and pooling,
    ``size`` is the side of a pooling window, and ``pads`` (left, right, top, bottom) those of Pad.
    """
    op: str
    name: str
    inputs: Tuple[str, ...]
    stride: int = 1
    dilation: int = 1
    padding: str = 'SAME'
    size: int = 1
    pads: Tuple[int, ...] = ()


class Graph(NamedTuple):
    """``nodes`` in an order that can be computed; ``shapes`` of the weights by name, kernels as
    (out, in / groups, h, w); ``stages``, the last node of each stride."""
    nodes: List[Node]
    shapes: Dict[str, Tuple[int, ...]]
    stages: Dict[int, str]


#: Stride and channels of the 13 separable layers of MobileNetV1 at width 0.75. The paper's last two
#: have twice the channels and another stride; those of BodyPix do not.
MOBILENET_LAYERS = [(1, 48), (2, 96), (1, 96), (2, 192), (1, 192), (2, 384)] + 7 * [(1, 384)]

#: Units, channels within and stride of the four blocks of ResNet-50. The last unit strides.
RESNET_BLOCKS = [(3, 64, 2), (4, 128, 2), (6, 256, 2), (3, 512, 1)]


def mobilenet_v1_075(output_stride: int) -> Graph:
    """MobileNetV1, width 0.75 (Howard et al., 2017): 384 channels at the output stride."""
    net = _Builder('MobilenetV1', output_stride)
    x = net.activate(net.convolve('Conv2d_0', IMAGE, 24, 3, *net.step(2)), 'Conv2d_0', 'Relu6')
    for i, (stride, channels) in enumerate(MOBILENET_LAYERS, 1):
        scope = f'Conv2d_{i}_depthwise'
        x = net.activate(net.convolve_depthwise(scope, x, *net.step(stride)), scope, 'Relu6')
        scope = f'Conv2d_{i}_pointwise'
        x = net.activate(net.convolve(scope, x, channels, 1), scope, 'Relu6')
        net.end_stage(x)
    return net.graph


def resnet_v1_50(output_stride: int) -> Graph:
    """ResNet-50 as slim has it (He et al., 2015): 2048 channels at the output stride.

    A block's stride is in its last unit, whose shortcut is subsampled.
    """
    net = _Builder('resnet_v1_50', output_stride)
    x = net.pad('Pad', IMAGE, 3)
    x = net.convolve('conv1', x, 64, 7, *net.step(2), padding='VALID')
    x = net.pad('Pad_1', net.activate(x, 'conv1', 'Relu'), 1)
    x = net.max_pool('pool1/MaxPool', x, 3, net.step(2)[0], 'VALID')
    for block, (units, channels, block_stride) in enumerate(RESNET_BLOCKS, 1):
        for unit in range(1, units + 1):
            stride = block_stride if unit == units else 1
            scope = f'block{block}/unit_{unit}/bottleneck_v1'
            x = _bottleneck(net, scope, x, channels, *net.step(stride), project=unit == 1)
            net.end_stage(x)
    return net.graph


def _bottleneck(net: '_Builder', scope: str, x: str, channels: int, stride: int, dilation: int,
                project: bool) -> str:
    if project:
        shortcut = net.convolve(f'{scope}/shortcut', x, 4 * channels, 1)
    elif stride > 1:
        shortcut = net.max_pool(f'{scope}/shortcut/MaxPool', x, 1, stride, 'SAME')
    else:
        shortcut = x
    y = net.activate(net.convolve(f'{scope}/conv1', x, channels, 1), f'{scope}/conv1', 'Relu')
    y = net.pad(f'{scope}/Pad', y, dilation)
    y = net.convolve(f'{scope}/conv2', y, channels, 3, stride, dilation, padding='VALID')
    y = net.activate(y, f'{scope}/conv2', 'Relu')
    y = net.convolve(f'{scope}/conv3', y, 4 * channels, 1)
    return net.activate(net.add(f'{scope}/add', shortcut, y), scope, 'Relu')


class _Builder:
    """Collects the nodes of a graph; each method returns the name of its node.

    Args:
        root (str): Scope of all names.
        output_stride (int): 8, 16 or 32.
    """

    def __init__(self, root: str, output_stride: int) -> None:
        if output_stride not in (8, 16, 32):
            raise ValueError(f'TFGraph: output_stride must be 8, 16 or 32, got {output_stride}.')
        self.root = root
        self.output_stride = output_stride
        self.stride, self.dilation = 1, 1
        self.channels = {IMAGE: 3}
        self.graph = Graph([], {}, {})

    def step(self, stride: int) -> Tuple[int, int]:
        """(stride, dilation) of a layer that has ``stride`` where the output stride allows it."""
        dilation = self.dilation
        if self.stride < self.output_stride:
            self.stride *= stride
            return stride, dilation
        self.dilation *= stride
        return 1, dilation

    def end_stage(self, name: str) -> None:
        """Note the last node so far of the present stride."""
        self.graph.stages[self.stride] = name

    def convolve(self, scope: str, x: str, channels: int, size: int, stride: int = 1,
                 dilation: int = 1, padding: str = 'SAME') -> str:
        kernel = self._weight(f'{scope}/weights', (channels, self.channels[x], size, size))
        y = self._node('Conv2D', f'{scope}/conv', (x, kernel), channels, stride, dilation, padding)
        return self._bias(f'{scope}/Conv2D_bias', y)

    def convolve_depthwise(self, scope: str, x: str, stride: int, dilation: int) -> str:
        channels = self.channels[x]
        kernel = self._weight(f'{scope}/depthwise_weights', (channels, 1, 3, 3))
        y = self._node('DepthwiseConv2dNative', f'{scope}/conv', (x, kernel), channels, stride,
                       dilation)
        return self._bias(f'{scope}/depthwise_bias', y)

    def activate(self, x: str, scope: str, kind: str) -> str:
        return self._node(kind, f'{scope}/{kind}', (x, ), self.channels[x])

    def add(self, name: str, x: str, y: str) -> str:
        return self._node('Add', name, (x, y), self.channels[x])

    def pad(self, name: str, x: str, width: int) -> str:
        return self._node('Pad', name, (x, ), self.channels[x], pads=4 * (width, ))

    def max_pool(self, name: str, x: str, size: int, stride: int, padding: str) -> str:
        return self._node('MaxPool', name, (x, ), self.channels[x], stride, padding=padding,
                          size=size)

    def _bias(self, name: str, x: str) -> str:
        bias = self._weight(name, (self.channels[x], ))
        return self._node('BiasAdd', f'{name}/add', (x, bias), self.channels[x])

    def _weight(self, name: str, shape: Tuple[int, ...]) -> str:
        self.graph.shapes[f'{self.root}/{name}'] = shape
        return f'{self.root}/{name}'

    def _node(self, op: str, name: str, inputs: Tuple[str, ...], channels: int, *attributes,
              **named) -> str:
        name = f'{self.root}/{name}'
        self.graph.nodes.append(Node(op, name, inputs, *attributes, **named))
        self.channels[name] = channels
        return name


#: Functions of the output stride.
ARCHITECTURES = dict(mobilenet_v1_075=mobilenet_v1_075, resnet_v1_50=resnet_v1_50)
