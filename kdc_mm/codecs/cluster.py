"""Cluster: mask pixels gather around the persons' dynamic centroids (paper, 3.3).

Letters: n persons, K keypoints, maps of h×w cells, an image of H×W pixels.
"""
from typing import Dict, NamedTuple, Optional, Tuple

import numba
import numpy as np
from pycocotools import mask as coco_mask
from scipy.special import expit, logit

from .gaussians import (
    largest_deviation,
    mask_centroid_response,
    squared_deviation,
    squared_deviation_njit,
)
from .people import ImageFrame, Masks, Poses
from .sampling import AxisSamples, bilinear, bilinear_njit, sample_axis

#: A pixel may be a person's where φ exceeds it, less than the 0.5 that φ is trained against: a
#: network's embeddings scatter, and argmax tells whose they are.
LEAST_PHI = 0.2
#: Least weight of a keypoint's embedding, so that a person all of whose keypoints lie where the map
#: sees nobody has a centroid too.
_LEAST_WEIGHT = np.float32(1e-6)
#: Most seeds of persons without keypoints: what bounds the time on maps that mean nothing.
_MAX_SEEDS = 500


class MaskMaps(NamedTuple):
    """Segmentation maps of one image at ``stride``, on the host, float32.

    ``semantic`` (h, w) logits, ``offset`` (2, h, w) MaskCentroid offsets v in input pixels,
    ``log_bandwidth`` (h, w) natural logarithm of σ in input pixels.
    """
    semantic: np.ndarray
    offset: np.ndarray
    log_bandwidth: np.ndarray
    stride: int


class MaskCentroids(NamedTuple):
    """``position`` C_j (n, 2) and bandwidth ``sigma`` σ_j (n,), float32, input pixels."""
    position: np.ndarray
    sigma: np.ndarray


class Candidates(NamedTuple):
    """A candidate for a person's centroid from each of its keypoints: ``position`` (n, K, 2) and
    ``sigma`` (n, K) in input pixels, ``weight`` (n, K) its keypoint's times that of all that agree.
    """
    position: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray


#: σ of maps that mean nothing may be 0 or infinite.
_any_sigma = np.errstate(over='ignore', divide='ignore', invalid='ignore')


@_any_sigma
def dynamic_centroids(poses: Poses, maps: MaskMaps, trust: np.ndarray, threshold: float,
                      second_choice: Optional[float]) -> MaskCentroids:
    """C_j and σ_j of every person, from its keypoints (paper, 3.3: dynamic centroids at inference).

    The embedding e = m + v at a keypoint tells whose pixel it is. An occluded keypoint shows the
    occluder's, so C_j is the confidence-weighted mean of those embeddings that agree by φ (eq. 6)
    with the one of most weight.

    Args:
        poses (Poses): n persons.
        maps (MaskMaps): Maps of the image.
        trust (np.ndarray): s_j (n,) in each person; who is trusted more chooses first.
        threshold (float): In (0, 1), on φ: centroids nearer than that are one.
        second_choice (float, optional): Least share of a second choice, see
            :func:`take_second_choices`; None leaves each person its best candidate.

    Returns:
        MaskCentroids: of the n persons.
    """
    candidates = candidate_centroids(*keypoint_embeddings(poses, maps))
    person, best = np.arange(len(trust)), candidates.weight.argmax(1)
    centroids = MaskCentroids(candidates.position[person, best], candidates.sigma[person, best])
    if second_choice is None:
        return centroids
    return take_second_choices(centroids, candidates, trust, threshold, second_choice)


