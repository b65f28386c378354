"""Dynamic centroids and masks, pixel by pixel from eqs. 6 and 7."""
import cv2
import numpy as np
import pytest
from mmpose.datasets.transforms import BottomupResize
from pycocotools import mask as coco_mask

from kdc_mm_runtime.cluster import (
    LEAST_PHI,
    MaskCentroids,
    MaskMaps,
    cluster_masks,
    dynamic_centroids,
    unposed_persons,
)
from kdc_mm_runtime.people import ImageFrame, Poses


def interpolate(field, x, y):
    """Bilinear value at cell position (x, y); positions beyond the border take the border's."""
    height, width = field.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    u, v = int(x), int(y)
    u1, v1 = min(u + 1, width - 1), min(v + 1, height - 1)
    return ((1 - (y - v)) * ((1 - (x - u)) * field[v, u] + (x - u) * field[v, u1]) +
            (y - v) * ((1 - (x - u)) * field[v1, u] + (x - u) * field[v1, u1]))


def phi(embedding, centroid, sigma):
    """Eq. 6."""
    return np.exp(-np.sum((embedding - centroid)**2) / (2 * sigma**2))


def reference_masks(maps, centroids, sigmas, trust, frame, threshold):
    """Every image pixel that the semantic map calls a person's goes to argmax_j s_j·φ_j of those
    whose φ_j exceeds the least one."""
    width, height = frame.size
    masks = np.zeros((len(centroids), height, width), np.uint8)
    total = np.zeros(len(centroids))
    for row, column in np.ndindex(height, width):
        position = np.array([column, row]) * frame.scale + frame.offset
        cell = position / maps.stride
        person = 1 / (1 + np.exp(-interpolate(maps.semantic.astype(float), *cell)))
        embedding = position + [interpolate(axis.astype(float), *cell) for axis in maps.offset]
        response = np.array([phi(embedding, c, s) for c, s in zip(centroids, sigmas)])
        if person > threshold and (response > LEAST_PHI).any():
            likeliest = np.argmax(np.where(response > LEAST_PHI, trust * response, -1))
            masks[likeliest, row, column] = 1
            total[likeliest] += person * response[likeliest]
    areas = masks.sum((1, 2))
    return masks, total / np.maximum(areas, 1)


def random_maps(rng, height, width, stride):
    """Maps that vary smoothly, so that masks are blobs."""
    coarse = rng.normal(0, 1, (4, 5, 5)).astype(np.float32)
    fine = np.stack([[[interpolate(field, u / width * 4, v / height * 4) for u in range(width)]
                      for v in range(height)] for field in coarse]).astype(np.float32)
    return MaskMaps(fine[0] * 3 + 1, fine[1:3] * 12, 2 + 0.3 * fine[3], stride)


def one_centroid(place, sigma):
    """One person's centroid at (place, place)."""
    return MaskCentroids(np.full((1, 2), place, np.float32), np.full(1, sigma, np.float32))


