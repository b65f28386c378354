"""The kinematic graph of a data set as MMPose describes it."""
import warnings
from typing import List, Optional, Sequence, Tuple

import numpy as np
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from kdc_mm_runtime.skeleton import (
    HIGH_VARIANCE_NAMES,
    KinematicGraph,
    Skeleton,
    build_graph,
    graph_of_limbs,
    outgoing_edges,
)

__all__ = [
    'HIGH_VARIANCE_NAMES', 'KinematicGraph', 'Skeleton', 'build_graph', 'build_skeleton',
    'graph_of_limbs', 'outgoing_edges'
]


def build_skeleton(metainfo: str, limbs: Optional[Sequence[Tuple]] = None) -> Skeleton:
    """Read the kinematic graph of a data set.

    Args:
        metainfo (str): Data set description of MMPose, e.g. ``configs/_base_/datasets/coco.py``.
        limbs (sequence of pairs, optional): Limbs by keypoint name or index, instead of the data
            set's own ``skeleton_links``.

    Raises:
        ValueError: if a limb names a keypoint that does not exist, joins a keypoint to itself, or
            the graph does not connect all keypoints.
    """
    with warnings.catch_warnings():
        # MMPose tells that it found its own description under its installation; that is meant here
        warnings.filterwarnings('ignore', message='The metainfo config file')
        info = parse_pose_metainfo(dict(from_file=metainfo))
    names = [info['keypoint_id2name'][k] for k in range(info['num_keypoints'])]
    links = info['skeleton_links'] if limbs is None else [
        tuple(_keypoint_index(end, names) for end in limb) for limb in limbs
    ]
    pairs = np.array(sorted({tuple(sorted(link)) for link in links}), np.int64).reshape(-1, 2)
    if (pairs[:, 0] == pairs[:, 1]).any():
        raise ValueError('A limb joins a keypoint to itself; give two different keypoints.')
    _check_connected(pairs, names, source=metainfo if limbs is None else 'limbs')
    return Skeleton(tuple(names), graph_of_limbs(pairs, len(names)), tuple(info['flip_indices']),
                    tuple(info['sigmas'].tolist()))


def _keypoint_index(keypoint, names: List[str]) -> int:
    if isinstance(keypoint, str) and keypoint in names:
        return names.index(keypoint)
    if isinstance(keypoint, int) and 0 <= keypoint < len(names):
        return keypoint
    raise ValueError(f'limbs names keypoint {keypoint!r}, which does not exist; the '
                     f'{len(names)} keypoints are {names}.')


def _check_connected(pairs: np.ndarray, names: List[str], source: str) -> None:
    reached, frontier = {0}, [0]
    while frontier:
        k = frontier.pop()
        for neighbour in pairs[(pairs == k).any(axis=1)].ravel().tolist():
            if neighbour not in reached:
                reached.add(neighbour)
                frontier.append(neighbour)
    if len(reached) < len(names):
        lost = [name for k, name in enumerate(names) if k not in reached]
        raise ValueError(f'The skeleton of {source} is not connected: no limbs lead from '
                         f'{names[0]!r} to {lost}. Pass `limbs` to PoseSeg that join them.')
