"""The maps of a perfect network."""
import numpy as np
import pytest
import torch

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from kdc_mm.codecs.sampling import upsample_to_input
from kdc_mm_runtime.people import ImageFrame

SIZE = 129


def disk(x, y, radius, size=SIZE):
    v, u = np.mgrid[:size, :size]
    return (u - x)**2 + (v - y)**2 <= radius**2


def maps_of(owner, stride=2, **kwargs):
    codec = PoseSeg((SIZE, SIZE), mask_stride=stride)
    keypoints = np.zeros((int(owner.max()), 17, 2), np.float32)
    encoded = codec.encode(keypoints, np.zeros(keypoints.shape[:2]), owner)
    return perfect_maps(codec, encoded, **kwargs)


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize('stride', [1, 2, 4])
def test_interpolated_logits_give_the_mask_back(stride):
    person = disk(50.3, 61.2, 30) | disk(80, 80, 12)
    logits = maps_of(person.astype(np.uint8), stride)['semantic']
    found = upsample_to_input(logits, stride, (SIZE, SIZE))[0, 0].numpy() > 0
    assert overlap(found, person) > 0.98


def test_thin_parts_survive_a_coarse_stride():
    person = np.zeros((SIZE, SIZE), bool)
    person[20:110, 41:44] = True
    logits = maps_of(person.astype(np.uint8), 2)['semantic']
    found = upsample_to_input(logits, 2, (SIZE, SIZE))[0, 0].numpy() > 0
    assert overlap(found, person) > 0.9


def test_a_finer_owner_map_moves_the_boundary_between_pixels():
    # in the image the disk's radius is 12.4 input pixels, which whole input pixels cannot tell
    fine = disk(256, 256, 4 * 12.4, 4 * SIZE).astype(np.uint8)
    frame = ImageFrame((4 * SIZE, 4 * SIZE), (0.25, 0.25), (-0.375, -0.375))
    logits = maps_of(fine[2::4, 2::4].copy(), 1, image_owner=fine, frame=frame)['semantic']
    centre = (256 - 1.5) / 4
    row = logits[0, 0, round(centre)]
    inside = int((row > 0).nonzero().max())
    zero = inside + float(row[inside] / (row[inside] - row[inside + 1]))
    assert zero - centre == pytest.approx(12.4, abs=0.2)


def test_cells_beyond_a_mask_belong_to_the_nearest_person():
    owner = np.zeros((SIZE, SIZE), np.uint8)
    owner[40:80, 10:30], owner[40:80, 90:110] = 1, 2
    maps = maps_of(owner)
    x = torch.arange(0, SIZE, 2)
    embedding = maps['mask_centroids'][0, 0, 5] + x
    assert embedding[:30].numpy() == pytest.approx(19.5, abs=1e-3)
    assert embedding[32:].numpy() == pytest.approx(99.5, abs=1e-3)


def test_centroids_that_coincide_are_moved_apart_and_still_separate():
    # a ring around a disk: both have the same mean
    owner = (2 * disk(64, 64, 40) - disk(64, 64, 20)).astype(np.uint8)
    maps = maps_of(owner)
    x, y = torch.meshgrid(torch.arange(0, SIZE, 2), torch.arange(0, SIZE, 2), indexing='xy')
    embedding = maps['mask_centroids'][0] + torch.stack([x, y])
    inner, ring = embedding[:, 32, 32], embedding[:, 32, 48]
    assert (inner - ring).norm() >= 16
    sigma = maps['log_bandwidth'].exp().max()
    assert torch.exp(-(inner - ring).square().sum() / (2 * sigma**2)) < 0.5


def test_centroids_apart_stay_the_means_of_their_masks():
    owner = np.zeros((SIZE, SIZE), np.uint8)
    owner[20:60, 10:50] = 1
    owner[70:110, 60:121] = 2
    maps = maps_of(owner)
    assert (maps['mask_centroids'][0, :, 20, 10] + torch.tensor([20, 40])).numpy() == (
        pytest.approx([29.5, 39.5], abs=2e-3))
    assert maps['log_bandwidth'].exp().numpy() == pytest.approx(32), 'far apart: the largest σ'


def test_an_image_of_nobody_has_no_person_pixel():
    maps = maps_of(np.zeros((SIZE, SIZE), np.uint8))
    assert (maps['semantic'] < 0).all()