SECOND_CHOICE = 0.05
TRUSTED = np.ones(1, np.float32)
NOBODY = MaskCentroids(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
FRAMES = {
    'the input itself': ImageFrame((49, 41), (1., 1.), (0., 0.)),
    'a larger image with borders above and below': ImageFrame((70, 50), (0.7, 0.7), (0., 3.2)),
    'a smaller image': ImageFrame((23, 31), (1.9, 1.3), (1.5, -0.4)),
}


@pytest.mark.parametrize('frame', FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize('stride, num_persons, threshold', [(1, 2, 0.5), (2, 5, 0.5), (4, 3, 0.3),
                                                           (2, 1, 0.7)])
def test_masks_are_those_of_a_walk_over_all_pixels(frame, stride, num_persons, threshold):
    rng = np.random.default_rng([stride, num_persons])
    maps = random_maps(rng, 40 // stride + 1, 48 // stride + 1, stride)
    centroids = rng.uniform(5, 40, (num_persons, 2)).astype(np.float32)
    sigmas = rng.uniform(5, 15, num_persons).astype(np.float32)
    trust = rng.uniform(0.2, 1, num_persons).astype(np.float32)
    expected, scores = reference_masks(maps, centroids, sigmas, trust, frame, threshold)
    assert expected.any() and not expected.any(0).all()
    masks = cluster_masks(maps, MaskCentroids(centroids, sigmas), trust, frame, threshold)
    for rle, mask in zip(masks.rles, expected, strict=True):
        assert rle == coco_mask.encode(np.asfortranarray(mask))
    np.testing.assert_allclose(masks.scores, scores, atol=1e-5)


def test_no_persons_give_no_masks_and_a_person_without_pixels_an_empty_one():
    maps = random_maps(np.random.default_rng(0), 21, 21, 2)
    frame = ImageFrame((41, 41), (1., 1.), (0., 0.))
    nobody = cluster_masks(maps, NOBODY, TRUSTED[:0], frame, 0.5)
    assert nobody.rles == [] and nobody.scores.shape == (0, )
    far = cluster_masks(maps, one_centroid(1e4, 1), TRUSTED, frame, 0.5)
    assert coco_mask.area(far.rles[0]) == 0 and far.scores[0] == 0


def test_a_mask_may_fill_the_whole_image():
    maps = MaskMaps(np.full((5, 5), 9., np.float32), np.zeros((2, 5, 5), np.float32),
                    np.zeros((5, 5), np.float32), 2)
    frame = ImageFrame((9, 7), (1., 1.), (0., 0.))
    masks = cluster_masks(maps, one_centroid(4, 50), TRUSTED, frame, 0.5)
    assert coco_mask.decode(masks.rles[0]).tolist() == np.ones((7, 9)).tolist()


def test_a_double_of_a_person_takes_none_of_its_pixels():
    """Its centroid lies 2 px beside the person's, where a fifth of the pixels are nearer to it."""
    maps = random_maps(np.random.default_rng(1), 21, 25, 2)
    frame = ImageFrame((49, 41), (1., 1.), (0., 0.))
    pair = MaskCentroids(np.array([(24, 20), (26, 20)], np.float32), np.full(2, 12, np.float32))

    def areas(*trust):
        masks = cluster_masks(maps, pair, np.array(trust, np.float32), frame, 0.5)
        return [coco_mask.area(rle) for rle in masks.rles]

    alone = cluster_masks(maps, MaskCentroids(*(part[:1] for part in pair)), TRUSTED, frame, 0.5)
    assert min(areas(1, 1)) > 0.2 * sum(areas(1, 1))
    assert areas(1, 0.2)[0] == coco_mask.area(alone.rles[0])


def reference_centroid(keypoints, scores, maps):
    """C and σ of one person: the confidence-weighted mean of the embeddings at its keypoints, each
    as far as it agrees by φ with the one of most weight."""
    embeddings, log_sigmas, weights = [], [], []
    for position, score in zip(keypoints, scores):
        cell = position / maps.stride
        embeddings.append(position + [interpolate(axis, *cell) for axis in maps.offset])
        log_sigmas.append(interpolate(maps.log_bandwidth, *cell))
        weights.append(score / (1 + np.exp(-interpolate(maps.semantic, *cell))) + 1e-6)
    embeddings, log_sigmas = np.array(embeddings), np.array(log_sigmas)
    agreement = np.array([[phi(one, other, np.exp(log_sigma)) for one in embeddings]
                          for other, log_sigma in zip(embeddings, log_sigmas)])
    support = (agreement * weights).sum(1) * weights
    share = agreement[support.argmax()] * weights
    share /= share.sum()
    return share @ embeddings, np.exp(share @ log_sigmas)


@pytest.mark.parametrize('seed', range(5))
def test_dynamic_centroids_are_weighted_means_of_the_embeddings_at_keypoints(seed):
    """Keypoints on the image, partly between cells and partly a little off the image."""
    rng = np.random.default_rng(seed)
    maps = random_maps(rng, 21, 25, 2)
    keypoints = rng.uniform(-4, 50, (3, 17, 2)).astype(np.float32)
    scores = (rng.random((3, 17)) * (rng.random((3, 17)) < 0.7)).astype(np.float32)
    exact = maps._replace(**{name: getattr(maps, name).astype(float)
                             for name in ('semantic', 'offset', 'log_bandwidth')})
    for j in range(3):
        alone = slice(j, j + 1)
        centroids, sigmas = dynamic_centroids(
            Poses(keypoints[alone], scores[alone], scores[alone] > 0, scores[alone].mean(1)), maps,
            TRUSTED, 0.5, SECOND_CHOICE)
        centroid, sigma = reference_centroid(keypoints[j].astype(float), scores[j], exact)
        np.testing.assert_allclose(centroids[0], centroid, atol=1e-2)
        assert sigmas[0] == pytest.approx(sigma, rel=1e-3)


def two_sides():
    """Maps whose pixels left of x = 28 lead to (10, 20), and all others to (90, 20)."""
    offset = np.zeros((2, 21, 21), np.float32)
    v, u = np.mgrid[:21, :21] * 2
    offset[0] = np.where(u >= 28, 90, 10) - u
    offset[1] = 20 - v
    return MaskMaps(np.full((21, 21), 5, np.float32), offset,
                    np.full((21, 21), np.log(6), np.float32), 2)


def with_keypoints_at(*columns):
    """Persons of ten keypoints, the first few of them on the right side."""
    keypoints = np.full((len(columns), 10, 2), (10, 20), np.float32)
    for person, count in enumerate(columns):
        keypoints[person, :count] = (34, 20)
    scores = np.ones((len(columns), 10), np.float32)
    return Poses(keypoints, scores, scores > 0, scores.mean(1))


def centroids_between_sides(poses, second_choice=SECOND_CHOICE, trust=None):
    """C_j and σ_j on :func:`two_sides`, all persons trusted alike by default."""
    if trust is None:
        trust = np.ones(len(poses.scores))
    return dynamic_centroids(poses, two_sides(), np.asarray(trust, np.float32), 0.5, second_choice)


def test_keypoints_on_an_occluder_do_not_move_a_persons_centroid():
    """Two keypoints of ten lie where the pixels lead to somebody else."""
    centroids, _ = centroids_between_sides(with_keypoints_at(2))
    np.testing.assert_allclose(centroids, [[10, 20]], atol=0.1)


def test_a_person_who_is_mostly_hidden_keeps_the_centroid_that_is_left():
    """The second person shows three keypoints of ten, the others lie on the first one."""
    centroids, _ = centroids_between_sides(with_keypoints_at(0, 3))
    np.testing.assert_allclose(centroids, [[10, 20], [90, 20]], atol=0.1)
    turned, _ = centroids_between_sides(with_keypoints_at(3, 0))
    np.testing.assert_allclose(turned, [[90, 20], [10, 20]], atol=0.1)


def test_who_is_trusted_more_chooses_first():
    """The second person has more keypoints on the left, 10² against 9² by weight."""
    poses = with_keypoints_at(1, 0)
    for trust, places in (((1, 1), (90, 10)), ((1, 0.8), (10, 10))):
        centroids, _ = centroids_between_sides(poses, 0.01, trust)
        np.testing.assert_allclose(centroids, [[place, 20] for place in places], atol=0.1)


def test_who_is_wholly_hidden_keeps_the_occluders_centroid():
    centroids, sigmas = centroids_between_sides(with_keypoints_at(0, 0))
    assert (centroids[0] == centroids[1]).all() and sigmas[0] == sigmas[1]


def test_without_second_choices_a_hidden_person_has_the_occluders_centroid():
    centroids, _ = centroids_between_sides(with_keypoints_at(0, 3), second_choice=None)
    np.testing.assert_allclose(centroids, [[10, 20], [10, 20]], atol=0.1)


def test_a_second_choice_has_the_least_share_that_is_asked_for():
    """Three keypoints that agree, against seven."""
    for least_share, place in ((3 / 7 - 0.01, 90), (3 / 7 + 0.01, 10)):
        centroids, _ = centroids_between_sides(with_keypoints_at(0, 3), least_share)
        np.testing.assert_allclose(centroids, [[10, 20], [place, 20]], atol=0.1)


def test_nobody_has_no_centroid():
    centroids, sigmas = centroids_between_sides(with_keypoints_at())
    assert centroids.shape == (0, 2) and sigmas.shape == (0, )


# Persons that only a mask shows


def box_maps(boxes, size=81, stride=2, sigma=8.):
    """Maps of box-shaped persons (x0, y0, x1, y1) in pixels; offsets lead to their middles."""
    cells = (size - 1) // stride + 1
    v, u = np.mgrid[:cells, :cells] * stride
    semantic = np.full((cells, cells), -6, np.float32)
    offset = np.zeros((2, cells, cells), np.float32)
    for x0, y0, x1, y1 in boxes:
        inside = (u >= x0) & (u <= x1) & (v >= y0) & (v <= y1)
        semantic[inside] = 6
        offset[0][inside] = ((x0 + x1) / 2 - u)[inside]
        offset[1][inside] = ((y0 + y1) / 2 - v)[inside]
    return MaskMaps(semantic, offset, np.full((cells, cells), np.log(sigma), np.float32), stride)


def test_a_person_without_keypoints_is_found_from_its_mask():
    maps = box_maps([(4, 4, 24, 44), (50, 10, 70, 70)])
    (centroids, sigmas), middles = unposed_persons(maps, NOBODY, 0.5, 100)
    for found in (centroids, middles):
        np.testing.assert_allclose(found[np.argsort(found[:, 0])], [[14, 24], [60, 40]], atol=1e-3)
    np.testing.assert_allclose(sigmas, 8, rtol=1e-4)


def test_a_person_already_known_is_not_found_again():
    maps = box_maps([(4, 4, 24, 44), (50, 10, 70, 70)])
    known = MaskCentroids(np.array([[14, 24]], np.float32), np.array([8], np.float32))
    centroids, _ = unposed_persons(maps, known, 0.5, 100)
    np.testing.assert_allclose(centroids.position, [[60, 40]], atol=1e-3)


def test_specks_below_the_least_area_are_nobody():
    maps = box_maps([(4, 4, 10, 10), (50, 10, 70, 70)])
    centroids, _ = unposed_persons(maps, NOBODY, 0.5, 100)
    np.testing.assert_allclose(centroids.position, [[60, 40]], atol=1e-3)


def test_an_infinite_least_area_leaves_everything_to_keypoints():
    centroids, middles = unposed_persons(box_maps([(4, 4, 70, 70)]), NOBODY, 0.5, float('inf'))
    assert centroids.position.shape == middles.shape == (0, 2) and len(centroids.sigma) == 0


def test_the_frame_maps_pixels_as_the_estimator_maps_keypoints():
    """Image = input / input_size · input_scale + input_center − input_scale / 2."""
    metainfo = dict(
        input_size=(193, 97), input_scale=np.array([400., 201.]),
        input_center=np.array([150., 80.]), ori_shape=(160, 300, 3))
    frame = ImageFrame.from_metainfo(metainfo)
    assert frame.size == (300, 160)
    for x, y in [(0, 0), (40, 30), (192, 96)]:
        image = (np.array([x, y]) / metainfo['input_size'] * metainfo['input_scale'] +
                 metainfo['input_center'] - 0.5 * metainfo['input_scale'])
        np.testing.assert_allclose(image * frame.scale + frame.offset, [x, y], atol=1e-9)


@pytest.mark.parametrize('width, height', [(150, 90), (61, 200), (40, 40), (400, 301)])
def test_masks_lie_in_the_image_where_the_test_resize_took_them_from(width, height):
    """A white box on black, out of focus, resized as in testing; white is taken for the person."""
    image = np.zeros((height, width, 3), np.uint8)
    image[height // 4:height * 3 // 4, width // 3:width - width // 5] = 255
    image = cv2.GaussianBlur(image, None, 0.03 * max(width, height))
    resized = BottomupResize(input_size=(97, 97), size_factor=1)(
        dict(img=image, img_shape=(height, width), ori_shape=(height, width)))
    frame = ImageFrame.from_metainfo(resized)
    assert resized['img'].shape == (97, 97, 3) and frame.size == (width, height)
    maps = MaskMaps((resized['img'][..., 0] / 255. - 0.5).astype(np.float32) * 20,
                    np.zeros((2, 97, 97), np.float32), np.zeros((97, 97), np.float32), 1)
    masks = cluster_masks(maps, one_centroid(48, 1e3), TRUSTED, frame, 0.5)
    found = coco_mask.decode(masks.rles[0]) > 0
    expected = image[..., 0] > 127
    assert (found & expected).sum() / (found | expected).sum() > 0.95
    for axis in (0, 1):
        middle = [np.nonzero(mask)[axis].mean() for mask in (found, expected)]
        assert abs(middle[0] - middle[1]) * frame.scale[0] < 0.06, 'input pixels'
