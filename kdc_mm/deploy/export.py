"""Export of a trained network to a folder that :class:`kdc_mm_runtime.Runtime` runs."""
import contextlib
import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Dict, Iterator, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpose.datasets.transforms import BottomupResize
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from kdc_mm_runtime.codec_file import Codec, write_codec
from kdc_mm_runtime.runtime import CODEC_FILE, MODEL_FILE, Runtime

from ..apis import PoseSegInferencer
from ..models.heads import KDCHead, KDCPoseHead
from .network import DeployedNetwork
from .quantise import quantise

#: What export needs and training does not.
PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
#: Maps of the graph and of PyTorch may differ by so much of a channel's largest value, at least of
#: 1.
TOLERANCE = 1e-4
#: The oldest that has all that the graphs need.
_OPSET = 18


class ExportError(RuntimeError):
    """A network cannot be exported; the message says why."""


def export_onnx(inferencer: PoseSegInferencer, folder: Path,
                flip_test: Optional[bool] = None,
                int8_photos: Optional[Sequence[str]] = None) -> float:
    """Write ``model.onnx`` and ``codec.json``.

    Args:
        inferencer (PoseSegInferencer): The network, with its weights and test pipeline.
        folder (Path): Made if it does not exist.
        flip_test (bool, optional): Whether the graph looks at the mirrored image too; by default as
            the config says.
        int8_photos (sequence[str], optional): Image files to calibrate on, for a graph of 8 bits,
            see :func:`~kdc_mm.deploy.quantise.quantise`.

    Returns:
        float: By how much the graph's maps, before they have 8 bits, differ from PyTorch's, in
        shares of a channel's largest value, at least of 1.

    Raises:
        ExportError: A package is missing, the network is none that can be exported, or the graph
            gives other maps than PyTorch.
    """
    check_packages()
    model = inferencer.model.cpu().eval()
    if not isinstance(getattr(model, 'head', None), (KDCHead, KDCPoseHead)):
        raise ExportError(f'{type(getattr(model, "head", model)).__name__} finds no people by '
                          'itself: networks with KDCHead or KDCPoseHead can be exported.')
    if not model.head.decoder.use_key_centroid:
        raise ExportError('Without KeyCentroids (use_key_centroid=False) decoding needs PyTorch: '
                          'such networks cannot be exported.')
    if flip_test is None:
        flip_test = bool(model.test_cfg.get('flip_test', False))
    codec = Codec(model.head.decoder, _pad_value(inferencer))
    network = DeployedNetwork(model, flip_test)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).unlink(missing_ok=True)  # whatever happens, none that does not fit stays
    write_codec(folder / CODEC_FILE, codec, dict(
        config=Path(inferencer.cfg.filename or '').name, flip_test=flip_test,
        int8=int8_photos is not None, torch=torch.__version__))
    example = torch.from_numpy(_noise(network, batch=2))
    export_graph(network, example, folder / MODEL_FILE)
    difference = largest_difference(network, Runtime(folder))
    wrong = {name: share for name, share in difference.items() if not share <= TOLERANCE}  # or NaN
    if wrong:
        (folder / MODEL_FILE).unlink()
        name, share = wrong.popitem()
        raise ExportError(f'The graph gives other maps than PyTorch: {name} differ by {share:.1e} '
                          f"of a channel's largest value, more than {TOLERANCE:.0e}. It is not "
                          'kept.')
    if int8_photos is not None:
        quantise(folder, int8_photos)
    return max(difference.values())


def export_graph(network: nn.Module, inputs: Tensor, file: Path, any_batch: bool = True) -> None:
    """Write the graph of a network, by the exporter that PyTorch goes on with (``dynamo=True``).

    Args:
        network (nn.Module): Of one tensor, which becomes the input ``images``, to a tuple of
            tensors; knows their ``output_names`` after a call.
        inputs (Tensor): An example of a batch.
        file (Path): Where to.
        any_batch (bool): Whether batches may have any size, or the example's. Defaults to ``True``.
    """
    shapes = ({0: torch.export.Dim('batch', max=4096)}, ) if any_batch else None
    with torch.no_grad(), _quiet():
        network(inputs)
        torch.onnx.export(
            network, (inputs, ), str(file), dynamo=True, external_data=False, opset_version=_OPSET,
            input_names=['images'], output_names=network.output_names, dynamic_shapes=shapes,
            verbose=False)


@torch.no_grad()
def largest_difference(network: DeployedNetwork, runtime: Runtime) -> Dict[str, float]:
    """By how much the graph's maps of a noisy batch, of another size than was exported, differ from
    those of the test pipeline's way: per map, in shares of its channels' largest values, at least
    of 1."""
    images = _noise(network, batch=3)
    inputs = network.model.data_preprocessor(dict(
        inputs=[torch.from_numpy(image.transpose(2, 0, 1)) for image in images],
        data_samples=[PoseDataSample() for _ in images]))['inputs']
    expected = network.maps_of(inputs)
    found = runtime.run(images)
    return {
        name: float(((torch.from_numpy(found[name]) - part).abs().amax((0, 2, 3)) /
                     part.abs().amax((0, 2, 3)).clamp(min=1)).max())
        for name, part in expected.items()
    }


def check_packages() -> None:
    """
    Raises:
        ExportError: A package that export needs is missing.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(f'Export needs {", ".join(missing)}: '
                          'pip install -r requirements/deploy.txt')


def _pad_value(inferencer: PoseSegInferencer) -> Tuple[float, ...]:
    """What the test pipeline puts around images, if it resizes them as the runtime does."""
    steps = [step for step in inferencer.pipeline.transforms if isinstance(step, BottomupResize)]
    size = inferencer.model.head.decoder.input_size
    if len(steps) != 1 or steps[0].resize_mode != 'fit' or steps[0].use_udp or (
            steps[0].aug_scales) or tuple(steps[0].input_size) != size:
        raise ExportError('The runtime resizes images by one BottomupResize of the test pipeline, '
                          f"with resize_mode='fit', no UDP, one scale, and the codec's {size} px; "
                          'the config has another.')
    pad_value = np.broadcast_to(steps[0].pad_val, 3)
    return tuple(float(value) for value in pad_value)


def _noise(network: DeployedNetwork, batch: int) -> np.ndarray:
    """Images (B, H, W, 3) uint8 of the network's input size."""
    width, height = network.codec.input_size
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), np.uint8)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of what it does by itself."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
