"""People on images by an exported network: onnxruntime for its graph, and decoding."""
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from .codec_file import read_codec
from .found_people import FoundPeople
from .people import ImageFrame
from .resize import fit_into_input

#: Files of an exported network.
MODEL_FILE, CODEC_FILE = 'model.onnx', 'codec.json'

Image = Union[str, Path, np.ndarray]


class Runtime:
    """An exported network.

    ``runtime(image)`` gives the people of an image, ``runtime.predict(images)`` those of several,
    which make one batch.

    Args:
        folder (str | Path): What ``tools/deploy/export_onnx.py`` has written.
        threads (int, optional): Of onnxruntime; all cores by default.
        providers (sequence[str], optional): onnxruntime's execution providers, the CPU's by
            default.

    Raises:
        ImportError: onnxruntime is not installed.
        OSError: A file of the folder is missing.
        ValueError: A file is damaged, or of another version.
    """

    def __init__(self, folder: Union[str, Path], threads: Optional[int] = None,
                 providers: Sequence[str] = ('CPUExecutionProvider', )) -> None:
        folder = Path(folder)
        for name in (MODEL_FILE, CODEC_FILE):
            if not (folder / name).is_file():
                raise FileNotFoundError(f'{folder} holds no {name}: name a folder that '
                                        'tools/deploy/export_onnx.py has written.')
        self.decoder, self.pad_value = read_codec(folder / CODEC_FILE)
        self.session = _open_session(folder / MODEL_FILE, threads, providers)
        self._outputs = [output.name for output in self.session.get_outputs()]

    def __call__(self, image: Image) -> FoundPeople:
        """People of one image, a file or BGR (h, w, 3) uint8."""
        return self.predict([image])[0]

    def predict(self, images: Sequence[Image]) -> List[FoundPeople]:
        """People of each image of a batch.

        Args:
            images (sequence): Files, or BGR images (h, w, 3) uint8, of any sizes.

        Raises:
            OSError: A file cannot be read.
            ValueError: An array is no such image.
        """
        if not len(images):
            return []
        inputs, frames = zip(*(self.prepare(image) for image in images))
        people = self.decoder.decode_host_maps(self.run(np.stack(inputs)), frames)
        return [FoundPeople.of(found, frame).in_image(frame)
                for found, frame in zip(people, frames)]

    def prepare(self, image: Image) -> Tuple[np.ndarray, ImageFrame]:
        """An image in the network's input (H, W, 3) uint8 BGR, and where it lies there."""
        if isinstance(image, (str, Path)):
            image = load_image(image)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError('Images are BGR (h, w, 3) uint8, this one is '
                             f'{image.shape} {image.dtype}.')
        return fit_into_input(image, self.decoder.input_size, self.pad_value)

    def run(self, inputs: np.ndarray) -> Dict[str, np.ndarray]:
        """The graph's maps of a batch (B, H, W, 3) uint8 BGR, by name."""
        return dict(zip(self._outputs, self.session.run(None, dict(images=inputs))))


def load_image(path: Union[str, Path]) -> np.ndarray:
    """A file as BGR (h, w, 3) uint8, turned as its EXIF tag says.

    Raises:
        OSError: It cannot be read.
    """
    image = cv2.imread(str(path))
    if image is None:
        there = 'cannot be read as an image' if Path(path).is_file() else 'does not exist'
        raise OSError(f'{path} {there}.')
    return image


def _open_session(path: Path, threads: Optional[int], providers: Sequence[str]):
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('Exported networks are run by onnxruntime: '
                          'pip install onnxruntime') from error
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own classes differ between its versions
        raise ValueError(f'{path} cannot be run by onnxruntime {onnxruntime.__version__}: '
                         f'{str(error).strip().splitlines()[0]}') from error
