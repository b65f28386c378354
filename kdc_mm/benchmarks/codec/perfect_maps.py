"""The maps that a perfect network would give: what decoding can reach at best."""
from typing import Dict, Optional

import cv2
import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import lsqr
from torch import Tensor

from kdc_mm.codecs.owner_maps import IGNORED, is_person, keypoint_owner_map
from kdc_mm.codecs.pose_seg import PoseSeg
from kdc_mm.codecs.sampling import corners, sample_axis
from kdc_mm.codecs.targets import build_pose_fields
from kdc_mm_runtime.people import ImageFrame

#: Logit of a certain cell.
_CERTAIN = 8.
#: Least distance of two MaskCentroids, input pixels.
_LEAST_GAP = 16.
#: Largest bandwidth σ, input pixels.
_MAX_SIGMA = 32.


def perfect_maps(codec: PoseSeg,
                 encoded: Dict,
                 image_owner: Optional[np.ndarray] = None,
                 frame: Optional[ImageFrame] = None) -> Dict[str, Tensor]:
    """Turn encoded ground truth into network output.

    Pose maps are the training targets themselves, with vectors that go on a little beyond the
    disks. The semantic map holds the logits at the mask stride that, interpolated, come closest to
    the signed distance to the masks' boundary. MaskCentroid offsets lead to the mean of the
    instance's mask pixels; where those of two persons (nearly) coincide, as dynamic centroids are
    free to lie anywhere, they are moved apart.

    Args:
        codec (PoseSeg): The codec that encoded and that will decode.
        encoded (dict): What :meth:`PoseSeg.encode` returned for one image.
        image_owner (np.ndarray, optional): (h, w) uint8 owner map of the masks at the image's own
            resolution. A network that has seen a boundary at all positions relative to the pixels
            knows it more finely than one encoded map of the input's resolution tells.
        frame (ImageFrame, optional): Where that image lies in the input.

    Returns:
        dict: maps of a batch of one, as :meth:`PoseSeg.batch_decode` takes them; without
        segmentation maps if the image has no masks.
    """
    keypoint_owner, mask_owner = encoded['owner_maps']
    table = encoded['keypoint_table']
    in_disk = torch.as_tensor(is_person(keypoint_owner))
    # smoothing warms cells beside the disks too: vectors go on there, as a network's would
    around = keypoint_owner_map(table[..., :2], table[..., 2] > 0, codec.heatmap_size,
                                codec.heatmap_stride, codec.radius + 3 * codec.heatmap_stride)
    fields = build_pose_fields(
        torch.as_tensor(around), torch.as_tensor(table), codec.heatmap_stride,
        torch.as_tensor(codec.skeleton.edges))
    maps = dict(heatmaps=(in_disk.float() * 2 - 1) * _CERTAIN)
    for name, target, is_used in (
            ('person_centroids', 'person_centroid', codec.use_person_centroid),
            ('limbs', 'limb', codec.use_limbs),
            ('key_centroids', 'key_centroid', codec.use_key_centroid)):
        if is_used:
            maps[name] = fields[target].flatten(0, 1)
    if not (mask_owner == IGNORED).all():
        if image_owner is None:
            image_owner, frame = mask_owner[0], ImageFrame(codec.input_size, (1., 1.), (0., 0.))
        maps.update(_perfect_masks(image_owner, frame, codec.mask_size, codec.mask_stride))
    return {name: field[None] for name, field in maps.items()}


def _perfect_masks(owner: np.ndarray, frame: ImageFrame, mask_size,
                   stride: int) -> Dict[str, Tensor]:
    width, height = mask_size
    y, x = np.mgrid[:height, :width].astype(np.float32) * stride
    # the image pixel that each cell reads; cells beyond the image read its border
    image_x = (x - frame.offset[0]) / np.float32(frame.scale[0])
    image_y = (y - frame.offset[1]) / np.float32(frame.scale[1])

    def read(image: np.ndarray, interpolation: int) -> np.ndarray:
        return cv2.remap(image, image_x, image_y, interpolation, borderMode=cv2.BORDER_REPLICATE)

    on_person = is_person(owner)
    distance = _signed_distance(on_person) * np.float32(frame.scale[0])
    logits = _fit_logits(distance, read(distance, cv2.INTER_LINEAR), frame, stride)

    ids = np.unique(owner[on_person])
    offset = np.zeros((2, height, width), np.float32)
    sigma = np.ones((height, width), np.float32)
    if len(ids):
        # each cell takes the centroid of the nearest person, as a network would beyond the boundary
        nearest = np.searchsorted(ids, read(_nearest_owner(owner, on_person), cv2.INTER_NEAREST))
        centres = _spread(_mask_means(owner, ids) * frame.scale + frame.offset)
        offset = np.stack([centres[nearest, 0] - x, centres[nearest, 1] - y])
        sigma = _separating_sigmas(centres)[nearest]
    return dict(
        semantic=torch.as_tensor(logits, dtype=torch.float32)[None],
        mask_centroids=torch.as_tensor(offset, dtype=torch.float32),
        log_bandwidth=torch.as_tensor(sigma, dtype=torch.float32).log()[None])


