"""BodyPix as a KDC network.

BodyPix 2.0 (Google) is PersonLab (Papandreou et al., 2018), whose fields are KDC's: each of its
outputs is a 1×1 convolution of the last features, and so are sums of them. So KDC's heads with
``num_convs=0`` take PersonLab's weights, in KDC's order and units:

======================  ============================================================================
KDC                     BodyPix
======================  ============================================================================
``heatmaps``            ``float_heatmaps``
``key_centroids``       ``float_short_offsets``
``limbs``               ``displacement_fwd_2`` along :data:`CHAIN`, ``displacement_bwd_2`` against
``person_centroids``    mean of the 17 ``float_long_offsets``, the same for each keypoint
``semantic``            ``float_segments``
``mask_centroids``      mean of the 17 ``float_long_offsets``
``log_bandwidth``       no counterpart: :func:`fit_log_bandwidth`, or :data:`LOG_BANDWIDTH`
======================  ============================================================================
"""
import math
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel
from torch import Tensor, nn

from ...codecs.skeleton import Skeleton
from ..backbones.tf_architectures import ARCHITECTURES
from ..backbones.tf_graph import TFGraph, run_graph
from ..heads import KDCHead
from .tfjs import ConversionError, GraphModel, find_output, read_graph_model

#: PersonLab's kinematic tree, in the order of its displacement channels.
CHAIN = [
    ('nose', 'left_eye'), ('left_eye', 'left_ear'), ('nose', 'right_eye'),
    ('right_eye', 'right_ear'), ('nose', 'left_shoulder'), ('left_shoulder', 'left_elbow'),
    ('left_elbow', 'left_wrist'), ('left_shoulder', 'left_hip'), ('left_hip', 'left_knee'),
    ('left_knee', 'left_ankle'), ('nose', 'right_shoulder'), ('right_shoulder', 'right_elbow'),
    ('right_elbow', 'right_wrist'), ('right_shoulder', 'right_hip'), ('right_hip', 'right_knee'),
    ('right_knee', 'right_ankle')]

#: The outputs that become KDC's fields, by the ending of their names.
OUTPUTS = ('float_heatmaps', 'float_short_offsets', 'float_long_offsets', 'float_segments',
           'displacement_fwd_2/BiasAdd', 'displacement_bwd_2/BiasAdd')

#: ln σ without photos to fit it to: the mean at person cells of COCO photos at 401 px, σ = 29 px.
LOG_BANDWIDTH = 3.36


class BodyPix(NamedTuple):
    """A BodyPix network: the ``graph`` up to its ``features``, and ``maps``, a matrix (outputs,
    C + 1) for each of :data:`OUTPUTS`: weights of the C features, and the bias."""
    graph: GraphModel
    features: str
    maps: Dict[str, Tensor]


def read_bodypix(file: Path) -> BodyPix:
    """Read a BodyPix network from its JSON file and the weights beside it.

    Raises:
        ConversionError: if it is another network; and as :func:`read_graph_model`.
    """
    model = read_graph_model(file, OUTPUTS)
    nodes = {node.name: node for node in model.nodes}
    maps, sources, tail = {}, set(), set()
    for output in OUTPUTS:
        bias = nodes[find_output(nodes, output, file)]
        conv = nodes.get(bias.inputs[0])
        if bias.op != 'BiasAdd' or conv is None or conv.op != 'Conv2D':
            raise ConversionError(f'{file}: {bias.name} is no 1×1 convolution of features: it is '
                                  'another network.')
        kernel = model.weights[conv.inputs[1]]
        maps[output] = torch.cat([kernel[:, :, 0, 0], model.weights[bias.inputs[1]][:, None]], 1)
        sources.add(conv.inputs[0])
        tail |= {bias.name, conv.name}
    if len(sources) > 1:
        raise ConversionError(f'{file}: the outputs come from different features '
                              f'({", ".join(sorted(sources))}): it is another network.')
    nodes = [node for node in model.nodes if node.name not in tail]
    return BodyPix(GraphModel(nodes, model.weights), sources.pop(), maps)


