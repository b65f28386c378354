"""Any mutation of an annotation file is refused by check_data in lines, or trains and validates."""
import copy
import json
import math
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmpose.registry import DATASETS, METRICS, MODELS

from kdc_mm.datasets.annotations import read_annotations
from kdc_mm.datasets.check import check_config
from tests.test_datasets.test_file_kinds import CLEAN, HEIGHT, ODD, WIDTH, mask_of

SIZE = (65, 65)
LOAD = dict(type='LoadImage8Bit')
TRAIN = [LOAD, dict(type='BottomupRandomAffine', input_size=SIZE), dict(type='RandomFlip', prob=.5),
         dict(type='BottomupGetPersonMasks'), dict(type='PackPoseInputs')]
TEST = [LOAD, dict(type='PackPoseInputs', meta_keys=('id', 'img_id', 'img_path', 'ori_shape'))]
PART = dict(feat_channels=8, num_convs=1)
MODEL = dict(
    type='BottomupPoseEstimator',
    data_preprocessor=dict(type='PoseDataPreprocessor', mean=[128.] * 3, std=[64.] * 3),
    backbone=dict(type='MobileNetV2', widen_factor=0.35, out_indices=(7, )),
    head=dict(type='KDCHead', in_channels=1280, pose_head=PART, seg_head=PART, decoder=dict(
        type='PoseSeg', input_size=SIZE, radius=8,
        metainfo='configs/_base_/datasets/coco.py')))

TEXTS = st.text(max_size=6) | st.sampled_from([
    '1', '-1', '1.0', 'nan', '1e400', 'person', '1.jpg', '2.jpg', '.', '/', '\0', '\n', '\ud800',
    '3.jpg\n', '[0,0,9,0,9,9]', '{"counts":[1]}', '1' * 5000])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1, 3, 2**31, 2**63, 2**64, 5e-324])
VALUES = st.sampled_from(ODD) | st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(
        st.sampled_from(['id', 'x', 'y', 'counts', 'size', 'name']) | TEXTS, part, max_size=3),
    max_leaves=8)
RETYPES = (str, lambda value: [value], lambda value: {'0': value}, bool, repr,
           lambda value: float(value) if isinstance(value, int) else json.dumps(value),
           lambda value: dict(enumerate(value)) if isinstance(value, list) else [value, value],
           lambda value: list(value.values()) if isinstance(value, dict) else None)


@st.composite
def mutated_files(draw):
    """A right file with one to three mutations anywhere in its images, annotations, categories."""
    content = copy.deepcopy(CLEAN)
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(['annotations', 'annotations', 'images', 'categories']))
        mutate(draw, content, key)
    return content


def mutate(draw, node, key):
    """Change what is at a key, or at a key within it."""
    value = node[key] if isinstance(node, list) else node.get(key)
    if isinstance(value, (list, dict)) and value and draw(st.integers(0, 9)):
        keys = sorted(value, key=str) if isinstance(value, dict) else range(min(len(value), 9))
        mutate(draw, value, draw(st.sampled_from(keys)))
        return
    kind = draw(st.sampled_from(['replace', 'replace', 'remove', 'repeat', 'retype', 'nest']))
    if kind == 'replace':
        node[key] = copy.deepcopy(draw(VALUES))
    elif kind == 'remove' and isinstance(node, list):
        del node[key]
    elif kind == 'remove':
        node.pop(key, None)  # an earlier mutation may have taken it
    elif kind == 'repeat' and isinstance(node, list):
        node.insert(draw(st.integers(0, len(node))), copy.deepcopy(value))
    elif kind == 'repeat':
        node[draw(TEXTS)] = copy.deepcopy(value)
    elif kind == 'retype':
        node[key] = draw(st.sampled_from(RETYPES))(value)
    else:
        for _ in range(draw(st.sampled_from([1, 2, 3, 40]))):
            value = [value]
        node[key] = value


