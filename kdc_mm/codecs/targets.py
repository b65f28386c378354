"""Float fields from owner maps, on any device: what the heads are trained to predict.

Shapes: K keypoints, 2E directed limbs, map of h×w cells, N persons, input of H×W pixels.
"""
from typing import Dict, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

from .owner_maps import IGNORED, is_person
from .skeleton import outgoing_edges


def cell_positions(height: int, width: int, stride: int, device) -> Tensor:
    """Input-pixel position (x, y) of every map cell: (2, h, w), float."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing='ij')
    return torch.stack([x, y]).float() * stride


def labelled_centroids(keypoint_table: Tensor) -> Tensor:
    """Mean of each person's labelled keypoints: (N, K, 3) → (N, 2); NaN-free, 0 without any."""
    weight = keypoint_table[..., 2:]
    return (keypoint_table[..., :2] * weight).sum(1) / weight.sum(1).clamp(min=1)


class DiskCells(NamedTuple):
    """The M map cells of a batch that lie in a keypoint's disk, and their targets in pixels: all
    of PoseNet's targets (paper, 3.1 and 3.2).

    ``index`` image, channel, row, column, each (M,): where the heatmap is 1, KHDR;
    ``key_centroid`` (M, 2): k_v = q − p; ``person_centroid`` (M, 2): from p to the mean of the
    person's labelled keypoints. ``limb_index`` image, edge, row, column, each (L,): the pairs of a
    cell in the disk of a and a limb a→b whose end b is labelled too; ``limb`` (L, 2): from p to b.
    """
    index: Tuple[Tensor, ...]
    key_centroid: Tensor
    person_centroid: Tensor
    limb_index: Tuple[Tensor, ...]
    limb: Tensor


def build_disk_cells(keypoint_owner: Tensor, keypoint_tables: Sequence[Tensor], stride: int,
                     edges: Tensor, outgoing: Tensor) -> DiskCells:
    """The targets of a batch, only where they are defined.

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
    index = is_person(keypoint_owner).nonzero(as_tuple=True)
    image, channel, row, column = index
    first = [0]
    for one in keypoint_tables:
        first.append(first[-1] + len(one))
    table = torch.cat(list(keypoint_tables))
    person = keypoint_owner[index].long() - 1 + torch.tensor(
        first[:-1], device=image.device)[image]
    position = torch.stack([column, row], 1) * stride
    edge = outgoing[channel]
    far_end = table[person[:, None], edges[edge, 1]]
    cell, leaving = ((edge >= 0) & (far_end[..., 2] > 0)).nonzero(as_tuple=True)
    return DiskCells(
        index,
        key_centroid=table[person, channel, :2] - position,
        person_centroid=labelled_centroids(table)[person] - position,
        limb_index=(image[cell], edge[cell, leaving], row[cell], column[cell]),
        limb=far_end[cell, leaving, :2] - position[cell])


def build_pose_fields(keypoint_owner: Tensor, keypoint_table: Tensor, stride: int,
                      edges: Tensor) -> Dict[str, Tensor]:
    """The targets of one image as maps, for pictures and perfect maps.

    Args:
        keypoint_owner (Tensor): (K, h, w) uint8 owner map.
        keypoint_table (Tensor): (N, K, 3): x, y in input pixels, labelled.
        stride (int): Stride of the map.
        edges (Tensor): (2E, 2) directed limbs a→b.

    Returns:
        dict: float tensors, see :class:`DiskCells`; vectors are 0 where they are not defined

        - heatmap (K, h, w): 1 in any person's disk.
        - heatmap_weight (K, h, w): 0 where ignored.
        - key_centroid (K, 2, h, w), person_centroid (K, 2, h, w), limb (2E, 2, h, w)
        - limb_weight (2E, h, w): 1 where a limb is defined.
    """
    num_keypoints, height, width = keypoint_owner.shape
    outgoing = torch.as_tensor(outgoing_edges(edges.cpu().numpy(), num_keypoints))
    cells = build_disk_cells(keypoint_owner[None], [keypoint_table], stride, edges,
                             outgoing.to(edges.device))

    def spread(index, channels: int, values: Tensor) -> Tensor:
        """Values (M, ...) on maps (channels, ..., h, w)."""
        _, channel, row, column = index
        maps = keypoint_table.new_zeros(channels, height, width, *values.shape[1:])
        maps[channel, row, column] = values
        return maps.movedim((1, 2), (-2, -1))

    ones, limb_ones = torch.ones_like(cells.key_centroid[:, 0]), torch.ones_like(cells.limb[:, 0])
    return dict(
        heatmap=spread(cells.index, num_keypoints, ones),
        heatmap_weight=(keypoint_owner != IGNORED).float(),
        key_centroid=spread(cells.index, num_keypoints, cells.key_centroid),
        person_centroid=spread(cells.index, num_keypoints, cells.person_centroid),
        limb=spread(cells.limb_index, len(edges), cells.limb),
        limb_weight=spread(cells.limb_index, len(edges), limb_ones))


def build_mask_fields(mask_owner: Tensor) -> Dict[str, Tensor]:
    """The semantic target (paper, 3.3).

    Args:
        mask_owner (Tensor): (..., H, W) uint8 owner maps at input resolution.

    Returns:
        dict: ``semantic`` (..., H, W) float, 1 on persons; ``semantic_weight`` (..., H, W) float, 0
        where ignored.
    """
    return dict(
        semantic=is_person(mask_owner).float(), semantic_weight=(mask_owner != IGNORED).float())
