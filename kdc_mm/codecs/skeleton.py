"""The kinematic graph: which keypoints a limb displacement connects."""
import warnings
from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmpose.datasets.datasets.utils import parse_pose_metainfo

#: Keypoints that move most (paper, 3.1); all others count as low-variance keypoints.
HIGH_VARIANCE_NAMES = ('wrist', 'ankle', 'elbow', 'knee')


class KinematicGraph(NamedTuple):
    """The directed limbs as arrays, which compiled kernels read by name.

    ``edges`` (2E, 2) int64 a→b, edge ``e + E`` is edge ``e`` reversed; ``outgoing`` (K, D) int64
    the edges that leave each keypoint, -1 beyond their number; ``rank`` (2E,) int64 which of them
    each edge is: ``outgoing[edges[e, 0], rank[e]] == e``.
    """
    edges: np.ndarray
    outgoing: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True)
class Skeleton:
    """K keypoints joined by E undirected limbs.

    Attributes:
        names (tuple[str]): Keypoint names, K of them.
        graph (KinematicGraph): The directed limbs.
        flip_indices (tuple[int]): Index of each keypoint's mirror image.
        oks_sigmas (tuple[float]): σ of each keypoint in the OKS metric.
    """
    names: Tuple[str, ...]
    graph: KinematicGraph
    flip_indices: Tuple[int, ...]
    oks_sigmas: Tuple[float, ...]

    @property
    def num_keypoints(self) -> int:
        return len(self.names)

    @property
    def high_variance(self) -> np.ndarray:
        """(K,) bool, true for wrists, ankles, elbows and knees."""
        return np.array([any(part in name for part in HIGH_VARIANCE_NAMES) for name in self.names])

    @property
    def edges(self) -> np.ndarray:
        """The graph's."""
        return self.graph.edges

    @property
    def outgoing(self) -> np.ndarray:
        """The graph's."""
        return self.graph.outgoing

    @property
    def mirrored_edges(self) -> List[int]:
        """For each directed edge the index of its mirror image; -1 where the graph has none."""
        index = {tuple(edge): e for e, edge in enumerate(self.edges.tolist())}
        flip = self.flip_indices
        return [index.get((flip[a], flip[b]), -1) for a, b in self.edges.tolist()]


def build_graph(edges: np.ndarray, num_keypoints: int) -> KinematicGraph:
    """The graph of directed edges (2E, 2) between K keypoints."""
    outgoing = outgoing_edges(edges, num_keypoints)
    rank = np.empty(len(edges), np.int64)
    keypoint, column = np.nonzero(outgoing >= 0)
    rank[outgoing[keypoint, column]] = column
    return KinematicGraph(edges, outgoing, rank)


def outgoing_edges(edges: np.ndarray, num_keypoints: int) -> np.ndarray:
    """Directed edges (n, 2) by the keypoint that they leave: (K, D) numbers, -1 beyond them."""
    leaving = [np.flatnonzero(edges[:, 0] == k) for k in range(num_keypoints)]
    table = np.full((num_keypoints, max(map(len, leaving))), -1, dtype=np.int64)
    for k, numbers in enumerate(leaving):
        table[k, :len(numbers)] = numbers
    return table


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
    graph = build_graph(np.concatenate([pairs, pairs[:, ::-1]]), len(names))
    return Skeleton(tuple(names), graph, tuple(info['flip_indices']),
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