class Judge:
    """Takes files through check_data, and what it approves through training and validation.

    Args:
        folder (Path): Where the four images and the file are written.
    """

    def __init__(self, folder):
        self.folder, self.outcomes = folder, Counter()
        rng = np.random.default_rng(0)
        for number in (1, 2, 3, 4):
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            assert cv2.imwrite(str(folder / f'{number}.jpg'), image)
        torch.manual_seed(0)
        self.model = MODELS.build(MODEL)
        files = dict(ann_file=str(folder / 'mutated.json'), data_prefix=dict(img=f'{folder}/'))
        self.train = dict(type='KDCCocoDataset', pipeline=TRAIN, **files)
        self.val = dict(type='KDCCocoDataset', pipeline=TEST, test_mode=True, **files)
        self.metrics = [
            dict(type='PersonPoseMetric', nms_mode='none', score_mode='bbox',
                 ann_file=files['ann_file']),
            dict(type='PersonSegMetric', ann_file=files['ann_file'])]
        self.cfg = Config(dict(
            model=MODEL, train_dataloader=dict(dataset=self.train),
            val_dataloader=dict(dataset=self.val), val_evaluator=self.metrics))

    def judge(self, content):
        """Refused in lines, or trains, validates and reads as itself when it is written again."""
        path = self.folder / 'mutated.json'
        path.write_text(json.dumps(content))
        checks = check_config(self.cfg)
        lines = [line for check in checks for line in check.errors + check.warnings]
        for line in lines:
            assert line.isprintable() and str(path.parent) in line
        if any(check.errors for check in checks):
            self.outcomes['refused'] += 1
            return
        self.outcomes['approved'] += 1
        assert math.isfinite(self.loss())
        found = self.scores()
        assert found.keys() >= {'coco/AP', 'coco/segm_mAP'}
        assert all(-1 <= value <= 1 for value in found.values())
        fixed = checks[0].reading.content
        path.write_text(json.dumps(fixed))
        dataset = DATASETS.build(dict(self.val, lazy_init=True))
        again = read_annotations(str(path), dataset.metainfo)
        assert again.content == fixed and not again.changes

    def loss(self):
        """The sum of the losses of one batch of all images."""
        dataset = DATASETS.build(self.train)
        np.random.seed(0)
        torch.manual_seed(0)
        batch = pseudo_collate([dataset[index] for index in range(len(dataset))])
        batch = self.model.data_preprocessor(batch, training=True)
        losses = self.model.train().loss(batch['inputs'], batch['data_samples'])
        return sum(value for name, value in losses.items() if name.startswith('loss')).item()

    def scores(self):
        """AP of the right file's people as predictions."""
        dataset = DATASETS.build(self.val)
        evaluator = Evaluator([METRICS.build(metric) for metric in self.metrics])
        evaluator.dataset_meta = dataset.metainfo
        for index in range(len(dataset)):
            sample = dataset[index]['data_samples'].to_dict()
            sample['pred_instances'] = PREDICTED[sample['img_path'][-5:]]
            for metric in evaluator.metrics:
                metric.process({}, [sample])
        return evaluator.evaluate(len(dataset))


def predicted(number):
    """What a network would find that knows the right file."""
    people = [ann for ann in CLEAN['annotations']
              if ann['image_id'] == number and not ann['iscrowd']]
    tables = np.reshape([ann['keypoints'] for ann in people], (-1, 17, 3))
    n = len(people)
    return dict(
        keypoints=tables[..., :2] + 0.5, keypoint_scores=np.ones((n, 17)), bboxes=np.zeros((n, 4)),
        bbox_scores=np.linspace(1, 0.5, n), scores=np.linspace(1, 0.5, n),
        labels=np.zeros(n, int), masks=[mask_of(ann) for ann in people])


PREDICTED = {f'{number}.jpg': predicted(number) for number in (1, 2, 3, 4)}
ANY = settings(
    max_examples=60, derandomize=True, database=None, deadline=None,
    suppress_health_check=list(HealthCheck))


@pytest.fixture(scope='module')
def judge(tmp_path_factory):
    return Judge(tmp_path_factory.mktemp('mutated'))


@ANY
@given(content=mutated_files())
def test_a_mutated_file_is_refused_in_lines_or_trains_and_validates(judge, content):
    judge.judge(content)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_two_thousand_mutated_files_are_refused_in_lines_or_train_and_validate(judge):
    judge.outcomes.clear()

    @settings(ANY, max_examples=2000)
    @given(content=mutated_files())
    def judge_any(content):
        judge.judge(content)

    judge_any()
    print(dict(judge.outcomes))
    assert sum(judge.outcomes.values()) >= 2000 and min(judge.outcomes.values()) > 200
