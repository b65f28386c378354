"""The kinematic graph: which keypoints a limb displacement connects."""
from dataclasses import dataclass
from typing import List, NamedTuple, Tuple

import numpy as np

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
    def limbs(self) -> np.ndarray:
        """(E, 2), each once."""
        return self.edges[:len(self.edges) // 2]

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


def graph_of_limbs(limbs: np.ndarray, num_keypoints: int) -> KinematicGraph:
    """The graph of undirected limbs (E, 2) between K keypoints."""
    return build_graph(np.concatenate([limbs, limbs[:, ::-1]]), num_keypoints)


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
