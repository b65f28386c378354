"""Pictures of the fields that a head predicts or a codec encodes (paper, figures 3 to 5)."""
from typing import Sequence, Tuple

import numpy as np

from .draw import (Color, add_label, dim, draw_heatmap, draw_vectors, hue_colors,
                   sample_vectors)

# Arrows on the longer side of a picture, few enough to be told apart.
_ARROWS_PER_SIDE = 60


def heatmap_panel(image: np.ndarray, heatmaps: np.ndarray,
                  to_image: np.ndarray) -> np.ndarray:
    """Keypoint heatmaps (K, h, w) in 0..1, the maximum over keypoints, over the image."""
    return add_label(draw_heatmap(image, heatmaps.max(axis=0), to_image), 'keypoint heatmaps')


def key_centroid_panel(image: np.ndarray, key_centroid: np.ndarray, inside: np.ndarray,
                       stride: float, to_image: np.ndarray) -> np.ndarray:
    """KeyCentroid arrows, one colour per keypoint kind.

    Where disks overlap, only the arrow to the nearest keypoint is drawn.

    Args:
        image (np.ndarray): (H, W, 3).
        key_centroid (np.ndarray): (K, 2, h, w) in input pixels.
        inside (np.ndarray): bool (K, h, w), the disks.
        stride (float): Input pixels per cell.
        to_image (np.ndarray): (2, 3), see :func:`~kdc_mm.visualization.draw.map_to_image`.
    """
    distance = np.where(inside, np.linalg.norm(key_centroid, axis=1), np.inf)
    kind = distance.argmin(axis=0)
    nearest = np.take_along_axis(key_centroid, kind[None, None], axis=0)[0]
    starts, ends, cells = sample_vectors(
        nearest, inside.any(axis=0), stride, to_image, _step(image, to_image))
    colors = hue_colors(len(key_centroid))[kind[cells[:, 1], cells[:, 0]]]
    return add_label(draw_vectors(dim(image), starts, ends, colors), 'KeyCentroid')


def limb_panel(image: np.ndarray, limb: np.ndarray, inside: np.ndarray, stride: float,
               to_image: np.ndarray) -> np.ndarray:
    """Arrows of limb displacements, one colour per directed edge.

    Args:
        image (np.ndarray): (H, W, 3).
        limb (np.ndarray): (E, 2, h, w) in input pixels.
        inside (np.ndarray): bool (E, h, w), the disks of the edges' first keypoints.
        stride (float): Input pixels per cell.
        to_image (np.ndarray): (2, 3), see :func:`~kdc_mm.visualization.draw.map_to_image`.
    """
    colors = hue_colors(len(limb))
    panel = dim(image)
    for edge in range(len(limb)):
        starts, ends, _ = sample_vectors(limb[edge], inside[edge], stride, to_image,
                                         2 * _step(image, to_image))
        panel = draw_vectors(panel, starts, ends, colors[edge])
    return add_label(panel, 'limb displacements')


def mask_centroid_panel(image: np.ndarray, offsets: np.ndarray, inside: np.ndarray,
                        stride: float, to_image: np.ndarray, owner: np.ndarray,
                        colors: Sequence[Color]) -> np.ndarray:
    """MaskCentroid arrows, one colour per person.

    Args:
        image (np.ndarray): (H, W, 3).
        offsets (np.ndarray): (2, h, w) in input pixels.
        inside (np.ndarray): bool (h, w), the pixels of any person.
        stride (float): Input pixels per cell.
        to_image (np.ndarray): (2, 3), see :func:`~kdc_mm.visualization.draw.map_to_image`.
        owner (np.ndarray): int (H, W), 0 nobody, j + 1 person j; arrows of nobody are white.
        colors (Sequence): One per person.
    """
    starts, ends, _ = sample_vectors(offsets, inside, stride, to_image, _step(image, to_image))
    limit = np.array(owner.shape[::-1]) - 1
    x, y = np.clip(np.round(starts).astype(int), 0, limit).T
    arrow_colors = np.array([(255, 255, 255), *colors])[owner[y, x]]
    return add_label(draw_vectors(dim(image), starts, ends, arrow_colors), 'MaskCentroid')


def stride_of_maps(input_size: Tuple[int, int], map_shape: Tuple[int, int]) -> int:
    """Stride s of maps (h, w) of an input (w, h), of which each side has (side - 1) // s + 1 cells."""
    return round((max(input_size) - 1) / (max(map_shape) - 1))


def _step(image: np.ndarray, to_image: np.ndarray) -> int:
    pixels_per_cell = to_image[0, 0]
    return max(1, round(max(image.shape) / _ARROWS_PER_SIDE / pixels_per_cell))
