"""Cluster: mask pixels gather around the persons' dynamic centroids (paper, 3.3).

Letters: n persons, K keypoints, maps of h×w cells, an image of H×W pixels.
"""
import math
from typing import NamedTuple, Optional, Tuple

import numba
import numpy as np

from .gaussians import (
    largest_deviation,
    mask_centroid_response,
    squared_deviation,
    squared_deviation_njit,
)
from .people import ImageFrame, Masks, Poses
from .rle import encode_runs
from .sampling import AxisSamples, bilinear, bilinear_njit, sample_axis

#: A pixel may be a person's where φ exceeds it, less than the 0.5 that φ is trained against: a
#: network's embeddings scatter, and argmax tells whose they are.
LEAST_PHI = 0.2
#: Least weight of a keypoint's embedding, so that a person all of whose keypoints lie where the map
#: sees nobody has a centroid too.
_LEAST_WEIGHT = np.float32(1e-6)
#: Most seeds of persons without keypoints: what bounds the time on maps that mean nothing.
_MAX_SEEDS = 500
#: Side of the tiles of the input that know who may be the likeliest there, input pixels.
_TILE_PX = 16


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


class Rivals(NamedTuple):
    """Who of n persons may have an embedding, by the tile of the input that it leads to.

    ``position`` C_j (n, 2), ``per_px`` (n,) squared deviation of one pixel, ``distrust`` −ln s_j
    (n,); tile (r, c) has the first ``count`` (R, C) of ``person`` (R, C, n), in rising order, and
    some person deviates by no more than ``bound`` (R, C) in all of it, distrust included.
    """
    position: np.ndarray
    per_px: np.ndarray
    distrust: np.ndarray
    bound: np.ndarray
    person: np.ndarray
    count: np.ndarray


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
    person_probability = _probability(bilinear(maps.semantic, rows, columns))
    return (poses.keypoints + offset, bilinear(maps.log_bandwidth, rows, columns),
            poses.scores * person_probability + _LEAST_WEIGHT)


def _probability(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)) of any x."""
    return np.exp(-np.logaddexp(0, -logits))


def _logit(probability: float) -> float:
    """ln(p / (1 − p)), the inverse of :func:`_probability`."""
    return math.log(probability / (1 - probability))


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
    order = np.argsort(-candidates.weight.max(1) * trust, kind='stable')
    _choose_again(MaskCentroids(position, sigma), candidates, order,
                  largest_deviation(threshold), least_share)
    return MaskCentroids(position, sigma)


@numba.njit(cache=True)
def _choose_again(centroids, candidates, order, largest, least_share):
    """Second choices in ``order`` (n,), written to the MaskCentroids."""
    for rank, person in enumerate(order):
        known = order[:rank]
        if not _is_taken(centroids.position[person], centroids, known, largest):
            continue
        weight = candidates.weight[person]
        least = least_share * weight.max()
        best = -1
        for k in range(len(weight)):
            if (weight[k] >= least and (best < 0 or weight[k] > weight[best])
                    and not _is_taken(candidates.position[person, k], centroids, known, largest)):
                best = k
        if best >= 0:
            centroids.position[person] = candidates.position[person, best]
            centroids.sigma[person] = candidates.sigma[person, best]


@numba.njit(cache=True)
def _is_taken(embedding, centroids, known, largest):
    """:func:`is_embedding_of` any of the ``known`` persons, numbers (p,)."""
    for j in known:
        dx = embedding[0] - centroids.position[j, 0]
        dy = embedding[1] - centroids.position[j, 1]
        if squared_deviation_njit(dx * dx + dy * dy, centroids.sigma[j]) < largest:
            return True
    return False


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


@_any_sigma
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
    largest = largest_deviation(threshold)
    unassigned = _unassigned_cells(maps, centroids, _logit(threshold), largest)
    row, column = np.divmod(np.flatnonzero(unassigned), unassigned.shape[1])
    pixel = np.stack([column, row], axis=1).astype(np.float32) * maps.stride
    embedding = pixel + maps.offset[:, row, column].T
    log_sigma = maps.log_bandwidth[row, column]
    order = np.argsort(-maps.semantic[row, column], kind='stable')
    cluster = _clusters_at_seeds(order, embedding, np.exp(log_sigma), largest, maps)
    clustered = cluster >= 0
    number = cluster[clustered]
    area = np.bincount(number, minlength=_MAX_SEEDS)
    found = area >= min_cells

    def mean(values: np.ndarray) -> np.ndarray:
        total = np.bincount(number, values[clustered], _MAX_SEEDS)
        return (total[found] / area[found]).astype(np.float32)

    position, middle = (np.stack([mean(axis) for axis in part.T], axis=1)
                        for part in (embedding, pixel))
    return MaskCentroids(position, np.exp(mean(log_sigma))), middle


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
    label, scores = _label_pixels(maps, rows, columns, centroids, trust, _logit(threshold),
                                  largest_deviation(LEAST_PHI))
    person_of_run, start, length = _runs(label.ravel())
    order = np.argsort(person_of_run, kind='stable')
    bounds = np.searchsorted(person_of_run[order], np.arange(len(scores) + 1))
    rles = [
        encode_runs(start[runs], length[runs], height, width)
        for runs in (order[low:high] for low, high in zip(bounds[:-1], bounds[1:]))
    ]
    return Masks(rles, scores)


def _runs(label: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal labels ≥ 0 in a flat map: label, start and length, each (r,)."""
    start = np.flatnonzero(np.diff(label, prepend=np.int16(-2)))
    length = np.diff(start, append=label.size)
    foreground = label[start] >= 0
    return label[start][foreground], start[foreground], length[foreground]


