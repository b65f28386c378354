"""Cluster: mask pixels gather around the persons' dynamic centroids (paper, 3.3)."""
from typing import Dict, NamedTuple, Tuple

import numba
import numpy as np
from pycocotools import mask as coco_mask

from .people import ImageFrame, Masks, Poses

#: Tries to find a person without keypoints: what bounds the time on maps that mean nothing.
_MOST_STARTS = 500
#: Support of a person's second choice of a centroid, against its first.
_LEAST_SUPPORT = 0.05


class MaskMaps(NamedTuple):
    """Segmentation maps of one image at ``stride``, on the host, float32.

    ``semantic`` (h, w) logits, ``offset`` (2, h, w) MaskCentroid offsets v in input pixels,
    ``log_bandwidth`` (h, w) natural logarithm of σ in input pixels.
    """
    semantic: np.ndarray
    offset: np.ndarray
    log_bandwidth: np.ndarray
    stride: int


def dynamic_centroids(poses: Poses, maps: MaskMaps, threshold: float,
                      share: float) -> Tuple[np.ndarray, np.ndarray]:
    """C_j and σ_j of every person, from its keypoints (paper, 3.3: dynamic centroids at inference).

    The embedding e = m + v at a keypoint tells whose pixel it is. An occluded keypoint shows the
    occluder's, so C_j is the confidence-weighted mean of those embeddings that agree by φ (eq. 6)
    with the best supported one. Where most of a person is hidden that would be the occluder's
    centroid, so each centroid belongs to one person, the best supported ones first, and others take
    the next best of theirs. A fragment of a pose may share its person's.

    Args:
        poses (Poses): n persons.
        maps (MaskMaps): Maps of the image.
        threshold (float): In (0, 1), on φ: centroids nearer than that are one.
        share (float): Who scores less than this share of a person may be its fragment.

    Returns:
        tuple: C (n, 2) and σ (n,), input pixels. Who has no centroid of its own gets a copy.
    """
    return _dynamic_centroids(poses.keypoints, poses.scores, maps.semantic, maps.offset,
                              maps.log_bandwidth, maps.stride, _reach(threshold),
                              np.float32(share))


def absorb_fragments(poses: Poses, centroids: np.ndarray, sigmas: np.ndarray, threshold: float,
                     share: float) -> Tuple[Poses, np.ndarray, np.ndarray]:
    """Give fragments of a pose back to the person whose MaskCentroid they share.

    A network that is unsure of the limbs leaves fragments, and each would take its part of the
    person's mask. A fragment belongs to a stronger person if φ of the stronger one (eq. 6) at the
    fragment's centroid exceeds the threshold: it gives the keypoints that the person lacks.

    Args:
        poses (Poses): n persons, strongest first.
        centroids (np.ndarray): C_j (n, 2), input pixels.
        sigmas (np.ndarray): σ_j (n,), input pixels.
        threshold (float): In (0, 1), on φ.
        share (float): A fragment scores less than this share of the person; who is about as sure
            is a person too, however near.

    Returns:
        tuple: poses, C and σ of those that remain.
    """
    keypoints, scores, detected = (part.copy() for part in poses)
    strength = poses.scores.mean(1)
    keep = np.ones(len(strength), bool)
    for person in range(len(strength)):
        if not keep[person]:
            continue
        gap = ((centroids - centroids[person])**2).sum(1)
        near = gap < _reach(threshold) * sigmas[person]**2
        fragment = keep & near & (strength < share * strength[person])
        for other in np.flatnonzero(fragment):
            lacking = detected[other] & ~detected[person]
            for values in (keypoints, scores, detected):
                values[person, lacking] = values[other, lacking]
        keep &= ~fragment
    return Poses(keypoints[keep], scores[keep], detected[keep]), centroids[keep], sigmas[keep]