def keypoint_embeddings(poses: Poses,
                        maps: MaskMaps) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the maps say at every keypoint.

    Returns:
        tuple: e = m + v (n, K, 2) in input pixels, ln σ (n, K), and how much each counts (n, K):
        the keypoint's score times the probability of "person".
    """
    height, width = maps.semantic.shape
    rows = sample_axis(poses.keypoints[..., 1], maps.stride, height)
    columns = sample_axis(poses.keypoints[..., 0], maps.stride, width)
    offset = np.stack([bilinear(axis, rows, columns) for axis in maps.offset], axis=-1)
    person_probability = expit(bilinear(maps.semantic, rows, columns))
    return (poses.keypoints + offset, bilinear(maps.log_bandwidth, rows, columns),
            poses.scores * person_probability + _LEAST_WEIGHT)


def candidate_centroids(embedding: np.ndarray, log_sigma: np.ndarray,
                        weight: np.ndarray) -> Candidates:
    """For each embedding the weighted mean of its person's embeddings that agree with it by φ.

    Args:
        embedding (np.ndarray): (n, K, 2), input pixels.
        log_sigma (np.ndarray): (n, K), ln of input pixels.
        weight (np.ndarray): (n, K).

    Returns:
        Candidates: of n persons.
    """
    squared = _squared_distance(embedding[:, :, None], embedding[:, None])
    agreement = weight[:, None] * mask_centroid_response(squared, np.exp(log_sigma)[..., None])
    total = agreement.sum(-1)
    shares = agreement / total[..., None]
    return Candidates(shares @ embedding, np.exp((shares @ log_sigma[..., None])[..., 0]),
                      total * weight)


def take_second_choices(centroids: MaskCentroids, candidates: Candidates, trust: np.ndarray,
                        threshold: float, least_share: float) -> MaskCentroids:
    """Let each centroid belong to one person, those of most weight × trust first (not in the
    paper).

    Where most of a person is hidden its best candidate is the occluder's centroid. It takes the
    best that is nobody's yet. Who has none, as a double of another person, keeps its first choice.

    Args:
        centroids (MaskCentroids): The best candidate of each of n persons.
        candidates (Candidates): All of them.
        trust (np.ndarray): s_j (n,) in each person.
        threshold (float): In (0, 1), on φ: centroids nearer than that are one.
        least_share (float): A second choice has this share of its person's best candidate's weight.

    Returns:
        MaskCentroids: of the n persons.
    """
    position, sigma = (values.copy() for values in centroids)
    best_weight = candidates.weight.max(1)
    order = np.argsort(-best_weight * trust, kind='stable')
    for rank, person in enumerate(order):
        known = MaskCentroids(position[order[:rank]], sigma[order[:rank]])
        if not is_embedding_of(known, position[person], threshold).any():
            continue
        others = is_embedding_of(known, candidates.position[person], threshold).any(1)
        weight = np.where(others, 0, candidates.weight[person])
        choice = weight.argmax()
        if weight[choice] >= least_share * best_weight[person]:
            position[person] = candidates.position[person, choice]
            sigma[person] = candidates.sigma[person, choice]
    return MaskCentroids(position, sigma)


def is_embedding_of(centroids: MaskCentroids, embedding: np.ndarray,
                    threshold: float) -> np.ndarray:
    """Whether φ_j(e) (eqs. 6 and 7) exceeds the threshold.

    Args:
        centroids (MaskCentroids): C_j and σ_j of n persons.
        embedding (np.ndarray): e in shape (..., 2), input pixels.
        threshold (float): In (0, 1).

    Returns:
        np.ndarray: (..., n) bool.
    """
    squared = _squared_distance(embedding[..., None, :], centroids.position)
    return squared_deviation(squared, centroids.sigma) < largest_deviation(threshold)


def _squared_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a − b|² of points (..., 2): (...); ten times as fast as a sum over axes of two."""
    x, y = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
    return x * x + y * y


