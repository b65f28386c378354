"""Votes and their merging, against loops over cells and votes."""
import numpy as np
import pytest
import torch

from kdc_mm.codecs.vote import (
    Keypoints,
    Votes,
    collect_votes,
    full_disk_weight,
    merge_votes,
    strongest_of_each_kind,
)

STRIDE, RADIUS, VOTE_RADIUS, THRESHOLD = 4, 16, 8, 0.3
OUTGOING = np.array([[0, 1], [2, -1], [3, -1]])  # directed edges leaving each of three keypoints


@pytest.fixture
def maps():
    """Heat, KeyCentroids, person centroids and limbs of a batch of two, random: numpy arrays."""
    rng = np.random.default_rng(0)
    return (rng.random((2, 3, 6, 7)), rng.normal(0, 5, (2, 6, 6, 7)),
            rng.normal(0, 20, (2, 6, 6, 7)), rng.normal(0, 20, (2, 8, 6, 7)))


def collect(maps, max_votes=1000):
    maps = [None if part is None else torch.tensor(part, dtype=torch.float32) for part in maps]
    return collect_votes(*maps, torch.as_tensor(OUTGOING), STRIDE, RADIUS, VOTE_RADIUS, THRESHOLD,
                         max_votes)


def reference_votes(heat, key_centroids, person_centroids, limbs):
    """Every cell above the threshold votes at p + k_v with weight heat · exp(−|k_v|²/2σ²)."""
    rows = []
    for b, k, v, u in np.ndindex(heat.shape):
        p = np.array([u * STRIDE, v * STRIDE])
        vector = key_centroids[b, 2 * k:2 * k + 2, v, u]
        distance = np.linalg.norm(vector)
        if heat[b, k, v, u] <= THRESHOLD or distance > VOTE_RADIUS:
            continue
        ends = [p + limbs[b, 2 * e:2 * e + 2, v, u] for e in OUTGOING[k] if e >= 0]
        rows.append((b, k, heat[b, k, v, u],
                     heat[b, k, v, u] * np.exp(-distance**2 / (2 * (RADIUS / 2)**2)), p + vector,
                     p + person_centroids[b, 2 * k:2 * k + 2, v, u], ends))
    return rows


def test_every_confident_cell_votes_for_where_its_vectors_lead(maps):
    votes = collect(maps)
    expected = reference_votes(*maps)
    assert len(votes.score) == len(expected) > 50
    for i, (image, channel, score, weight, position, centroid, ends) in enumerate(expected):
        assert (votes.image[i], votes.channel[i]) == (image, channel)
        assert votes.score[i] == pytest.approx(score, rel=1e-5)
        assert votes.weight[i] == pytest.approx(weight, rel=1e-4)
        np.testing.assert_allclose(votes.position[i], position, atol=1e-3)
        np.testing.assert_allclose(votes.centroid[i], centroid, atol=1e-3)
        np.testing.assert_allclose(votes.ends[i, :len(ends)], ends, atol=1e-3)


def test_of_too_many_votes_the_hottest_stay_in_each_image(maps):
    everything, some = collect(maps), collect(maps, max_votes=20)
    for image in (0, 1):
        best = np.sort(everything.score[everything.image == image])[-20:]
        np.testing.assert_array_equal(np.sort(some.score[some.image == image]), best)


def test_without_key_centroids_the_middle_of_a_disk_votes_for_itself(maps):
    heat = np.zeros((2, 3, 21, 21))
    v, u = np.mgrid[:21, :21] * STRIDE
    heat[1, 2][(u - 36)**2 + (v - 44)**2 <= RADIUS**2] = 0.9
    others = [np.ones((2, channels, 21, 21)) for channels in (6, 8)]
    votes = collect((heat, None, *others))
    assert votes.image.tolist() == [1] and votes.channel.tolist() == [2]
    assert votes.position.tolist() == [[36, 44]]
    assert votes.centroid.tolist() == [[37, 45]]


@pytest.mark.parametrize('radius, vote_radius, stride', [(32, 16, 4), (16, 8, 4), (8, 8, 4),
                                                        (8, 8, 8), (32, 16, 1)])