@numba.njit(cache=True)
def _label_pixels(maps, rows, columns, centroids, trust, least_logit, largest):
    """Person of each image pixel, -1 for nobody, (W, H) int16, and each one's mean probability
    times φ_j (n,) float32; ``rows`` and ``columns`` are the pixels' :class:`AxisSamples`."""
    label = np.full((len(columns.pixel), len(rows.pixel)), -1, np.int16)
    likelihood = np.zeros(len(trust))
    area = np.zeros(len(trust))
    rivals = _no_rivals(centroids.position, centroids.sigma, -np.log(trust), maps)
    for person in range(len(trust)):
        _lower_bounds(person, rivals, largest)
    for person in range(len(trust)):
        _enter(person, rivals, largest)
    for i in range(label.shape[0]):
        column = AxisSamples(columns.pixel[i], columns.cell[i], columns.weight[i])
        for j in range(label.shape[1]):
            row = AxisSamples(rows.pixel[j], rows.cell[j], rows.weight[j])
            person_logit = bilinear_njit(maps.semantic, row, column)
            if person_logit > least_logit:
                x = column.pixel + bilinear_njit(maps.offset[0], row, column)
                y = row.pixel + bilinear_njit(maps.offset[1], row, column)
                person, deviation = _likeliest(x, y, rivals, largest)
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
    rivals = _no_rivals(centroids.position, centroids.sigma,
                        np.zeros_like(centroids.sigma), maps)
    for person in range(len(centroids.sigma)):
        _enter(person, rivals, largest)
    for v in range(height):
        for u in range(width):
            if maps.semantic[v, u] > least_logit:
                x = u * maps.stride + maps.offset[0, v, u]
                y = v * maps.stride + maps.offset[1, v, u]
                unassigned[v, u] = _first_near(x, y, rivals, largest) < 0
    return unassigned


@numba.njit(cache=True)
def _clusters_at_seeds(order, embedding, sigma, largest, maps):
    """The cluster (M,) of each of M cells, the number of the first seed that it is near, or -1;
    a cell near none becomes the next seed. ``order`` (M,) of the cells, ``embedding`` (M, 2),
    ``sigma`` (M,)."""
    cluster = np.full(len(order), -1)
    most = _MAX_SEEDS
    seeds = _no_rivals(np.empty((most, 2), np.float32), np.ones(most, np.float32),
                       np.zeros(most, np.float32), maps)
    count = 0
    for cell in order:
        x, y = embedding[cell]
        cluster[cell] = _first_near(x, y, seeds, largest)
        if cluster[cell] < 0 and count < _MAX_SEEDS:
            seeds.position[count] = embedding[cell]
            seeds.per_px[count] = squared_deviation_njit(1, sigma[cell])
            _enter(count, seeds, largest)
            cluster[cell] = _first_near(x, y, seeds, largest)
            count += 1
    return cluster


