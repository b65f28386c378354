"""Mask AP: the parent's scores on what pose models predict."""
import json

import numpy as np
import pycocotools.mask as cocomask
import pytest
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, METRICS
from mmpose.structures import PoseDataSample
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdc_mm.evaluation.person_seg_metric import boxes_of
from tests.conftest import grey_image, person


def data_sample(img, masks, keypoints=None, scores=None):
    """What a head and the estimator leave of one image.

    Args:
        img (dict): The image's row in the annotation file.
        masks (list): n RLEs, or None for a head without masks.
        keypoints (np.ndarray): (n, K, 2). Defaults to zeros.
        scores (np.ndarray): (n,). Defaults to ones.
    """
    n = len(masks or [])
    scores = np.ones(n) if scores is None else scores
    keypoints = np.zeros((n, 17, 2)) if keypoints is None else keypoints
    pred = InstanceData(
        keypoints=keypoints.astype(np.float32),
        keypoint_scores=np.ones((n, 17), dtype=np.float32),
        bboxes=np.zeros((n, 4), dtype=np.float32),
        bbox_scores=scores.astype(np.float32),
        scores=scores.astype(np.float32),
        labels=np.zeros(n, dtype=np.int64))
    if masks is not None:
        pred.masks = masks
    return PoseDataSample(
        metainfo=dict(
            id=[], img_id=img['id'], img_path=img['file_name'],
            ori_shape=(img['height'], img['width'])),
        gt_instances=InstanceData(),
        pred_instances=pred)


def evaluate(metrics, samples, dataset_meta=None):
    """The scores that a validation loop would log."""
    evaluator = Evaluator([METRICS.build(metric) for metric in metrics])
    evaluator.dataset_meta = dataset_meta or DATASETS.build(
        dict(type='KDCCocoDataset', lazy_init=True)).metainfo
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(len(samples))


def seg_metric(ann_file):
    return dict(type='PersonSegMetric', ann_file=str(ann_file))


def pose_metric(ann_file, **kwargs):
    return dict(
        type='CocoMetric', ann_file=str(ann_file), nms_mode='none', score_mode='bbox', **kwargs)


SEGM_NAMES = ['segm_mAP', 'segm_mAP_50', 'segm_mAP_75', 'segm_mAP_s', 'segm_mAP_m', 'segm_mAP_l']


@pytest.mark.parametrize('folder, name, dataset', [
    ('coco', 'test_coco.json', 'KDCCocoDataset'),
    ('ochuman', 'test_ochuman.json', 'KDCOCHumanDataset'),
])
def test_ground_truth_as_prediction_scores_one(data_root, folder, name, dataset):
    ann_file = data_root / 'mm-samples' / folder / name
    coco = COCO(ann_file)
    samples = []
    for img in coco.imgs.values():
        anns = coco.imgToAnns[img['id']]
        keypoints = np.array([ann['keypoints'] for ann in anns]).reshape(-1, 17, 3)[..., :2]
        # Without labelled keypoints there is no pose to find: rank those persons last.
        confidence = np.array([1.0 if ann['num_keypoints'] else 0.1 for ann in anns])
        masks = [coco.annToRLE(ann) for ann in anns]
        samples.append(data_sample(img, masks, keypoints, confidence))
    meta = DATASETS.build(dict(type=dataset, lazy_init=True)).metainfo
    scores = evaluate([pose_metric(ann_file), seg_metric(ann_file)], samples, meta)
    assert scores['coco/segm_mAP'] == 1.0
    assert scores['coco/AP'] > 0.95


def test_masks_rank_by_their_own_scores_where_they_have_some(write_coco):
    files = write_coco([(grey_image(), [person(5, 5, 20, 40)])])
    coco = COCO(files['ann_file'])
    right = coco.annToRLE(coco.anns[1])
    wrong = cocomask.encode(np.asfortranarray(np.eye(60, 80, dtype=np.uint8)))
    sample = data_sample(coco.imgs[1], [wrong, right], scores=np.array([0.9, 0.1]))
    found = evaluate([seg_metric(files['ann_file'])], [sample])
    assert found['coco/segm_mAP'] == pytest.approx(0.5)
    sample = data_sample(coco.imgs[1], [wrong, right], scores=np.array([0.9, 0.1]))
    sample.pred_instances.mask_scores = np.array([0.2, 0.8], dtype=np.float32)
    assert evaluate([seg_metric(files['ann_file'])], [sample])['coco/segm_mAP'] == pytest.approx(1)


def test_scores_equal_pycocotools(data_root):
    ann_file = data_root / 'coco-mini' / 'annotations' / 'person_keypoints_train2017.json'
    coco = COCO(ann_file)
    rng = np.random.default_rng(0)
    samples, rows = [], []
    for img in coco.imgs.values():
        masks = []
        for ann in coco.imgToAnns[img['id']]:
            mask = coco.annToMask(ann)
            shift = tuple(rng.integers(-3, 4, 2))
            masks.append(cocomask.encode(np.asfortranarray(np.roll(mask, shift, axis=(0, 1)))))
        scores = rng.random(len(masks)).astype(np.float32)
        samples.append(data_sample(img, masks, scores=scores))
        rows += [
            dict(image_id=img['id'], category_id=1, segmentation=mask, score=float(score))
            for mask, score in zip(masks, scores)
        ]
    logged = evaluate([seg_metric(ann_file)], samples)

    reference = COCOeval(coco, coco.loadRes(rows), 'segm')
    reference.params.maxDets = [100, 300, 1000]
    reference.evaluate()
    reference.accumulate()
    reference.summarize()
    assert 0.1 < logged['coco/segm_mAP'] < 0.98
    for name, stat in zip(SEGM_NAMES, reference.stats):
        assert logged[f'coco/{name}'] == pytest.approx(stat, abs=6e-4)


