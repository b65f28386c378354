"""Group: detected keypoints start hypotheses of whole persons along the graph (paper, 3.4).

Letters: K keypoints, n detected keypoints, m persons, maps of h×w cells. Positions are input pixels
(x, y).
"""
from typing import List, NamedTuple, Sequence

import numba
import numpy as np

from .agreement import GroupingTolerance, Tolerance, disagreement, distance
from .gaussians import gaussian_njit
from .merge import Keypoints
from .people import Poses
from .sampling import follow_vectors, interpolate
from .skeleton import KinematicGraph
from .vote import PoseMaps

#: Steps in which a place follows the KeyCentroids: p ← p + k_v(p). With one less, 0.005 AP are lost
#: on COCO photos.
_KEY_CENTROID_STEPS = 3
#: A placed keypoint's person centroid may err by so many times what those of detected neighbours
#: differ, at least by so many tolerances (1 σ). A fixed σ loses 0.006 AP on COCO photos; at least
#: four tolerances lose 0.004 AP on maps whose vectors miss by 4 px, and weak keypoints to others.
_PLACING_DIFFERENCES, _LEAST_PLACING_SIGMA = 6, 2
#: Factor that covers rounding where a lower bound is compared.
_SURELY = np.float32(1.0001)
#: A surer person holds a keypoint if their person centroids agree within so many tolerances.
_HELD_SHARE = 5


class PoseFields(NamedTuple):
    """Pose maps of one image at ``stride``, on the host, float32: ``heat`` (K, h, w) probabilities,
    ``key_centroids`` and ``person_centroids`` (K, 2, h, w), ``limbs`` (2E, 2, h, w) in input
    pixels; without KeyCentroids those have length 0."""
    heat: np.ndarray
    key_centroids: np.ndarray
    person_centroids: np.ndarray
    limbs: np.ndarray
    stride: int


class Evidence(NamedTuple):
    """What persons are made of: ``keypoints`` that were detected, those of channel k are
    ``bounds[k]`` to ``bounds[k + 1]`` of the (K + 1,), ``length`` (n,) of each to its person
    centroid, and the ``fields`` between them."""
    keypoints: Keypoints
    bounds: np.ndarray
    length: np.ndarray
    fields: PoseFields


class GroupSettings(NamedTuple):
    """What belongs together, and how sure it has to be.

    ``tolerance`` of two detected keypoints; ``join_by_centroid``: where limbs end, detected
    keypoints with the same person centroid follow; ``replace_margin``: a placed keypoint replaces a
    detected one if it is so many times as sure; ``keypoint_threshold`` least confidence of a
    keypoint that a person holds; ``person_threshold`` least mean score of a person's own
    keypoints, one of which is detected; ``max_persons``.
    """
    tolerance: GroupingTolerance
    join_by_centroid: bool
    replace_margin: float
    keypoint_threshold: float
    person_threshold: float
    max_persons: int


class ImageErrors(NamedTuple):
    """How far one image's maps err: keypoints of a kind within ``keypoint_px`` are one, if their
    person centroids agree within ``held``; ``placing_sigma``, in tolerances, of the person
    centroids that placed keypoints name, after ``key_centroid_steps``."""
    keypoint_px: float
    held: Tolerance
    placing_sigma: float
    key_centroid_steps: int


class Hypotheses(NamedTuple):
    """m persons, or one without the first axis.

    ``position`` (m, K, 2); ``score`` (m, K) of the detected keypoint, or heat where one is placed;
    ``confidence`` (m, K): score times agreement with the person, -1 while unknown;
    ``person_centroid`` (m, K, 2) that each keypoint names; ``member`` (m, K) number of the detected
    keypoint or -1; ``detected`` (m, K) bool: one lies there, even if the fields place it more
    surely; ``own`` (m, K) bool: no surer person holds it.
    """
    position: np.ndarray
    score: np.ndarray
    confidence: np.ndarray
    person_centroid: np.ndarray
    member: np.ndarray
    detected: np.ndarray
    own: np.ndarray


