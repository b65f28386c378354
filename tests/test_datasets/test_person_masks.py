"""Masks in the input frame: who owns which pixel, and that masks, image and keypoints stay aligned.
"""
import cv2
import numpy as np
import pycocotools.mask as cocomask
import pytest

from kdc_mm.datasets import KDCCocoDataset
from kdc_mm.datasets.transforms.person_masks import rasterize
from tests.conftest import NUM_KEYPOINTS, grey_image, person

LOAD = dict(type='LoadImage', imdecode_backend='pillow')
MASKS = dict(type='BottomupGetPersonMasks')
NO_KEYPOINTS = [0] * 3 * NUM_KEYPOINTS


def load(write_coco, anns, *transforms, image=None):
    """The sample of one image after the given transforms and BottomupGetPersonMasks."""
    image = grey_image() if image is None else image
    files = write_coco([(image, anns)])
    pipeline = [LOAD, *transforms, MASKS]
    # Serialising collects garbage, which takes longer than a test does.
    return KDCCocoDataset(**files, pipeline=pipeline, test_mode=True, serialize_data=False)[0]


def mask_rle(mask):
    """Compressed RLE of a (h, w) mask, as OCHuman's JSON has it."""
    rle = cocomask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=rle['size'], counts=rle['counts'].decode())


def iou(a, b):
    return np.sum(a & b) / np.sum(a | b)


# Who owns a pixel


def test_the_smaller_of_two_persons_owns_what_both_cover(write_coco):
    results = load(write_coco, [person(10, 10, 10, 10), person(5, 5, 40, 40)])
    owner = results['mask_owner']
    assert owner.dtype == np.uint8
    assert owner.shape == (60, 80)
    assert (owner[10:20, 10:20] == 1).all()
    assert owner[5, 5] == owner[44, 44] == 2
    assert owner[4, 5] == owner[45, 44] == 0
    assert not results['heatmap_ignore'].any()


def test_a_crowd_is_ignored_where_no_person_stands_before_it(write_coco):
    crowd = person(0, 0, 50, 30, iscrowd=1)
    results = load(write_coco, [crowd, person(10, 10, 10, 30)])
    assert (results['mask_owner'][:30, :10] == 255).all()
    assert (results['mask_owner'][10:40, 10:20] == 2).all()
    assert results['heatmap_ignore'][:30, :50].all()
    assert results['heatmap_ignore'].sum() == 30 * 50
    assert (results['keypoints_visible'][0] == 0).all()
    assert (results['keypoints_visible'][1] == 1).all()


def test_a_person_without_keypoints_owns_its_mask_and_is_ignored_in_heatmaps(write_coco):
    results = load(write_coco, [person(5, 5, 10, 20, keypoints=NO_KEYPOINTS)])
    assert (results['mask_owner'][5:25, 5:15] == 1).all()
    assert results['heatmap_ignore'].sum() == 200


def test_the_box_stands_in_for_a_missing_segmentation(write_coco):
    anns = [
        person(5, 5, 10, 20, keypoints=NO_KEYPOINTS, segmentation=None),
        person(40, 5, 10, 20, segmentation=None),
        person(8, 8, 4, 4)
    ]
    results = load(write_coco, anns)
    assert results['heatmap_ignore'].sum() == 200
    assert (results['mask_owner'] == 255).sum() == 400 - 16
    assert (results['mask_owner'] == 3).sum() == 16


def test_without_any_segmentation_there_is_no_mask_owner(write_coco):
    results = load(write_coco, [person(5, 5, 10, 20, segmentation=None)])
    assert 'mask_owner' not in results
    assert not results['heatmap_ignore'].any()


def test_an_image_without_people_is_all_background(write_coco):
    results = load(write_coco, [])
    assert not results['mask_owner'].any()
    assert not results['heatmap_ignore'].any()


def test_the_254_largest_persons_stay_and_the_rest_is_ignored(write_coco):
    rng = np.random.default_rng(0)
    boxes = [(x, y) for y in range(0, 100, 5) for x in range(0, 100, 5)][:300]
    sizes = rng.permutation(np.repeat([2, 4], [46, 254])).tolist()
    anns = [person(x, y, size, size) for (x, y), size in zip(boxes, sizes)]
    results = load(write_coco, anns, image=grey_image(100, 100))
    assert len(results['keypoints']) == len(results['keypoint_table']) == len(results['id']) == 254
    assert results['id'] == [j + 1 for j, size in enumerate(sizes) if size == 4]
    owner = results['mask_owner']
    for j, (x, y) in enumerate(results['keypoints'][:, 0].astype(int)):
        assert owner[y, x] == j + 1
    assert (owner == 255).sum() == results['heatmap_ignore'].sum() == 46 * 4