def test_a_dataset_without_any_detection_scores_zero(write_coco):
    ann_file = write_coco([(grey_image(), [person(1, 1, 40, 40)]), (grey_image(), [])])['ann_file']
    images = json.load(open(ann_file))['images']
    samples = [data_sample(img, []) for img in images]
    scores = evaluate([pose_metric(ann_file), seg_metric(ann_file)], samples)
    assert [scores[f'coco/{name}'] for name in SEGM_NAMES] == [0] * 6
    assert scores['coco/AP'] == scores['coco/AR'] == 0


def test_crowdpose_without_any_detection_scores_zero(write_coco):
    ann = person(1, 1, 40, 40, keypoints=[20, 20, 2] * 14, segmentation=None)
    ann_file = write_coco([(grey_image(), [ann])])['ann_file']
    content = json.load(open(ann_file))
    content['images'][0]['crowdIndex'] = 0.5
    json.dump(content, open(ann_file, 'w'))
    metric = pose_metric(ann_file, iou_type='keypoints_crowd', use_area=False, prefix='crowdpose')
    meta = DATASETS.build(dict(type='KDCCrowdPoseDataset', lazy_init=True)).metainfo
    scores = evaluate([metric], [data_sample(content['images'][0], [])], meta)
    assert scores['crowdpose/AP'] == 0


def test_an_image_without_detections_counts_as_missed(write_coco):
    people = [person(10, 10, 40, 40)]
    ann_file = write_coco([(grey_image(), people), (grey_image(), people)])['ann_file']
    coco = COCO(ann_file)
    first, second = coco.imgs.values()
    samples = [data_sample(first, []), data_sample(second, [coco.annToRLE(coco.anns[2])])]
    scores = evaluate([seg_metric(ann_file)], samples)
    assert scores['coco/segm_mAP'] == pytest.approx(0.5, abs=0.01)


def test_evaluation_leaves_the_predicted_masks_alone(write_coco):
    ann_file = write_coco([(grey_image(), [person(10, 10, 40, 40)])])['ann_file']
    coco = COCO(ann_file)
    sample = data_sample(coco.imgs[1], [coco.annToRLE(coco.anns[1])])
    evaluate([seg_metric(ann_file)], [sample])
    assert isinstance(sample.pred_instances.masks[0]['counts'], bytes)


def test_predictions_without_masks_are_refused(write_coco):
    ann_file = write_coco([(grey_image(), [person(10, 10, 40, 40)])])['ann_file']
    sample = data_sample(COCO(ann_file).imgs[1], None)
    with pytest.raises(KeyError, match='KDCPoseHead .* KDCHead'):
        evaluate([seg_metric(ann_file)], [sample])


def test_an_annotation_file_without_segmentations_is_refused(write_coco):
    ann_file = write_coco([(grey_image(), [person(1, 1, 9, 9, segmentation=None)])])['ann_file']
    with pytest.raises(ValueError, match='No annotation'):
        METRICS.build(seg_metric(ann_file))


def test_an_image_of_another_size_than_annotated_is_refused(write_coco):
    ann_file = write_coco([(grey_image(60, 80), [person(1, 1, 9, 9)])])['ann_file']
    img = dict(COCO(ann_file).imgs[1], height=61)
    with pytest.raises(ValueError, match=r'1\.png. is 80x61 .* 80x60'):
        evaluate([seg_metric(ann_file)], [data_sample(img, [])])


def test_boxes_are_those_of_masks_and_of_keypoints_that_were_seen(write_coco):
    """And not of keypoints with score 0, which have a place all the same."""
    files = write_coco([(grey_image(), [person(10, 10, 30, 40)])])
    mask = np.zeros((60, 80), np.uint8, order='F')
    mask[20:50, 10:40] = 1
    keypoints = np.tile([25., 30.], (1, 17, 1))
    keypoints[0, 0], keypoints[0, 1] = (12, 10), (79, 59)
    scores = np.ones((1, 17), np.float32)
    scores[0, 1] = 0
    image = json.load(open(files['ann_file']))['images'][0]
    sample = data_sample(image, [cocomask.encode(mask)], keypoints)
    sample.pred_instances.keypoint_scores = scores
    assert boxes_of(sample.pred_instances)[0].tolist() == [10, 10, 40, 50]
    found = evaluate([dict(seg_metric(files['ann_file']), metric='bbox')], [sample])
    assert found['coco/bbox_mAP'] == pytest.approx(1)
    del sample.pred_instances.masks
    assert boxes_of(sample.pred_instances)[0].tolist() == [12, 10, 25, 30]
    found = evaluate([dict(seg_metric(files['ann_file']), metric='bbox')], [sample])
    assert found['coco/bbox_mAP'] == 0
