"""Errors of network outputs, the same in kind and size for codecs with different maps."""
from typing import List, NamedTuple

import cv2
import numpy as np

#: Correlation length L of the smooth fields, input pixels.
SMOOTH_PX = 16
#: Input pixels that a tag's unit stands for: R, by which the pixel offsets of PoseSeg are divided
#: where a network predicts them.
PX_PER_TAG = 32
#: Peak width of the Gaussian heatmaps that MMPose's codecs learn, input pixels.
_PEAK_PX = 8
#: Heat of a false peak.
_FALSE_HEAT = (0.1, 0.6)


class FalsePeak(NamedTuple):
    """A peak where no keypoint is.

    ``channel``: K stands for the person's root. ``place`` (x, y) as shares of the input's sides.
    ``heat`` in (0, 1). ``person`` is the person it copies: if it ``claims`` that person, its
    vectors lead to that person's keypoints and its tag is that person's; else it stands for a
    person who is not there, its vectors are that person's moved to the false peak, and its tag is
    new.
    """
    channel: int
    place: np.ndarray
    heat: float
    person: int
    claims: bool


class MapNoise:
    """The errors of one image's maps, each drawn from a stream of its own.

    - Every vector of every cell misses by a Gaussian of ``px`` input pixels, independently.
    - Heatmaps are multiplied by exp(a·g), g a smooth Gaussian field of unit variance with
      correlation length L = 16 px. The peak of a Gaussian of width s moves by s²·a·∇g, so that
      a = px·L/s² moves the peaks of s = 8 px that MMPose's codecs learn by ``px`` as well. The
      boundaries of masks move by px·g.
    - False peaks: px/4 per heatmap channel on average, at uniform places, with heat from 0.1 to
      0.6, half of them claiming a person, half of them nobody's, see :class:`FalsePeak`.
    - Tags miss by a Gaussian of px/32, independently: 32 px is the unit in which a network
      predicts PoseSeg's vectors, as a tag's unit is what lies between two persons.

    Pixels are those of each codec's own input.

    Args:
        px (float): Size of the errors in input pixels.
        image (int): Number of the image.
        seed (int): Seed.
    """

    def __init__(self, px: float, image: int, seed: int = 0) -> None:
        self.px = px
        self._key = [seed, image]

    def _stream(self, number: int) -> np.random.Generator:
        return np.random.default_rng([*self._key, number])

    def vector_errors(self, shape, stream: int) -> np.ndarray:
        """Independent errors in pixels; each of an image's maps asks for another stream."""
        return self._gaussian(shape, self.px, 100 + stream)

    def tag_errors(self, shape) -> np.ndarray:
        """Independent errors in tag units."""
        return self._gaussian(shape, self.px / PX_PER_TAG, 1)

    def heat_gain(self, shape, stride: int) -> np.ndarray:
        """Factor on heatmaps (C, h, w)."""
        strength = self.px * SMOOTH_PX / _PEAK_PX**2
        return np.exp(strength * self._smooth(shape, stride, 2))

    def boundary_shift(self, shape, stride: int) -> np.ndarray:
        """Distance in pixels by which a mask's boundary (h, w) lies further out."""
        return self.px * self._smooth((1, *shape), stride, 3)[0]

    def false_peaks(self, labelled: np.ndarray) -> List[FalsePeak]:
        """False peaks of an image.

        Args:
            labelled (np.ndarray): (N, K) bool. Only persons who have the keypoint are copied.

        Returns:
            list[FalsePeak]: Ordered by channel, the root's last.
        """
        stream = self._stream(0)
        owners = [*labelled.T, labelled.any(axis=1)]
        peaks = []
        for channel, owner in enumerate(owners):
            persons = np.flatnonzero(owner)
            for _ in range(stream.poisson(self.px / 4) if len(persons) else 0):
                peaks.append(
                    FalsePeak(channel, stream.random(2), stream.uniform(*_FALSE_HEAT),
                              int(stream.choice(persons)), bool(stream.random() < 0.5)))
        return peaks

    def _gaussian(self, shape, std: float, stream: int) -> np.ndarray:
        return std * self._stream(stream).standard_normal(shape, dtype=np.float32)

    def _smooth(self, shape, stride: int, stream: int) -> np.ndarray:
        """Smooth Gaussian fields (C, h, w) of unit variance."""
        # white noise blurred by σ has the correlation length √2 σ
        sigma = SMOOTH_PX / stride / np.sqrt(2)
        size = 2 * int(3 * sigma) + 1
        kernel = cv2.getGaussianKernel(size, sigma)
        margin = size // 2
        channels, height, width = shape
        white = self._gaussian((channels, height + 2 * margin, width + 2 * margin), 1., stream)
        white /= (kernel**2).sum()
        inner = (slice(margin, margin + height), slice(margin, margin + width))
        return np.stack([cv2.sepFilter2D(field, -1, kernel, kernel)[inner] for field in white])


