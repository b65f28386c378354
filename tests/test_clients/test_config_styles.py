"""Configs of MMEngine's new style, and of another default scope, through tools and runners."""
import json
import sys

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpose.registry import EVALUATORS
from mmpose.structures import PoseDataSample
from pycocotools import mask as coco_mask

from ..conftest import load_tool
from .conftest import ROOT

BASE = """
from mmengine.dataset import DefaultSampler
from mmengine.hooks import IterTimerHook, LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.visualization import LocalVisBackend
from mmpose.datasets.transforms import BottomupRandomAffine, BottomupResize, PackPoseInputs
from mmpose.models import BottomupPoseEstimator, PoseDataPreprocessor, ResNet
from torch.optim import Adam

from kdc_mm.codecs import PoseSeg
from kdc_mm.datasets import BottomupGetPersonMasks, KDCCocoDataset, LoadImage8Bit
from kdc_mm.engine.hooks import LossGuardHook, WholeCheckpointHook
from kdc_mm.evaluation import PersonPoseMetric, PersonSegMetric
from kdc_mm.models import KDCHead
from kdc_mm.visualization import (
    PersonBadCaseHook,
    PoseSegVisualizationHook,
    PoseSegVisualizer,
)

default_scope = 'mmpose'
data_mode = 'bottomup'
codec = dict(type=PoseSeg, input_size=(65, 65), radius=8)
model = dict(
    type=BottomupPoseEstimator,
    data_preprocessor=dict(type=PoseDataPreprocessor),
    backbone=dict(type=ResNet, depth=18, base_channels=8),
    head=dict(type=KDCHead, in_channels=64, decoder=codec, pose_head=dict(feat_channels=16),
              seg_head=dict(feat_channels=16)),
    test_cfg=dict(flip_test=False))
train_pipeline = [
    dict(type=LoadImage8Bit),
    dict(type=BottomupRandomAffine, input_size=(65, 65)),
    dict(type=BottomupGetPersonMasks),
    dict(type=PackPoseInputs)]
val_pipeline = [
    dict(type=LoadImage8Bit),
    dict(type=BottomupResize, input_size=(65, 65), size_factor=1),
    dict(type=PackPoseInputs, meta_keys=(
        'id', 'img_id', 'img_path', 'ori_shape', 'img_shape', 'input_size', 'input_center',
        'input_scale', 'flip_indices', 'raw_ann_info', 'dataset_name'))]
data = dict(type=KDCCocoDataset, data_root='{folder}/', ann_file='people.json',
            data_prefix=dict(img='images/'))
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(pipeline=val_pipeline, test_mode=True, **data))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type=PersonPoseMetric, ann_file='{folder}/people.json', nms_mode='none',
         score_mode='bbox'),
    dict(type=PersonSegMetric, ann_file='{folder}/people.json')]
test_evaluator = val_evaluator
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=Adam, lr=1e-4))
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=1),
    checkpoint=dict(type=WholeCheckpointHook, interval=1, save_best='coco/AP', rule='greater'),
    visualization=dict(type=PoseSegVisualizationHook, enable=False),
    badcase=dict(type=PersonBadCaseHook, enable=False, metric_type='accuracy'))
custom_hooks = [dict(type=LossGuardHook)]
visualizer = dict(type=PoseSegVisualizer, vis_backends=[dict(type=LocalVisBackend)])
"""
CONFIG = """
from mmengine.config import read_base

with read_base():
    from .new_style_base import *

model.update(test_cfg=dict(flip_test=True))
"""


@pytest.fixture(scope='module')
def new_style(coco, tmp_path_factory):
    """A config of the new style, and a checkpoint of it that training has written."""
    folder = tmp_path_factory.mktemp('new_style')
    (folder / 'new_style_base.py').write_text(BASE.replace('{folder}', str(coco)))
    (folder / 'new_style.py').write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        run_tool(patch, 'train', folder / 'new_style.py', '--work-dir', folder / 'run', '--amp',
                 '--show-dir', 'pictures')
    return folder / 'new_style.py', folder / 'run/epoch_1.pth'


