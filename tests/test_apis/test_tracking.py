"""Ids that stay with people."""
import numpy as np
import pytest
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from kdc_mm.apis import PersonTracker

SHAPE = (120, 300)
SIGMAS = np.full(17, 0.08)


def people(*places, masks=True):
    """People 20 px wide and 80 px tall, their left edges at ``places``."""
    rng = np.random.default_rng(0)
    body = rng.uniform((0, 0), (20, 80), (17, 2))
    keypoints = np.array([body + (x, 20) for x in places]).reshape(-1, 17, 2)
    found = InstanceData(
        keypoints=keypoints,
        keypoint_scores=np.full(keypoints.shape[:2], 0.8),
        bboxes=np.concatenate([keypoints.min(1), keypoints.max(1)], axis=1))
    if masks:
        regions = np.zeros((len(places), *SHAPE), np.uint8)
        for region, x in zip(regions, places):
            region[20:100, x:x + 20] = 1
        found.masks = [coco_mask.encode(np.asfortranarray(region)) for region in regions]
    return found


@pytest.mark.parametrize('masks', [True, False])
def test_ids_stay_with_people_whatever_the_order(masks):
    tracker = PersonTracker(SIGMAS)
    for step in range(20):
        left, right = 10 + 3 * step, 250 - 3 * step
        if step % 2:
            assert tracker.update(people(right, left, masks=masks)) == [1, 0]
        else:
            assert tracker.update(people(left, right, masks=masks)) == [0, 1]


def test_a_person_who_is_missed_for_a_while_keeps_its_id_and_nobody_else_gets_it():
    tracker = PersonTracker(SIGMAS, memory=3)
    assert tracker.update(people(10, 100)) == [0, 1]
    for _ in range(3):
        assert tracker.update(people(10)) == [0]
    assert tracker.update(people(100, 10, 200)) == [1, 0, 2]


def test_after_longer_than_the_memory_a_person_is_new():
    tracker = PersonTracker(SIGMAS, memory=3)
    assert tracker.update(people(10, 100)) == [0, 1]
    for _ in range(4):
        assert tracker.update(people(10)) == [0]
    assert tracker.update(people(100, 10)) == [2, 0]


def test_frames_without_people_are_frames():
    tracker = PersonTracker(SIGMAS)
    assert tracker.update(people()) == []
    assert tracker.update(people(50)) == [0]
    assert tracker.update(people()) == []
    assert tracker.update(people(52)) == [0]


def test_keypoints_that_were_not_seen_do_not_tell_people_apart():
    tracker = PersonTracker(SIGMAS)
    tracker.update(people(50, masks=False))
    found = people(50, masks=False)
    found.keypoints[0, 5:] += 500
    found.keypoint_scores[0, 5:] = 0
    assert tracker.update(found) == [0]