def test_the_full_weight_is_that_of_a_keypoint_on_a_cell(radius, vote_radius, stride):
    expected = 0
    for y in range(-64, 65, stride):
        for x in range(-64, 65, stride):
            if x**2 + y**2 <= vote_radius**2:
                expected += np.exp(-(x**2 + y**2) / (2 * (radius / 2)**2))
    assert full_disk_weight(radius, vote_radius, stride) == pytest.approx(expected)


# Merging

MERGE, ECHO, FULL, LEAST = 8., 12., 6., 0.1


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
    return Votes(np.zeros(len(rows), np.int64), columns[0],
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
            position, centroid = votes.position[i].astype(float), votes.centroid[i].astype(float)
            tolerance = max(MERGE, np.linalg.norm(position - centroid) / 4)
            costs = [
                np.sum((position - one.mean(votes.position))**2) / MERGE**2 +
                np.sum((centroid - one.mean(votes.centroid))**2) / tolerance**2 for one in clusters
            ]
            if not costs or min(costs) >= 1:
                clusters.append(Cluster())
                costs.append(0)
            one = clusters[int(np.argmin(costs))]
            one.members.append(i)
            one.weights = votes.weight[one.members]
        clusters = [one for one in clusters if score_of(one, votes) >= LEAST]
        for one in sorted(clusters, key=lambda one: -one.weights.sum()):
            if one in clusters:
                clusters = [other for other in clusters if not is_echo(other, one, votes)]
        found += [(k, score_of(one, votes), one.mean(votes.position), one.mean(votes.centroid),
                   one.mean(votes.ends)) for one in clusters]
    return found


def score_of(cluster, votes):
    """Weighted mean heat, less where there is less than a quarter of a full disk."""
    return cluster.mean(votes.score) * min(1, 4 * cluster.weights.sum() / FULL)


def is_echo(weak, strong, votes):
    """Half the support of another keypoint or less, near it, with the same person centroid."""
    position, centroid = strong.mean(votes.position), strong.mean(votes.centroid)
    apart = np.linalg.norm(weak.mean(votes.position) - position)
    gap = np.linalg.norm(weak.mean(votes.centroid) - centroid)
    reach = np.linalg.norm(position - centroid)
    return (weak.weights.sum() < 0.5 * strong.weights.sum() and apart < ECHO
            and gap < max(ECHO / 2, 0.3 * reach))


def merge(votes, num_keypoints=3):
    return merge_votes(votes, num_keypoints, MERGE, ECHO, FULL, LEAST)


@pytest.mark.parametrize('scatter', [0.5, 2., 4.])
@pytest.mark.parametrize('seed', range(4))
def test_votes_merge_as_in_a_slow_reference(seed, scatter):
    rng = np.random.default_rng(seed)
    keypoints = [(rng.integers(3), rng.uniform(0, 100, 2), rng.uniform(0, 100, 2))
                 for _ in range(8)]
    votes = votes_around(rng, keypoints, scatter)
    expected = sorted(reference_merge(votes, 3), key=lambda row: (row[0], *row[2]))
    found = merge(votes)
    order = np.lexsort((found.position[:, 1], found.position[:, 0], found.channel))
    assert found.channel[order].tolist() == [row[0] for row in expected]
    for i, (_, score, position, centroid, ends) in zip(order, expected):
        assert found.score[i] == pytest.approx(score, rel=1e-3)
        np.testing.assert_allclose(found.position[i], position, atol=1e-2)
        np.testing.assert_allclose(found.centroid[i], centroid, atol=1e-2)
        np.testing.assert_allclose(found.ends[i], ends, atol=1e-2)


def test_joints_at_one_place_stay_apart_when_their_persons_centroids_differ():
    rng = np.random.default_rng(0)
    place = np.array([50., 50.])
    votes = votes_around(rng, [(0, place, place - 40), (0, place + 1, place + 40)], 0.1)
    found = merge(votes)
    assert len(found.score) == 2
    assert sorted(found.centroid[:, 0].round().tolist()) == [10, 90]


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
    found = Keypoints(channel, rng.random(40), *(rng.random((40, 2)) for _ in range(3)))
    kept = strongest_of_each_kind(found, 5)
    for k in range(4):
        best = np.sort(found.score[channel == k])[-5:]
        assert set(kept.score[kept.channel == k]) == set(best)
    assert (np.diff(kept.channel) >= 0).all()
    assert all(row in found.position for row in kept.position)
