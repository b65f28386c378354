"""The kinematic graph of each data set, and what is refused as one."""
import numpy as np
import pytest

from kdc_mm.codecs.skeleton import build_skeleton

COCO = 'configs/_base_/datasets/coco.py'
DATASETS = [COCO, 'configs/_base_/datasets/crowdpose.py', 'configs/_base_/datasets/ochuman.py']


def hops(edges, num_keypoints, start=0):
    """Steps from one keypoint to each other one, infinity where no limbs lead."""
    steps = np.full(num_keypoints, np.inf)
    steps[start] = 0
    for _ in range(num_keypoints):
        for a, b in edges:
            steps[b] = min(steps[b], steps[a] + 1)
    return steps


@pytest.mark.parametrize('metainfo', DATASETS)
def test_limbs_lead_from_every_keypoint_to_every_other_one(metainfo):
    skeleton = build_skeleton(metainfo)
    assert np.isfinite(hops(skeleton.edges, skeleton.num_keypoints)).all()


@pytest.mark.parametrize('metainfo', DATASETS)
def test_every_limb_is_there_once_in_each_direction(metainfo):
    edges = build_skeleton(metainfo).edges
    half = len(edges) // 2
    np.testing.assert_array_equal(edges[:half], edges[half:, ::-1])
    assert len({tuple(sorted(edge)) for edge in edges[:half].tolist()}) == half


@pytest.mark.parametrize('metainfo', DATASETS)
def test_outgoing_lists_the_edges_that_start_at_each_keypoint(metainfo):
    skeleton = build_skeleton(metainfo)
    for k, row in enumerate(skeleton.outgoing.tolist()):
        leaving = [e for e in row if e >= 0]
        assert leaving == [e for e, (a, _) in enumerate(skeleton.edges.tolist()) if a == k]


@pytest.mark.parametrize('metainfo', DATASETS)
def test_a_mirrored_limb_joins_the_mirrored_keypoints(metainfo):
    skeleton = build_skeleton(metainfo)
    flip = skeleton.flip_indices
    assert -1 not in skeleton.mirrored_edges
    for edge, mirrored in enumerate(skeleton.mirrored_edges):
        a, b = skeleton.edges[edge]
        assert skeleton.edges[mirrored].tolist() == [flip[a], flip[b]]


def test_a_limb_whose_mirror_image_is_no_limb_has_none():
    spanning = [(k, k + 1) for k in range(16)]
    mirrored = build_skeleton(COCO, spanning).mirrored_edges
    assert mirrored[0] == -1, 'nose to left eye, without nose to right eye'
    assert mirrored[1] == 17, 'left eye to right eye, the other way round'


def test_wrists_ankles_elbows_and_knees_vary_most():
    skeleton = build_skeleton(COCO)
    names = [name for name, high in zip(skeleton.names, skeleton.high_variance) if high]
    assert sorted(names) == sorted(f'{side}_{joint}' for side in ('left', 'right')
                                   for joint in ('wrist', 'ankle', 'elbow', 'knee'))


def test_limbs_can_be_named_or_numbered():
    by_number = [(k, k + 1) for k in range(16)]
    names = build_skeleton(COCO).names
    by_name = [(names[a], names[b]) for a, b in by_number]
    np.testing.assert_array_equal(
        build_skeleton(COCO, by_number).edges, build_skeleton(COCO, by_name).edges)


@pytest.mark.parametrize('limbs, words', [
    ([(0, 1), (1, 2)], r'limbs is not connected.*nose.*left_ear'),
    ([], 'not connected'),
    ([('nose', 'tail')], r"'tail', which does not exist.*left_ankle"),
    ([(0, 17)], '17, which does not exist'),
    ([(0, -1)], '-1, which does not exist'),
    ([(0, 0)], 'joins a keypoint to itself'),
])
def test_a_graph_that_cannot_be_followed_is_refused_in_one_line(limbs, words):
    with pytest.raises(ValueError, match=words) as error:
        build_skeleton(COCO, limbs)
    assert '\n' not in str(error.value)


def test_oks_sigmas_are_the_data_sets_by_keypoint():
    sigmas = dict(zip(build_skeleton(COCO).names, build_skeleton(COCO).oks_sigmas))
    assert sigmas['nose'] == pytest.approx(0.026) and sigmas['left_hip'] == pytest.approx(0.107)
    assert len(build_skeleton(DATASETS[1]).oks_sigmas) == 14
