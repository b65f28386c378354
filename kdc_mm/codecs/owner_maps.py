"""Encoding: whose keypoint disk a map cell lies in, as one small integer per cell."""
from typing import Tuple

import numba
import numpy as np

NOBODY = 0
#: Owner of cells that take no part in a loss.
IGNORED = 255
#: Owners are stored as uint8, 0 and 255 have their own meaning.
MAX_PERSONS = 254


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


@numba.njit(cache=True)
def _paint_disks(keypoints, labelled, owner, nearest, stride, radius):
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
