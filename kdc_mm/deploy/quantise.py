"""INT8 by onnxruntime's static quantisation, calibrated on photos."""
import tempfile
from pathlib import Path
from typing import Iterator, List, Sequence

import numpy as np

from kdc_mm_runtime.runtime import MODEL_FILE, Runtime

#: Convolutions with these weights put out the fields, pixels among them, and stay in floats.
_OUTPUTS = ('.out.weight', '.coarse.weight')


def quantise(folder: Path, photos: Sequence[str], most_photos: int = 100) -> None:
    """Give an exported network's convolutions weights and activations of 8 bits.

    The last ones, which put out the fields, stay as they are: a KeyCentroid's 256 steps would be a
    quarter of a pixel each.

    Args:
        folder (Path): The exported network; its graph is replaced.
        photos (sequence[str]): Image files as the network will see them, for the range of each
            activation.
        most_photos (int): So many of them are taken, evenly. Defaults to 100.

    Raises:
        OSError: A photo cannot be read.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    file = folder / MODEL_FILE
    step = max(1, -(-len(photos) // most_photos))
    inputs = _Inputs(Runtime(folder), photos[::step])
    with tempfile.TemporaryDirectory() as scratch:
        folded = Path(scratch) / MODEL_FILE
        quant_pre_process(str(file), str(folded), skip_symbolic_shape=True)
        quantize_static(
            str(folded), str(file), inputs, quant_format=QuantFormat.QDQ,
            op_types_to_quantize=['Conv', 'Clip', 'Relu'], nodes_to_exclude=_output_nodes(folded),
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True)


def _output_nodes(file: Path) -> List[str]:
    """Names of the convolutions that put out fields."""
    import onnx
    return [node.name for node in onnx.load(str(file)).graph.node
            if node.op_type == 'Conv' and node.input[1].endswith(_OUTPUTS)]


class _Inputs:
    """Photos as onnxruntime's calibration asks for them: one input after the other."""

    def __init__(self, runtime: Runtime, photos: Sequence[str]) -> None:
        self._inputs: Iterator[np.ndarray] = (runtime.prepare(photo)[0] for photo in photos)

    def get_next(self):
        image = next(self._inputs, None)
        return None if image is None else dict(images=image[None])