@numba.njit(cache=True)
def _first_near(x, y, rivals, largest):
    """The first person whose deviation from the embedding (x, y) is below ``largest``, or -1."""
    row, column = _tile(y, rivals.count.shape[0]), _tile(x, rivals.count.shape[1])
    for j in rivals.person[row, column, :rivals.count[row, column]]:
        if _deviation(x, y, j, rivals) < largest:
            return j
    return -1


@numba.njit(cache=True)
def _likeliest(x, y, rivals, largest):
    """argmax_j s_j·φ_j of the embedding (x, y) and its deviation −ln φ_j, below ``largest``; -1
    where no person's is."""
    row, column = _tile(y, rivals.count.shape[0]), _tile(x, rivals.count.shape[1])
    likeliest, of_likeliest, least = -1, np.inf, np.inf
    for j in rivals.person[row, column, :rivals.count[row, column]]:
        deviation = _deviation(x, y, j, rivals)
        if deviation < largest and deviation + rivals.distrust[j] < least:
            likeliest, of_likeliest, least = j, deviation, deviation + rivals.distrust[j]
    return likeliest, of_likeliest


@numba.njit(cache=True, inline='always')
def _deviation(x, y, j, rivals):
    """−ln φ_j of the embedding (x, y)."""
    return ((x - rivals.position[j, 0])**2 + (y - rivals.position[j, 1])**2) * rivals.per_px[j]


@numba.njit(cache=True, inline='always')
def _tile(pixel, num_tiles):
    """The tile of an input pixel along one axis: the first is all before the input, the last all
    behind it."""
    return int(min(pixel / _TILE_PX, num_tiles - 2.)) + 1 if pixel >= 0 else 0  # also for NaN


@numba.njit(cache=True, inline='always')
def _ends(tile, num_tiles):
    """Where a tile begins and ends along one axis, input pixels."""
    return ((tile - 1.) * _TILE_PX if tile > 0 else -np.inf,
            tile * _TILE_PX if tile < num_tiles - 1 else np.inf)


@numba.njit(cache=True)
def _no_rivals(position, sigma, distrust, maps):
    """:class:`Rivals` of which none is entered; C_j ``position`` (n, 2), ``sigma`` σ_j (n,)."""
    height, width = maps.semantic.shape
    tiles = height * maps.stride // _TILE_PX + 3, width * maps.stride // _TILE_PX + 3
    return Rivals(position, squared_deviation_njit(1, sigma), distrust, np.full(tiles, np.inf),
                  np.empty((*tiles, len(sigma)), np.int16), np.zeros(tiles, np.int64))


@numba.njit(cache=True)
def _lower_bounds(j, rivals, largest):
    """Lower the bounds of tiles by the farthest that person j is from a place in them."""
    x, y = rivals.position[j]
    for row in range(rivals.count.shape[0]):
        top, bottom = _ends(row, rivals.count.shape[0])
        far_y = top if y - top > bottom - y else bottom
        for column in range(rivals.count.shape[1]):
            left, right = _ends(column, rivals.count.shape[1])
            deviation = _deviation(left if x - left > right - x else right, far_y, j, rivals)
            if deviation < largest:
                bound = min(rivals.bound[row, column], deviation + rivals.distrust[j])
                rivals.bound[row, column] = bound


@numba.njit(cache=True)
def _enter(j, rivals, largest):
    """Enter person j in each tile where somebody may be the likeliest at its nearest place."""
    x, y = rivals.position[j]
    for row in range(rivals.count.shape[0]):
        top, bottom = _ends(row, rivals.count.shape[0])
        near_y = min(max(y, top), bottom)
        for column in range(rivals.count.shape[1]):
            left, right = _ends(column, rivals.count.shape[1])
            deviation = _deviation(min(max(x, left), right), near_y, j, rivals)
            if (deviation < largest
                    and deviation + rivals.distrust[j] <= rivals.bound[row, column]):
                rivals.person[row, column, rivals.count[row, column]] = j
                rivals.count[row, column] += 1