def load_backbone(backbone: TFGraph, network: BodyPix) -> None:
    """Copy the weights of a BodyPix network into a backbone, and see that both do the same.

    Raises:
        ConversionError: if the backbone is another network.
    """
    for name, weight in backbone.weights.items():
        given = network.graph.weights.get(name)
        if given is None or given.shape != weight.shape:
            raise ConversionError(
                f'the graph is that of another network: {name} is to have the shape '
                f'{tuple(weight.shape)}, and ' +
                ('is missing.' if given is None else f'has {tuple(given.shape)}.'))
        weight.data.copy_(given)
    noise = torch.rand(1, 3, 65, 81, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = run_graph(*network.graph, noise, [network.features])[0]
        features = backbone(noise)[-1]
    scale = expected.abs().max()
    if features.shape != expected.shape or (features - expected).abs().max() > 1e-4 * scale:
        raise ConversionError('the graph is that of another network: the same weights give other '
                              'features. Is the output stride the same?')


def backbone_config(network: BodyPix) -> dict:
    """Config of the backbone that a BodyPix network has.

    Raises:
        ConversionError: if its architecture is not known.
    """
    for architecture, build in ARCHITECTURES.items():
        if build(16).shapes.keys() <= network.graph.weights.keys():
            return dict(type='TFGraph', architecture=architecture,
                        output_stride=_output_stride(network))
    raise ConversionError('the graph is that of another network: the weights have not the names of '
                          f'{" or ".join(ARCHITECTURES)}.')


def load_heads(head: KDCHead, maps: Dict[str, Tensor], log_bandwidth: Tensor) -> None:
    """Fold BodyPix's outputs into the 1×1 outputs of KDC's heads.

    Args:
        head (KDCHead): With ``num_convs=0`` in both heads, or with ``coarse_channels``.
        maps (dict): Of :class:`BodyPix`.
        log_bandwidth (Tensor): (C + 1,) ln σ in pixels.
    """
    pose, seg = head.pose_head, head.seg_head
    pose_out, seg_out = converted_outputs(head)
    fields = pose_fields(maps, pose.decoder.skeleton)
    _load(pose_out, [fields[name] / pose.units.get(name, 1) for name in pose.field_channels])
    relative = log_bandwidth[None].clone()
    relative[:, -1] -= math.log(seg.decoder.radius)
    _load(seg_out, [maps['float_segments'], mean_long_offset(maps) / seg.mask_unit, relative])


def converted_outputs(head: KDCHead) -> Tuple[nn.Conv2d, nn.Conv2d]:
    """The convolutions of both heads that take BodyPix's outputs."""
    pose, seg = head.pose_head, head.seg_head
    return (pose.out, seg.out) if head.coarse_channels is None else (pose.coarse, seg.coarse)


def pose_fields(maps: Dict[str, Tensor], skeleton: Skeleton) -> Dict[str, Tensor]:
    """KDC's pose fields in pixels, each a matrix (channels, C + 1), from those of BodyPix.

    Raises:
        ValueError: if the skeleton's limbs are not PersonLab's.
    """
    chain = [tuple(skeleton.names.index(name) for name in limb) for limb in CHAIN]
    along = dict(zip(chain, _vectors(maps['displacement_fwd_2/BiasAdd'])))
    against = {(b, a): rows for (a, b), rows in zip(
        chain, _vectors(maps['displacement_bwd_2/BiasAdd']))}
    limbs = along | against
    edges = [tuple(edge) for edge in skeleton.edges.tolist()]
    if set(edges) != limbs.keys():
        raise ValueError("The codec's limbs are not PersonLab's: give it limbs=CHAIN.")
    return dict(
        heatmaps=maps['float_heatmaps'],
        key_centroids=_vectors(maps['float_short_offsets']).flatten(0, 1),
        person_centroids=mean_long_offset(maps).repeat(skeleton.num_keypoints, 1),
        limbs=torch.cat([limbs[edge] for edge in edges]))


def mean_long_offset(maps: Dict[str, Tensor]) -> Tensor:
    """From a person's pixel to the mean of its keypoints, (x, y) in pixels: (2, C + 1)."""
    return _vectors(maps['float_long_offsets']).mean(0)


def fit_log_bandwidth(features: Iterable[Tensor], maps: Dict[str, Tensor]) -> Tuple[Tensor, float]:
    """ln σ as a linear function of the features, by least squares.

    σ is to be the spread of the 17 predicted keypoints: the root of their mean squared distance
    from their mean, at each cell that the semantic map takes for a person.

    Args:
        features (iterable[Tensor]): (C, h, w), one of each photo.
        maps (dict): Of :class:`BodyPix`.

    Returns:
        tuple: (C + 1,) and the root mean square of what ln σ misses by.

    Raises:
        ConversionError: if no cell shows a person.
    """
    gram, moment, square, count = 0, 0, 0, 0
    for feature in features:
        cells = torch.cat([feature.flatten(1), feature.new_ones(1, feature[0].numel())])
        cells = cells[:, (maps['float_segments'] @ cells)[0] > 0]
        ends = _vectors(maps['float_long_offsets']) @ cells  # (17, 2, cells)
        spread = (ends - ends.mean(0)).square().sum(1).mean(0).sqrt()
        cells, target = cells.double(), spread.double().log()
        gram, moment = gram + cells @ cells.T, moment + cells @ target
        square, count = square + target @ target, count + len(target)
    if not count:
        raise ConversionError('no cell of the photos shows a person: ln σ cannot be fitted.')
    fit = torch.linalg.lstsq(gram, moment[:, None], driver='gelsd').solution[:, 0]
    error = (square - 2 * fit @ moment + fit @ gram @ fit) / count
    return fit.float(), float(error.clamp(min=0).sqrt())


@torch.no_grad()
def photo_features(model: BaseModel, pipeline: Sequence[dict],
                   photos: Sequence[Path]) -> Iterator[Tensor]:
    """The last features (C, h, w) of each photo.

    Args:
        model (BaseModel): An estimator with data preprocessor and backbone.
        pipeline (sequence[dict]): Config of the test pipeline.
        photos (sequence[Path]): Image files.
    """
    pipeline = Compose(pipeline)
    for photo in photos:
        batch = pseudo_collate([pipeline(dict(img_path=str(photo), id=[], img_id=0))])
        yield model.backbone(model.data_preprocessor(batch)['inputs'])[-1][0]


def constant_log_bandwidth(channels: int) -> Tensor:
    """:data:`LOG_BANDWIDTH` everywhere, as :func:`fit_log_bandwidth` gives it: (C + 1,)."""
    return torch.cat([torch.zeros(channels), torch.tensor([LOG_BANDWIDTH])])


def _output_stride(network: BodyPix) -> int:
    nodes = {node.name: node for node in network.graph.nodes}
    stride, name = 1, network.features
    while name in nodes:
        stride *= nodes[name].stride
        name = nodes[name].inputs[0]
    return stride


def _vectors(rows: Tensor) -> Tensor:
    """(2n, C + 1), all y before all x, as (n, 2, C + 1), (x, y)."""
    y, x = rows.chunk(2)
    return torch.stack([x, y], 1)


def _load(conv: nn.Conv2d, rows: List[Tensor]) -> None:
    rows = torch.cat(rows)
    conv.weight.data.copy_(rows[:, :-1, None, None])
    conv.bias.data.copy_(rows[:, -1])
