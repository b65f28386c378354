"""An image into the network's input, as MMPose's ``BottomupResize`` puts it there."""
from typing import Sequence, Tuple

import cv2
import numpy as np

from .people import ImageFrame


def fit_into_input(image: np.ndarray, input_size: Tuple[int, int],
                   pad_value: Sequence[float]) -> Tuple[np.ndarray, ImageFrame]:
    """Scale an image to the largest size that fits, into the middle of the input.

    Args:
        image (np.ndarray): (h, w, 3) uint8.
        input_size (tuple[int, int]): Input size [W, H].
        pad_value (sequence[float]): What is around it, per channel.

    Returns:
        tuple: (H, W, 3) uint8, and where the image lies in it.
    """
    height, width = image.shape[:2]
    ratio = width / height
    fitted = (min(input_size[0], input_size[1] * ratio),
              min(input_size[1], input_size[0] / ratio))
    centre = np.array([width / 2, height / 2], np.float32)
    extent = np.array([width * input_size[0] / fitted[0], height * input_size[1] / fitted[1]],
                      np.float32)  # of the input, in pixels of the image
    warp = cv2.getAffineTransform(_three_points(centre, extent[0]),
                                  _three_points(np.divide(input_size, 2), input_size[0]))
    resized = cv2.warpAffine(image, warp, input_size, flags=cv2.INTER_LINEAR,
                             borderValue=tuple(pad_value))
    frame = ImageFrame.from_metainfo(dict(
        input_size=input_size, input_scale=extent, input_center=centre, ori_shape=(height, width)))
    return resized, frame


def _three_points(centre: np.ndarray, width: float) -> np.ndarray:
    """The centre of a rectangle, the middle of its left side, and half a width below that: (3, 2).
    """
    half = float(width) / 2
    return np.array([centre, centre - (half, 0), centre + (-half, half)], np.float32)
