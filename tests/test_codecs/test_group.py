"""Keypoints to persons, against slow walks over all pairs."""
import numpy as np
import pytest

from kdc_mm.codecs.agreement import grouping_tolerance
from kdc_mm.codecs.group import assemble_poses, group_keypoints, limb_connections
from kdc_mm.codecs.merge import Keypoints
from kdc_mm.codecs.refine import join_fragments
from kdc_mm.codecs.skeleton import build_skeleton

from .people import random_people

SKELETON = build_skeleton('configs/_base_/datasets/coco.py')
GRAPH = SKELETON.graph
EDGES, OUTGOING, RANK = GRAPH
TOLERANCE = grouping_tolerance()


def noisy_keypoints(seed, num_persons=4, noise=4.):
    """Detected keypoints of random people whose vectors miss by ``noise`` px."""
    rng = np.random.default_rng(seed)
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


def distance(a, b):
    return float(np.linalg.norm(a.astype(float) - b.astype(float)))


def limb_error(found, i, j, edge, back):
    """Mean miss of the two limb displacements over what their length allows."""
    miss = (distance(found.ends[i, RANK[edge]], found.position[j]) +
            distance(found.ends[j, RANK[back]], found.position[i])) / 2
    length = distance(found.position[i], found.position[j])
    return miss / (TOLERANCE.limb.px + TOLERANCE.limb.relative * length)


def centroid_error(gap, length):
    return gap / (TOLERANCE.person_centroid.px + TOLERANCE.person_centroid.relative * length)


def connections(found):
    """All pairs on a limb that agree, with their cost: squared limb and centroid errors."""
    half = len(EDGES) // 2
    for edge, (a, b) in enumerate(EDGES[:half]):
        for i in np.flatnonzero(found.channel == a):
            for j in np.flatnonzero(found.channel == b):
                limb = limb_error(found, i, j, edge, edge + half)
                length = np.mean([distance(found.position[n], found.person_centroid[n])
                                  for n in (i, j)])
                cost = limb**2 + centroid_error(
                    distance(found.person_centroid[i], found.person_centroid[j]), length)**2
                if limb <= TOLERANCE.limit and cost <= TOLERANCE.limit**2:
                    yield int(i), int(j), cost


@pytest.mark.parametrize('seed', range(3))
def test_connections_are_all_pairs_whose_limbs_and_centroids_agree(seed):
    found = noisy_keypoints(seed, noise=8.)
    pairs, costs = limb_connections(found, GRAPH, TOLERANCE)
    expected = list(connections(found))
    assert pairs.tolist() == [[i, j] for i, j, _ in expected] and len(expected) > 10
    np.testing.assert_allclose(costs, [cost for *_, cost in expected], rtol=1e-3, atol=1e-4)


def reference_groups(found, join):
    """Sets of keypoints: connections from the most confident on, then the fragments whose centroids
    agree best, one pair after the other. No two keypoints of a kind, and none whose limbs deny it.
    """
    groups = [{i} for i in range(len(found.channel))]

    def kinds(group):
        return {found.channel[i] for i in group}

    queue = sorted(connections(found), reverse=True, key=lambda one: (
        found.score[one[0]] * found.score[one[1]] * np.exp(-one[2] / 2)))
    for i, j, _ in queue:
        first, second = (next(group for group in groups if n in group) for n in (i, j))
        if first is not second and not kinds(first) & kinds(second):
            first |= second
            groups.remove(second)
    apart = {(i, j) for i in range(len(found.channel)) for j in range(len(found.channel))
             if denied(found, i, j)}
    while join:
        best = 1, None, None
        middles = [middle(found, group) for group in groups]
        for n, first in enumerate(groups):
            for m in range(n + 1, len(groups)):
                second, (centre, length), (other, other_length) = groups[m], middles[n], middles[m]
                error = centroid_error(distance(centre, other), (length + other_length) / 2)
                if error < best[0] and not kinds(first) & kinds(second) and not any(
                        (i, j) in apart for i in first for j in second):
                    best = error, first, second
        if best[1] is None:
            break
        best[1].update(best[2])
        groups.remove(best[2])
    return groups


