"""What a user names to look for people in: images, folders, patterns, videos, a webcam."""
import glob
import mimetypes
from pathlib import Path
from typing import Iterator, List, NamedTuple, Sequence

import cv2
import numpy as np
from PIL import Image

#: What mimetypes does not know on every system.
IMAGE_SUFFIXES = ('.webp', '.jfif')
VIDEO_SUFFIXES = ('.mkv', '.webm', '.m4v')


class Source(NamedTuple):
    """An image, a video or a webcam."""
    kind: str
    """'image', 'video' or 'webcam'."""
    name: str
    """A path, or the number of the webcam."""


def list_sources(inputs: Sequence[str]) -> List[Source]:
    """What is behind the names, each once.

    Args:
        inputs (Sequence[str]): Files, folders (whose images and videos are taken, not those of
            folders in them), patterns such as ``'photos/**/*.jpg'``, and numbers of webcams. A file
            that is no video by its ending is taken for an image.

    Raises:
        OSError: There is nothing behind a name.
    """
    found = []
    for name in inputs:
        path = Path(name).expanduser()
        if path.is_dir():
            files = image_files(path) + _files(path, 'video')
            if not files:
                raise FileNotFoundError(f'The folder {name} holds no image and no video.')
        elif path.exists():
            files = [str(path)]
        elif name.isdecimal():
            found.append(Source('webcam', name))
            continue
        else:
            files = sorted(
                file for file in glob.glob(str(path), recursive=True) if Path(file).is_file())
            if not files:
                raise FileNotFoundError(f'There is no file, folder or pattern match {name}.')
        found += [Source('video' if kind_of(file) == 'video' else 'image', file)
                  for file in files]
    return list(dict.fromkeys(found))


def image_files(folder: Path) -> List[str]:
    """The images of a folder by their endings, in the order of their names."""
    return _files(folder, 'image')


def _files(folder: Path, kind: str) -> List[str]:
    return sorted(str(file) for file in folder.iterdir()
                  if file.is_file() and kind_of(str(file)) == kind)


def kind_of(file: str) -> str:
    """'image', 'video' or another kind of media, or '' where the ending tells nothing."""
    suffix = Path(file).suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return 'image'
    if suffix in VIDEO_SUFFIXES:
        return 'video'
    return (mimetypes.guess_type(f'file{suffix}')[0] or '').split('/')[0]


def check_image(path: str) -> None:
    """Make sure that an image is whole: OpenCV fills what is cut off with grey.

    Raises:
        OSError: It cannot be used; the message names it.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except Exception as error:  # Pillow's decoders raise what they like
        raise OSError(f'{path} cannot be used: {_reason(error)}') from error


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return 'it is no image.'
    if isinstance(error, Image.DecompressionBombError):
        return 'it is too large; make it smaller.'
    return f'{getattr(error, "strerror", None) or error}.'


class Video:
    """The frames of a video or webcam.

    Args:
        source (Source): A video or a webcam.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, source: Source) -> None:
        is_webcam = source.kind == 'webcam'
        self._capture = cv2.VideoCapture(int(source.name) if is_webcam else source.name)
        self.name = f'webcam {source.name}' if is_webcam else source.name
        if not self._capture.isOpened():
            raise OSError(f'{self.name} cannot be opened as a video.')
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        #: Frames per second; 25 where the video does not say.
        self.fps = fps if 0 < fps < 1000 else 25.
        #: Number of frames as the file says; 0 of a webcam.
        self.length = 0 if is_webcam else max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[np.ndarray]:
        """BGR images (h, w, 3) uint8.

        Raises:
            OSError: There is not one.
        """
        seen = False
        try:
            while True:
                read, frame = self._capture.read()
                if not read:
                    break
                seen = True
                yield frame
        finally:
            self._capture.release()
        if not seen:
            raise OSError(f'{self.name} has no frame that can be read.')