def _signed_distance(on_person: np.ndarray) -> np.ndarray:
    """Distance of each pixel's centre to the boundary in pixels, above 0 inside."""
    inside = cv2.distanceTransform(on_person.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~on_person).astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(on_person, inside - 0.5, 0.5 - outside)


def _fit_logits(distance: np.ndarray, sampled: np.ndarray, frame: ImageFrame,
                stride: int) -> np.ndarray:
    """Logits whose bilinear interpolation comes closest to the signed distance at image pixels.

    Sampling the distance at the cells loses what is thinner than the stride: interpolation there
    cuts corners that a network trained on the interpolated logits bends outwards.

    Args:
        distance (np.ndarray): (H', W') signed distance in the image, input pixels.
        sampled (np.ndarray): (h, w) the same at the cells, the solution's start.
        frame (ImageFrame): Where the image lies in the input.
        stride (int): Stride of the cells.
    """
    logits = np.clip(sampled, -_CERTAIN, _CERTAIN)
    height, width = logits.shape
    y, x = np.nonzero(np.abs(distance) < 4 * stride)
    target = np.clip(distance[y, x], -_CERTAIN, _CERTAIN)

    columns = sample_axis(x * frame.scale[0] + frame.offset[0], stride, width)
    rows = sample_axis(y * frame.scale[1] + frame.offset[1], stride, height)
    cells, shares = corners(rows, columns, (width, height))
    pixels = np.tile(np.arange(len(x)), 4)
    interpolate = sparse.csr_matrix((shares.ravel(), (pixels, cells.ravel())),
                                    (len(x), logits.size))

    # what is near the boundary decides
    weight = 1 / (1 + 2 * np.abs(target))**2
    start = logits.ravel().astype(np.float64)
    missing = weight * (target - interpolate @ start)
    change = lsqr(sparse.diags(weight) @ interpolate, missing, damp=1e-2, iter_lim=20)[0]
    return (start + change).reshape(logits.shape)


def _nearest_owner(owner: np.ndarray, on_person: np.ndarray) -> np.ndarray:
    """For every pixel the owner of the nearest pixel of a person."""
    _, label = cv2.distanceTransformWithLabels((~on_person).astype(np.uint8), cv2.DIST_L2, 5,
                                               labelType=cv2.DIST_LABEL_PIXEL)
    owner_of_label = np.zeros(label.max() + 1, np.uint8)
    owner_of_label[label[on_person]] = owner[on_person]
    return owner_of_label[label]


def _mask_means(owner: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean (x, y) of each instance's mask pixels: (n, 2)."""
    y, x = np.nonzero(np.isin(owner, ids))
    row = np.searchsorted(ids, owner[y, x])
    area = np.bincount(row)
    return np.stack([np.bincount(row, x) / area, np.bincount(row, y) / area], axis=1)


def _spread(centres: np.ndarray) -> np.ndarray:
    """Move points (n, 2) apart that are closer than ``_LEAST_GAP``, as little as a few dozen small
    pushes need."""
    centres = centres.copy()
    # a circle's points tell coinciding centres apart
    angle = 2.4 * np.arange(len(centres))
    centres += 1e-3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for _ in range(64):
        apart = centres[:, None] - centres[None]
        gap = np.linalg.norm(apart, axis=-1)
        np.fill_diagonal(gap, np.inf)
        if gap.min() >= _LEAST_GAP:
            break
        push = np.clip(1.01 * _LEAST_GAP - gap, 0, None) / 2
        centres += (apart * (push / gap)[..., None]).sum(axis=1)
    return centres


def _separating_sigmas(centres: np.ndarray) -> np.ndarray:
    """Bandwidths (n,) at which φ of each centroid stays well below 0.5 at the next one."""
    gap = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    np.fill_diagonal(gap, np.inf)
    return np.clip(gap.min(axis=1) / 2, 1., _MAX_SIGMA)
