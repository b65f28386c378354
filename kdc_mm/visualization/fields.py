"""Pictures of the fields that a head predicts or a codec encodes (paper, figures 3 to 5).

Letters: picture of H×W pixels, maps of h×w cells, K keypoints, E limbs. ``stride`` is input
pixels per cell, ``to_image`` the affine map (2, 3) from cells to the picture, as
:func:`~kdc_mm.visualization.draw.map_to_image` gives it. Vectors are (x, y) in input pixels.
"""
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from mmpose.structures import PoseDataSample

from kdc_mm.codecs.owner_maps import IGNORED, NOBODY, is_person
from kdc_mm.codecs.targets import build_pose_fields

from .draw import (
    Color,
    add_label,
    dim,
    draw_centroid_vectors,
    draw_heatmap,
    draw_ignored,
    draw_owners,
    draw_vectors,
    hue_colors,
    map_to_image,
    sample_vectors,
    zoom_image,
)
from .people import is_input, to_numpy

# Arrows on the longer side of a picture, few enough to be told apart.
_ARROWS_PER_SIDE = 48


def heatmap_panel(image: np.ndarray, heatmaps: np.ndarray, to_image: np.ndarray) -> np.ndarray:
    """Keypoint heatmaps (K, h, w) in 0..1, the maximum over keypoints, over the image (H, W, 3)."""
    return add_label(draw_heatmap(image, heatmaps.max(axis=0), to_image), 'keypoint heatmaps')


def key_centroid_panel(ground: np.ndarray, key_centroid: np.ndarray, disks: np.ndarray,
                       stride: float, to_image: np.ndarray) -> np.ndarray:
    """KeyCentroid arrows, one colour per kind of keypoint.

    Args:
        ground (np.ndarray): (H, W, 3).
        key_centroid (np.ndarray): (K, 2, h, w).
        disks (np.ndarray): bool (K, h, w). Where they overlap, only the arrow to the nearest
            keypoint is drawn.
    """
    kind = nearest_kind(key_centroid, disks)
    nearest = np.take_along_axis(key_centroid, kind[None, None], axis=0)[0]
    starts, ends, cells = sample_vectors(
        nearest, disks.any(axis=0), stride, to_image, _step(ground, to_image))
    colors = hue_colors(len(key_centroid))[kind[cells[:, 1], cells[:, 0]]]
    return add_label(draw_vectors(ground, starts, ends, colors), 'KeyCentroid')


def mask_centroid_panel(ground: np.ndarray, offsets: np.ndarray, inside: np.ndarray,
                        stride: float, to_image: np.ndarray, owner: np.ndarray,
                        colors: Sequence[Color]) -> np.ndarray:
    """Arrows from mask pixels m_i towards their embeddings e_i, and dots at these.

    Args:
        ground (np.ndarray): (H, W, 3).
        offsets (np.ndarray): (2, h, w).
        inside (np.ndarray): bool (h, w), the cells of any person.
        owner (np.ndarray): int (H, W), 0 nobody, j + 1 person j; arrows of nobody are white.
        colors (Sequence): One per person.
    """
    panel = draw_owners(ground, owner, colors, opacity=0.22)
    starts, ends, _ = sample_vectors(offsets, inside, stride, to_image, _step(ground, to_image))
    limit = np.array(owner.shape[::-1]) - 1
    x, y = np.clip(np.round(starts).astype(int), 0, limit).T
    arrow_colors = np.array([(255, 255, 255), *colors])[owner[y, x]]
    panel = draw_centroid_vectors(panel, starts, ends, arrow_colors, 0.85 * _spacing(ground))
    return add_label(panel, 'MaskCentroid')