def leftover_centroids(maps: MaskMaps, centroids: np.ndarray, sigmas: np.ndarray,
                       threshold: float, min_area: float) -> Tuple[np.ndarray, ...]:
    """Persons without a visible keypoint: person pixels whose embeddings meet at no known centroid.

    The most confident such pixel's embedding starts a centroid, which moves to the mean of the
    embeddings within its φ (eq. 7); what it gathers is taken out, and the next pixel starts.

    Args:
        maps (MaskMaps): Maps of the image.
        centroids (np.ndarray): C_j (n, 2) of the persons known, input pixels.
        sigmas (np.ndarray): σ_j (n,), input pixels.
        threshold (float): In (0, 1), on the probability of "person" and on φ.
        min_area (float): Least area of a person, in input pixels squared.

    Returns:
        tuple: C (m, 2), σ (m,) and mean pixel position (m, 2) of the persons found, all in input
        pixels.
    """
    found = _leftover_centroids(
        maps.semantic, maps.offset, maps.log_bandwidth, maps.stride, centroids, sigmas,
        _logit(threshold), _reach(threshold), max(min_area / maps.stride**2, 1))
    return found[:, 0:2], found[:, 2], found[:, 3:5]


def cluster_masks(maps: MaskMaps, centroids: np.ndarray, sigmas: np.ndarray, frame: ImageFrame,
                  threshold: float) -> Masks:
    """Assign person pixels to argmax_j φ_j (eqs. 6, 7) at the original image's resolution.

    Logits and offsets are interpolated first and thresholded after, since a boundary drawn at map
    resolution would be a stair. A pixel belongs to a person if the probability of "person" and
    φ_j both exceed the threshold.

    Args:
        maps (MaskMaps): Maps of the image.
        centroids (np.ndarray): C_j (n, 2), input pixels.
        sigmas (np.ndarray): σ_j (n,), input pixels.
        frame (ImageFrame): Where the original image lies in the input.
        threshold (float): In (0, 1), the paper's 0.5.

    Returns:
        Masks: n disjoint masks of size ``frame.size``.
    """
    width, height = frame.size
    columns = _sample_positions(width, frame.scale[0], frame.offset[0], maps.stride,
                                maps.semantic.shape[1])
    rows = _sample_positions(height, frame.scale[1], frame.offset[1], maps.stride,
                             maps.semantic.shape[0])
    label, start, length, score = _label_runs(
        maps.semantic, maps.offset, maps.stride, *columns, *rows,
        np.array(frame.scale, np.float32), np.array(frame.offset, np.float32),
        centroids, sigmas, _logit(threshold), _reach(threshold))
    rles = [
        _run_length_encoding(start[label == j], length[label == j], height, width)
        for j in range(len(centroids))
    ]
    return Masks(rles, score)


def _logit(threshold: float) -> np.float32:
    return np.float32(np.log(threshold / (1 - threshold)))


def _reach(threshold: float) -> np.float32:
    """φ > threshold ⇔ |e − C|² / σ² < reach."""
    return np.float32(-2 * np.log(threshold))


def _sample_positions(count: int, scale: float, offset: float, stride: int, cells: int):
    """For each image row or column the map cell before it and the weight of the cell after it."""
    position = np.clip((np.arange(count) * scale + offset) / stride, 0, cells - 1)
    cell = np.minimum(position.astype(np.int64), max(cells - 2, 0))
    return cell, (position - cell).astype(np.float32)


def _run_length_encoding(start: np.ndarray, length: np.ndarray, height: int, width: int) -> Dict:
    """COCO RLE of foreground runs given in column-major order."""
    boundaries = np.stack([start, start + length], 1).ravel()
    counts = np.diff(boundaries, prepend=0, append=height * width).tolist()
    if counts[-1] == 0:
        del counts[-1]  # as pycocotools writes it, so that equal masks have equal RLEs
    return coco_mask.frPyObjects(dict(size=[height, width], counts=counts), height, width)


@numba.njit(cache=True)
def _interpolate(field, cell_y, cell_x, weight_y, weight_x):
    last_y = min(cell_y + 1, field.shape[0] - 1)
    last_x = min(cell_x + 1, field.shape[1] - 1)
    top = field[cell_y, cell_x] * (1 - weight_x) + field[cell_y, last_x] * weight_x
    bottom = field[last_y, cell_x] * (1 - weight_x) + field[last_y, last_x] * weight_x
    return top * (1 - weight_y) + bottom * weight_y