def unposed_persons(maps: MaskMaps, centroids: MaskCentroids, threshold: float,
                    min_area: float) -> Tuple[MaskCentroids, np.ndarray]:
    """Persons without a visible keypoint: person pixels whose embeddings meet at no known centroid.

    Not in the paper. The embedding of the most confident such pixel is the seed of a centroid,
    the mean of those within its φ (eq. 7). They are taken out, and the next seed follows.

    Args:
        maps (MaskMaps): Maps of the image.
        centroids (MaskCentroids): Of the n persons known.
        threshold (float): In (0, 1), on the probability of "person" and on φ.
        min_area (float): Least area of a person, in input pixels squared.

    Returns:
        tuple: MaskCentroids of the m persons found, and the mean positions of their pixels (m, 2),
        input pixels.
    """
    min_cells = max(min_area / maps.stride**2, 1)
    unassigned = _unassigned_cells(maps, centroids, logit(threshold), largest_deviation(threshold))
    row, column = np.divmod(np.flatnonzero(unassigned), unassigned.shape[1])
    pixel = np.stack([column, row], axis=1).astype(np.float32) * maps.stride
    embedding = pixel + maps.offset[:, row, column].T
    confidence, log_sigma = maps.semantic[row, column], maps.log_bandwidth[row, column]
    free = np.ones(len(row), bool)
    unposed = [MaskCentroids(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))]
    middles = [np.zeros((0, 2), np.float32)]
    for _ in range(_MAX_SEEDS):
        if np.count_nonzero(free) < min_cells:
            break
        seed = np.where(free, confidence, -np.inf).argmax()
        cluster, centroid = _cluster_of(seed, embedding, log_sigma, free, threshold)
        if np.count_nonzero(cluster) >= min_cells:
            unposed.append(centroid)
            middles.append(pixel[cluster].mean(0, keepdims=True))
        free &= ~cluster
        free[seed] = False
    return MaskCentroids(*map(np.concatenate, zip(*unposed))), np.concatenate(middles)


def _cluster_of(seed: int, embedding: np.ndarray, log_sigma: np.ndarray, free: np.ndarray,
                threshold: float) -> Tuple[np.ndarray, MaskCentroids]:
    """The free ones of M embeddings (M, 2) that meet at a seed, (M,) bool, and their centroid;
    ``log_sigma`` (M,), ``free`` (M,) bool."""
    centroid = MaskCentroids(embedding[[seed]], np.exp(log_sigma[[seed]]))
    cluster = free & is_embedding_of(centroid, embedding, threshold)[:, 0]
    if cluster.any():
        centroid = MaskCentroids(embedding[cluster].mean(0, keepdims=True),
                                 np.exp(log_sigma[cluster].mean(0, keepdims=True)))
    return cluster, centroid


def cluster_masks(maps: MaskMaps, centroids: MaskCentroids, trust: np.ndarray, frame: ImageFrame,
                  threshold: float) -> Masks:
    """Assign person pixels to argmax_j s_j·φ_j (eqs. 6, 7) at the original image's resolution.

    The prior s_j is not in the paper: it keeps doubles of a person, which share its centroid but
    are trusted less, from its pixels. Logits and offsets are interpolated first and thresholded
    after, since a boundary drawn at map resolution would be a stair.

    Args:
        maps (MaskMaps): Maps of the image.
        centroids (MaskCentroids): Of n persons.
        trust (np.ndarray): s_j (n,) in each.
        frame (ImageFrame): Where the original image lies in the input.
        threshold (float): In (0, 1), on the probability of "person"; φ_j exceeds ``LEAST_PHI``.

    Returns:
        Masks: n disjoint masks of size ``frame.size``; scores are means of the probability of
        "person" times φ_j.
    """
    width, height = frame.size
    x = np.arange(width) * frame.scale[0] + frame.offset[0]
    y = np.arange(height) * frame.scale[1] + frame.offset[1]
    columns = sample_axis(x, maps.stride, maps.semantic.shape[1])
    rows = sample_axis(y, maps.stride, maps.semantic.shape[0])
    label, scores = _label_pixels(maps, rows, columns, centroids, trust, logit(threshold),
                                  largest_deviation(LEAST_PHI))
    person_of_run, start, length = _runs(label.ravel())
    rles = [
        _run_length_encoding(start[person_of_run == j], length[person_of_run == j], height, width)
        for j in range(len(scores))
    ]
    return Masks(rles, scores)


