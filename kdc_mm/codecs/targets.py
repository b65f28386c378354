"""Float fields from owner maps, on any device: what the heads are trained to predict.

Shapes: K keypoints, 2E directed limbs, map of h×w cells, N persons, input of H×W pixels.
"""
from typing import Dict, NamedTuple, Sequence

import torch
from torch import Tensor

from .owner_maps import IGNORED, NOBODY


def cell_positions(height: int, width: int, stride: int, device) -> Tensor:
    """Input-pixel position (x, y) of every map cell: (2, h, w), float."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij')
    return torch.stack([x, y]).float() * stride


def labelled_centroids(keypoint_table: Tensor) -> Tensor:
    """Mean of each person's labelled keypoints: (N, K, 3) → (N, 2); NaN-free, 0 without any."""
    weight = keypoint_table[..., 2:]
    return (keypoint_table[..., :2] * weight).sum(1) / weight.sum(1).clamp(min=1)


def build_pose_fields(keypoint_owner: Tensor, keypoint_table: Tensor, stride: int,
                      edges: Tensor) -> Dict[str, Tensor]:
    """The pose targets of one image (paper, 3.1 and 3.2).

    Args:
        keypoint_owner (Tensor): (K, h, w) uint8 owner map.
        keypoint_table (Tensor): (N, K, 3): x, y in input pixels, labelled.
        stride (int): Stride of the map.
        edges (Tensor): (2E, 2) directed limbs a→b.

    Returns:
        dict: float tensors

        - heatmap (K, h, w): 1 in any person's disk, KHDR.
        - heatmap_weight (K, h, w): 0 where ignored.
        - key_centroid (K, 2, h, w): k_v = q − p in the disk, pixels.
        - person_centroid (K, 2, h, w): from p to the mean of the person's labelled keypoints.
        - limb (2E, 2, h, w): from p in the disk of a to b of the same person, pixels.
        - limb_weight (2E, h, w): 1 in disks of a whose person has b labelled too.
    """
    owner = keypoint_owner.long()
    num_keypoints, height, width = owner.shape
    owned = (owner != NOBODY) & (owner != IGNORED)
    position = cell_positions(height, width, stride, owner.device)
    # row 0 of each table stands for cells that nobody owns
    table = torch.cat([keypoint_table.new_zeros(1, num_keypoints, 3), keypoint_table])
    person = torch.where(owned, owner, 0)
    channel = torch.arange(num_keypoints, device=owner.device)[:, None, None]

    def vectors(target: Tensor, mask: Tensor) -> Tensor:
        """From each cell to its target: (C, h, w, 2) → (C, 2, h, w), 0 outside the mask."""
        return (target.permute(0, 3, 1, 2) - position) * mask[:, None]

    start, end = edges[:, 0], edges[:, 1]
    limb_owned = owned[start] & (table[person[start], end[:, None, None], 2] > 0)
    return dict(
        heatmap=owned.float(),
        heatmap_weight=(owner != IGNORED).float(),
        key_centroid=vectors(table[person, channel, :2], owned),
        person_centroid=vectors(labelled_centroids(table)[person], owned),
        limb=vectors(table[person[start], end[:, None, None], :2], limb_owned),
        limb_weight=limb_owned.float())


class DiskCells(NamedTuple):
    """The M map cells of a batch that lie in a keypoint's disk, and their targets in pixels.

    ``index`` image, channel, row, column, each (M,); ``key_centroid`` (M, 2), ``person_centroid``
    (M, 2), and for the D limbs that leave the cell's keypoint ``edge`` (M, D) their numbers,
    ``limb`` (M, D, 2) and ``limb_weight`` (M, D), 0 where the far end is not labelled.
    """
    index: tuple
    key_centroid: Tensor
    person_centroid: Tensor
    edge: Tensor
    limb: Tensor
    limb_weight: Tensor


def build_disk_cells(keypoint_owner: Tensor, keypoint_tables: Sequence[Tensor], stride: int,
                     edges: Tensor, outgoing: Tensor) -> DiskCells:
    """The vectors of :func:`build_pose_fields` for a batch, only where they are defined.

    Disks fill a few percent of the maps; training touches no more than these cells.

    Args:
        keypoint_owner (Tensor): (B, K, h, w) uint8 owner maps.
        keypoint_tables (sequence[Tensor]): B times (N, K, 3): x, y in input pixels, labelled.
        stride (int): Stride of the map.
        edges (Tensor): (2E, 2) directed limbs a→b.
        outgoing (Tensor): (K, D) edges that leave each keypoint, -1 for none.

    Returns:
        DiskCells: in the order image, channel, row, column.
    """
    index = ((keypoint_owner != NOBODY) & (keypoint_owner != IGNORED)).nonzero(as_tuple=True)
    image, channel, row, column = index
    first = [0]
    for one in keypoint_tables:
        first.append(first[-1] + len(one))
    table = torch.cat(list(keypoint_tables))
    person = keypoint_owner[index].long() - 1 + torch.tensor(
        first[:-1], device=image.device)[image]
    position = torch.stack([column, row], 1) * stride
    edge = outgoing[channel]
    exists = edge >= 0
    edge = edge.clamp(min=0)
    far_end = table[person[:, None], edges[edge, 1]]
    return DiskCells(
        index,
        key_centroid=table[person, channel, :2] - position,
        person_centroid=labelled_centroids(table)[person] - position,
        edge=edge,
        limb=far_end[..., :2] - position[:, None],
        limb_weight=(exists & (far_end[..., 2] > 0)).float())


def build_mask_fields(mask_owner: Tensor) -> Dict[str, Tensor]:
    """The semantic target of one image (paper, 3.3).

    Args:
        mask_owner (Tensor): (H, W) uint8 owner map at input resolution.

    Returns:
        dict: ``semantic`` (H, W) float, 1 on persons; ``semantic_weight`` (H, W) float, 0 where
        ignored.
    """
    ignored = mask_owner == IGNORED
    return dict(
        semantic=((mask_owner != NOBODY) & ~ignored).float(), semantic_weight=(~ignored).float())


def upsample_to_input(maps: Tensor, stride: int, input_size) -> Tensor:
    """Bilinear up-sampling that keeps cell (u, v) on input pixel (s·u, s·v).

    Pixels beyond the last cell repeat its value; there are none at sizes s·n + 1.

    Args:
        maps (Tensor): (B, C, h, w).
        stride (int): Stride s of the maps.
        input_size (tuple[int, int]): Input size [W, H].

    Returns:
        Tensor: (B, C, H, W).
    """
    width, height = input_size
    covered = ((maps.shape[2] - 1) * stride + 1, (maps.shape[3] - 1) * stride + 1)
    if stride > 1:
        maps = torch.nn.functional.interpolate(
            maps, size=covered, mode='bilinear', align_corners=True)
    right, bottom = width - covered[1], height - covered[0]
    if right < 0 or bottom < 0:
        return maps[:, :, :height, :width]
    if right or bottom:
        maps = torch.nn.functional.pad(maps, (0, right, 0, bottom), mode='replicate')
    return maps
