"""Owner maps against the definition of the keypoint disk: D_R(q) = {p : |p − q| ≤ R}."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdc_mm.codecs.owner_maps import (
    IGNORED,
    NOBODY,
    is_person,
    keypoint_owner_map,
    keypoint_owner_maps,
)


def reference_owner_map(keypoints, labelled, map_size, stride, radius):
    """Every cell asks every labelled keypoint of its kind; the first of the nearest within R."""
    width, height = map_size
    owner = np.zeros((keypoints.shape[1], height, width), np.uint8)
    for k, v, u in np.ndindex(owner.shape):
        nearest = np.inf
        for j in range(len(keypoints)):
            x, y = keypoints[j, k]
            distance = np.hypot(stride * u - x, stride * v - y)
            if labelled[j, k] and distance <= radius and distance < nearest:
                nearest, owner[k, v, u] = distance, j + 1
    return owner


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_persons=st.integers(0, 4),
    stride=st.sampled_from([1, 4, 8]),
    radius=st.sampled_from([2.5, 8, 16, 32]))
def test_a_cell_belongs_to_the_nearest_keypoint_whose_disk_covers_it(
        seed, num_persons, stride, radius):
    """Positions in quarters of a pixel, on and off the image, so that distances are exact."""
    rng = np.random.default_rng(seed)
    keypoints = rng.integers(-40, 240, (num_persons, 2, 2)) / 4 * max(stride / 4, 1)
    labelled = rng.random((num_persons, 2)) < 0.8
    arguments = (keypoints, labelled, (17, 13), stride, radius)
    np.testing.assert_array_equal(
        keypoint_owner_map(*arguments), reference_owner_map(*arguments))


def test_a_batch_is_drawn_as_its_images_however_many_disks_at_a_time(monkeypatch):
    """Persons on and far off the image, and several on the same pixel."""
    rng = np.random.default_rng(0)
    tables = []
    for number in (5, 0, 12):
        table = rng.normal(32, 32, (number, 3, 3)).astype(np.float32)
        table[::3, :, :2] = table[::3, :, :2].round() // 8
        table[1::4, :, :2] *= 1e6
        table[..., 2] = rng.random((number, 3)) < 0.8
        tables.append(torch.from_numpy(table))
    drawing = (17, 13), 4, 16.
    expected = [
        reference_owner_map(table[..., :2].double().numpy(), table[..., 2].numpy() > 0, *drawing)
        for table in tables
    ]
    for cells in (1, 2**18):
        monkeypatch.setattr('kdc_mm.codecs.owner_maps._CELLS_AT_A_TIME', cells)
        found = keypoint_owner_maps(tables, *drawing)
        np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.gpu
def test_a_gpu_draws_what_the_cpu_draws():
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    generator = torch.Generator().manual_seed(0)
    tables = [torch.rand(n, 17, 3, generator=generator) * 400 for n in (254, 0, 30)]
    ignored = torch.rand(3, 401, 401, generator=generator) < 0.3
    on_cpu = keypoint_owner_maps(tables, (101, 101), 4, 32., ignored)
    on_gpu = keypoint_owner_maps([table.cuda() for table in tables], (101, 101), 4, 32.,
                                 ignored.cuda())
    assert torch.equal(on_gpu.cpu(), on_cpu)


def reference_ignored(ignored, stride, radius):
    """Every cell asks every cell that shows an unlabelled person how far away it is."""
    shown = np.argwhere(ignored[::stride, ::stride]) * stride
    reached = np.zeros(ignored[::stride, ::stride].shape, bool)
    for v, u in np.ndindex(reached.shape):
        distances = np.hypot(*(shown - (stride * v, stride * u)).T)
        reached[v, u] = (distances <= radius).any()
    return reached


@pytest.mark.parametrize('stride, radius', [(1, 2.5), (4, 8.), (4, 10.), (4, 3.), (8, 32.)])
def test_a_cell_within_r_of_an_unlabelled_person_takes_no_part_and_beyond_it_does(stride, radius):
    """So far the disks of its keypoints could reach. Those of labelled persons stay."""
    rng = np.random.default_rng(0)
    height, width = 12 * stride + 1, 16 * stride + 1
    ignored = np.zeros((2, height, width), bool)
    ignored[0, 2 * stride:5 * stride, :3 * stride] = True
    ignored[0, 9 * stride:, 9 * stride:] = True
    ignored[1, ::stride, ::stride] = rng.random((13, 17)) < 0.02
    tables = [torch.zeros(0, 2, 3), torch.tensor([[[4., 4., 1.], [4., 4., 0.]]]) * stride]
    drawing = (17, 13), stride, radius
    owners = keypoint_owner_maps(tables, *drawing, torch.as_tensor(ignored)).numpy()
    for owner, table, region in zip(owners, tables, ignored):
        expected = reference_owner_map(
            table[..., :2].double().numpy(), table[..., 2].numpy() > 0, *drawing)
        reached = reference_ignored(region, stride, radius)
        assert reached.any() and not reached.all()
        expected[(expected == NOBODY) & reached] = IGNORED
        np.testing.assert_array_equal(owner, expected)


@pytest.mark.parametrize('kind', [np.asarray, torch.as_tensor])
def test_a_person_is_neither_nobody_nor_ignored(kind):
    owner = kind(np.array([[0, 1, 254, 255]], np.uint8))
    assert is_person(owner).tolist() == [[False, True, True, False]]


def test_a_cell_at_exactly_r_lies_in_the_disk_and_one_beyond_does_not():
    keypoints = np.array([[[16., 16.]]])
    labelled = np.ones((1, 1), bool)
    at_8 = keypoint_owner_map(keypoints, labelled, (9, 9), 4, 8.)
    below_8 = keypoint_owner_map(keypoints, labelled, (9, 9), 4, 7.99)
    assert at_8[0, 4, 2] == at_8[0, 2, 4] == 1
    assert below_8[0, 4, 2] == below_8[0, 2, 4] == 0


@pytest.mark.parametrize('x, y', [(50.3, 60.7), (0.1, 63.9), (32., 32.)])
def test_disks_that_coincide_belong_to_the_first_person(x, y):
    keypoints = np.full((3, 1, 2), (x, y))
    owner = keypoint_owner_map(keypoints, np.ones((3, 1), bool), (17, 17), 4, 20.)
    assert set(np.unique(owner)) == {0, 1}


def test_keypoints_far_off_the_image_own_nothing():
    keypoints = np.array([[[-500., 10.]], [[10., 1e7]], [[-17., 10.]]])
    assert not keypoint_owner_map(keypoints, np.ones((3, 1), bool), (9, 9), 4, 16.).any()


def test_the_254th_person_still_has_a_number_of_its_own():
    keypoints = np.full((254, 1, 2), 1e4)
    keypoints[253] = 16
    owner = keypoint_owner_map(keypoints, np.ones((254, 1), bool), (9, 9), 4, 8.)
    assert owner[0, 4, 4] == 254