def _runs(label: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal labels ≥ 0 in a flat map: label, start and length, each (r,)."""
    start = np.concatenate([[0], np.flatnonzero(label[1:] != label[:-1]) + 1])
    length = np.diff(start, append=label.size)
    foreground = label[start] >= 0
    return label[start][foreground], start[foreground], length[foreground]


def _run_length_encoding(start: np.ndarray, length: np.ndarray, height: int, width: int) -> Dict:
    """COCO RLE of foreground runs (r,) given in column-major order."""
    boundaries = np.stack([start, start + length], 1).ravel()
    counts = np.diff(boundaries, prepend=0, append=height * width).tolist()
    if counts[-1] == 0:
        del counts[-1]  # as pycocotools writes it, so that equal masks have equal RLEs
    return coco_mask.frPyObjects(dict(size=[height, width], counts=counts), height, width)


@numba.njit(cache=True)
def _label_pixels(maps, rows, columns, centroids, trust, least_logit, largest):
    """Person of each image pixel, -1 for nobody, (W, H) int16, and each one's mean probability
    times φ_j (n,) float32; ``rows`` and ``columns`` are the pixels' :class:`AxisSamples`."""
    label = np.full((len(columns.pixel), len(rows.pixel)), -1, np.int16)
    likelihood = np.zeros(len(trust))
    area = np.zeros(len(trust))
    per_px, distrust = squared_deviation_njit(1, centroids.sigma), -np.log(trust)
    for i in range(label.shape[0]):
        column = AxisSamples(columns.pixel[i], columns.cell[i], columns.weight[i])
        for j in range(label.shape[1]):
            row = AxisSamples(rows.pixel[j], rows.cell[j], rows.weight[j])
            person_logit = bilinear_njit(maps.semantic, row, column)
            if person_logit > least_logit:
                x = column.pixel + bilinear_njit(maps.offset[0], row, column)
                y = row.pixel + bilinear_njit(maps.offset[1], row, column)
                person, deviation = _likeliest(x, y, centroids.position, per_px, distrust, largest)
                label[i, j] = person
                if person >= 0:
                    likelihood[person] += np.exp(-deviation) / (1 + np.exp(-person_logit))
                    area[person] += 1
    return label, (likelihood / np.maximum(area, 1)).astype(np.float32)


@numba.njit(cache=True)
def _unassigned_cells(maps, centroids, least_logit, largest):
    """Map cells of persons whose embedding is at no centroid: (h, w) bool."""
    height, width = maps.semantic.shape
    unassigned = np.zeros((height, width), np.bool_)
    per_px = squared_deviation_njit(1, centroids.sigma)
    equal = np.zeros_like(per_px)
    for v in range(height):
        for u in range(width):
            if maps.semantic[v, u] > least_logit:
                x = u * maps.stride + maps.offset[0, v, u]
                y = v * maps.stride + maps.offset[1, v, u]
                person, _ = _likeliest(x, y, centroids.position, per_px, equal, largest)
                unassigned[v, u] = person < 0
    return unassigned


@numba.njit(cache=True)
def _likeliest(x, y, position, per_px, distrust, largest):
    """argmax_j s_j·φ_j of the embedding (x, y) and its deviation −ln φ_j, below ``largest``; -1
    where no person's is. ``position`` C_j (n, 2), ``per_px`` (n,) squared deviation of one pixel,
    ``distrust`` −ln s_j (n,)."""
    likeliest, of_likeliest, least = -1, np.inf, np.inf
    for j in range(len(per_px)):
        deviation = ((x - position[j, 0])**2 + (y - position[j, 1])**2) * per_px[j]
        if deviation < largest and deviation + distrust[j] < least:
            likeliest, of_likeliest, least = j, deviation, deviation + distrust[j]
    return likeliest, of_likeliest
