"""Bilinear look-up against its definition."""
import numba
import numpy as np
import pytest
import torch

from kdc_mm.codecs.sampling import (
    AxisSamples,
    bilinear,
    bilinear_njit,
    corners,
    follow_vectors,
    interpolate,
    sample_axis,
    upsample_to_input,
)


def reference_value(field, x, y):
    """Σ of the cells' values, each by how near its column and its row are; beyond the border the
    border's value."""
    height, width = field.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    return sum(field[v, u] * max(0, 1 - abs(x - u)) * max(0, 1 - abs(y - v))
               for v, u in np.ndindex(height, width))


@numba.njit
def _look_up(field, rows, columns):
    """Values (r,) of a map at r positions, one after the other."""
    values = np.empty(len(rows.pixel))
    for i in range(len(values)):
        values[i] = bilinear_njit(field,
                                  AxisSamples(rows.pixel[i], rows.cell[i], rows.weight[i]),
                                  AxisSamples(columns.pixel[i], columns.cell[i], columns.weight[i]))
    return values


@pytest.mark.parametrize('shape', [(7, 9), (1, 9), (7, 1), (1, 1)])
@pytest.mark.parametrize('stride', [1, 2, 4])
def test_positions_on_and_beyond_a_map_have_bilinear_values(shape, stride):
    rng = np.random.default_rng([*shape, stride])
    field = rng.normal(size=shape).astype(np.float32)
    x, y = rng.uniform(-5, 9 * stride + 5, (2, 60))
    x[:20], y[:20] = np.round(x[:20]), np.round(y[:20])  # also on cells
    rows, columns = sample_axis(y, stride, shape[0]), sample_axis(x, stride, shape[1])
    expected = [reference_value(field, *position) for position in zip(x / stride, y / stride)]
    cells, weights = corners(rows, columns, shape[::-1])
    summed = (field.ravel()[cells] * weights).sum(0)
    for values in (bilinear(field, rows, columns), _look_up(field, rows, columns), summed):
        np.testing.assert_allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize('shape', [(7, 9), (1, 9), (7, 1), (1, 1)])
def test_one_position_has_the_value_that_many_have(shape):
    rng = np.random.default_rng(shape)
    field = rng.normal(size=shape).astype(np.float32)
    for position in rng.uniform(-8, 44, (30, 2)).astype(np.float32):
        assert interpolate(field, position, 4) == pytest.approx(
            reference_value(field, *position / 4), abs=1e-5)


def test_following_vectors_goes_on_from_where_each_step_ends():
    vectors = np.random.default_rng(0).normal(0, 4, (2, 7, 9)).astype(np.float32)
    start = np.array([13, 9], np.float32)
    expected = start.astype(float)
    for _ in range(3):
        expected = expected + [reference_value(axis, *expected / 4) for axis in vectors]
    np.testing.assert_allclose(follow_vectors(vectors, start, 4, 3), expected, atol=1e-4)
    assert start.tolist() == [13, 9]


def test_samples_keep_the_shape_of_their_positions():
    field = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows, columns = (sample_axis(np.ones((2, 5)), 1, side) for side in field.shape)
    values = bilinear(field, rows, columns)
    assert values.dtype == np.float32 and (values == np.full((2, 5), 5)).all()


@pytest.mark.parametrize('size, stride', [((17, 13), 4), ((16, 15), 4), ((19, 20), 2), ((9, 9), 1),
                                          ((10, 9), 8)])
def test_cells_lie_on_input_pixels_after_up_sampling(size, stride):
    """Bilinear between cells (u, v) on pixels (s·u, s·v); the last cell's value goes on."""
    width, height = size
    maps = torch.rand(1, 2, (height - 1) // stride + 1, (width - 1) // stride + 1)
    up = upsample_to_input(maps, stride, size)
    assert up.shape == (1, 2, height, width)
    field = maps[0].numpy()
    rows, columns = field.shape[1:]
    for y, x in np.ndindex(height, width):
        v, u = min(y / stride, rows - 1), min(x / stride, columns - 1)
        v0, u0 = int(v), int(u)
        v1, u1 = min(v0 + 1, rows - 1), min(u0 + 1, columns - 1)
        right, down = u - u0, v - v0
        above = (1 - right) * field[:, v0, u0] + right * field[:, v0, u1]
        below = (1 - right) * field[:, v1, u0] + right * field[:, v1, u1]
        expected = (1 - down) * above + down * below
        np.testing.assert_allclose(up[0, :, y, x].numpy(), expected, atol=1e-5)
