"""Keypoints to persons, against slow walks written from the rules."""
import numpy as np
import pytest
import torch

from kdc_mm.codecs.skeleton import build_skeleton
from kdc_mm.codecs.vote import PoseMaps
from kdc_mm_runtime.agreement import grouping_tolerance
from kdc_mm_runtime.group import (
    GroupSettings,
    Hypotheses,
    PoseFields,
    assemble_poses,
    expected_oks,
    fields_of_images,
    find_persons,
)
from kdc_mm_runtime.merge import Keypoints
from kdc_mm_runtime.skeleton import KinematicGraph

from .people import random_people

SKELETON = build_skeleton('configs/_base_/datasets/coco.py')
GRAPH = SKELETON.graph
EDGES, OUTGOING, RANK = GRAPH
TOLERANCE = grouping_tolerance()
SETTINGS = GroupSettings(TOLERANCE, True, 1.05, 0.1, 0.02, 50)
STRIDE, CELLS, KEYPOINT_PX = 8, 26, 6.


def noisy_keypoints(rng, num_persons=4, noise=4.):
    """Detected keypoints of random people whose vectors miss by ``noise`` px."""
    scene = random_people(rng, num_persons, 200, label_rate=0.6)
    owner, channel = np.nonzero(scene.labelled)
    order = np.argsort(channel, kind='stable')
    owner, channel = owner[order], channel[order]
    position = scene.keypoints[owner, channel]
    centres = np.array([points[labelled].mean(0) for points, labelled in zip(*scene)])
    ends = np.zeros((len(owner), OUTGOING.shape[1], 2))
    for i, (j, k) in enumerate(zip(owner, channel)):
        for slot, edge in enumerate(OUTGOING[k]):
            if edge >= 0:
                target = EDGES[edge, 1]
                ends[i, slot] = scene.keypoints[j, target if scene.labelled[j, target] else k]
    vectors = [centres[owner] + rng.normal(0, noise, (len(owner), 2)),
               ends + rng.normal(0, noise, ends.shape)]
    return Keypoints(channel, *rng.uniform(0.2, 1, (2, len(owner))).astype(np.float32),
                     *(part.astype(np.float32) for part in [position, *vectors]))


def random_fields(rng, key_centroids=True):
    """Heat that says little, and vectors of some pixels."""
    heat = rng.uniform(0, 1, (17, CELLS, CELLS)).astype(np.float32)
    vectors = [rng.normal(0, 3, (count, 2, CELLS, CELLS)).astype(np.float32)
               for count in (17 if key_centroids else 0, 17, len(EDGES))]
    return PoseFields(heat, *vectors, STRIDE)


def distance(a, b):
    return float(np.linalg.norm(np.subtract(a, b, dtype=float)))


def centroid_error(a, b, px=float(TOLERANCE.person_centroid.px),
                   relative=float(TOLERANCE.person_centroid.relative)):
    """Gap of the centroids of two (position, person centroid) over what their mean length allows.
    """
    return distance(a[1], b[1]) / (px + relative * (distance(*a) + distance(*b)) / 2)


def value(field, point):
    """Σ of the cells' values, each by how near its column and its row are; beyond the border the
    border's value."""
    x, y = np.clip(np.asarray(point, float) / STRIDE, 0, CELLS - 1)
    rows, columns = np.maximum(0, 1 - abs(np.arange(CELLS) - np.array([[y], [x]])))
    return float(rows @ field @ columns)


def moved(field, point):
    return np.array([point[0] + value(field[0], point), point[1] + value(field[1], point)])


