"""Owner maps: whose keypoint disk or mask a cell or pixel belongs to, as one small integer."""
from typing import Optional, Sequence, Tuple, TypeVar

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

NOBODY = 0
#: Owner of cells and pixels that take no part in a loss.
IGNORED = 255
#: Owners are stored as uint8, 0 and 255 have their own meaning.
MAX_PERSONS = 254

#: Cells that the disks drawn at a time may cover on a device, 8 bytes each a few times over.
_CELLS_AT_A_TIME = 2**21

Owner = TypeVar('Owner', np.ndarray, Tensor)


def is_person(owner: Owner) -> Owner:
    """Where an owner map names a person: bool of the same shape."""
    return (owner != NOBODY) & (owner != IGNORED)


def keypoint_owner_map(keypoints: np.ndarray, labelled: np.ndarray, map_size: Tuple[int, int],
                       stride: int, radius: float) -> np.ndarray:
    """Assign every map cell to the nearest keypoint whose disk D_R covers it (paper, 3.1).

    Args:
        keypoints (np.ndarray): (N, K, 2) in input pixels.
        labelled (np.ndarray): (N, K) bool.
        map_size (tuple[int, int]): Map size [w, h].
        stride (int): Cell (u, v) lies on input pixel (stride·u, stride·v).
        radius (float): Disk radius R in input pixels.

    Returns:
        np.ndarray: (K, h, w) uint8, 0 outside all disks, j + 1 in the disk of person j; of
        keypoints at the same distance the first person's counts.
    """
    width, height = map_size
    num_keypoints = keypoints.shape[1]
    owner = np.zeros((num_keypoints, height, width), dtype=np.uint8)
    nearest = np.full((height, width), np.inf)
    _paint_disks(
        np.ascontiguousarray(keypoints, dtype=np.float32), np.ascontiguousarray(labelled), owner,
        nearest, stride, radius)
    return owner


def keypoint_owner_maps(keypoint_tables: Sequence[Tensor], map_size: Tuple[int, int], stride: int,
                        radius: float, ignored: Optional[Tensor] = None) -> Tensor:
    """:func:`keypoint_owner_map` of a batch, drawn on the device of its tables.

    Args:
        keypoint_tables (sequence[Tensor]): B times (N, K, 3) float32: x, y in input pixels,
            labelled.
        map_size (tuple[int, int]): Map size [w, h].
        stride (int): Stride of the maps.
        radius (float): Disk radius R in input pixels.
        ignored (Tensor, optional): (B, H, W) bool at input resolution, people whose keypoints are
            not known. Cells within R of them that no disk covers are ignored: so far their disks
            would reach.

    Returns:
        Tensor: (B, K, h, w) uint8.
    """
    if keypoint_tables[0].device.type == 'cpu':
        owner = torch.from_numpy(np.stack([
            keypoint_owner_map(table[..., :2], table[..., 2] > 0, map_size, stride, radius)
            for table in (table.numpy() for table in keypoint_tables)
        ]))
    else:
        owner = _scatter_disks(keypoint_tables, map_size, stride, radius)
    if ignored is not None:
        near = _dilate(ignored[:, None, ::stride, ::stride], radius / stride)
        owner[(owner == NOBODY) & near] = IGNORED
    return owner


def _dilate(mask: Tensor, radius: float) -> Tensor:
    """Cells within ``radius`` cells of a mask (B, 1, h, w) bool: the same shape."""
    reach = torch.arange(-int(radius), int(radius) + 1, device=mask.device)
    disk = (reach[:, None]**2 + reach**2 <= radius**2).float()[None, None]
    return F.conv2d(mask.float(), disk, padding=int(radius)) > 0.5


@numba.njit(cache=True)
def _paint_disks(keypoints, labelled, owner, nearest, stride, radius):
    """Keypoint after keypoint, for CPUs: 0.1 to 5 ms where :func:`_scatter_disks` takes 2 to 30 (4
    images of 401 px, R = 32 px, 1 to 50 persons, one core).

    Args:
        keypoints: (N, K, 2) float32.
        labelled: (N, K) bool.
        owner: (K, h, w) uint8 zeros, filled in.
        nearest: (h, w) float64, for squared distances.
    """
    height, width = nearest.shape
    for k in range(keypoints.shape[1]):
        nearest[:] = np.inf
        for j in range(keypoints.shape[0]):
            if not labelled[j, k]:
                continue
            x, y = keypoints[j, k, 0], keypoints[j, k, 1]
            u0 = max(0, int(np.ceil((x - radius) / stride)))
            u1 = min(width - 1, int(np.floor((x + radius) / stride)))
            v0 = max(0, int(np.ceil((y - radius) / stride)))
            v1 = min(height - 1, int(np.floor((y + radius) / stride)))
            for v in range(v0, v1 + 1):
                for u in range(u0, u1 + 1):
                    distance = (u * stride - x)**2 + (v * stride - y)**2
                    if distance <= radius * radius and distance < nearest[v, u]:
                        nearest[v, u] = distance
                        owner[k, v, u] = j + 1


def _scatter_disks(keypoint_tables: Sequence[Tensor], map_size: Tuple[int, int], stride: int,
                   radius: float) -> Tensor:
    """All disks of a batch at once, for devices that launch kernels: see
    :func:`keypoint_owner_maps`.

    A cell keeps the least of the keys that the disks over it offer: the squared distance with the
    person's number in place of its last 8 bits, which lie 2⁻⁴⁴ below it.
    """
    width, height = map_size
    table = torch.cat(list(keypoint_tables))
    num_keypoints, device = table.shape[1], table.device
    counts = [len(one) for one in keypoint_tables]
    person_of_row = torch.cat([torch.arange(count) for count in counts]).to(device)
    image_of_row = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(device)
    row, channel = (table[..., 2] > 0).nonzero(as_tuple=True)
    position = table[row, channel, :2].double()
    person, plane = person_of_row[row], image_of_row[row] * num_keypoints + channel

    window = torch.arange(int(2 * radius / stride) + 1, device=device)
    limit = torch.tensor([width - 1, height - 1], device=device)[:, None]
    nobody = torch.iinfo(torch.int64).max
    nearest = table.new_full((len(counts) * num_keypoints * height * width, ), nobody,
                             dtype=torch.int64)
    at_a_time = max(1, _CELLS_AT_A_TIME // len(window)**2)
    for some in torch.arange(len(row), device=device).split(at_a_time):
        centre = position[some, :, None]
        first = ((centre - radius) / stride).ceil().clamp(-len(window), max(map_size))
        cell = first.long() + window
        squared = (cell * stride - centre).square().masked_fill(
            (cell < 0) | (cell > limit), float('inf'))
        squared = squared[:, 1, :, None] + squared[:, 0, None]
        key = (squared.view(torch.int64) & ~0xFF) | person[some, None, None]
        key.masked_fill_(squared > radius**2, nobody)
        u, v = cell.clamp(min=0).minimum(limit).unbind(1)
        place = ((plane[some, None] * height + v) * width)[:, :, None] + u[:, None]
        nearest.scatter_reduce_(0, place.flatten(), key.flatten(), 'amin')
    owner = torch.where(nearest == nobody, NOBODY, (nearest & 0xFF) + 1)
    return owner.to(torch.uint8).view(len(counts), num_keypoints, height, width)