def test_owners_equal_a_pixel_by_pixel_reference(write_coco):
    rng = np.random.default_rng(2)
    boxes = np.column_stack([rng.integers(0, 60, (20, 2)), rng.integers(1, 25, (20, 2))])
    crowd = rng.random(20) < 0.3
    anns = [person(*box.tolist(), iscrowd=int(c)) for box, c in zip(boxes, crowd)]
    results = load(write_coco, anns)

    areas = [(min(x + w, 80) - x) * (min(y + h, 60) - y) for x, y, w, h in boxes]
    expected = np.zeros((60, 80), dtype=np.uint8)
    for v in range(60):
        for u in range(80):
            here = [j for j, (x, y, w, h) in enumerate(boxes) if x <= u < x + w and y <= v < y + h]
            persons = [j for j in here if not crowd[j]]
            if persons:  # the smallest one, of equal ones the last
                expected[v, u] = 1 + min(reversed(persons), key=lambda j: areas[j])
            elif here:
                expected[v, u] = 255
    assert np.array_equal(results['mask_owner'], expected)


def test_polygons_are_drawn_as_the_metric_draws_them(write_coco):
    rng = np.random.default_rng(1)
    polygons = [(rng.uniform(-10, 90, 14)).tolist() for _ in range(3)]
    drawn = rasterize(polygons, np.eye(3), (60, 80))
    metric = cocomask.decode(cocomask.merge(cocomask.frPyObjects(polygons, 60, 80)))
    assert np.array_equal(drawn, metric)


def test_a_polygon_of_fewer_than_three_points_covers_nothing():
    assert not rasterize([[1, 1, 20, 20]], np.eye(3), (60, 80)).any()


# Alignment


def test_flipping_an_oblong_input_is_refused_because_keypoints_would_be_misplaced(write_coco):
    affine = dict(
        type='BottomupRandomAffine',
        input_size=(201, 101),
        scale_prob=0,
        shift_prob=0,
        rotate_prob=0)
    flip = dict(type='RandomFlip', prob=1.0)
    with pytest.raises(ValueError, match=r'square.*\(201, 101\)'):
        load(write_coco, [person(1, 1, 20, 20)], affine, flip)
    assert load(write_coco, [person(1, 1, 20, 20)], affine)['mask_owner'].shape == (101, 201)


def coloured_people(kind):
    """An image of a green and a red person, with keypoints at the corners of each.

    Args:
        kind (str): 'polygon' or 'rle', how the annotations give the masks.

    Returns:
        tuple: image (240, 320, 3) uint8, annotations, colours (2, 3) in BGR
    """
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    outlines = [[(60, 40), (150, 60), (130, 190), (40, 170)],
                [(180, 90), (280, 80), (260, 160), (190, 190)]]
    colours = np.array([[0, 255, 0], [0, 0, 255]])
    anns = []
    for outline, colour in zip(outlines, colours):
        polygon = [float(c) for c in np.array(outline).reshape(-1)]
        mask = cocomask.decode(cocomask.frPyObjects([polygon], 240, 320))[..., 0]
        image[mask > 0] = colour
        corners = [(x - 0.5, y - 0.5, 2) for x, y in outline]
        keypoints = np.array((corners * NUM_KEYPOINTS)[:NUM_KEYPOINTS], dtype=float).reshape(-1)
        seg = [polygon] if kind == 'polygon' else mask_rle(mask)
        x, y, w, h = cv2.boundingRect(mask)
        anns.append(person(x, y, w, h, keypoints=keypoints.tolist(), segmentation=seg))
    return image, anns, colours


@pytest.mark.parametrize('kind', ['polygon', 'rle'])
@pytest.mark.parametrize('changes', [
    dict(),
    dict(rotate_prob=1, rotate_factor=60),
    dict(scale_prob=1, scale_factor=(0.5, 2.5)),
    dict(shift_prob=1, shift_factor=0.2),
    dict(rotate_prob=1, scale_prob=1, shift_prob=1),
    dict(rotate_prob=1, transform_mode='affine_udp', use_udp=True),
    dict(scale_prob=1, rotate_prob=1, shift_prob=0.5, transform_mode='perspective'),
], ids=['resize', 'rotate', 'scale', 'shift', 'all', 'udp', 'perspective'])
@pytest.mark.parametrize('flip', [None, 'horizontal', 'vertical'])
def test_masks_image_and_keypoints_stay_aligned(write_coco, kind, changes, flip):
    np.random.seed(3)
    image, anns, colours = coloured_people(kind)
    settings = dict(
        type='BottomupRandomAffine',
        input_size=(201, 201),
        scale_type='long',
        shift_prob=0,
        scale_prob=0,
        rotate_prob=0)
    settings.update(changes)
    flips = [] if flip is None else [dict(type='RandomFlip', prob=1.0, direction=flip)]
    results = load(write_coco, anns, settings, *flips, image=image)
    owner, img = results['mask_owner'], results['img'].astype(int)
    assert owner.shape == img.shape[:2] == (201, 201)
    distances = [np.abs(img - colour).sum(axis=-1) for colour in [(0, 0, 0), *colours]]
    by_colour = np.argmin(distances, axis=0)
    for j in (1, 2):
        assert iou(owner == j, by_colour == j) > 0.97
        # The annotated corners lie on their person's outline.
        outline = cv2.distanceTransform((owner != j).astype(np.uint8), cv2.DIST_L2, 5)
        for x, y in results['keypoints'][j - 1]:
            if 1 <= x <= 199 and 1 <= y <= 199:
                assert outline[round(y), round(x)] <= 2.5
