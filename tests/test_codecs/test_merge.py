"""Merging, against loops over votes."""
import numpy as np
import pytest

from kdc_mm.codecs.vote import Votes
from kdc_mm_runtime.merge import (
    Keypoints,
    fitting_merge_radius,
    full_disk_weight,
    keep_keypoints,
    merge_votes,
    strongest_of_each_kind,
    vote_scatter,
)

MERGE, FULL, LEAST = 8., 6., 0.1


@pytest.mark.parametrize('radius, vote_radius, stride', [(32, 16, 4), (16, 8, 4), (8, 8, 4),
                                                        (8, 8, 8), (32, 16, 1)])
def test_the_full_weight_is_that_of_a_keypoint_on_a_cell(radius, vote_radius, stride):
    expected = 0
    for y in range(-64, 65, stride):
        for x in range(-64, 65, stride):
            if x**2 + y**2 <= vote_radius**2:
                expected += np.exp(-(x**2 + y**2) / (2 * (radius / 2)**2))
    assert full_disk_weight(radius, vote_radius, stride) == pytest.approx(expected)


def votes_around(rng, keypoints, scatter, per_keypoint=25):
    """Votes of one image that scatter around (channel, position, centroid)."""
    rows = []
    for channel, position, centroid in keypoints:
        for _ in range(per_keypoint):
            rows.append((channel, rng.uniform(0.3, 1), rng.uniform(0.05, 1),
                         position + rng.normal(0, scatter, 2),
                         centroid + rng.normal(0, scatter, 2), rng.normal(0, 30, (2, 2))))
    rows.sort(key=lambda row: row[0])
    columns = [np.array(column) for column in zip(*rows)]
    return Votes(np.zeros(len(rows), np.int64), columns[0], np.zeros((len(rows), 2), np.int64),
                 *(column.astype(np.float32) for column in columns[1:]))


class Cluster:
    """Votes of one keypoint; means are computed anew from all of them each time."""

    def __init__(self):
        self.members = []

    def mean(self, values):
        return np.average(values[self.members].astype(float), axis=0,
                          weights=self.weights.astype(float))


def reference_merge(votes, num_keypoints):
    """Each vote, heaviest first, joins the cluster it agrees with best, or founds one."""
    found = []
    for k in range(num_keypoints):
        clusters = []
        own = np.flatnonzero(votes.channel == k)
        heaviest = votes.weight[own].max() if len(own) else 1
        # in 64 steps of weight; within a step in the order of the cells
        for i in sorted(own, key=lambda i: -int(float(votes.weight[i]) / heaviest * 63)):
            position, centroid = (part[i].astype(float)
                                  for part in (votes.position, votes.person_centroid))
            tolerance = max(MERGE, np.linalg.norm(position - centroid) / 4)
            costs = [
                np.sum((position - one.mean(votes.position))**2) / MERGE**2 +
                np.sum((centroid - one.mean(votes.person_centroid))**2) / tolerance**2
                for one in clusters
            ]
            if not costs or min(costs) >= 1:
                clusters.append(Cluster())
                costs.append(0)
            one = clusters[int(np.argmin(costs))]
            one.members.append(i)
            one.weights = votes.weight[one.members]
        clusters = [one for one in clusters if score_of(one, votes) >= LEAST]
        found += [(k, score_of(one, votes), one.weights.sum(), one.mean(votes.position),
                   one.mean(votes.person_centroid), one.mean(votes.ends)) for one in clusters]
    return found


def score_of(cluster, votes):
    """Weighted mean heat, less where there is less than a quarter of a full disk."""
    return cluster.mean(votes.heat) * min(1, 4 * cluster.weights.sum() / FULL)


def merge(votes, num_keypoints=3):
    return keep_keypoints(merge_votes(votes, num_keypoints, MERGE, FULL), LEAST)


@pytest.mark.parametrize('scatter', [0.5, 2., 4.])
@pytest.mark.parametrize('seed', range(4))
def test_votes_merge_as_in_a_slow_reference(seed, scatter):
    rng = np.random.default_rng(seed)
    keypoints = [(rng.integers(3), rng.uniform(0, 100, 2), rng.uniform(0, 100, 2))
                 for _ in range(8)]
    votes = votes_around(rng, keypoints, scatter)
    expected = sorted(reference_merge(votes, 3), key=lambda row: (row[0], *row[3]))
    found = merge(votes)
    order = np.lexsort((found.position[:, 1], found.position[:, 0], found.channel))
    assert found.channel[order].tolist() == [row[0] for row in expected]
    for i, (_, score, support, position, centroid, ends) in zip(order, expected):
        assert found.score[i] == pytest.approx(score, rel=1e-3)
        assert found.support[i] == pytest.approx(support, rel=1e-3)
        np.testing.assert_allclose(found.position[i], position, atol=1e-2)
        np.testing.assert_allclose(found.person_centroid[i], centroid, atol=1e-2)
        np.testing.assert_allclose(found.ends[i], ends, atol=1e-2)


