import numpy as np
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from kdc_mm.visualization.draw import person_colors
from kdc_mm.visualization.people import (
    DrawnPeople,
    annotated_people,
    matching_colors,
    people_of_annotations,
    predicted_people,
)

BOX = [[10, 10, 30, 10, 30, 30, 10, 30]]


def annotation(**fields):
    return dict(
        dict(keypoints=[20, 20, 2] * 17, bbox=[10, 10, 20, 20], segmentation=BOX, iscrowd=0),
        **fields)


def people(boxes):
    n = len(boxes)
    boxes = np.array(boxes, float).reshape(n, 4)
    return DrawnPeople(np.zeros((n, 17, 2)), np.zeros((n, 17)), None, boxes)


def test_crowds_are_left_out():
    found = people_of_annotations([annotation(), annotation(iscrowd=1)], (40, 50))
    assert found.keypoints.shape == (1, 17, 2)
    assert found.masks.shape == (1, 40, 50) and found.masks.sum() == 400
    assert (found.boxes == [[10, 10, 30, 30]]).all()


def test_annotations_without_segmentation_have_no_masks():
    found = people_of_annotations([annotation(segmentation=[])], (40, 50))
    assert found.masks is None


def test_an_image_without_annotations_has_nobody():
    sample = PoseDataSample(metainfo=dict(raw_ann_info=None, ori_shape=(40, 50)))
    found = annotated_people(sample)
    assert len(found.keypoints) == len(found.boxes) == 0


def test_a_sample_without_raw_annotations_shows_its_instances():
    sample = PoseDataSample()
    sample.gt_instances = InstanceData(
        keypoints=np.ones((2, 17, 2)), keypoints_visible=np.zeros((2, 17)))
    found = annotated_people(sample)
    assert found.masks is None and (found.scores == 0).all()


def test_people_with_a_doubtful_mask_are_left_out():
    sample = PoseDataSample(metainfo=dict(ori_shape=(40, 50)))
    masks = [np.full((40, 50), value) for value in (True, False, True)]
    sample.pred_instances = InstanceData(
        keypoints=np.ones((3, 17, 2)),
        keypoint_scores=np.ones((3, 17)),
        masks=masks,
        mask_scores=np.array([0.9, 0.1, 0.4]))
    found = predicted_people(sample, mask_thr=0.3)
    assert len(found.keypoints) == 2 and found.masks.all()


def test_a_predicted_person_has_the_colour_of_the_true_one():
    true = people([[0, 0, 10, 10], [100, 0, 120, 40]])
    found = people([[101, 1, 120, 41], [300, 300, 310, 310], [0, 0, 9, 10]])
    red, blue, other = person_colors(3)
    assert matching_colors(found, true) == [blue, other, red]


def test_predictions_without_ground_truth_have_different_colours():
    colors = matching_colors(people([[0, 0, 9, 9], [0, 0, 9, 9]]), people([]))
    assert len(set(colors)) == 2
