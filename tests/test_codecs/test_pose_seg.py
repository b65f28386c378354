"""Encode, then decode the maps that a perfect network would give: the people that went in."""
import itertools
import time

import cv2
import numpy as np
import pytest
import torch
from mmpose.registry import KEYPOINT_CODECS
from pycocotools import mask as coco_mask

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from kdc_mm_runtime.people import ImageFrame

from .people import (
    Scene,
    body_masks,
    decode_perfect,
    least_gap,
    match_people,
    random_people,
    standing,
    support,
    whole_input,
)

SIZE = 193


def build(radius=16, size=SIZE, **settings):
    return PoseSeg((size, size), radius=radius, **settings)


def assert_same_people(scene, share, people, tolerance_px=1.):
    """Every decoded person is one of the scene's and every person of the scene is decoded once."""
    right, nobody = match_people(scene, share, people.poses, tolerance_px)
    assert right.all(), f'persons {np.flatnonzero(~right)} are not decoded as they are'
    assert not nobody, f'{nobody} decoded persons are nobody'


CODECS = {radius: build(radius) for radius in (8, 16, 32)}


@pytest.mark.parametrize('radius, tolerance_px, most_wrong', [(8, 2., 3), (16, 1., 1), (32, 1., 1)])
def test_decoding_returns_the_people_that_were_encoded(radius, tolerance_px, most_wrong):
    """Persons anywhere on the image and beyond its border, of any subset of labelled keypoints, a
    fourth of them of one; no two in the same place. Disks of two cells (R = 8) place keypoints to
    half a cell. Of 700 persons next to none is lost, moved or invented."""
    codec, wrong, count = CODECS[radius], 0, 0
    for seed, label_rate in itertools.product(range(100), [0.3, 0.7, 1.]):
        scene = random_people(np.random.default_rng(seed), 1 + seed % 5, SIZE, label_rate)
        if least_gap(scene) > 0.3:
            right, nobody = match_people(scene, support(codec, scene),
                                         decode_perfect(codec, scene).poses, tolerance_px)
            wrong, count = wrong + np.count_nonzero(~right) + nobody, count + len(right)
    assert count > 600 and wrong <= most_wrong


@pytest.mark.parametrize('radius', [8, 16, 32])
@pytest.mark.parametrize('label_rate, least_share', [(0.3, 0.94), (0.7, 0.97), (1., 0.985)])
def test_in_crowds_of_five_hardly_a_person_is_lost_or_invented(radius, label_rate, least_share):
    """All scenes count, those too in which one person stands right behind another one."""
    right, invented, codec = [], 0, CODECS[radius]
    for seed in range(40):
        scene = random_people(np.random.default_rng(seed), 5, SIZE, label_rate)
        share = support(codec, scene)
        found, nobody = match_people(scene, share, decode_perfect(codec, scene).poses)
        right += found.tolist()
        invented += nobody
    assert np.mean(right) >= least_share
    assert invented <= 0.03 * len(right)


@pytest.mark.parametrize('stride, size', [(4, 193), (8, 193), (4, 200)])
def test_map_strides_and_sizes_that_do_not_align_lose_nobody(stride, size):
    codec = build(16, size, heatmap_stride=stride)
    scene = standing((50, 100, 150), (120, 90, 120))
    assert_same_people(scene, support(codec, scene), decode_perfect(codec, scene))


@pytest.mark.parametrize('dataset', ['crowdpose', 'ochuman'])
def test_other_skeletons_bring_people_back_too(dataset):
    codec = build(metainfo=f'configs/_base_/datasets/{dataset}.py')
    num_keypoints = codec.skeleton.num_keypoints
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(10, 90, (2, num_keypoints, 2)) + [[[0, 0]], [[90, 90]]]
    poses = decode_perfect(codec, Scene(keypoints, np.ones((2, num_keypoints), bool))).poses
    assert poses.detected.all() and len(poses.scores) == 2
    order = poses.keypoints[:, 0, 0].argsort()
    np.testing.assert_allclose(poses.keypoints[order], keypoints, atol=1e-2)


def test_undetected_keypoints_lie_where_the_limbs_lead():
    """Both wrists are beyond the border, farther than any cell that votes for them; they score the
    heat of the border, where nobody has a wrist."""
    scene = standing((SIZE / 2, 90, 150))
    scene.keypoints[0, [9, 10]] += [[SIZE, 0], [-SIZE, 0]]
    poses = decode_perfect(build(), scene).poses
    assert np.flatnonzero(~poses.detected[0]).tolist() == [9, 10]
    assert (poses.scores[0, [9, 10]] < 1e-3).all()
    np.testing.assert_allclose(poses.keypoints[0], scene.keypoints[0], atol=1e-2)