def run_tool(monkeypatch, name, *args):
    """Run a tool of ours; how it ends if not with success is an error."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
    try:
        status = load_tool(name).main()
    except SystemExit as end:
        status = end.code
    assert status in (None, 0), status


def test_a_new_style_config_trains_and_is_tested(new_style, tmp_path, monkeypatch):
    config, checkpoint = new_style
    assert torch.load(checkpoint)['meta']['epoch'] == 1
    run_tool(monkeypatch, 'test', config, checkpoint, '--work-dir', tmp_path, '--out',
             tmp_path / 'metrics.json', '--dump', tmp_path / 'dump.pkl', '--show-dir', 'pictures',
             '--badcase')
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert {'coco/AP', 'coco/segm_mAP'} <= metrics.keys()
    assert (tmp_path / 'dump.pkl').exists()
    assert len(list(tmp_path.rglob('pictures/*.png'))) == 3


def test_a_new_style_config_is_browsed_checked_and_drawn(new_style, tmp_path, monkeypatch):
    config, checkpoint = new_style
    run_tool(monkeypatch, 'misc/browse_dataset', config, '--not-show', '--targets', '--output-dir',
             tmp_path / 'pictures')
    assert len(list((tmp_path / 'pictures').iterdir())) == 3
    run_tool(monkeypatch, 'dataset_tools/check_data', config, '--out', tmp_path / 'data.png')
    run_tool(monkeypatch, 'misc/picture_grid', config, checkpoint, '--out', tmp_path / 'grid.png',
             '--num', 1)
    assert (tmp_path / 'data.png').exists() and (tmp_path / 'grid.png').exists()


def test_a_new_style_configs_codec_is_measured(new_style, coco, tmp_path, monkeypatch):
    config, checkpoint = new_style
    ceiling, rules, speed = (tmp_path / f'{name}.json' for name in ('ceiling', 'rules', 'speed'))
    run_tool(monkeypatch, 'analysis_tools/codec_ceiling', config, '--ann-file',
             coco / 'people.json', '--out', ceiling)
    run_tool(monkeypatch, 'analysis_tools/codec_rules', 'measure', config, '--ann-file',
             coco / 'people.json', '--rules', 'unposed_area', '--out', rules)
    run_tool(monkeypatch, 'analysis_tools/codec_rules', 'measure', config, checkpoint, '--rules',
             'unposed_area', '--out', rules)
    run_tool(monkeypatch, 'analysis_tools/benchmark_speed', config, '--rounds', 1, '--persons', 1,
             '--out', speed)
    assert all(path.exists() for path in (ceiling, rules, speed))


def test_a_new_style_config_stands_on_a_leaderboard(new_style, coco, tmp_path, monkeypatch):
    config, checkpoint = map(str, new_style)
    data = dict(data_root=str(coco), ann_file='people.json', data_prefix=dict(img='images/'))
    board = dict(
        title='New', datasets=[dict(name='val', tasks=['keypoints', 'segm'], dataset=data)],
        entries=[dict(name='own', framework='RN-18', config=config, checkpoint=checkpoint),
                 dict(name='annotated', framework='RN-18', config=config, checkpoint=checkpoint,
                      keypoints='annotated')])
    (tmp_path / 'board.yml').write_text(yaml.safe_dump(board))
    run_tool(monkeypatch, 'leaderboard', tmp_path / 'board.yml', '--out', tmp_path / 'out')
    entries = json.loads((tmp_path / 'out/leaderboard.json').read_text())['entries']
    measured = [list(entry['measured']['val']) for entry in entries]
    assert measured == [['keypoints', 'segm'], ['segm']]


@pytest.fixture
def mmdet_scope():
    """mmdet is the default scope, and MMPose afterwards again."""
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    init_default_scope('mmdet')
    yield
    init_default_scope('mmpose')


def of_mmdet(demo_cfg, folder, work_dir):
    """The demo as part of a config of mmdet: what is not mmdet's is named with its scope."""
    cfg = Config(demo_cfg.to_dict())
    data = dict(type='mmpose.KDCCocoDataset', data_root=f'{folder}/', ann_file='people.json',
                data_prefix=dict(img='images/'))
    pipelines = {}
    for part in ('train', 'val'):
        steps = cfg[f'{part}_dataloader'].dataset.pipeline
        pipelines[part] = [dict(step, type=f'mmpose.{step.type}') for step in steps]
        pipelines[part][1]['input_size'] = (97, 97)
    metrics = [
        dict(metric, type=f'mmpose.{metric.type}', ann_file=f'{folder}/people.json')
        for metric in cfg.val_evaluator]
    model = cfg.model
    loader = dict(num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False))
    val = dict(loader, batch_size=1,
               dataset=dict(data, pipeline=pipelines['val'], test_mode=True))
    return Config(dict(
        default_scope='mmdet', work_dir=str(work_dir), experiment_name=work_dir.name,
        model=dict(
            type='mmpose.BottomupPoseEstimator',
            data_preprocessor=dict(model.data_preprocessor, type='mmpose.PoseDataPreprocessor'),
            backbone=dict(type='ResNet', depth=18),
            neck=dict(type='FPN', in_channels=[64, 128, 256, 512], out_channels=64, num_outs=4),
            head=dict(model.head, type='mmpose.KDCHead'),
            test_cfg=dict(flip_test=True)),
        train_dataloader=dict(loader, batch_size=2,
                              dataset=dict(data, pipeline=pipelines['train'])),
        val_dataloader=val, test_dataloader=val, val_evaluator=metrics, test_evaluator=metrics,
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-4)),
        train_cfg=dict(by_epoch=True, max_epochs=1), val_cfg=dict(), test_cfg=dict(),
        custom_hooks=[dict(type='mmpose.LossGuardHook')],
        visualizer=dict(type='mmpose.PoseSegVisualizer', name=work_dir.name)))