def middle(found, group):
    """Score-weighted person centroid of a fragment, and how far it lies from the keypoints."""
    rows = sorted(group)
    weights = found.score[rows]
    length = [distance(found.position[i], found.person_centroid[i]) for i in rows]
    return np.average(found.person_centroid[rows], 0, weights), np.average(length, weights=weights)


def denied(found, i, j):
    """Whether i and j are neighbours whose limbs lead elsewhere."""
    for edge, (a, b) in enumerate(EDGES):
        if (a, b) == (found.channel[i], found.channel[j]):
            back = (edge + len(EDGES) // 2) % len(EDGES)
            return limb_error(found, i, j, edge, back) > 2 * TOLERANCE.limit
    return False


@pytest.mark.parametrize('join', [True, False])
@pytest.mark.parametrize('seed, num_persons, noise', [(0, 4, 4.), (9, 4, 4.), (3, 6, 8.),
                                                      (1, 8, 15.), (6, 8, 15.)])
def test_persons_are_those_of_a_walk_over_all_pairs(seed, num_persons, noise, join):
    assert_same_groups(noisy_keypoints(seed, num_persons, noise), join)


def test_a_fragment_prefers_a_union_that_came_nearer_than_its_partner():
    """Centroids at (-10, 0) and (10, 0) unite first; then (0, 18) is nearer to their mean than to
    (0, 38.5), which cannot join as well since it is an ankle as one of the two."""
    centroid = np.array([(0, 18), (10, 0), (-10, 0), (0, 38.5)], np.float32)
    ends = np.zeros((4, OUTGOING.shape[1], 2), np.float32)
    found = Keypoints(np.array([0, 9, 15, 15]), *np.ones((2, 4), np.float32),
                      centroid + np.array([100, 0], np.float32), centroid, ends)
    assert sorted(map(sorted, reference_groups(found, True))) == [[0, 1, 2], [3]]
    assert_same_groups(found, True)


def group(found, join=True):
    person = group_keypoints(found, GRAPH, TOLERANCE)
    if join:
        person = join_fragments(found, person, GRAPH, TOLERANCE, 2.)
    return assemble_poses(found, person, GRAPH)


def assert_same_groups(found, join):
    poses = group(found, join)
    expected = {
        frozenset((int(found.channel[i]), *found.position[i].tolist()) for i in group)
        for group in reference_groups(found, join)
    }
    persons = {
        frozenset((k, *poses.keypoints[n, k].tolist()) for k in np.flatnonzero(detected).tolist())
        for n, detected in enumerate(poses.detected)
    }
    assert persons == expected
    totals = poses.scores.sum(1)
    assert (totals[:-1] >= totals[1:]).all(), 'strongest first'


def test_without_keypoints_there_are_no_persons():
    nothing = Keypoints(*(part[:0] for part in noisy_keypoints(0)))
    poses = group(nothing)
    assert poses.keypoints.shape == (0, 17, 2) and poses.detected.shape == (0, 17)


def test_a_keypoint_that_no_limb_leads_to_lies_at_the_persons_centroid():
    ends = np.zeros((1, OUTGOING.shape[1], 2), np.float32)
    ends[0, 0] = (30, 40)
    nose = Keypoints(np.array([0]), *np.ones((2, 1), np.float32), np.full((1, 2), 10, np.float32),
                     np.full((1, 2), 50, np.float32), ends)
    poses = group(nose)
    neighbours = [EDGES[edge, 1] for edge in OUTGOING[0] if edge >= 0]
    assert poses.keypoints[0, 0].tolist() == [10, 10]
    assert poses.keypoints[0, neighbours[0]].tolist() == [30, 40]
    assert poses.keypoints[0, 16].tolist() == [50, 50], 'an ankle'
    assert (poses.scores[0, 1:] == 0).all() and not poses.detected[0, 1:].any()
