"""Deformable convolutions that a CPU can train: they are most of what DEKR costs.

mmcv's CPU operator is a plain loop over single values, and PyTorch's ``grid_sample`` reads the few
channels of a group one by one. Here they lie together, and one place serves all of them; samples
are taken image by image, so that they stay in the cache, and once more for the gradients.
"""
from typing import Tuple

import numba
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2d
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Channels of a group are filled up with zeros to a multiple of this, which vectors hold.
_CHANNELS_AT_ONCE = 8


class SampledDeformConv2d(DeformConv2d):
    """mmcv's deformable convolution, the same function of the same weights, faster on a CPU.

    Of stride and dilation 1, with padding that keeps the size and as many groups of offsets as of
    channels, as DEKR's are. On other devices it is mmcv's.
    """

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """
        Args:
            x (Tensor): (B, C, h, w).
            offset (Tensor): (B, 2 · g · k², h, w): y, x of each of k² taps of g groups, cells.

        Returns:
            Tensor: (B, out_channels, h, w) float32.
        """
        # places are fractions of a cell: not for half precision
        with torch.autocast(x.device.type, enabled=False):
            if x.device.type != 'cpu':
                return super().forward(x.float(), offset.float())
            return self._sampled(x.float(), offset.float())

    def _sampled(self, x: Tensor, offset: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        groups, side = self.groups, self.kernel_size[0]
        features = x.reshape(batch, groups, channels // groups, height, width)
        weight = self.weight.reshape(groups, -1, channels // groups, side * side)
        filled = (0, -(channels // groups) % _CHANNELS_AT_ONCE)
        output = _SampleAndWeigh.apply(
            F.pad(features.permute(0, 1, 3, 4, 2), filled).contiguous(),
            offset.reshape(batch, groups, side, side, 2, height, width).contiguous(),
            F.pad(weight.permute(0, 1, 3, 2), filled).flatten(2).transpose(1, 2).contiguous())
        return output.transpose(2, 3).reshape(batch, -1, height, width)


class _SampleAndWeigh(torch.autograd.Function):
    """Weighted bilinear samples of the channels of each group.

    Args:
        features (Tensor): (B, g, h, w, C / g); 0 outside.
        offset (Tensor): (B, g, k, k, 2, h, w).
        weight (Tensor): (g, k · k · C / g, out / g).

    Returns:
        Tensor: (B, g, h · w, out / g).
    """

    @staticmethod
    def forward(ctx, features: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(features, offset, weight)
        samples = _samples_of(features, weight)
        outputs = []
        for image, places in zip(features, offset):
            _sample(_array(image), _array(places), _array(samples))
            outputs.append(samples @ weight)
        return torch.stack(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        features, offset, weight = ctx.saved_tensors
        samples = _samples_of(features, weight)
        to_features, to_offset = torch.zeros_like(features), torch.empty_like(offset)
        to_weight = torch.zeros_like(weight)
        for index, given in enumerate(gradient):
            image, places = _array(features[index]), _array(offset[index])
            _sample(image, places, _array(samples))
            to_weight.baddbmm_(samples.transpose(1, 2), given)
            torch.bmm(given, weight.transpose(1, 2), out=samples)
            _sample_backward(image, places, _array(samples), _array(to_features[index]),
                             _array(to_offset[index]))
        return to_features, to_offset, to_weight


def _samples_of(features: Tensor, weight: Tensor) -> Tensor:
    """Room for the samples of one image: (g, h · w, k · k · C / g)."""
    _, groups, height, width, _ = features.shape
    return features.new_empty(groups, height * width, weight.shape[1])


def _array(values: Tensor) -> np.ndarray:
    return values.detach().numpy()


@numba.njit(cache=True, inline='always')
def _cells(place, size):
    """The two cells around a place: their indices, how much each weighs, and how much each weighs
    more a cell further on; 0 outside, where the cell is any.

    Indices are unsigned: one that cannot be negative needs no test."""
    none, one = np.float32(0), np.float32(1)
    if not -1 < place < size:  # nan too
        return np.uint64(0), np.uint64(0), none, none, none, none
    before = int(np.floor(place))
    after, share = before + 1, np.float32(place - before)
    begun, ended = before < 0, after >= size
    return (np.uint64(max(before, 0)), np.uint64(min(after, size - 1)),
            none if begun else one - share, none if ended else share,
            none if begun else -one, none if ended else one)


@numba.njit(cache=True, inline='always')
def _around(offset, y, x, tap, size):
    """The four cells around a tap, as indices of their first channel: above left, above right,
    below left, below right; what rows and columns weigh, and weigh more a cell further on."""
    side, height, width = offset.shape[0], offset.shape[3], offset.shape[4]
    row, column = tap // side, tap % side
    top, bottom, by_top, by_bottom, top_more, bottom_more = _cells(
        y + row - side // 2 + offset[row, column, 0, y, x], height)
    left, right, by_left, by_right, left_more, right_more = _cells(
        x + column - side // 2 + offset[row, column, 1, y, x], width)
    line = np.uint64(width) * size
    corners = (top * line + left * size, top * line + right * size,
               bottom * line + left * size, bottom * line + right * size)
    return (corners, (by_top, by_bottom), (by_left, by_right), (top_more, bottom_more),
            (left_more, right_more))


@numba.njit(cache=True, nogil=True, fastmath={'contract', 'reassoc'})
def _sample(features, offset, samples):
    groups, height, width, channels = features.shape
    side = offset.shape[1]
    size = np.uint64(channels)
    for group in range(groups):
        cells, into = features[group].reshape(-1), samples[group].reshape(-1)
        for y in range(height):
            for x in range(width):
                for tap in range(side * side):
                    (a, b, c, d), by_row, by_column, _, _ = _around(
                        offset[group], y, x, tap, size)
                    (by_top, by_bottom), (by_left, by_right) = by_row, by_column
                    by_a, by_b = by_top * by_left, by_top * by_right
                    by_c, by_d = by_bottom * by_left, by_bottom * by_right
                    place = np.uint64((y * width + x) * side * side + tap) * size
                    for channel in range(size):
                        into[place + channel] = (
                            by_a * cells[a + channel] + by_b * cells[b + channel]
                            + by_c * cells[c + channel] + by_d * cells[d + channel])


@numba.njit(cache=True, inline='always')
def _add(cells, cell, weight, given, place, size):
    for channel in range(size):
        cells[cell + channel] += weight * given[place + channel]


@numba.njit(cache=True, nogil=True, fastmath={'contract', 'reassoc'})
def _sample_backward(features, offset, gradient, to_features, to_offset):
    groups, height, width, channels = features.shape
    side = offset.shape[1]
    size = np.uint64(channels)
    for group in range(groups):
        cells, changed = features[group].reshape(-1), to_features[group].reshape(-1)
        given = gradient[group].reshape(-1)
        for y in range(height):
            for x in range(width):
                for tap in range(side * side):
                    (a, b, c, d), by_row, by_column, row_more, column_more = _around(
                        offset[group], y, x, tap, size)
                    (by_top, by_bottom), (by_left, by_right) = by_row, by_column
                    (top_more, bottom_more), (left_more, right_more) = row_more, column_more
                    place = np.uint64((y * width + x) * side * side + tap) * size
                    down, across = np.float32(0), np.float32(0)
                    for channel in range(size):
                        at_a, at_b = cells[a + channel], cells[b + channel]
                        at_c, at_d = cells[c + channel], cells[d + channel]
                        value = given[place + channel]
                        down += value * (top_more * (by_left * at_a + by_right * at_b)
                                         + bottom_more * (by_left * at_c + by_right * at_d))
                        across += value * (left_more * (by_top * at_a + by_bottom * at_c)
                                           + right_more * (by_top * at_b + by_bottom * at_d))
                    to_offset[group, tap // side, tap % side, 0, y, x] = down
                    to_offset[group, tap // side, tap % side, 1, y, x] = across
                    _add(changed, a, by_top * by_left, given, place, size)
                    _add(changed, b, by_top * by_right, given, place, size)
                    _add(changed, c, by_bottom * by_left, given, place, size)
                    _add(changed, d, by_bottom * by_right, given, place, size)
