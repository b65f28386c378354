"""Gaussian smoothing against the kernel of eqs. 2 and 8."""
import numpy as np
import pytest
import torch

from kdc_mm.codecs.gaussians import _smooth_on_device, gaussian_kernels, smooth_channels


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


def test_devices_smooth_as_the_host_does():
    sigmas = [0.1, 0.3, 0.6, 1.0]
    maps = torch.rand(2, 4, 7, 9, generator=torch.manual_seed(0))
    torch.testing.assert_close(_smooth_on_device(maps, gaussian_kernels(sigmas)),
                               smooth_channels(maps, sigmas))


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
