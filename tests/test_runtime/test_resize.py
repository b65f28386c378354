"""The runtime's resize, against MMPose's BottomupResize."""
import numpy as np
import pytest
from mmpose.datasets.transforms import BottomupResize

from kdc_mm_runtime.people import ImageFrame
from kdc_mm_runtime.resize import fit_into_input

SHAPES = [(480, 640), (640, 427), (401, 401), (37, 911), (1080, 1920), (1, 1), (333, 250)]


@pytest.mark.parametrize('input_size', [(401, 401), (193, 257)])
@pytest.mark.parametrize('shape', SHAPES)
def test_images_lie_in_the_input_to_the_bit_as_in_the_test_pipeline(shape, input_size):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    step = BottomupResize(input_size, size_factor=1, pad_val=(127, 5, 200))
    expected = step.transform(dict(img=image, ori_shape=shape))
    found, frame = fit_into_input(image, input_size, (127., 5., 200.))
    np.testing.assert_array_equal(found, expected['img'])
    assert frame == ImageFrame.from_metainfo(dict(expected, ori_shape=shape))


def test_points_of_the_input_come_back_into_the_image():
    _, frame = fit_into_input(np.zeros((480, 640, 3), np.uint8), (401, 401), (0, 0, 0))
    corners = np.array([[0, 0], [640, 480], [320, 240]])
    np.testing.assert_allclose(
        frame.to_image(corners * frame.scale + frame.offset), corners, atol=1e-4)
