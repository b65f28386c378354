"""COCO's run-length encoding, against pycocotools."""
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kdc_mm_runtime.rle import decode_rle, encode_runs, mask_area, mask_box


def runs_of(mask):
    """Starts and lengths of the runs of a mask, column by column."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [0]])
    start, end = np.flatnonzero(np.diff(flat) == 1), np.flatnonzero(np.diff(flat) == -1)
    return start, end - start


def masks():
    rng = np.random.default_rng(0)
    yield 'nothing', np.zeros((7, 5), bool)
    yield 'everything', np.ones((7, 5), bool)
    yield 'noise', rng.random((60, 80)) > 0.5
    block = np.zeros((7, 5), bool)
    block[2:6, 1:3] = True
    yield 'a block', block
    around = np.zeros((7, 5), bool)
    around[6, 1] = around[0, 2] = True
    yield 'a run from one column to the next', around
    yield 'the first and the last pixel', np.eye(2, dtype=bool)
    large = np.zeros((900, 1200), bool)
    large[100:800, 300:310] = large[0, 700] = large[-1, -1] = True
    yield 'runs of a million pixels', large


@pytest.mark.parametrize('mask', [mask for _, mask in masks()], ids=[name for name, _ in masks()])
def test_masks_are_encoded_and_measured_as_by_pycocotools_and_come_back(mask):
    rle = encode_runs(*runs_of(mask), *mask.shape)
    expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert (rle['counts'], rle['size']) == (expected['counts'], expected['size'])
    as_text = dict(rle, counts=rle['counts'].decode())
    np.testing.assert_array_equal(decode_rle(rle), mask)
    np.testing.assert_array_equal(decode_rle(as_text), mask)
    assert (mask_area(rle), mask_area(as_text)) == (mask.sum(), mask.sum())
    np.testing.assert_array_equal(mask_box(rle), coco_mask.toBbox(expected))
