"""Gaussians against eqs. 3 and 6, and smoothing against the kernel of eqs. 2 and 8."""
import math

import numpy as np
import pytest
import torch

from kdc_mm.codecs.gaussians import (
    gaussian,
    gaussian_njit,
    key_centroid_response,
    key_centroid_response_njit,
    largest_deviation,
    mask_centroid_response,
    smooth_channels,
    squared_deviation,
    squared_deviation_njit,
)


@pytest.mark.parametrize('distance, sigma', [(0., 1.), (3., 2.), (7.5, 16.), (20., 5.)])
def test_one_gaussian_holds_for_numbers_arrays_tensors_and_kernels(distance, sigma):
    expected = math.exp(-distance**2 / (2 * sigma**2))
    assert gaussian(distance**2, sigma) == pytest.approx(expected, rel=1e-12)
    assert gaussian_njit(distance**2, sigma) == pytest.approx(expected, rel=1e-12)
    array = gaussian(np.full(3, distance**2, np.float32), np.float32(sigma))
    tensor = gaussian(torch.full((3, ), distance**2), torch.tensor(sigma))
    assert array.dtype == np.float32 and tensor.dtype == torch.float32
    np.testing.assert_allclose(array, expected, rtol=1e-5)
    np.testing.assert_allclose(tensor, expected, rtol=1e-5)


def test_the_gaussian_of_a_tensor_has_the_gradient_of_its_equation():
    squared = torch.tensor([4., 9.], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([3., 2.], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian, (squared, sigma))


def test_f_star_has_half_the_radius_as_sigma_and_phi_the_bandwidth():
    for response in (key_centroid_response, key_centroid_response_njit):
        assert response(49., 8.) == pytest.approx(math.exp(-49 / (2 * 4**2)), rel=1e-12)
    assert mask_centroid_response(49., 8.) == pytest.approx(math.exp(-49 / (2 * 8**2)), rel=1e-12)


@pytest.mark.parametrize('threshold', [0.1, 0.5, 0.9])
def test_a_gaussian_above_a_threshold_is_a_deviation_below_its_bound(threshold):
    squared = np.linspace(0, 400, 1001)
    above = gaussian(squared, 7.) > threshold
    assert above.any() and not above.all()
    for deviation in (squared_deviation, squared_deviation_njit):
        below = deviation(squared, 7.) < largest_deviation(threshold)
        np.testing.assert_array_equal(below, above)


def reference_smooth(field, sigma, reach=6):
    """Σ G(x, y)·field over a window, G normalised over it; the border repeats its values."""
    kernel = {(x, y): np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
              for x in range(-reach, reach + 1) for y in range(-reach, reach + 1)}
    total = sum(kernel.values())
    height, width = field.shape
    smooth = np.zeros_like(field)
    for v, u in np.ndindex(height, width):
        for (x, y), weight in kernel.items():
            row, column = np.clip(v + y, 0, height - 1), np.clip(u + x, 0, width - 1)
            smooth[v, u] += weight / total * field[row, column]
    return smooth


def test_every_channel_is_smoothed_by_its_own_gaussian():
    sigmas = [0.1, 0.3, 0.6, 1.0]
    maps = np.random.default_rng(0).random((2, 4, 7, 9))
    smooth = smooth_channels(torch.tensor(maps), sigmas).numpy()
    for image, channel in np.ndindex(2, 4):
        # the kernel ends at three σ of the widest one
        np.testing.assert_allclose(smooth[image, channel],
                                   reference_smooth(maps[image, channel], sigmas[channel]),
                                   atol=1e-3)


def test_the_smallest_sigma_of_the_paper_leaves_maps_as_they_are():
    maps = torch.rand(1, 1, 9, 9)
    torch.testing.assert_close(smooth_channels(maps, [0.1]), maps, atol=1e-6, rtol=0)


@pytest.mark.parametrize('sigma', [0.1, 0.5, 1.0])
def test_smoothing_keeps_an_even_map_and_the_place_of_a_peak(sigma):
    even = torch.full((1, 1, 8, 8), 0.7)
    torch.testing.assert_close(smooth_channels(even, [sigma]), even)
    peak = torch.zeros(1, 1, 11, 11)
    peak[0, 0, 3, 7] = 1
    smooth = smooth_channels(peak, [sigma])
    assert smooth.flatten().argmax() == 3 * 11 + 7
    assert smooth.sum() == pytest.approx(1, abs=1e-5)
