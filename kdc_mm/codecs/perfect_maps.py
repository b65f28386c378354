"""The maps that a perfect network would give: what decoding can reach at best."""
from typing import Dict

import cv2
import numpy as np
import torch
from torch import Tensor

from .fields import build_pose_fields
from .owner_maps import IGNORED, NOBODY, keypoint_owner_map
from .pose_seg import PoseSeg

#: Logit of a certain cell.
_CERTAIN = 8.


def perfect_maps(codec: PoseSeg, encoded: Dict) -> Dict[str, Tensor]:
    """Turn encoded ground truth into network output.

    Pose maps are the training targets themselves, with vectors that go on a little beyond the
    disks. The semantic map holds, at the mask stride, the signed distance to the mask's boundary,
    as logits learnt at input resolution do; MaskCentroid offsets lead to the mean of the
    instance's mask pixels.

    Args:
        codec (PoseSeg): The codec that encoded and that will decode.
        encoded (dict): What :meth:`PoseSeg.encode` returned for one image.

    Returns:
        dict: maps of a batch of one, as :meth:`PoseSeg.batch_decode` takes them; without
        segmentation maps if the image has no masks.
    """
    keypoint_owner, mask_owner = encoded['owner_maps']
    table = encoded['keypoint_table']
    in_disk = torch.as_tensor((keypoint_owner != NOBODY) & (keypoint_owner != IGNORED))
    # smoothing warms cells beside the disks too: vectors go on there, as a network's would
    around = keypoint_owner_map(table[..., :2], table[..., 2] > 0, codec.heatmap_size,
                                codec.heatmap_stride, codec.radius + 3 * codec.heatmap_stride)
    fields = build_pose_fields(
        torch.as_tensor(around), torch.as_tensor(table), codec.heatmap_stride,
        torch.as_tensor(codec.skeleton.edges))
    maps = dict(
        heatmaps=(in_disk.float() * 2 - 1) * _CERTAIN,
        person_centroids=fields['person_centroid'].flatten(0, 1),
        limbs=fields['limb'].flatten(0, 1))
    if codec.use_key_centroid:
        maps['key_centroids'] = fields['key_centroid'].flatten(0, 1)
    if not (mask_owner == IGNORED).all():
        maps.update(_perfect_masks(mask_owner[0], codec.mask_stride))
    return {name: field[None] for name, field in maps.items()}


def _perfect_masks(owner: np.ndarray, stride: int) -> Dict[str, Tensor]:
    person = (owner != NOBODY) & (owner != IGNORED)
    height, width = owner.shape
    inside = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5)
    logits = np.clip(inside - outside - np.where(person, 0.5, -0.5), -_CERTAIN, _CERTAIN)

    # each cell takes the centroid of the nearest person, as a network would beyond the boundary
    ids = np.unique(owner[person])
    offset = np.zeros((2, height, width), np.float32)
    sigma = np.full((height, width), 1., np.float32)
    if len(ids):
        distance = np.stack([
            cv2.distanceTransform((owner != j).astype(np.uint8), cv2.DIST_L2, 5) for j in ids
        ])
        nearest = distance.argmin(0)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        centre = np.array([(x[owner == j].mean(), y[owner == j].mean()) for j in ids], np.float32)
        offset = np.stack([centre[nearest, 0] - x, centre[nearest, 1] - y])
        sigma[:] = _separating_sigma(centre)
    cells = (slice(None, None, stride), slice(None, None, stride))
    return dict(
        semantic=torch.as_tensor(logits[cells], dtype=torch.float32)[None],
        mask_centroids=torch.as_tensor(offset[(slice(None), *cells)]),
        log_bandwidth=torch.as_tensor(sigma[cells]).log()[None])


def _separating_sigma(centres: np.ndarray) -> float:
    """A bandwidth at which φ of one centroid stays below 0.5 at the next one, 32 px at most."""
    gaps = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    gaps = gaps[gaps > 0]
    return min(32., max(1., float(gaps.min()) / 2)) if len(gaps) else 32.


