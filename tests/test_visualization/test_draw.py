import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from kdc_mm.visualization.draw import (
    decode_masks,
    draw_people,
    draw_vectors,
    map_to_image,
    person_colors,
    picture_grid,
    sample_vectors,
    zoom_points,
)

LINKS = [(0, 1), (1, 2)]


@pytest.fixture
def image():
    return np.full((60, 80, 3), 100, np.uint8)


def box_mask(y1, y2, x1, x2):
    mask = np.zeros((60, 80), bool)
    mask[y1:y2, x1:x2] = True
    return mask


def changed(image, picture):
    return (image != picture).any(axis=-1)


def nobody():
    return np.zeros((0, 3, 2)), np.zeros((0, 3))


def test_drawing_keeps_shape_and_type_and_leaves_the_image_alone(image):
    keypoints = np.array([[[10, 10], [20, 20], [40, 30]]], float)
    before = image.copy()
    picture = draw_people(image, keypoints, np.ones((1, 3)), [box_mask(5, 40, 5, 50)], LINKS)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    assert (image == before).all()


def test_a_zoomed_drawing_has_the_zoomed_size(image):
    picture = draw_people(image, *nobody(), [], LINKS, zoom=2.5)
    assert picture.shape == (150, 200, 3)


@pytest.mark.parametrize('masks', [None, []])
def test_an_image_without_people_stays_as_it_is(image, masks):
    assert (draw_people(image, *nobody(), masks, LINKS) == image).all()


def test_a_mask_is_blended_inside_the_mask_and_nowhere_else(image):
    mask = box_mask(10, 40, 20, 60)
    keypoints, scores = np.zeros((1, 3, 2)), np.zeros((1, 3))
    picture = draw_people(image, keypoints, scores, [mask], LINKS)
    assert (changed(image, picture) == mask).all()


def test_a_mask_has_a_contour_of_a_darker_shade(image):
    color = np.array([200, 60, 240])
    mask = box_mask(10, 40, 20, 60)
    picture = draw_people(
        image, np.zeros((1, 3, 2)), np.zeros((1, 3)), [mask], LINKS, colors=[tuple(color)])
    distance = np.abs(picture.astype(int) - 0.8 * color).sum(axis=-1)
    assert distance[10, 40] < distance[25, 40]


def test_keypoints_below_the_threshold_and_their_limbs_are_left_out(image):
    keypoints = np.array([[[10, 30], [40, 30], [70, 30]]], float)
    picture = draw_people(image, keypoints, np.array([[0.9, 0.9, 0.2]]), None, LINKS, kpt_thr=0.3)
    drawn = changed(image, picture)
    assert drawn[30, 10:41].all()
    assert not drawn[:, 45:].any()


def test_a_person_without_limbs_between_its_keypoints_shows_dots(image):
    keypoints = np.array([[[10, 30], [40, 30], [70, 30]]], float)
    picture = draw_people(image, keypoints, np.array([[0.9, 0., 0.9]]), None, LINKS)
    drawn = changed(image, picture)
    assert drawn[30, 10] and drawn[30, 70] and not drawn[:, 20:60].any()


def test_each_person_has_one_colour_of_its_own(image):
    colors = person_colors(40)
    assert len(set(colors)) == 40
    masks = [box_mask(5, 25, 5, 25), box_mask(30, 50, 40, 70)]
    keypoints = np.zeros((2, 3, 2))
    picture = draw_people(image, keypoints, np.zeros((2, 3)), masks, LINKS)
    centres = picture[15, 15].astype(float), picture[40, 55].astype(float)
    for color, centre in zip(colors, centres):
        mixed = (centre - 100) / (np.array(color) - 100)
        assert np.allclose(mixed, mixed[0], atol=0.02), 'another hue than the colour'


@pytest.mark.parametrize('kind', ['bool', 'tensor', 'rle', 'rle_text', 'counts', 'polygon'])
def test_masks_of_all_kinds_agree(kind):
    mask = box_mask(10, 40, 20, 60)
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    given = dict(
        bool=mask,
        tensor=torch.from_numpy(mask),
        rle=rle,
        rle_text=dict(rle, counts=rle['counts'].decode()),
        counts=dict(size=[60, 80], counts=uncompressed(mask)),
        polygon=[[20, 10, 60, 10, 60, 40, 20, 40]])[kind]
    decoded = decode_masks([given, None], (60, 80))
    assert decoded.dtype == bool
    assert (decoded[0] == mask).all()
    assert not decoded[1].any()


def uncompressed(mask):
    """Run lengths in column-major order, starting with background."""
    flat = mask.ravel(order='F').astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    return np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()


def test_points_and_pixels_are_zoomed_alike(image):
    image[20, 30] = 255
    zoomed = draw_people(image, *nobody(), None, LINKS, zoom=3)
    y, x = np.unravel_index(zoomed[..., 0].argmax(), zoomed.shape[:2])
    assert np.allclose(zoom_points([30, 20], 3), [x, y])


def test_an_arrow_reaches_from_its_start_to_its_end_and_not_beyond(image):
    picture = draw_vectors(image, np.array([[10, 30]]), np.array([[50, 30]]), (255, 0, 0), width=3)
    drawn = changed(image, picture)
    assert drawn[30, 11:50].all()
    assert not drawn[:, :9].any() and not drawn[:, 52:].any()


def test_arrows_of_a_field_start_at_its_cells_and_follow_it_into_the_image():
    # an input of 101 px showing an image twice as large, maps of stride 4
    to_image = map_to_image(4, (101, 101), np.array([101, 101]), np.array([202, 202]))
    field = np.zeros((2, 26, 26))
    field[0] = 10
    where = np.zeros((26, 26), bool)
    where[6, 12] = True
    starts, ends, cells = sample_vectors(field, where, 4, to_image, step=1)
    assert (cells == [[12, 6]]).all()
    assert np.allclose(starts, [[96, 48]], atol=1)
    assert np.allclose(ends - starts, [[20, 0]])


def test_a_map_lies_on_the_image_where_the_estimator_puts_its_keypoints():
    size, center, scale = (401, 401), np.array([320, 240]), np.array([640, 640.])
    to_image = map_to_image(4, size, center, scale)
    cell = np.array([25, 60])
    expected = 4 * cell / np.array(size) * scale + center - 0.5 * scale
    assert np.allclose(to_image[:, :2] @ cell + to_image[:, 2], expected)


def test_a_grid_fits_images_of_any_shape_under_its_titles():
    wide, tall = np.zeros((50, 100, 3), np.uint8), np.zeros((100, 40, 3), np.uint8)
    grid = picture_grid([[wide, wide], [tall, tall]], ['one', 'two'], cell=100, gap=4)
    assert grid.shape == (10 + 50 + 100 + 3 * 4, 2 * 104 + 4, 3)
    assert (grid == 0).all(axis=-1).sum() >= 2 * 50 * 100 + 2 * 100 * 40