@numba.njit(cache=True)
def _dynamic_centroids(keypoints, scores, semantic, offset, log_bandwidth, stride, reach, share):
    num_persons, num_keypoints = scores.shape
    embedding, bandwidth, weight = _embeddings(keypoints, scores, semantic, offset, log_bandwidth,
                                               stride)
    centre = np.zeros((num_persons, num_keypoints, 2), np.float32)  # of each candidate
    sigma = np.ones((num_persons, num_keypoints), np.float32)
    support = np.zeros((num_persons, num_keypoints), np.float32)
    strongest = np.zeros(num_persons, np.float32)
    for p in range(num_persons):
        for i in range(num_keypoints):
            inverse = np.exp(-2 * bandwidth[p, i]) / 2
            phi = np.exp(-((embedding[p, :, 0] - embedding[p, i, 0])**2 +
                           (embedding[p, :, 1] - embedding[p, i, 1])**2) * inverse)
            agreeing = weight[p] * phi
            support[p, i] = agreeing.sum() * weight[p, i]
            agreeing /= agreeing.sum()
            for axis in range(2):
                centre[p, i, axis] = (agreeing * embedding[p, :, axis]).sum()
            sigma[p, i] = np.exp((agreeing * bandwidth[p]).sum())
        strongest[p] = support[p].max()

    centroids = np.zeros((num_persons, 2), np.float32)
    sigmas = np.ones(num_persons, np.float32)
    strength = scores.sum(1)
    order = np.argsort(-strongest)
    for n, p in enumerate(order):
        best = np.argmax(support[p])
        centroids[p], sigmas[p] = centre[p, best], sigma[p, best]
        taken = _taken_by(centroids[p], order[:n], centroids, sigmas, reach)
        if taken < 0 or strength[p] < share * strength[taken]:
            continue
        centroids[p], sigmas[p] = centroids[taken], sigmas[taken]
        for i in np.argsort(-support[p]):
            if support[p, i] < _LEAST_SUPPORT * strongest[p]:
                break
            if _taken_by(centre[p, i], order[:n], centroids, sigmas, reach) < 0:
                centroids[p], sigmas[p] = centre[p, i], sigma[p, i]
                break
    return centroids, sigmas


@numba.njit(cache=True)
def _taken_by(centre, persons, centroids, sigmas, reach):
    """The person whose centroid a candidate is, or -1."""
    for q in persons:
        gap = (centre[0] - centroids[q, 0])**2 + (centre[1] - centroids[q, 1])**2
        if gap < reach * sigmas[q]**2:
            return q
    return -1


@numba.njit(cache=True)
def _embeddings(keypoints, scores, semantic, offset, log_bandwidth, stride):
    """At every keypoint: the embedding (n, K, 2), ln σ (n, K), and how much it counts (n, K)."""
    height, width = semantic.shape
    embedding = np.zeros(keypoints.shape, np.float32)
    bandwidth = np.zeros(scores.shape, np.float32)
    weight = np.zeros(scores.shape, np.float32)
    for p in range(scores.shape[0]):
        for k in range(scores.shape[1]):
            x = min(max(keypoints[p, k, 0] / stride, 0), width - 1)
            y = min(max(keypoints[p, k, 1] / stride, 0), height - 1)
            u, v = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
            fx, fy = np.float32(x - u), np.float32(y - v)
            for axis in range(2):
                embedding[p, k, axis] = keypoints[p, k, axis] + _interpolate(
                    offset[axis], v, u, fy, fx)
            bandwidth[p, k] = _interpolate(log_bandwidth, v, u, fy, fx)
            person = 1 / (1 + np.exp(-_interpolate(semantic, v, u, fy, fx)))
            weight[p, k] = scores[p, k] * person + np.float32(1e-6)
    return embedding, bandwidth, weight