def field_panels(image: np.ndarray, fields: PixelData, data_sample: PoseDataSample,
                 masks: Optional[np.ndarray], colors: Sequence[Color],
                 zoom: float) -> List[np.ndarray]:
    """Pictures of the predicted fields, one for each kind that there is.

    Args:
        image (np.ndarray): The original image.
        fields (PixelData): ``heatmaps`` (K, h, w) in 0..1, and if there are any ``key_centroids``
            (2K, h, w), ``semantic`` (1, h, w) in 0..1 and ``mask_centroids`` (2, h, w).
        data_sample (PoseDataSample): Its metainfo says where ``image`` lies in the input.
        masks (np.ndarray, optional): bool (n, image height, image width) of the people.
        colors (Sequence): n colours.
        zoom (float): The panels are drawn on the image resized by this factor.
    """
    heatmaps = to_numpy(fields.heatmaps)
    picture = zoom_image(image, zoom)
    to_image = maps_to_picture(heatmaps.shape[1:], image.shape[:2], data_sample, zoom)
    if heatmaps.shape[1:] == image.shape[:2]:
        # MMPose's hook has warped the heatmaps to the image and dropped the other fields.
        return [heatmap_panel(picture, heatmaps, to_image)]

    stride = stride_of_maps(data_sample.input_size, heatmaps.shape[1:])
    panels = [heatmap_panel(picture, heatmaps, to_image)]
    ground = dim(picture)
    if 'key_centroids' in fields:
        key_centroids = to_numpy(fields.key_centroids)
        key_centroids = key_centroids.reshape(len(heatmaps), 2, *heatmaps.shape[1:])
        panels.append(key_centroid_panel(ground, key_centroids, heatmaps > 0.5, stride, to_image))
    if 'mask_centroids' in fields:
        owner = np.zeros(image.shape[:2], np.uint16)
        for person, mask in enumerate(masks):
            owner[mask] = person + 1
        owner = cv2.resize(owner, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        panels.append(
            mask_centroid_panel(ground, to_numpy(fields.mask_centroids),
                                to_numpy(fields.semantic)[0] > 0.5, stride, to_image, owner,
                                colors))
    return panels


def maps_to_picture(map_shape: Tuple[int, int], image_shape: Tuple[int, int],
                    data_sample: PoseDataSample, zoom: float) -> np.ndarray:
    """The affine map (2, 3) from cells of maps (h, w) to the picture of an image (H, W).

    The maps are of the network's input, or lie on the image: where it is the input, has the maps'
    size, or the sample does not say where it lies in the input.

    Args:
        data_sample (PoseDataSample): Its metainfo says where the image lies in the input.
        zoom (float): The picture is the image resized by this factor.
    """
    on_image = map_shape == image_shape or is_input(image_shape, data_sample)
    if on_image or 'input_center' not in data_sample.metainfo:
        size = image_shape[::-1]
        return map_to_image(stride_of_maps(size, map_shape), size, np.array(size) / 2, size, zoom)
    size = data_sample.input_size
    return map_to_image(stride_of_maps(size, map_shape), size, data_sample.input_center,
                        data_sample.input_scale, zoom)


def target_panels(image: np.ndarray, owner_maps: Sequence[np.ndarray], keypoint_table: np.ndarray,
                  skeleton_links: Sequence[Tuple[int, int]], colors: Sequence[Color],
                  zoom: float) -> List[np.ndarray]:
    """Pictures of what the PoseSeg codec encodes, as the losses see it.

    Ignored regions are striped.

    Args:
        image (np.ndarray): The network input.
        owner_maps (Sequence): (K, h, w) and (1, input height, input width), see the codec.
        keypoint_table (np.ndarray): (N, K, 3): x, y in pixels of ``image``, labelled.
        skeleton_links (Sequence): E pairs a, b of keypoint indices; the limbs a→b are drawn.
        colors (Sequence): N colours.
        zoom (float): The panels are drawn on the image resized by this factor.

    Returns:
        list[np.ndarray]: Keypoint disks, KeyCentroids, limb displacements, person centroids and
        MaskCentroids.
    """
    keypoint_owner, (mask_owner, ) = owner_maps
    size = image.shape[1::-1]
    stride = stride_of_maps(size, keypoint_owner.shape[1:])
    to_image = map_to_image(stride, size, np.array(size) / 2, size, zoom)
    edges = torch.as_tensor(skeleton_links)
    tensors = build_pose_fields(
        torch.as_tensor(keypoint_owner), torch.as_tensor(keypoint_table), stride, edges)
    fields = {name: tensor.numpy() for name, tensor in tensors.items()}

    disks = fields['heatmap'] > 0
    kind = nearest_kind(fields['key_centroid'], disks)
    nearest_only = disks & (kind == np.arange(len(disks))[:, None, None])
    owner = np.where(nearest_only, keypoint_owner, NOBODY).max(axis=0)
    owner = _on_picture(owner, to_image, size, zoom)
    ignored = _on_picture((keypoint_owner == IGNORED).any(axis=0), to_image, size, zoom) > 0
    ground = draw_ignored(dim(zoom_image(image, zoom)), ignored)
    step = _step(ground, to_image)

    limbs = people = ground
    for (a, _), color, limb, weight in zip(
            skeleton_links, hue_colors(len(edges)), fields['limb'], fields['limb_weight']):
        arrows = sample_vectors(limb, nearest_only[a] & (weight > 0), stride, to_image, 2 * step)
        limbs = draw_vectors(limbs, *arrows[:2], color)
    centroid = np.where(nearest_only[:, None], fields['person_centroid'], 0).sum(axis=0)
    starts, ends, _ = sample_vectors(centroid, disks.any(axis=0), stride, to_image, step)
    x, y = np.round(starts).astype(int).T
    arrow_colors = np.array([(255, 255, 255), *colors])[owner[y, x]]
    people = draw_centroid_vectors(ground, starts, ends, arrow_colors, 0.85 * _spacing(ground))
    return [
        add_label(draw_owners(ground, owner, colors, opacity=0.6), 'keypoint disks'),
        key_centroid_panel(ground, fields['key_centroid'], disks, stride, to_image),
        add_label(limbs, 'limb displacements'),
        add_label(people, 'person centroids'),
        _mask_target_panel(image, mask_owner, colors, zoom)
    ]


def nearest_kind(key_centroid: np.ndarray, disks: np.ndarray) -> np.ndarray:
    """Of all disks (K, h, w) over a cell that of the nearest keypoint: (h, w), 0 where none is."""
    return np.where(disks, np.linalg.norm(key_centroid, axis=1), np.inf).argmin(axis=0)


def stride_of_maps(input_size: Tuple[int, int], map_shape: Tuple[int, int]) -> int:
    """Stride s of maps (h, w) of an input (w, h): a side has (side - 1) // s + 1 cells."""
    return round((max(input_size) - 1) / (max(map_shape) - 1))


def _mask_target_panel(image: np.ndarray, mask_owner: np.ndarray, colors: Sequence[Color],
                       zoom: float) -> np.ndarray:
    """Masks with arrows to their static centroids C_j, the mean of the instance's pixels."""
    size = image.shape[1::-1]
    to_image = map_to_image(1, size, np.array(size) / 2, size, zoom)
    position = np.stack(np.indices(mask_owner.shape)[::-1]).astype(np.float32)
    offsets = np.zeros_like(position)
    inside = is_person(mask_owner)
    for person in np.unique(mask_owner[inside]):
        mask = mask_owner == person
        offsets[:, mask] = position[:, mask].mean(axis=1, keepdims=True) - position[:, mask]
    ignored = _on_picture(mask_owner == IGNORED, to_image, size, zoom) > 0
    ground = draw_ignored(dim(zoom_image(image, zoom)), ignored)
    owner = _on_picture(np.where(inside, mask_owner, NOBODY), to_image, size, zoom)
    return mask_centroid_panel(ground, offsets, inside, 1, to_image, owner, colors)


def _on_picture(cells: np.ndarray, to_image: np.ndarray, size: Tuple[int, int],
                zoom: float) -> np.ndarray:
    """Integers of map cells on the pixels of the picture, (H, W) uint8: the nearest cell's."""
    size = [round(side * zoom) for side in size]
    return cv2.warpAffine(cells.astype(np.uint8), to_image, size, flags=cv2.INTER_NEAREST)


def _step(image: np.ndarray, to_image: np.ndarray) -> int:
    """Cells between two arrows."""
    return max(1, round(_spacing(image) / to_image[0, 0]))


def _spacing(image: np.ndarray) -> float:
    """Pixels between two arrows."""
    return max(image.shape) / _ARROWS_PER_SIDE