class Walk:
    """The rules of grouping, one keypoint at a time."""

    def __init__(self, found, fields, settings=SETTINGS):
        self.found, self.fields, self.settings = found, fields, settings
        self.named = list(zip(found.position, found.person_centroid))
        gaps = [centroid_error(self.named[i], self.named[j])
                for edge in range(len(EDGES) // 2)
                for i in np.flatnonzero(found.channel == EDGES[edge, 0])
                for j in [self.neighbour(i, edge, 0.2, np.inf)[0]] if j is not None]
        self.sigma = max(2, 6 * np.median(gaps)) if gaps else 2

    def neighbour(self, i, edge, relative=0.1, centroid_px=2.):
        """Who agrees best at the limb's far end, and the sum of both squared errors."""
        found, back = self.found, (edge + len(EDGES) // 2) % len(EDGES)
        best = None, 1.
        for j in np.flatnonzero(found.channel == EDGES[edge, 1]):
            miss = (distance(found.ends[i, RANK[edge]], found.position[j]) +
                    distance(found.ends[j, RANK[back]], found.position[i])) / 2
            length = distance(found.position[i], found.position[j])
            cost = (miss / (4 + relative * length))**2 + centroid_error(
                self.named[i], self.named[j], centroid_px)**2
            if cost < best[1]:
                best = j, cost
        return best

    def persons(self):
        people = []
        for root in np.argsort(-self.found.score, kind='stable'):
            if self.is_held(people, self.found.channel[root], self.named[root]):
                continue
            person = {}
            self.take(person, root, self.found.score[root])
            self.follow_detected(person)
            self.follow_fields(person)
            for k, point in person.items():
                point['own'] = not self.is_held(people, k, point['named'])
            own = [point for point in person.values() if point['own']]
            if sum(point['score'] for point in own) > 0.02 * 17 and any(
                    point['member'] is not None for point in own):
                people.append(person)
        return people

    def is_held(self, people, kind, named):
        return any(
            person[kind]['confidence'] >= 0.1
            and distance(person[kind]['named'][0], named[0]) <= KEYPOINT_PX
            and centroid_error(person[kind]['named'], named, KEYPOINT_PX, 5 * 0.075) < 1
            for person in people if kind in person)

    def take(self, person, i, confidence):
        person[self.found.channel[i]] = dict(
            named=self.named[i], score=self.found.score[i], confidence=confidence, member=i,
            detected=True)

    def surest(self, person, done):
        return max((k for k in sorted(person) if k not in done), default=None,
                   key=lambda k: person[k]['confidence'])

    def follow_detected(self, person):
        done = set()
        while True:
            k = self.surest(person, done)
            if k is None:
                i = self.same_person(person) if self.settings.join_by_centroid else None
                if i is None:
                    return
                self.take(person, i, self.found.score[i])
                continue
            done.add(k)
            for edge, (start, end) in enumerate(EDGES):
                if start == k and end not in done:
                    j, cost = self.neighbour(person[k]['member'], edge)
                    if j is not None:
                        confidence = self.found.score[j] * np.exp(-cost / 2)
                        if end not in person or confidence > person[end]['confidence']:
                            self.take(person, j, confidence)

    def same_person(self, person):
        weights = [point['score'] for point in person.values()]
        centre = np.average([point['named'][1] for point in person.values()], 0, weights)
        length = np.average([distance(*point['named']) for point in person.values()], None, weights)
        errors = {
            i: distance(named[1], centre) / (2 + 0.075 * (distance(*named) + length) / 2)
            for i, named in enumerate(self.named) if self.found.channel[i] not in person
        }
        best = min(errors, default=None, key=errors.get)
        return best if best is not None and errors[best] < 1 else None

    def follow_fields(self, person):
        done = set()
        while (k := self.surest(person, done)) is not None:
            done.add(k)
            for edge, (start, end) in enumerate(EDGES):
                if start == k and end not in done:
                    placed = self.place(person[k], edge, end)
                    known = person.get(end, dict(confidence=-1, member=None, detected=False))
                    margin = self.settings.replace_margin if known['member'] is not None else 1
                    if placed['confidence'] > margin * known['confidence']:
                        detected = known['detected'] and distance(
                            placed['named'][0], known['named'][0]) <= KEYPOINT_PX
                        person[end] = dict(placed, detected=detected)

    def place(self, start, edge, end):
        if start['member'] is None:
            point = moved(self.fields.limbs[edge], start['named'][0])
        else:
            point = self.found.ends[start['member'], RANK[edge]]
        for _ in range(3 if len(self.fields.key_centroids) else 0):
            point = moved(self.fields.key_centroids[end], point)
        heat = value(self.fields.heat[end], point)
        named = point, moved(self.fields.person_centroids[end], point)
        error = centroid_error(start['named'], named)
        return dict(named=named, score=heat, member=None,
                    confidence=heat * np.exp(-(error / self.sigma)**2 / 2))


def assert_same_persons(found, fields, settings=SETTINGS):
    persons = find_persons(found, fields, GRAPH, KEYPOINT_PX, settings)
    expected = Walk(found, fields, settings).persons()
    assert len(persons.score) == len(expected)
    for p, person in enumerate(expected):
        points = [person[k] for k in range(17)]
        members = [-1 if point['member'] is None else point['member'] for point in points]
        assert persons.member[p].tolist() == members
        for name in ('own', 'detected'):
            assert getattr(persons, name)[p].tolist() == [point[name] for point in points]
        np.testing.assert_allclose(persons.position[p], [point['named'][0] for point in points],
                                   atol=1e-2)
        for name in ('score', 'confidence'):
            np.testing.assert_allclose(getattr(persons, name)[p],
                                       [point[name] for point in points], atol=2e-3)
    return persons


@pytest.mark.parametrize('settings', [
    SETTINGS, SETTINGS._replace(join_by_centroid=False),
    SETTINGS._replace(replace_margin=float('inf'))
], ids=['all', 'limbs alone', 'detected keypoints stay'])
@pytest.mark.parametrize('seed, num_persons, noise', [(0, 4, 1.), (1, 4, 2.), (2, 6, 4.)])
def test_persons_are_those_of_a_walk_keypoint_by_keypoint(seed, num_persons, noise, settings):
    rng = np.random.default_rng(seed)
    found, fields = noisy_keypoints(rng, num_persons, noise), random_fields(rng)
    persons = assert_same_persons(found, fields, settings)
    assert (persons.member >= 0).any() and (persons.member < 0).any()


def test_without_key_centroids_a_keypoint_is_placed_where_the_limb_ends():
    rng = np.random.default_rng(0)
    assert_same_persons(noisy_keypoints(rng), random_fields(rng, key_centroids=False))


def test_no_more_persons_are_found_than_wanted():
    rng = np.random.default_rng(0)
    found, fields = noisy_keypoints(rng, 6), random_fields(rng)
    every = find_persons(found, fields, GRAPH, KEYPOINT_PX, SETTINGS)
    two = find_persons(found, fields, GRAPH, KEYPOINT_PX, SETTINGS._replace(max_persons=2))
    assert len(every.score) > 2
    np.testing.assert_array_equal(two.position, every.position[:2])


def test_without_keypoints_there_are_no_persons():
    rng = np.random.default_rng(0)
    nothing = Keypoints(*(part[:0] for part in noisy_keypoints(rng)))
    poses = assemble_poses(find_persons(nothing, random_fields(rng), GRAPH, KEYPOINT_PX, SETTINGS),
                           SKELETON.oks_sigmas, 10.)
    assert poses.keypoints.shape == (0, 17, 2) and poses.detected.shape == (0, 17)
    assert poses.strength.shape == (0, )


def test_nothing_is_left_of_somebody_too_weak_in_the_next_person():
    """Without limbs, two keypoints far apart are too weak each; their scores do not add up."""
    graph = KinematicGraph(np.zeros((0, 2), np.int64), np.full((3, 1), -1), np.zeros(0, np.int64))
    position = np.float32([[20, 20], [150, 150]])
    found = Keypoints(np.array([0, 1]), np.float32([0.31, 0.3]), np.float32([1, 1]), position,
                      position, np.zeros((2, 1, 2), np.float32))
    vectors = np.zeros((3, 2, CELLS, CELLS), np.float32)
    fields = PoseFields(vectors[:, 0].copy(), vectors[:0], vectors, vectors[:0], STRIDE)

    def persons(threshold):
        settings = SETTINGS._replace(person_threshold=threshold)
        return find_persons(found, fields, graph, KEYPOINT_PX, settings)

    assert len(persons(0.15).score) == 0
    np.testing.assert_allclose(persons(0.05).score, [[0.31, 0, 0], [0, 0.3, 0]])


def two_hypotheses():
    """The first person spans 40 px, the second 100 px."""
    rng = np.random.default_rng(0)
    position = rng.uniform(0, 1, (2, 17, 2))
    position[:, 0], position[:, 1] = 0, 1
    position = (position * [[[40]], [[100]]]).astype(np.float32)
    score = rng.uniform(0.4, 1, (1, 17)).repeat(2, 0).astype(np.float32)
    detected = rng.random((2, 17)) < 0.5
    return Hypotheses(position, score, score, position, np.where(detected, 3, -1), detected,
                      np.ones((2, 17), bool))


def test_a_pose_is_as_strong_as_the_oks_that_its_errors_leave():
    """Against errors drawn at random: two axes of a Gaussian, and OKS's exp(−d²/2s²k²)."""
    persons, sigmas = two_hypotheses(), np.array(SKELETON.oks_sigmas)
    whole = persons._replace(score=np.ones((2, 17), np.float32))
    miss = np.random.default_rng(1).normal(0, 5, (20000, 1, 17, 2))
    area = np.array([40.**2, 100.**2])[:, None]
    oks = np.exp(-np.square(miss).sum(-1) / (2 * area * (2 * sigmas)**2)).mean((0, 2))
    np.testing.assert_allclose(expected_oks(whole, sigmas, 5.), oks, atol=2e-3)


def test_weak_keypoints_and_those_of_other_persons_make_a_weak_pose():
    persons, sigmas = two_hypotheses(), SKELETON.oks_sigmas
    strength = expected_oks(persons, sigmas, 10.)
    weaker = expected_oks(persons._replace(score=persons.score / 2), sigmas, 10.)
    own = persons.own.copy()
    own[:, :8] = False
    shared = expected_oks(persons._replace(own=own), sigmas, 10.)
    assert strength[0] < strength[1]
    assert (weaker < strength).all() and (shared < strength).all() and (shared > 0).all()


def test_poses_come_strongest_first_and_tell_what_is_detected():
    persons = two_hypotheses()
    poses = assemble_poses(persons, SKELETON.oks_sigmas, 10.)
    np.testing.assert_array_equal(poses.keypoints, persons.position[::-1])
    np.testing.assert_array_equal(poses.scores, persons.score[::-1])
    np.testing.assert_array_equal(poses.detected, persons.detected[::-1])
    assert poses.strength[0] > poses.strength[1]


def test_fields_of_a_batch_are_those_of_its_maps_without_a_copy():
    maps = PoseMaps(torch.rand(2, 17, 5, 4), torch.rand(2, 34, 5, 4), torch.rand(2, 34, 5, 4),
                    torch.rand(2, 76, 5, 4), 4)
    first, second = fields_of_images(maps)
    assert np.shares_memory(first.heat, maps.heatmaps.numpy())
    assert np.shares_memory(second.limbs, maps.limbs.numpy())
    np.testing.assert_array_equal(second.person_centroids[3, 1], maps.person_centroids[1, 7])
    assert second.limbs.shape == (38, 2, 5, 4) and second.stride == 4
    [without, _] = fields_of_images(maps._replace(key_centroids=None))
    assert len(without.key_centroids) == 0
