"""Owner maps: whose keypoint disk or mask a cell or pixel belongs to, as one small integer."""
from typing import Optional, Sequence, Tuple, TypeVar

import numpy as np
import torch
from torch import Tensor

NOBODY = 0
#: Owner of cells and pixels that take no part in a loss.
IGNORED = 255
#: Owners are stored as uint8, 0 and 255 have their own meaning.
MAX_PERSONS = 254

#: Cells that the disks drawn at a time may cover, 8 bytes each a few times over.
_CELLS_AT_A_TIME = 2**18

Owner = TypeVar('Owner', np.ndarray, Tensor)


def is_person(owner: Owner) -> Owner:
    """Where an owner map names a person: bool of the same shape."""
    return (owner != NOBODY) & (owner != IGNORED)


def keypoint_owner_map(keypoints: np.ndarray, labelled: np.ndarray, map_size: Tuple[int, int],
                       stride: int, radius: float) -> np.ndarray:
    """:func:`keypoint_owner_maps` of one image's arrays.

    Args:
        keypoints (np.ndarray): (N, K, 2) in input pixels.
        labelled (np.ndarray): (N, K) bool.
        map_size, stride, radius: See there.

    Returns:
        np.ndarray: (K, h, w) uint8.
    """
    table = np.concatenate([keypoints, labelled[..., None]], axis=2).astype(np.float32)
    return keypoint_owner_maps([torch.from_numpy(table)], map_size, stride, radius)[0].numpy()


def keypoint_owner_maps(keypoint_tables: Sequence[Tensor], map_size: Tuple[int, int], stride: int,
                        radius: float, ignored: Optional[Tensor] = None) -> Tensor:
    """Assign every map cell to the nearest keypoint whose disk D_R covers it (paper, 3.1), for a
    batch, on the device of its tables.

    Args:
        keypoint_tables (sequence[Tensor]): B times (N, K, 3) float32: x, y in input pixels,
            labelled; N up to 254.
        map_size (tuple[int, int]): Map size [w, h].
        stride (int): Cell (u, v) lies on input pixel (stride·u, stride·v).
        radius (float): Disk radius R in input pixels.
        ignored (Tensor, optional): (B, H, W) bool at input resolution, people whose keypoints are
            not known, read at the cells. Cells within R of them that no disk covers are ignored:
            so far their disks could reach.

    Returns:
        Tensor: (B, K, h, w) uint8, 0 outside all disks, j + 1 in the disk of person j, 255 where
        ignored; of keypoints at the same distance the first person's counts.
    """
    width, height = map_size
    maps = len(keypoint_tables), keypoint_tables[0].shape[1], height, width
    table = torch.cat(list(keypoint_tables))
    counts = [len(one) for one in keypoint_tables]
    person_of_row = torch.cat([torch.arange(count) for count in counts]).to(table.device)
    image_of_row = torch.arange(len(counts)).repeat_interleave(
        torch.tensor(counts)).to(table.device)
    row, channel = (table[..., 2] > 0).nonzero(as_tuple=True)
    plane = image_of_row[row] * maps[1] + channel
    position = table[row, channel, :2].double()

    nobody = torch.iinfo(torch.int64).max
    nearest = table.new_full(maps, nobody, dtype=torch.int64).flatten()
    at_a_time = max(1, _CELLS_AT_A_TIME // (int(2 * radius / stride) + 1)**2)
    for some in torch.arange(len(row), device=table.device).split(at_a_time):
        u, v, squared = _windows(position[some], map_size, stride, radius)
        # The number of the person takes the place of the last 8 bits, 2⁻⁴⁴ of the distance
        key = (squared.view(torch.int64) & ~0xFF) | person_of_row[row[some], None, None]
        key.masked_fill_(squared > radius**2, nobody)
        cell = ((plane[some, None] * height + v) * width)[:, :, None] + u[:, None]
        nearest.scatter_reduce_(0, cell.flatten(), key.flatten(), 'amin')
    owner = torch.where(nearest == nobody, NOBODY, (nearest & 0xFF) + 1)
    owner = owner.to(torch.uint8).view(maps)
    if ignored is not None:
        near = _dilate(ignored[:, ::stride, ::stride], radius / stride)[:, None]
        owner[(owner == NOBODY) & near] = IGNORED
    return owner


def _dilate(mask: Tensor, radius: float) -> Tensor:
    """Cells within ``radius`` cells of a mask (B, h, w) bool: the same shape.

    By Fourier transforms: 9 ms of CPU time at 401×401 cells and R = 32, a convolution takes 3 s.
    """
    height, width = mask.shape[1:]
    reach = int(radius)
    offset = torch.arange(-reach, reach + 1, device=mask.device)
    disk = (offset[:, None]**2 + offset**2 <= radius**2).float()
    size = height + 2 * reach, width + 2 * reach
    spectrum = torch.fft.rfft2(mask.float(), size) * torch.fft.rfft2(disk, size)
    covering = torch.fft.irfft2(spectrum, size)
    return covering[:, reach:reach + height, reach:reach + width] > 0.5


def _windows(position: Tensor, map_size: Tuple[int, int], stride: int,
             radius: float) -> Tuple[Tensor, Tensor, Tensor]:
    """The n×n cells around each of M positions (M, 2) that its disk can reach.

    Returns:
        tuple: columns u and rows v, each (M, n), within the map, and the squared distances of
        their cells (M, n, n), infinite beyond the map.
    """
    limit = position.new_tensor(map_size, dtype=torch.int64)[:, None] - 1
    window = torch.arange(int(2 * radius / stride) + 1, device=position.device)
    first = ((position - radius) / stride).ceil().clamp(-len(window), max(map_size))
    cell = first.long()[..., None] + window
    squared = (cell * stride - position[..., None]).square()
    squared.masked_fill_((cell < 0) | (cell > limit), float('inf'))
    u, v = cell.clamp(min=0).minimum(limit).unbind(1)
    return u, v, squared[:, 1, :, None] + squared[:, 0, None]