@numba.njit(cache=True)
def _label_runs(semantic, offset, stride, cell_x, weight_x, cell_y, weight_y, scale, shift,
                centroids, sigmas, logit, reach):
    """Walk the image column by column; returns runs (label, start, length) and mask scores."""
    height, width = len(cell_y), len(cell_x)
    num_persons = len(centroids)
    label = [0 for _ in range(0)]
    start = [0 for _ in range(0)]
    length = [0 for _ in range(0)]
    probability = np.zeros(num_persons, np.float64)
    area = np.zeros(num_persons, np.int64)
    inverse = 1 / sigmas**2
    current, since = -1, 0
    for x in range(width):
        u, fx = cell_x[x], weight_x[x]
        input_x = x * scale[0] + shift[0]
        for y in range(height):
            v, fy = cell_y[y], weight_y[y]
            owner = -1
            person = _interpolate(semantic, v, u, fy, fx)
            if person > logit:
                ex = input_x + _interpolate(offset[0], v, u, fy, fx)
                ey = y * scale[1] + shift[1] + _interpolate(offset[1], v, u, fy, fx)
                owner = _nearest_centroid(ex, ey, centroids, inverse, reach)
            if owner >= 0:
                probability[owner] += 1 / (1 + np.exp(-person))
                area[owner] += 1
            if owner != current:
                if current >= 0:
                    label.append(current)
                    start.append(since)
                    length.append(x * height + y - since)
                current, since = owner, x * height + y
    if current >= 0:
        label.append(current)
        start.append(since)
        length.append(width * height - since)
    return (np.array(label, dtype=np.int64), np.array(start, dtype=np.int64),
            np.array(length, dtype=np.int64),
            (probability / np.maximum(area, 1)).astype(np.float32))


@numba.njit(cache=True)
def _nearest_centroid(ex, ey, centroids, inverse, reach):
    """argmax_j φ_j, or -1 where no φ_j exceeds the threshold."""
    owner, nearest = -1, reach
    for j in range(len(centroids)):
        distance = ((ex - centroids[j, 0])**2 + (ey - centroids[j, 1])**2) * inverse[j]
        if distance < nearest:
            nearest, owner = distance, j
    return owner


@numba.njit(cache=True)
def _leftover_centroids(semantic, offset, log_bandwidth, stride, centroids, sigmas, logit, reach,
                        min_cells):
    height, width = semantic.shape
    inverse = 1 / sigmas**2
    cells = np.empty((height * width, 5), np.float32)  # embedding, position, ln σ
    confidence = np.empty(height * width, np.float32)
    count = 0
    for v in range(height):
        for u in range(width):
            if semantic[v, u] <= logit:
                continue
            ex, ey = u * stride + offset[0, v, u], v * stride + offset[1, v, u]
            if _nearest_centroid(ex, ey, centroids, inverse, reach) < 0:
                cells[count, 0], cells[count, 1] = ex, ey
                cells[count, 2], cells[count, 3] = u * stride, v * stride
                cells[count, 4] = log_bandwidth[v, u]
                confidence[count] = semantic[v, u]
                count += 1
    cells, confidence = cells[:count], confidence[:count]
    found = np.empty((count, 5), np.float32)
    num_found = 0
    free = np.ones(count, np.bool_)
    for _ in range(_MOST_STARTS):
        if free.sum() < min_cells:
            break
        start = np.argmax(np.where(free, confidence, np.float32(-np.inf)))
        centre, sigma = cells[start, :2].copy(), np.exp(cells[start, 4])
        for _ in range(3):
            near = free & (((cells[:, 0] - centre[0])**2 +
                            (cells[:, 1] - centre[1])**2) < reach * sigma**2)
            if not near.any():
                break
            for axis in range(2):
                centre[axis] = cells[near, axis].mean()
            sigma = np.exp(cells[near, 4].mean())
        free[start] = False
        if near.sum() >= min_cells:
            found[num_found, :2] = centre
            found[num_found, 2] = sigma
            found[num_found, 3] = cells[near, 2].mean()
            found[num_found, 4] = cells[near, 3].mean()
            num_found += 1
        free &= ~near
    return found[:num_found]
