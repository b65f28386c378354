"""Persons told apart by their MaskCentroids alone, as the paper's outputs allow it."""
import numpy as np
import pytest

from kdc_mm.codecs import PoseSeg
from kdc_mm.codecs.skeleton import build_graph
from kdc_mm_runtime.agreement import grouping_tolerance
from kdc_mm_runtime.cluster import MaskMaps
from kdc_mm_runtime.embedding_group import find_persons_by_embedding
from kdc_mm_runtime.group import GroupSettings, assemble_poses
from kdc_mm_runtime.merge import Keypoints

from .people import body_masks, decode_perfect, standing, whole_input

COCO = 'configs/_base_/datasets/coco.py'
SIZE = 193
CHAIN = build_graph(np.array([(0, 1), (1, 2), (1, 0), (2, 1)]), 3)
SIGMA = 5.
SETTINGS = GroupSettings(grouping_tolerance(), False, np.inf, 0.1, 0.02, 20)


def detected(*keypoints):
    """Keypoints of (kind, x, score) at y = 10."""
    kind, x, score = (np.array(part) for part in zip(*sorted(keypoints, key=lambda one: one[0])))
    position = np.stack([x, np.full(len(x), 10)], 1).astype(np.float32)
    zeros = np.zeros_like(position)
    return Keypoints(kind, score.astype(np.float32), score.astype(np.float32), position, zeros,
                     np.zeros((len(kind), 0, 2), np.float32))


def maps_towards(centroid_x):
    """Maps of 20×100 pixels, whose pixel (x, y) has its embedding at (centroid_x(x), 10)."""
    y, x = np.mgrid[:20, :100].astype(np.float32)
    offset = np.stack([centroid_x(x) - x, 10 - y])
    return MaskMaps(np.full(x.shape, 20, np.float32), offset.astype(np.float32),
                    np.full(x.shape, np.log(SIGMA), np.float32), 1)


def halves(x):
    return np.where(x < 50, 20, 80)


def find(keypoints, maps):
    return find_persons_by_embedding(keypoints, maps, CHAIN, 0.5, SETTINGS)


def test_keypoints_of_one_embedding_are_one_person_and_of_another_are_another():
    keypoints = detected((0, 5, .9), (0, 95, .8), (1, 90, .7), (1, 10, .6), (2, 30, .5))
    persons = find(keypoints, maps_towards(halves))
    assert persons.position[..., 0].tolist() == [[5, 10, 30], [95, 90, 0]]
    assert persons.own.tolist() == [[True, True, True], [True, True, False]]
    np.testing.assert_allclose(persons.confidence, [[.9, .6, .5], [.8, .7, -1]], rtol=1e-6)


def test_the_graph_is_followed_through_a_joint_that_is_not_detected():
    persons = find(detected((0, 5, .9), (2, 30, .5)), maps_towards(halves))
    assert len(persons.own) == 1 and persons.own[0].tolist() == [True, False, True]


@pytest.mark.parametrize('gap, persons', [(5.8, 1), (6., 2)])
def test_embeddings_are_close_where_phi_exceeds_one_half(gap, persons):
    """φ = exp(−gap² / 2σ²) is 0.5 at gap = σ·√(2 ln 2), which is 5.89 px for σ = 5."""
    maps = maps_towards(lambda x: np.where(x < 50, 20, 20 + gap))
    assert len(find(detected((0, 5, .9), (1, 90, .8)), maps).own) == persons


def test_the_next_keypoint_is_compared_with_the_mean_of_those_taken():
    """The third is 6.5 px from the first and 3.5 from the mean of the first two of equal weight."""
    maps = maps_towards(lambda x: np.select([x < 30, x < 60], [20, 26 - 0.5], 26.5))
    persons = find(detected((0, 5, .8), (1, 40, .8), (2, 90, .8)), maps)
    assert persons.own.tolist() == [[True, True, True]]