def test_an_image_without_people_decodes_to_arrays_of_length_0():
    codec = build()
    nobody = Scene(np.zeros((0, 17, 2)), np.zeros((0, 17), bool))
    people = decode_perfect(codec, nobody, np.zeros((SIZE, SIZE), np.uint8), whole_input(SIZE))
    assert people.poses.keypoints.shape == (0, 17, 2)
    assert people.scores.shape == people.mask_scores.shape == (0, )
    assert people.masks.rles == []


def test_persons_whose_disks_coincide_stay_two_persons():
    """Hands held: one wrist in the same place, which only one of them can own."""
    scene = standing((60, 100, 150), (130, 100, 150))
    scene.keypoints[1, 9] = scene.keypoints[0, 9]
    share = support(CODECS[16], scene)
    assert share[1, 9] == 0
    assert_same_people(scene, share, decode_perfect(CODECS[16], scene))


def test_of_persons_at_one_and_the_same_place_one_is_found():
    scene = standing((90, 100, 150), (90, 100, 150))
    people = decode_perfect(build(), scene)
    assert len(people.scores) == 1
    np.testing.assert_allclose(people.poses.keypoints[0], scene.keypoints[0], atol=1e-2)


@pytest.mark.parametrize('radius', [8, 32])
def test_two_hundred_persons_are_told_apart(radius):
    codec = build(radius, size=401)
    scene = standing(*((15 + 25 * (j % 15), 14 + 28 * (j // 15), 24) for j in range(200)))
    people = decode_perfect(codec, scene)
    assert len(people.scores) == 200
    found = people.poses.keypoints.mean(1)
    for centre in scene.keypoints.mean(1):
        assert np.linalg.norm(found - centre, axis=1).min() < 2


def test_without_key_centroids_people_are_found_to_a_cell():
    codec = build(use_key_centroid=False)
    scene = standing((50, 90, 150), (140, 100, 150))
    encoded = codec.encode(scene.keypoints, scene.labelled)
    maps = perfect_maps(codec, encoded)
    assert 'key_centroids' not in maps
    poses = codec.batch_decode(maps, [None])[0].poses
    assert len(poses.scores) == 2 and poses.detected.all()
    order = poses.keypoints[:, 0, 0].argsort()
    gaps = np.linalg.norm(poses.keypoints[order] - scene.keypoints, axis=-1)
    assert gaps.max() <= codec.heatmap_stride


# Masks


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_masks_come_back_with_their_persons():
    codec = build()
    scene = standing((50, 90, 160), (90, 110, 140), (150, 80, 120))
    owner = body_masks(scene, SIZE)
    people = decode_perfect(codec, scene, owner, whole_input(SIZE))
    assert len(people.masks.rles) == len(people.poses.scores) == 3
    for rle, keypoints in zip(people.masks.rles, people.poses.keypoints):
        j = np.abs(scene.keypoints - keypoints).sum((1, 2)).argmin()
        assert iou(coco_mask.decode(rle) > 0, owner == j + 1) > 0.9
    assert (people.mask_scores > 0.5).all()


def test_masks_have_the_images_own_size_and_place():
    """An image of 386x290 pixels, shown at half its size with 24 empty rows above."""
    codec = build()
    scene = standing((60, 96, 120), (130, 96, 130))
    owner = body_masks(scene, SIZE)
    frame = ImageFrame((386, 290), (0.5, 0.5), (0., 24.))
    people = decode_perfect(codec, scene, owner, frame)
    assert len(people.masks.rles) == 2
    for rle in people.masks.rles:
        assert rle['size'] == [290, 386]
        seen = cv2.resize(coco_mask.decode(rle), None, fx=0.5, fy=0.5,
                          interpolation=cv2.INTER_NEAREST) > 0
        assert max(iou(seen, owner[24:24 + 145] == j) for j in (1, 2)) > 0.85


def test_a_person_without_labelled_keypoints_is_decoded_from_its_mask():
    codec = build()
    scene = standing((50, 90, 150), (140, 100, 150))
    scene.labelled[1] = False
    owner = body_masks(scene, SIZE)
    people = decode_perfect(codec, scene, owner, whole_input(SIZE))
    assert [pose.any() for pose in people.poses.detected] == [True, False]
    assert iou(coco_mask.decode(people.masks.rles[1]) > 0, owner == 2) > 0.9
    assert people.scores[1] == 0 < people.mask_scores[1] < people.mask_scores[0]


def test_images_whose_masks_are_not_wanted_get_none():
    codec = build()
    scene = standing((50, 90, 150))
    people = decode_perfect(codec, scene, body_masks(scene, SIZE), frame=None)
    assert people.masks is None and len(people.scores) == 1


# Batches, devices, untrained networks


def two_images(codec):
    """Maps of a batch of two images with different people, and where the images lie."""
    scenes = [standing((50, 90, 160), (120, 110, 140)), standing((100, 80, 100))]
    singles = [perfect_maps(codec, codec.encode(*scene, body_masks(scene, SIZE)))
               for scene in scenes]
    frames = [whole_input(SIZE), ImageFrame((300, 250), (0.6, 0.6), (3., 10.))]
    return singles, frames


def as_arrays(people):
    return [*people.poses, people.scores, people.mask_scores]


def test_a_batch_decodes_as_its_images_do_alone():
    codec = build()
    singles, frames = two_images(codec)
    batch = {name: torch.cat([maps[name] for maps in singles]) for name in singles[0]}
    together = codec.batch_decode(batch, frames)
    assert [len(people.scores) for people in together] == [2, 1]
    for people, maps, frame in zip(together, singles, frames):
        alone = codec.decode({name: field[0].numpy() for name, field in maps.items()}, frame)
        for one, other in zip(as_arrays(people), as_arrays(alone), strict=True):
            np.testing.assert_array_equal(one, other)
        assert people.masks.rles == alone.masks.rles


@pytest.mark.gpu
def test_decoding_on_a_gpu_gives_what_the_cpu_gives():
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    codec = build()
    singles, frames = two_images(codec)
    noise = torch.Generator().manual_seed(0)
    for maps, frame in zip(singles, frames):
        for name, field in maps.items():
            field += torch.randn(field.shape, generator=noise)
        on_cpu = codec.batch_decode(maps, [frame])[0]
        on_gpu = codec.batch_decode({name: field.cuda() for name, field in maps.items()},
                                    [frame])[0]
        for one, other in zip(as_arrays(on_cpu), as_arrays(on_gpu), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)
        for one, other in zip(on_cpu.masks.rles, on_gpu.masks.rles, strict=True):
            assert coco_mask.iou([one], [other], [0])[0, 0] > 0.999 or (
                coco_mask.area(one) == coco_mask.area(other) == 0)


UNTRAINED = {
    'zeros': lambda *shape: torch.zeros(shape),
    'ones': lambda *shape: torch.ones(shape),
    'small noise': lambda *shape: torch.randn(shape) * 0.01,
    'noise': lambda *shape: torch.randn(shape),
    'wild noise': lambda *shape: torch.randn(shape) * 100,
}


@pytest.mark.parametrize('use_key_centroid', [True, False])
@pytest.mark.parametrize('kind', UNTRAINED)
def test_maps_that_mean_nothing_decode_in_seconds(kind, use_key_centroid):
    """At 401 px every cell may vote: that was minutes once."""
    codec = build(32, size=401, use_key_centroid=use_key_centroid)
    torch.manual_seed(0)
    channels = dict(heatmaps=17, person_centroids=34, limbs=76)
    if use_key_centroid:
        channels['key_centroids'] = 34
    maps = {name: UNTRAINED[kind](1, count, 101, 101) for name, count in channels.items()}
    maps.update({name: UNTRAINED[kind](1, count, 201, 201) for name, count in
                 dict(semantic=1, mask_centroids=2, log_bandwidth=1).items()})
    frame = ImageFrame((401, 401), (1., 1.), (0., 0.))
    codec.batch_decode({name: field[..., :5, :5] for name, field in maps.items()}, [frame])
    start = time.process_time()
    people = codec.batch_decode(maps, [frame])[0]
    assert time.process_time() - start < 20
    assert len(people.poses.scores) == len(people.masks.rles) == len(people.mask_scores)
    for part in (people.poses.keypoints, people.scores, people.mask_scores):
        assert np.isfinite(part).all()


# What is refused


@pytest.mark.parametrize('settings, words', [
    (dict(radius=0), 'radius must be greater than 0, got 0'),
    (dict(radius=-1.5), 'radius must be greater than 0, got -1.5'),
    (dict(heatmap_stride=0), 'heatmap_stride'),
    (dict(mask_stride=-2), 'mask_stride'),
    (dict(sigma_high_variance=0), 'sigma_high_variance'),
    (dict(sigma_low_variance=-0.1), 'sigma_low_variance'),
    (dict(sigma_instance=0), 'sigma_instance'),
    (dict(vote_radius=0), 'vote_radius must be greater than 0, got 0'),
    (dict(merge_radius=0), 'merge_radius must be greater than 0, got 0'),
    (dict(heatmap_threshold=1), r'heatmap_threshold must lie in \(0, 1\), got 1'),
    (dict(keypoint_threshold=0), 'keypoint_threshold'),
    (dict(mask_threshold=1.2), 'mask_threshold'),
    (dict(limbs=[('nose', 'tail')]), "'tail', which does not exist"),
    (dict(limbs=[('nose', 'left_eye')]), 'not connected'),
])
def test_values_out_of_range_are_refused_in_one_line(settings, words):
    with pytest.raises(ValueError, match=words) as error:
        KEYPOINT_CODECS.build(dict(type='PoseSeg', input_size=(97, 97), **settings))
    assert '\n' not in str(error.value)


def test_people_of_another_data_set_are_refused():
    with pytest.raises(ValueError, match='14 keypoints per person, the PoseSeg codec 17'):
        build().encode(np.zeros((1, 14, 2)), np.ones((1, 14)))


def test_more_people_than_an_owner_map_can_hold_are_refused():
    assert len(build().encode(np.zeros((254, 17, 2)))['keypoint_table']) == 254
    with pytest.raises(ValueError, match='255 persons'):
        build().encode(np.zeros((255, 17, 2)))


# Encoding


def test_encoding_gives_owner_maps_and_a_table_of_labelled_keypoints():
    codec = PoseSeg((49, 33), heatmap_stride=4, radius=8)
    scene = random_people(np.random.default_rng(0), 2, 40)
    mask_owner = np.random.default_rng(0).integers(0, 3, (33, 49)).astype(np.uint8)
    encoded = codec.encode(scene.keypoints, scene.labelled * 2, mask_owner)
    keypoint_owner, masks = encoded['owner_maps']
    assert keypoint_owner.shape == (17, 9, 13) and keypoint_owner.dtype == np.uint8
    np.testing.assert_array_equal(masks, mask_owner[None])
    np.testing.assert_allclose(encoded['keypoint_table'][..., :2], scene.keypoints, rtol=1e-6)
    np.testing.assert_array_equal(encoded['keypoint_table'][..., 2], scene.labelled)


def test_without_masks_every_pixel_is_ignored_and_without_visibility_all_is_labelled():
    encoded = build().encode(np.full((1, 17, 2), 50.))
    assert (encoded['owner_maps'][1] == 255).all()
    assert encoded['keypoint_table'][..., 2].all()


def test_ignored_regions_are_ignored_but_for_the_disks_in_them():
    codec = build()
    ignore = np.zeros((SIZE, SIZE), bool)
    ignore[:, :100] = True
    owner = codec.encode(np.full((1, 17, 2), 100.), None, None, ignore)['owner_maps'][0][0]
    assert owner[25, 25] == owner[25, 23] == owner[25, 27] == 1
    assert owner[25, 10] == 255 and owner[25, 40] == 0
    assert (owner == 1).sum() == ((np.mgrid[:49, :49] * 4 - 100)**2).sum(0).__le__(16**2).sum()


def test_offsets_that_fall_short_lead_home_when_they_are_followed():
    """Half of the way at each step: three further steps leave a sixteenth of it."""
    codec = build(offset_steps=3)
    scene = standing((90, 100, 150))
    maps = perfect_maps(codec, codec.encode(*scene, body_masks(scene, SIZE)))
    centre = scene.keypoints[0].mean(0)
    y, x = np.mgrid[:SIZE:2, :SIZE:2].astype(np.float32)
    way = np.stack([centre[0] - x, centre[1] - y])
    maps['mask_centroids'] = torch.from_numpy(way / 2).float()[None]
    [found] = codec.mask_maps(maps)
    np.testing.assert_allclose(found.offset, way * 15 / 16, atol=0.01)


def test_mask_maps_have_one_layout_whichever_the_network_s_have():
    """Kernels are compiled for each layout, and only that of the first decode is there ahead."""
    codec = build()
    scene = standing((90, 100, 150))
    maps = perfect_maps(codec, codec.encode(*scene, body_masks(scene, SIZE)))
    names = ('semantic', 'mask_centroids', 'log_bandwidth')
    output = torch.cat([maps[name] for name in names], 1).contiguous(
        memory_format=torch.channels_last)
    last = {**maps, **dict(zip(names, output.split([1, 2, 1], 1)))}
    assert not codec.packed_mask_maps(last).is_contiguous()
    [usual], [found] = codec.mask_maps(maps), codec.mask_maps(last)
    for one, other in zip(found[:3], usual[:3]):
        assert one.flags.c_contiguous
        np.testing.assert_array_equal(one, other)
