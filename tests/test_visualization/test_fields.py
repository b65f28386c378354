import numpy as np

from kdc_mm.visualization.draw import person_colors
from kdc_mm.visualization.fields import nearest_kind, stride_of_maps, target_panels

LINKS = [(0, 1), (1, 2)]


def test_each_encoded_target_has_a_panel_of_the_input_size():
    image = np.zeros((41, 41, 3), np.uint8)
    keypoint_owner = np.zeros((3, 11, 11), np.uint8)
    keypoint_owner[0, 2:5, 2:5] = 1
    keypoint_owner[1, 3:9, 3:9] = 2
    keypoint_owner[:, 9:] = 255
    mask_owner = np.zeros((1, 41, 41), np.uint8)
    mask_owner[:, 5:20, 5:20] = 1
    table = np.random.default_rng(0).uniform(0, 40, (2, 3, 3)).astype(np.float32)
    colors = person_colors(2)
    panels = target_panels(image, [keypoint_owner, mask_owner], table, LINKS, colors, 2)
    assert len(panels) == 5
    assert all(panel.shape == (82, 82, 3) and panel.any() for panel in panels)
    disks = panels[0].astype(float)
    for row, column, color in ((4, 2, colors[0]), (8, 8, colors[1])):
        pixel = disks[8 * row, 8 * column]  # a cell is 8 pixels of the picture
        np.testing.assert_allclose(pixel, 0.6 * np.array(color), atol=1)


def test_an_image_without_people_has_targets_to_draw():
    owners = [np.zeros((3, 11, 11), np.uint8), np.full((1, 41, 41), 255, np.uint8)]
    image = np.zeros((41, 41, 3), np.uint8)
    panels = target_panels(image, owners, np.zeros((0, 3, 3), np.float32), LINKS, [], 1)
    assert len(panels) == 5


def test_of_overlapping_disks_the_nearest_keypoint_counts():
    vectors = np.zeros((2, 2, 1, 2))
    vectors[0, 0] = [[5, 1]]
    vectors[1, 0] = [[2, 3]]
    assert (nearest_kind(vectors, np.ones((2, 1, 2), bool)) == [[1, 0]]).all()


def test_the_stride_is_found_from_the_sizes():
    for size in ((401, 401), (193, 257), (400, 300)):
        for stride in (2, 4, 8):
            shape = [(side - 1) // stride + 1 for side in size[::-1]]
            assert stride_of_maps(size, shape) == stride
