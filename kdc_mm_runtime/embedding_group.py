"""Group by embedding: persons from keypoints by what the paper itself has (3.3 and 3.4).

Its outputs are heatmaps, KeyCentroids, a semantic map and MaskCentroids. A priority queue holds the
detected keypoints, and the kinematic graph is followed from the surest; it does not say what tells
whose a keypoint is. Of its outputs only MaskCentroids can: as for a pixel of a mask, the embedding
e = m + v at a keypoint's place lies near the MaskCentroid of its person, by φ (eq. 6). A keypoint
that another person hides shows that one's embedding, and is lost to its own.

Letters: K keypoints, n detected keypoints, m persons. Positions are input pixels (x, y).
"""
import heapq
from typing import List, NamedTuple

import numpy as np

from .cluster import MaskCentroids, MaskMaps, is_embedding_of, keypoint_embeddings
from .group import GroupSettings, Hypotheses
from .merge import Keypoints
from .people import Poses
from .skeleton import KinematicGraph


class Embeddings(NamedTuple):
    """Of n detected keypoints: ``position`` e (n, 2) and ``log_sigma`` ln σ (n,) of input pixels,
    ``weight`` (n,) score times the probability of "person"."""
    position: np.ndarray
    log_sigma: np.ndarray
    weight: np.ndarray

    def centroid_of(self, members: List[int]) -> MaskCentroids:
        """The MaskCentroid that some of the keypoints name: their weighted mean."""
        weight = self.weight[members] / self.weight[members].sum()
        return MaskCentroids(weight[None] @ self.position[members],
                             np.exp(weight[None] @ self.log_sigma[members]))


def find_persons_by_embedding(keypoints: Keypoints, maps: MaskMaps, graph: KinematicGraph,
                              threshold: float, settings: GroupSettings) -> Hypotheses:
    """Hypotheses of persons from a priority queue of keypoints, the surest first.

    A keypoint whose embedding belongs to no person starts one, see :func:`follow_graph`.

    Args:
        keypoints (Keypoints): n detected keypoints.
        maps (MaskMaps): Segmentation maps of the image.
        graph (KinematicGraph): K keypoints and the limbs between them.
        threshold (float): In (0, 1): an embedding belongs to a person whose φ exceeds it.
        settings (GroupSettings): ``person_threshold`` and ``max_persons``.

    Returns:
        Hypotheses: m persons, in the order of the keypoints that started them.
    """
    embeddings = embed(keypoints, maps)
    free = np.ones(len(keypoints.channel), bool)
    persons = []
    for start in np.argsort(-keypoints.score, kind='stable'):
        if len(persons) == settings.max_persons:
            break
        if free[start]:
            member = follow_graph(start, keypoints, embeddings, free, graph, threshold)
            known = member[member >= 0].tolist()
            free[known] = False
            free &= ~is_embedding_of(embeddings.centroid_of(known), embeddings.position,
                                     threshold)[:, 0]
            if keypoints.score[known].sum() > settings.person_threshold * len(member):
                persons.append(member)
    return _hypotheses(np.array(persons, np.int64).reshape(-1, len(graph.outgoing)), keypoints)


def embed(keypoints: Keypoints, maps: MaskMaps) -> Embeddings:
    """What the maps say where n keypoints were detected."""
    position, score = keypoints.position[None], keypoints.score[None]
    one = Poses(position, score, score > 0, np.ones(1, np.float32))
    return Embeddings(*(part[0] for part in keypoint_embeddings(one, maps)))


def follow_graph(start: int, keypoints: Keypoints, embeddings: Embeddings, free: np.ndarray,
                 graph: KinematicGraph, threshold: float) -> np.ndarray:
    """The keypoints of the person of one of them.

    The graph is followed from the surest keypoint known, also through those that are not found. At
    its far end the surest free keypoint is taken whose embedding belongs to the MaskCentroid of
    those taken so far.

    Args:
        start (int): Number of the first keypoint.
        keypoints (Keypoints): n detected keypoints.
        embeddings (Embeddings): Theirs.
        free (np.ndarray): (n,) bool, those that are no other person's.
        graph (KinematicGraph): K keypoints and the limbs between them.
        threshold (float): In (0, 1), on φ.

    Returns:
        np.ndarray: (K,) int64 numbers of the keypoints, -1 where none is found.
    """
    kind = keypoints.channel[start]
    member = np.full(len(graph.outgoing), -1)
    member[kind] = start
    reached, queue = {kind}, [(-keypoints.score[start], kind)]
    while queue:
        _, kind = heapq.heappop(queue)
        for edge in graph.outgoing[kind]:
            end = graph.edges[edge, 1]
            if edge < 0 or end in reached:
                continue
            reached.add(end)
            centroid = embeddings.centroid_of(member[member >= 0].tolist())
            near = np.flatnonzero(free & (keypoints.channel == end))
            near = near[is_embedding_of(centroid, embeddings.position[near], threshold)[:, 0]]
            if len(near):
                member[end] = near[keypoints.score[near].argmax()]
            heapq.heappush(queue, (-keypoints.score[member[end]] if len(near) else 0., end))
    return member


def _hypotheses(member: np.ndarray, keypoints: Keypoints) -> Hypotheses:
    """m persons of the detected keypoints ``member`` (m, K), -1 for none."""
    found = member >= 0
    of_none = Keypoints(*(np.concatenate([part, np.zeros_like(part, shape=(1, *part.shape[1:]))])
                          for part in keypoints))  # which number -1 reads
    score = of_none.score[member]
    return Hypotheses(of_none.position[member], score, np.where(found, score, -1),
                      of_none.person_centroid[member], member, found, found)