def fields_of_images(maps: PoseMaps) -> List[PoseFields]:
    """The maps of each image of a batch that is on the host."""
    heat, key_centroids, person_centroids, limbs = (
        None if field is None else np.ascontiguousarray(field, np.float32) for field in maps[:4])
    if key_centroids is None:
        key_centroids = heat[:, :0]
    vectors = (_as_vectors(field) for field in (key_centroids, person_centroids, limbs))
    return [PoseFields(*image, maps.stride) for image in zip(heat, *vectors)]


def _as_vectors(field: np.ndarray) -> np.ndarray:
    """(B, 2C, h, w) as (B, C, 2, h, w)."""
    batch, channels, *size = field.shape
    return field.reshape(batch, channels // 2, 2, *size)


def find_persons(keypoints: Keypoints, fields: PoseFields, graph: KinematicGraph,
                 keypoint_px: float, settings: GroupSettings) -> Hypotheses:
    """Hypotheses of persons from a priority queue of keypoints, the surest first (paper, 3.4).

    A keypoint that no person holds yet starts one, which follows the limbs from detected keypoint
    to detected keypoint; all others are then placed where limbs and KeyCentroids lead.

    Args:
        keypoints (Keypoints): n detected keypoints.
        fields (PoseFields): Maps of the image.
        graph (KinematicGraph): K keypoints, 2E directed limbs.
        keypoint_px (float): Keypoints of a kind and person within it are one, input pixels.
        settings (GroupSettings): What belongs together.

    Returns:
        Hypotheses: m persons, in the order of the keypoints that started them.
    """
    bounds = np.searchsorted(keypoints.channel, np.arange(len(graph.outgoing) + 1))
    difference = _person_centroid_difference(keypoints, bounds, graph, settings.tolerance)
    person_centroid = settings.tolerance.person_centroid
    held = Tolerance(np.float32(keypoint_px), np.float32(_HELD_SHARE) * person_centroid.relative,
                     person_centroid.least_px)
    errors = ImageErrors(
        np.float32(keypoint_px), held,
        np.float32(max(_LEAST_PLACING_SIGMA, _PLACING_DIFFERENCES * difference)),
        _KEY_CENTROID_STEPS)
    length = np.linalg.norm(keypoints.position - keypoints.person_centroid, axis=1)
    return _find_persons(Evidence(keypoints, bounds, length, fields),
                         np.argsort(-keypoints.score, kind='stable'), graph, settings, errors)


def assemble_poses(persons: Hypotheses, oks_sigmas: Sequence[float], error_px: float) -> Poses:
    """Poses of m hypotheses, strongest first.

    Args:
        persons (Hypotheses): m persons.
        oks_sigmas (sequence[float]): K values σ of the metric.
        error_px (float): Expected error of a keypoint, see :func:`expected_oks`.
    """
    persons = with_unknown_in_the_middle(persons)
    strength = expected_oks(persons, oks_sigmas, error_px)
    order = np.argsort(-strength, kind='stable')
    poses = Poses(persons.position, persons.score, persons.detected, strength)
    return Poses(*(part[order] for part in poses))


def with_unknown_in_the_middle(persons: Hypotheses) -> Hypotheses:
    """The m persons with what nothing leads to in the mean of their other keypoints."""
    known = persons.confidence[..., None] >= 0
    middle = (persons.position * known).sum(1, keepdims=True) / known.sum(1, keepdims=True)
    return persons._replace(
        position=np.where(known, persons.position, middle.astype(np.float32)))


def expected_oks(persons: Hypotheses, oks_sigmas: Sequence[float], error_px: float) -> np.ndarray:
    """What OKS the metric may find: who is surer of a small person than of a large one errs.

    A keypoint whose error is a Gaussian of ``error_px`` has the expectation a/(a + error²) with
    a = area·(2σ_k)², weighed by its score. What a surer person holds counts nothing. On COCO photos
    0.03 AP more than the mean score.

    Args:
        persons (Hypotheses): m persons.
        oks_sigmas (sequence[float]): K values σ of the metric.
        error_px (float): Expected error of a keypoint, input pixels.

    Returns:
        np.ndarray: (m,) float32 in [0, 1].
    """
    score = persons.score
    box_area = np.ptp(persons.position, axis=1).prod(1, dtype=float)
    area = box_area[:, None] * (2 * np.asarray(oks_sigmas))**2
    expected = (score**2 * persons.own * area / (area + error_px**2)).sum(1)
    return (expected / np.sqrt(score.sum(1) * score.shape[1])).astype(np.float32)


@numba.njit(cache=True)
def _limb_error(i, j, edge, keypoints, graph, tolerance):
    """Mean miss of the two limb displacements between keypoints i and j, over the Tolerance."""
    position, ends = keypoints.position, keypoints.ends
    back = (edge + len(graph.edges) // 2) % len(graph.edges)
    miss = (distance(ends[i, graph.rank[edge]], position[j]) +
            distance(ends[j, graph.rank[back]], position[i])) / 2
    return disagreement(miss, distance(position[i], position[j]), tolerance)


@numba.njit(cache=True, inline='always')
def _least_limb_error(i, j, edge, keypoints, graph, tolerance):
    """What :func:`_limb_error` is at least, by what one displacement misses along one axis: tells
    most pairs of a crowd apart, without square roots."""
    position, ends, rank = keypoints.position, keypoints.ends, graph.rank[edge]
    x, y = position[j, 0], position[j, 1]  # a view, as position[j], costs more than all of this
    miss = max(abs(ends[i, rank, 0] - x), abs(ends[i, rank, 1] - y)) / 2
    length = abs(position[i, 0] - x) + abs(position[i, 1] - y)
    return disagreement(miss, length, tolerance)


@numba.njit(cache=True)
def _person_centroid_error(position, centroid, other_position, other_centroid, tolerance):
    """Gap of the person centroids that two keypoints name, over the Tolerance."""
    length = (distance(position, centroid) + distance(other_position, other_centroid)) / 2
    return disagreement(distance(centroid, other_centroid), length, tolerance)


@numba.njit(cache=True)
def _best_neighbour(i, edge, keypoints, bounds, graph, tolerance):
    """The detected keypoint at the far end of a limb that agrees best with keypoint i, and their
    cost: squared errors of limb and person centroid; -1 and 1 where none agrees."""
    position, person_centroid = keypoints.position, keypoints.person_centroid
    best, least = -1, 1.
    kind = graph.edges[edge, 1]
    for j in range(bounds[kind], bounds[kind + 1]):
        if _least_limb_error(i, j, edge, keypoints, graph, tolerance.limb)**2 > _SURELY * least:
            continue
        cost = _limb_error(i, j, edge, keypoints, graph, tolerance.limb)**2
        if cost < least:
            cost += _person_centroid_error(position[i], person_centroid[i], position[j],
                                           person_centroid[j], tolerance.person_centroid)**2
            if cost < least:
                best, least = j, cost
    return best, least


def _person_centroid_difference(keypoints: Keypoints, bounds: np.ndarray, graph: KinematicGraph,
                                tolerance: GroupingTolerance) -> float:
    """Median error, in tolerances, between the person centroids of detected neighbours: what those
    of this image are worth. 0 without neighbours."""
    px, relative, least_px = tolerance.limb
    wide = GroupingTolerance(Tolerance(px, 2 * relative, least_px),
                             tolerance.person_centroid._replace(px=np.float32(np.inf)))
    errors = _neighbour_errors(keypoints, bounds, graph, wide, tolerance.person_centroid)
    return float(np.median(errors)) if len(errors) else 0.


@numba.njit(cache=True)
def _neighbour_errors(keypoints, bounds, graph, neighbour_tolerance, tolerance):
    """Errors (p,) of the person centroids of keypoints and their best neighbours."""
    position, person_centroid = keypoints.position, keypoints.person_centroid
    pairs = len(position) * graph.outgoing.shape[1]
    errors, count = np.empty(pairs, np.float32), 0
    for edge in range(len(graph.edges) // 2):
        kind = graph.edges[edge, 0]
        for i in range(bounds[kind], bounds[kind + 1]):
            j, _ = _best_neighbour(i, edge, keypoints, bounds, graph, neighbour_tolerance)
            if j >= 0:
                errors[count] = _person_centroid_error(
                    position[i], person_centroid[i], position[j], person_centroid[j], tolerance)
                count += 1
    return errors[:count]


@numba.njit(cache=True)
def _find_persons(evidence, queue, graph, settings, errors):
    """Hypotheses (m, ...) from the detected keypoints in the order of ``queue`` (n,)."""
    keypoints, num_keypoints = evidence.keypoints, len(graph.outgoing)
    persons = _unknown_persons(min(len(queue), settings.max_persons), num_keypoints)
    count = 0
    for i in queue:
        if count == settings.max_persons:
            break
        if _is_held(keypoints.channel[i], keypoints.position[i], keypoints.person_centroid[i],
                    persons, count, settings, errors):
            continue
        person = _person(persons, count)
        _forget(person)  # who stood here before and was found too weak
        _take(person, keypoints, i, keypoints.score[i])
        _follow_detected(person, evidence, graph, settings)
        _follow_fields(person, evidence, graph, settings, errors)
        for k in range(num_keypoints):
            person.own[k] = not _is_held(k, person.position[k], person.person_centroid[k], persons,
                                         count, settings, errors)
        is_seen = (person.own & (person.member >= 0)).any()
        count += is_seen and (person.score * person.own).mean() > settings.person_threshold
    return Hypotheses(persons.position[:count], persons.score[:count], persons.confidence[:count],
                      persons.person_centroid[:count], persons.member[:count],
                      persons.detected[:count], persons.own[:count])


@numba.njit(cache=True)
def _unknown_persons(count, num_keypoints):
    """``count`` persons of whom nothing is known."""
    shape = (count, num_keypoints)
    return Hypotheses(
        np.zeros((count, num_keypoints, 2), np.float32), np.zeros(shape, np.float32),
        np.zeros(shape, np.float32), np.zeros((count, num_keypoints, 2), np.float32),
        np.zeros(shape, np.int64), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_))


@numba.njit(cache=True)
def _person(persons, p):
    """Person p of the Hypotheses, as a view."""
    return Hypotheses(persons.position[p], persons.score[p], persons.confidence[p],
                      persons.person_centroid[p], persons.member[p], persons.detected[p],
                      persons.own[p])


@numba.njit(cache=True)
def _forget(person):
    """Make a person of K keypoints one of whom nothing is known, in place."""
    person.position[:] = 0
    person.score[:] = 0
    person.confidence[:] = -1
    person.person_centroid[:] = 0
    person.member[:] = -1
    person.detected[:] = False
    person.own[:] = False


@numba.njit(cache=True)
def _is_held(kind, position, person_centroid, persons, count, settings, errors):
    """Whether one of the first ``count`` persons holds a keypoint: near it, of its person centroid.
    """
    for p in range(count):
        if (abs(persons.position[p, kind, 0] - position[0]) <= errors.keypoint_px
                and persons.confidence[p, kind] >= settings.keypoint_threshold
                and distance(persons.position[p, kind], position) <= errors.keypoint_px
                and _person_centroid_error(
                    persons.position[p, kind], persons.person_centroid[p, kind], position,
                    person_centroid, errors.held) < 1):
            return True
    return False


@numba.njit(cache=True)
def _take(person, keypoints, i, confidence):
    """Give a person the detected keypoint i."""
    kind = keypoints.channel[i]
    person.position[kind] = keypoints.position[i]
    person.person_centroid[kind] = keypoints.person_centroid[i]
    person.score[kind] = keypoints.score[i]
    person.confidence[kind] = confidence
    person.member[kind] = i
    person.detected[kind] = True


@numba.njit(cache=True)
def _surest(confidence, done):
    """The surest keypoint that is known and not ``done`` (K,), or -1."""
    best = -1
    for k in range(len(confidence)):
        if not done[k] and confidence[k] >= 0 and (best < 0 or confidence[k] > confidence[best]):
            best = k
    return best


@numba.njit(cache=True)
def _follow_detected(person, evidence, graph, settings):
    """Follow limbs from detected keypoint to detected keypoint, the surest first; where they end,
    go on from one that names the same person centroid."""
    keypoints = evidence.keypoints
    done = np.zeros(len(person.score), np.bool_)
    while True:
        k = _surest(person.confidence, done)
        if k < 0:
            if not settings.join_by_centroid:
                return
            i = _same_person(person, evidence, settings.tolerance.person_centroid)
            if i < 0:
                return
            _take(person, keypoints, i, keypoints.score[i])
            continue
        done[k] = True
        for edge in graph.outgoing[k]:
            if edge < 0 or done[graph.edges[edge, 1]]:
                continue
            j, cost = _best_neighbour(person.member[k], edge, keypoints, evidence.bounds, graph,
                                      settings.tolerance)
            if j >= 0:
                confidence = keypoints.score[j] * np.exp(-cost / 2)
                if confidence > person.confidence[graph.edges[edge, 1]]:
                    _take(person, keypoints, j, confidence)


@numba.njit(cache=True)
def _same_person(person, evidence, tolerance):
    """The detected keypoint of a kind that the person lacks whose person centroid agrees best with
    the score-weighted mean of the person's; -1 where none agrees within the Tolerance."""
    keypoints = evidence.keypoints
    centroid, length, weight = np.zeros(2, np.float32), np.float32(0), np.float32(0)
    for k in range(len(person.score)):
        if person.member[k] >= 0:
            weight += person.score[k]
            share = person.score[k] / weight
            named = person.person_centroid[k]
            length += share * (distance(person.position[k], named) - length)
            for axis in range(2):
                centroid[axis] += share * (named[axis] - centroid[axis])
    best, least = -1, 1.
    for i in range(len(keypoints.channel)):
        mean_length = (length + evidence.length[i]) / 2
        miss = abs(centroid[0] - keypoints.person_centroid[i, 0])  # along one axis
        if disagreement(miss, mean_length, tolerance) > _SURELY * least:
            continue
        if person.member[keypoints.channel[i]] < 0:
            error = disagreement(distance(centroid, keypoints.person_centroid[i]), mean_length,
                                 tolerance)
            if error < least:
                best, least = i, error
    return best


@numba.njit(cache=True)
def _follow_fields(person, evidence, graph, settings, errors):
    """Place keypoints where limbs and KeyCentroids lead, from the surest one on: those that are not
    detected, and those that agree better with the person than the detected one."""
    done = np.zeros(len(person.score), np.bool_)
    while True:
        k = _surest(person.confidence, done)
        if k < 0:
            return
        done[k] = True
        for edge in graph.outgoing[k]:
            if edge >= 0 and not done[graph.edges[edge, 1]]:
                _place(person, edge, evidence, graph, settings, errors)


@numba.njit(cache=True)
def _place(person, edge, evidence, graph, settings, errors):
    """Place the keypoint at the far end of a limb, unless a surer limb has."""
    fields = evidence.fields
    start, end = graph.edges[edge]
    if person.member[start] >= 0:
        position = evidence.keypoints.ends[person.member[start], graph.rank[edge]]
    else:
        position = follow_vectors(fields.limbs[edge], person.position[start], fields.stride, 1)
    if len(fields.key_centroids):
        position = follow_vectors(fields.key_centroids[end], position, fields.stride,
                                  errors.key_centroid_steps)
    heat = interpolate(fields.heat[end], position, fields.stride)
    least = (settings.replace_margin if person.member[end] >= 0 else 1.) * person.confidence[end]
    if heat <= least:
        return
    person_centroid = follow_vectors(fields.person_centroids[end], position, fields.stride, 1)
    error = _person_centroid_error(person.position[start], person.person_centroid[start], position,
                                   person_centroid, settings.tolerance.person_centroid)
    confidence = heat * gaussian_njit(error**2, errors.placing_sigma)
    if confidence > least:
        person.detected[end] &= distance(position, person.position[end]) <= errors.keypoint_px
        person.position[end] = position
        person.person_centroid[end] = person_centroid
        person.score[end] = heat
        person.confidence[end] = confidence
        person.member[end] = -1
