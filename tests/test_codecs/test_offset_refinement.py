"""Offsets followed to where they lead."""
import numpy as np
import torch

from kdc_mm.codecs.offset_refinement import refine_offsets

STRIDE, HEIGHT, WIDTH = 4, 7, 9


def positions():
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing='ij')
    return torch.stack([columns, rows]).float() * STRIDE


def follow_slowly(field, steps):
    """The definition, one cell and one field at a time."""
    out = np.zeros_like(field)
    for v in range(HEIGHT):
        for u in range(WIDTH):
            end = np.array([u, v]) * STRIDE + field[:, v, u]
            for _ in range(steps):
                x, y = np.clip(end / STRIDE, 0, [WIDTH - 1, HEIGHT - 1])
                left, top = min(int(x), WIDTH - 2), min(int(y), HEIGHT - 2)
                fx, fy = x - left, y - top
                square = field[:, top:top + 2, left:left + 2]
                end = end + (square * np.outer([1 - fy, fy], [1 - fx, fx])).sum((1, 2))
            out[:, v, u] = end - np.array([u, v]) * STRIDE
    return out


def test_refined_offsets_are_those_of_the_definition():
    offset = torch.tensor(
        np.random.default_rng(0).normal(0, 12, (2, 6, HEIGHT, WIDTH)), dtype=torch.float32)
    for steps in (0, 1, 3):
        found = refine_offsets(offset, STRIDE, steps).unflatten(1, (3, 2))
        for image in range(2):
            for c in range(3):
                np.testing.assert_allclose(
                    found[image, c],
                    follow_slowly(offset[image, 2 * c:2 * c + 2].numpy(), steps), atol=1e-3)


def test_offsets_that_fall_short_by_a_third_reach_their_target():
    target = torch.tensor([15., 11.])[:, None, None]
    short = (target - positions())[None] * 2 / 3
    for steps in (1, 2, 3):
        miss = refine_offsets(short, STRIDE, steps)[0] + positions() - target
        torch.testing.assert_close(miss, (positions() - target) / 3**(steps + 1))
