"""Keypoints and masks of several data sets in one validation."""
import json

import numpy as np
import pycocotools.mask as cocomask
import pytest
import torch
from mmengine.fileio import load
from mmpose.registry import EVALUATORS

from kdc_mm.datasets import KDCCocoDataset
from tests.conftest import grey_image, person


@pytest.fixture
def files(write_coco, tmp_path):
    """Two annotation files of the same image ids, whose people stand elsewhere."""
    first = write_coco([(grey_image(), [person(5, 5, 20, 40)])] * 2)['ann_file']
    content = json.loads(open(first).read())
    for ann in content['annotations']:
        ann.update(person(45, 10, 25, 40))
    second = tmp_path / 'second.json'
    second.write_text(json.dumps(content))
    return {'coco': first, 'mine': str(second)}


def dataset_of(name, file):
    return dict(type='KDCCocoDataset', ann_file=file, metainfo=dict(dataset_name=name))


def metrics_of(name, file):
    return [dict(type='PersonPoseMetric', ann_file=file, prefix=name, nms_mode='none',
                 score_mode='bbox'),
            dict(type='PersonSegMetric', ann_file=file, prefix=name)]


def sample_of(name, image_id, box):
    """A person found in the whole box."""
    x, y, w, h = box
    mask = np.zeros((60, 80), np.uint8, order='F')
    mask[y:y + h, x:x + w] = 1
    keypoints = np.tile([x + w / 2 - 0.5, y + h / 2 - 0.5], (1, 17, 1))
    return dict(
        id=[], img_id=image_id, img_path='', ori_shape=(60, 80), dataset_name=name,
        gt_instances={}, pred_instances=dict(
            keypoints=keypoints, keypoint_scores=np.ones((1, 17)), bboxes=np.zeros((1, 4)),
            bbox_scores=np.ones(1), scores=np.ones(1), labels=np.zeros(1, int),
            masks=[cocomask.encode(mask)]))


def test_each_data_set_has_its_own_figures_of_poses_and_masks(files):
    names = list(files)
    evaluator = EVALUATORS.build(dict(
        type='MixedDatasetEvaluator',
        metrics=[metric for name in names for metric in metrics_of(name, files[name])],
        datasets=[dataset_of(name, files[name]) for name in names for _ in range(2)]))
    evaluator.dataset_meta = KDCCocoDataset(lazy_init=True).metainfo
    right, wrong = (5, 5, 20, 40), (45, 10, 25, 40)
    samples = [sample_of('coco', 1, right), sample_of('mine', 1, right),
               sample_of('coco', 2, right), sample_of('mine', 2, wrong)]
    batch = dict(inputs=torch.zeros(4), data_samples=samples)
    evaluator.process(samples, batch)
    found = evaluator.evaluate(4)
    assert [found['coco/AP'], found['coco/segm_mAP']] == pytest.approx([1, 1])
    assert found['mine/AP'] == pytest.approx(found['mine/segm_mAP'])
    assert 0.2 < found['mine/AP'] < 0.6


def test_a_metric_of_no_data_set_takes_the_samples_of_all(files, tmp_path):
    dump = tmp_path / 'all.pkl'
    evaluator = EVALUATORS.build(dict(
        type='MixedDatasetEvaluator',
        metrics=[*(metrics_of(name, files[name])[1] for name in files),
                 dict(type='DumpResults', out_file_path=str(dump))],
        datasets=[*(dataset_of(name, files[name]) for name in files), None]))
    evaluator.dataset_meta = KDCCocoDataset(lazy_init=True).metainfo
    samples = [sample_of(name, 1, (5, 5, 20, 40)) for name in files]
    evaluator.process(samples, dict(inputs=torch.zeros(2), data_samples=samples))
    assert evaluator.evaluate(2).keys() >= {'coco/segm_mAP', 'mine/segm_mAP'}
    assert [sample['dataset_name'] for sample in load(dump)] == list(files)


def test_data_sets_that_cannot_be_told_apart_are_refused(files):
    with pytest.raises(ValueError, match='both are named .coco.*dataset_name'):
        EVALUATORS.build(dict(
            type='MixedDatasetEvaluator',
            metrics=[metrics_of('a', files['coco'])[0], metrics_of('b', files['mine'])[0]],
            datasets=[dataset_of('coco', file) for file in files.values()]))


def test_mmposes_evaluator_takes_the_mask_metric(files):
    """With one metric per data set, and MMPose's own data set, which names no classes."""
    evaluator = EVALUATORS.build(dict(
        type='MultiDatasetEvaluator', metrics=[metrics_of('coco', files['coco'])[1]],
        datasets=[dict(type='CocoDataset', ann_file=files['coco'])]))
    evaluator.dataset_meta = KDCCocoDataset(lazy_init=True).metainfo
    samples = [sample_of('coco', 1, (5, 5, 20, 40))]
    evaluator.process(samples, dict(inputs=torch.zeros(1), data_samples=samples))
    assert evaluator.evaluate(1)['coco/segm_mAP'] == pytest.approx(1)
