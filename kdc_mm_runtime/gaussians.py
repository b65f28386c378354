"""Gaussians: F* (eq. 3) and φ (eqs. 6 and 7).

A squared distance and its σ have one unit: input pixels, or cells for the smoothing of maps.
"""
import math

import numba
import numpy as np


def squared_deviation(squared_distance, sigma):
    """d²/2σ², the negative exponent of :func:`gaussian`: numbers, arrays or tensors."""
    return squared_distance / (2 * sigma**2)


def gaussian(squared_distance, sigma):
    """exp(−d²/2σ²) of numbers, arrays or tensors, differentiable."""
    exponent = -squared_deviation(squared_distance, sigma)
    # PyTorch's tensors have a method, and are not known here
    return exponent.exp() if hasattr(exponent, 'exp') else np.exp(exponent)


def key_centroid_response(squared_distance, radius):
    """F* (eq. 3): :func:`gaussian` of d = |p − q| from a cell to its keypoint, σ = R/2."""
    return gaussian(squared_distance, radius / 2)


def mask_centroid_response(squared_distance, sigma):
    """φ_j(e) (eqs. 6 and 7): :func:`gaussian` of d = |e − C_j| from an embedding to a MaskCentroid,
    σ_j the bandwidth of the instance."""
    return gaussian(squared_distance, sigma)


def largest_deviation(threshold: float) -> float:
    """``gaussian(...) > threshold`` ⇔ ``squared_deviation(...) < largest_deviation(threshold)``."""
    return -math.log(threshold)


#: :func:`squared_deviation` for compiled kernels; σ of maps that mean nothing may be 0.
squared_deviation_njit = numba.njit(cache=True, error_model='numpy')(squared_deviation)


@numba.njit(cache=True)
def gaussian_njit(squared_distance, sigma):
    """:func:`gaussian` for compiled kernels: numbers or arrays."""
    return np.exp(-squared_deviation_njit(squared_distance, sigma))


@numba.njit(cache=True)
def key_centroid_response_njit(squared_distance, radius):
    """:func:`key_centroid_response` for compiled kernels."""
    return gaussian_njit(squared_distance, radius / 2)