def test_a_head_trains_and_is_tested_in_a_config_of_mmdet(
        demo_cfg, coco, mmdet_scope, tmp_path):
    runner = Runner.from_cfg(of_mmdet(demo_cfg, coco, tmp_path))
    assert DefaultScope.get_current_instance().scope_name == 'mmdet'
    assert type(runner.model.backbone).__module__.startswith('mmdet')
    runner.train()
    figures = runner.val_loop.run()
    assert figures.keys() >= {'coco/AP', 'coco/segm_mAP'}


def test_masks_are_evaluated_by_mmposes_evaluator_of_several_data_sets(coco):
    """One metric for each of two data sets, to which the same images belong."""
    people = json.loads((coco / 'people.json').read_text())['annotations']
    datasets = [dict(type='KDCCocoDataset'), dict(type='KDCOCHumanDataset')]
    evaluator = EVALUATORS.build(dict(
        type='MultiDatasetEvaluator', datasets=datasets, metrics=[
            dict(type='PersonSegMetric', ann_file=str(coco / 'people.json'), prefix=name)
            for name in ('coco', 'ochuman')]))
    evaluator.dataset_meta = dict(dataset_name='coco')
    for name in ('coco', 'ochuman'):
        samples = [predicted(coco, person, name) for person in people]
        if name == 'ochuman':
            samples[0].pred_instances = samples[0].pred_instances[:0]  # one of three is missed
        evaluator.process(samples, dict(inputs=[None] * 3, data_samples=samples))
    figures = evaluator.evaluate(6)
    assert figures['coco/segm_mAP_50'] == pytest.approx(1)
    assert 0.6 < figures['ochuman/segm_mAP_50'] < 0.7


def predicted(folder, person, dataset_name):
    """A sample whose prediction is the person annotated in it."""
    image = next(one for one in json.loads((folder / 'people.json').read_text())['images']
                 if one['id'] == person['image_id'])
    shape = image['height'], image['width']
    mask = coco_mask.merge(coco_mask.frPyObjects(person['segmentation'], *shape))
    keypoints = np.array(person['keypoints'], np.float32).reshape(1, -1, 3)
    return PoseDataSample(
        metainfo=dict(id=person['id'], img_id=image['id'], img_path=image['file_name'],
                      ori_shape=shape, dataset_name=dataset_name),
        pred_instances=InstanceData(
            keypoints=keypoints[..., :2], keypoint_scores=np.ones(keypoints.shape[:2]),
            bboxes=np.zeros((1, 4)), scores=np.ones(1), labels=np.zeros(1, int), masks=[mask]))