def test_joints_at_one_place_stay_apart_when_their_persons_centroids_differ():
    rng = np.random.default_rng(0)
    place = np.array([50., 50.])
    votes = votes_around(rng, [(0, place, place - 40), (0, place + 1, place + 40)], 0.1)
    found = merge(votes)
    assert len(found.score) == 2
    assert sorted(found.person_centroid[:, 0].round().tolist()) == [10, 90]


def test_the_same_place_in_two_channels_gives_two_keypoints():
    votes = votes_around(np.random.default_rng(0), [(0, np.zeros(2), np.ones(2)),
                                                    (2, np.zeros(2), np.ones(2))], 0.1)
    assert merge(votes).channel.tolist() == [0, 2]


def test_no_votes_give_no_keypoints():
    nothing = votes_around(np.random.default_rng(0), [(0, np.zeros(2), np.zeros(2))], 0.1)
    nothing = Votes(*(part[:0] for part in nothing))
    found = merge(nothing)
    assert len(found.score) == 0 and found.position.shape == (0, 2)


def test_the_strongest_keypoints_of_each_kind_stay_in_order():
    rng = np.random.default_rng(0)
    channel = np.sort(rng.integers(0, 4, 40))
    found = Keypoints(channel, *rng.random((2, 40)), *rng.random((3, 40, 2)))
    kept = strongest_of_each_kind(found, 5)
    for k in range(4):
        best = np.sort(found.score[channel == k])[-5:]
        assert set(kept.score[kept.channel == k]) == set(best)
    assert (np.diff(kept.channel) >= 0).all()
    assert all(row in found.position for row in kept.position)


def votes_of_disks(rng, sigma, count=6, size=40, stride=4):
    """Votes of all cells of disks that may overlap, each missing its keypoint by σ per axis."""
    rows = []
    v, u = np.mgrid[:size, :size]
    for channel in range(2):
        middles = rng.uniform(10, size - 10, (count, 2))
        squared = ((np.stack([v, u], -1)[..., None, :] - middles)**2).sum(-1)
        nearest = squared.argmin(-1)
        for row, column in zip(*np.nonzero(squared.min(-1) < 16)):
            target = middles[nearest[row, column], ::-1] * stride
            rows.append((channel, (row, column), target + rng.normal(0, sigma, 2)))
    columns = [np.array(column) for column in zip(*rows)]
    blank = np.zeros(len(rows), np.float32)
    return Votes(np.zeros(len(rows), np.int64), columns[0], columns[1], blank, blank,
                 columns[2].astype(np.float32), np.zeros((len(rows), 2)),
                 np.zeros((len(rows), 1, 2)))


def reference_scatter(votes):
    """Median difference of votes two cells apart, over that of a unit Gaussian's two samples."""
    differences = []
    for i, j in np.ndindex(len(votes.channel), len(votes.channel)):
        step = votes.cell[j] - votes.cell[i]
        if votes.channel[i] == votes.channel[j] and tuple(step) in ((0, 2), (2, 0)):
            differences += np.abs(votes.position[j] - votes.position[i]).tolist()
    samples = np.random.default_rng(0).normal(size=(2, 200000))
    return np.median(differences) / np.median(np.abs(samples[0] - samples[1]))


@pytest.mark.parametrize('sigma', [0., 1., 4.])
def test_the_scatter_is_the_error_of_the_votes(sigma):
    votes = votes_of_disks(np.random.default_rng(0), sigma)
    assert len(votes.channel) > 300
    assert vote_scatter(votes) == pytest.approx(reference_scatter(votes), rel=0.02, abs=1e-6)
    assert vote_scatter(votes) == pytest.approx(sigma, rel=0.15, abs=1e-6)


def test_few_votes_have_no_scatter():
    votes = votes_of_disks(np.random.default_rng(0), 1.)
    assert vote_scatter(Votes(*(part[:0] for part in votes))) == 0
    assert vote_scatter(Votes(*(part[:1] for part in votes))) == 0


@pytest.mark.parametrize('sigma', [0., 1., 9.])
def test_votes_merge_within_four_sigma_of_their_scatter_but_neither_too_near_nor_too_far(sigma):
    votes = votes_of_disks(np.random.default_rng(0), sigma)
    expected = min(max(4 * reference_scatter(votes), 3), 16)
    assert fitting_merge_radius(votes, 4, 16.) == pytest.approx(expected, rel=0.02)