def test_of_several_keypoints_of_a_kind_the_surest_is_taken_and_the_others_are_nobody():
    keypoints = detected((0, 5, .9), (1, 10, .4), (1, 40, .6), (1, 44, .3))
    persons = find(keypoints, maps_towards(halves))
    assert persons.position[:, 1, 0].tolist() == [40]


def test_few_unsure_keypoints_are_no_person_and_no_more_are_found_than_wanted():
    keypoints = detected((0, 5, .05), (0, 95, .9))
    assert find(keypoints, maps_towards(halves)).position[:, 0, 0].tolist() == [95]
    three = detected((0, 5, .9), (0, 50, .8), (0, 95, .7))
    some = find_persons_by_embedding(three, maps_towards(lambda x: x), CHAIN, 0.5,
                                     SETTINGS._replace(max_persons=2))
    assert some.position[:, 0, 0].tolist() == [5, 50]


def test_nobody_is_found_without_keypoints():
    none = Keypoints(*(part[:0] for part in detected((0, 5, .9))))
    assert find(none, maps_towards(halves)).position.shape == (0, 3, 2)


def test_keypoints_that_are_not_found_lie_in_the_middle_of_the_others():
    persons = find(detected((0, 5, .9), (2, 31, .5)), maps_towards(halves))
    [pose] = assemble_poses(persons, [0.1] * 3, 4.).keypoints
    assert pose.tolist() == [[5, 10], [18, 10], [31, 10]]


def paper_codec(**settings):
    return PoseSeg((SIZE, SIZE), COCO, radius=16, mask_stride=2, use_person_centroid=False,
                   use_limbs=False, **settings)


def test_people_who_are_seen_whole_come_back_with_their_masks():
    scene = standing((50, 96, 150), (140, 100, 160))
    owner = body_masks(scene, SIZE)
    people = decode_perfect(paper_codec(), scene, owner, whole_input(SIZE))
    assert people.poses.detected.all() and len(people.scores) == 2
    order = np.argsort(people.poses.keypoints[:, 0, 0])
    np.testing.assert_allclose(people.poses.keypoints[order], scene.keypoints, atol=1)
    assert len(people.masks.rles) == 2 and (people.mask_scores > 0.5).all()


def test_maps_without_mask_centroids_are_refused():
    with pytest.raises(ValueError, match='MaskCentroids tell whose a keypoint is.*KDCHead'):
        decode_perfect(paper_codec(), standing((96, 96, 150)))


def test_without_anything_that_joins_keypoints_the_codec_is_refused():
    with pytest.raises(ValueError, match='each keypoint would be a person of its own'):
        PoseSeg((SIZE, SIZE), COCO, use_limbs=False, refine=dict(join_by_centroid=False))


@pytest.mark.parametrize('left_out', ['use_limbs', 'use_person_centroid'])
def test_either_of_limbs_and_person_centroids_brings_people_back(left_out):
    scene = standing((45, 96, 150), (100, 100, 160), (155, 96, 140))
    codec = PoseSeg((SIZE, SIZE), COCO, radius=16, **{left_out: False})
    people = decode_perfect(codec, scene)
    assert people.poses.detected.all() and len(people.scores) == 3
    order = np.argsort(people.poses.keypoints[:, 0, 0])
    np.testing.assert_allclose(people.poses.keypoints[order], scene.keypoints, atol=1)


def test_without_limbs_nothing_is_placed_and_without_person_centroids_it_is():
    """A keypoint of a third of the persons is not labelled, and so it is not detected."""
    scene = standing((60, 96, 150), (130, 100, 160))
    scene.labelled[0, 9] = False  # a wrist, at the end of a limb that the elbow's disk shows
    middle = scene.keypoints[0, scene.labelled[0]].mean(0)
    codec = PoseSeg((SIZE, SIZE), COCO, radius=16, use_limbs=False)
    poses = decode_perfect(codec, scene).poses
    [person] = np.flatnonzero(~poses.detected[:, 9])
    assert poses.scores[person, 9] == 0
    np.testing.assert_allclose(poses.keypoints[person, 9], middle, atol=1)
