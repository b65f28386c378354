"""Votes, against loops over cells."""
import numpy as np
import pytest
import torch

from kdc_mm.codecs import vote
from kdc_mm.codecs.vote import PoseMaps, VoteSettings, collect_votes, split_by_image

STRIDE, RADIUS, VOTE_RADIUS, THRESHOLD = 4, 16, 8, 0.3
OUTGOING = np.array([[0, 1], [2, -1], [3, -1]])  # directed edges leaving each of three keypoints


@pytest.fixture
def maps():
    """Heat, KeyCentroids, person centroids and limbs of a batch of two, random: numpy arrays."""
    rng = np.random.default_rng(0)
    return (rng.random((2, 3, 6, 7)), rng.normal(0, 5, (2, 6, 6, 7)),
            rng.normal(0, 20, (2, 6, 6, 7)), rng.normal(0, 20, (2, 8, 6, 7)))


@pytest.fixture(params=['host', 'device'])
def collect(request, monkeypatch):
    """Votes of maps, gathered in one walk as on CPUs, or all at once as on other devices."""
    if request.param == 'device':
        monkeypatch.setattr(vote, '_is_on_host', lambda maps: False)
    return _collect


def _collect(maps, max_votes=1000):
    maps = [None if part is None else torch.tensor(part, dtype=torch.float32) for part in maps]
    return collect_votes(PoseMaps(*maps, STRIDE), OUTGOING,
                         VoteSettings(RADIUS, VOTE_RADIUS, THRESHOLD, max_votes))


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
        rows.append((b, k, [v, u], heat[b, k, v, u],
                     heat[b, k, v, u] * np.exp(-distance**2 / (2 * (RADIUS / 2)**2)), p + vector,
                     p + person_centroids[b, 2 * k:2 * k + 2, v, u], ends))
    return rows


def test_every_confident_cell_votes_for_where_its_vectors_lead(maps, collect):
    votes = collect(maps)
    expected = reference_votes(*maps)
    assert len(votes.heat) == len(expected) > 50
    for i, (image, channel, cell, score, weight, position, centroid,
            ends) in enumerate(expected):
        assert (votes.image[i], votes.channel[i]) == (image, channel)
        assert votes.cell[i].tolist() == cell
        assert votes.heat[i] == pytest.approx(score, rel=1e-5)
        assert votes.weight[i] == pytest.approx(weight, rel=1e-4)
        np.testing.assert_allclose(votes.position[i], position, atol=1e-3)
        np.testing.assert_allclose(votes.person_centroid[i], centroid, atol=1e-3)
        np.testing.assert_allclose(votes.ends[i, :len(ends)], ends, atol=1e-3)


def test_maps_of_half_precision_vote_too(maps, collect):
    halves = [torch.tensor(part, dtype=torch.float32).bfloat16() for part in maps]
    votes = collect_votes(PoseMaps(*halves, STRIDE), OUTGOING,
                          VoteSettings(RADIUS, VOTE_RADIUS, THRESHOLD, 1000))
    rounded = collect([part.float().numpy() for part in halves])
    np.testing.assert_array_equal(votes.cell, rounded.cell)
    np.testing.assert_allclose(votes.position, rounded.position, atol=0.3)


def test_a_batch_is_split_into_the_votes_of_its_images(maps, collect):
    votes = collect(maps)
    parts = list(split_by_image(votes, 3))
    assert [set(part.image) for part in parts] == [{0}, {1}, set()]
    np.testing.assert_array_equal(np.concatenate([part.position for part in parts]),
                                  votes.position)


def test_of_too_many_votes_the_heaviest_stay_in_each_image(maps, collect):
    everything, some = collect(maps), collect(maps, max_votes=20)
    for image in (0, 1):
        best = np.sort(everything.weight[everything.image == image])[-20:]
        np.testing.assert_array_equal(np.sort(some.weight[some.image == image]), best)


def test_without_key_centroids_the_middle_of_a_disk_votes_for_itself(collect):
    heat = np.zeros((2, 3, 21, 21))
    v, u = np.mgrid[:21, :21] * STRIDE
    heat[1, 2][(u - 36)**2 + (v - 44)**2 <= RADIUS**2] = 0.9
    others = [np.ones((2, channels, 21, 21)) for channels in (6, 8)]
    votes = collect((heat, None, *others))
    assert votes.image.tolist() == [1] and votes.channel.tolist() == [2]
    assert votes.position.tolist() == [[36, 44]]
    assert votes.person_centroid.tolist() == [[37, 45]]
