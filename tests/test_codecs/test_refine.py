"""What the paper does not have: each correction does what it says, and can be off."""
from dataclasses import fields

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from kdc_mm_runtime.cluster import MaskMaps
from kdc_mm_runtime.people import Poses
from kdc_mm_runtime.refine import Refinement, mask_trust

from .people import STANDING, body_masks, decode_perfect, standing, whole_input

SIZE = 193
ALL_OFF = dict(join_by_centroid=False, replace_margin=None, second_choice=None, unposed_area=None)


def build(**refine):
    return PoseSeg((SIZE, SIZE), radius=16, refine=refine)


def test_every_correction_can_be_off_and_people_are_still_decoded():
    assert set(ALL_OFF) == {field.name for field in fields(Refinement)}
    scene = standing((50, 90, 150), (140, 100, 150))
    people = decode_perfect(build(**ALL_OFF), scene, body_masks(scene, SIZE), whole_input(SIZE))
    assert people.poses.detected.all() and len(people.masks.rles) == 2
    order = people.poses.keypoints[:, 0, 0].argsort()
    np.testing.assert_allclose(people.poses.keypoints[order], scene.keypoints, atol=1e-2)


def test_a_correction_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match='ghosts'):
        build(ghosts=0.2)


# Poses


def test_a_keypoint_broken_in_two_makes_one_person():
    """Two cells of the nose's disk vote 9 px to the right."""
    codec, scene = build(), standing((90, 100, 150))
    maps = perfect_maps(codec, codec.encode(*scene))
    row, column = maps['heatmaps'][0, 0].gt(0).nonzero().float().mean(0).int().tolist()
    maps['key_centroids'][0, 0, row, column + 1:column + 3] += 9
    votes = codec.vote(codec.pose_maps(maps))
    keypoints = codec.merge(votes, codec.fitting_merge_radius(votes))
    assert np.count_nonzero(keypoints.channel == 0) == 2
    poses = codec.batch_decode(maps, [None])[0].poses
    assert len(poses.scores) == 1
    np.testing.assert_allclose(poses.keypoints[0, 1:], scene.keypoints[0, 1:], atol=1e-2)


def cut_scene():
    """A person whose hips are hidden."""
    scene = standing((90, 100, 150))
    scene.labelled[0, [11, 12]] = False
    return scene


def test_a_pose_that_hidden_hips_cut_stays_one_only_where_person_centroids_join():
    scene = cut_scene()
    whole = decode_perfect(build(), scene).poses
    assert len(whole.scores) == 1
    np.testing.assert_array_equal(whole.detected, scene.labelled)
    cut = decode_perfect(build(join_by_centroid=False), scene).poses
    assert len(cut.scores) == 3, 'the upper body and two lower legs'
    np.testing.assert_array_equal(cut.detected.sum(0), scene.labelled[0])


def test_a_surer_place_replaces_a_detected_keypoint_only_where_that_is_wanted():
    """A wrist that one cell names has little support, but the elbow's limb leads there too."""
    scene = standing((91.5, 100, 150))
    assert scene.keypoints[0, 9].tolist() == [120, 100]

    def decode(**refine):
        codec = build(**refine)
        maps = perfect_maps(codec, codec.encode(*scene))
        maps['heatmaps'][0, 9] = -8
        maps['heatmaps'][0, 9, 25, 30] = 8
        return codec.batch_decode(maps, [None])[0].poses

    placed, detected = decode(), decode(replace_margin=None)
    assert placed.detected.all() and detected.detected.all()
    assert placed.scores[0, 9] > 1.25 * detected.scores[0, 9]
    for poses in (placed, detected):
        assert poses.detected.sum() >= 16
        np.testing.assert_allclose(poses.keypoints[0], scene.keypoints[0], atol=1e-2)


# Persons by their masks


def test_who_stands_behind_another_person_has_a_mask_only_with_second_choices():
    """The pixels left of x = 96 lead to (40, 90), all others to (150, 90); both persons' keypoints
    lie on the right but for five of the second one."""
    v, u = np.mgrid[:97, :97] * 2
    offset = np.stack([np.where(u < 96, 40, 150) - u, 90 - v]).astype(np.float32)
    maps = MaskMaps(np.full((97, 97), 5, np.float32), offset,
                    np.full((97, 97), np.log(10), np.float32), 2)
    keypoints = np.full((2, 17, 2), 150, np.float32)
    keypoints[1, :5] = 40
    poses = Poses(keypoints, np.full((2, 17), 0.9, np.float32), np.ones((2, 17), bool),
                  np.full(2, 0.9, np.float32))

    def areas(**refine):
        people = build(unposed_area=None, **refine).cluster(poses, maps, whole_input(SIZE))
        return sorted(coco_mask.area(rle) for rle in people.masks.rles)

    assert min(areas()) > 0.4 * SIZE**2
    assert areas(second_choice=None) == [0, max(areas())]


def test_a_mask_is_trusted_by_the_cube_root_of_its_poses_score():
    """A third person, whom no keypoint shows, less than one with a single keypoint of 17."""
    scores = np.zeros((3, 17), np.float32)
    scores[0], scores[1, 0] = 0.9, 0.9
    trust = mask_trust(
        Poses(np.zeros((3, 17, 2), np.float32), scores, scores > 0, scores.mean(1)))
    np.testing.assert_allclose(trust[:2], [0.9**(1 / 3), (0.9 / 17)**(1 / 3)], rtol=1e-6)
    assert 0 < trust[2] < trust[1]


def test_a_double_of_a_pose_has_no_mask_beside_that_of_its_person():
    """Two poses a few pixels apart, whose embeddings meet at one centroid."""
    maps = MaskMaps(*one_person_at((90, 90)), 2)
    keypoints = np.stack([STANDING * 100 + 90, STANDING * 100 + 93]).astype(np.float32)
    scores = np.repeat(np.array([[0.9], [0.1]], np.float32), 17, axis=1)
    poses = Poses(keypoints, scores, scores > 0, scores.mean(1))
    people = build().cluster(poses, maps, whole_input(SIZE))
    areas = [coco_mask.area(rle) for rle in people.masks.rles]
    assert areas[0] > 0.9 * SIZE**2 and areas[1] == 0
    assert people.mask_scores[0] > 0.9 and people.mask_scores[1] == 0


def one_person_at(centroid):
    """Maps of stride 2 with one person everywhere: logits, offsets and ln σ."""
    v, u = np.mgrid[:97, :97] * 2
    offset = np.stack([centroid[0] - u, centroid[1] - v]).astype(np.float32)
    return np.full((97, 97), 5, np.float32), offset, np.full((97, 97), np.log(10), np.float32)


def test_a_person_without_keypoints_is_found_only_where_masks_count_alone():
    scene = standing((50, 90, 150), (140, 100, 150))
    scene.labelled[1] = False
    owner = body_masks(scene, SIZE)
    assert len(decode_perfect(build(), scene, owner, whole_input(SIZE)).scores) == 2
    known = decode_perfect(build(unposed_area=None), scene, owner, whole_input(SIZE))
    assert len(known.scores) == len(known.masks.rles) == len(known.mask_scores) == 1
