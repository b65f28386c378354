"""The docs' own config runs, and a size that a network cannot do is told with sizes that it can."""
import copy
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import MODELS

from kdc_mm.engine.hooks import InputSizeHook
from kdc_mm.models.input_size import InputSizeError, check_input_size

from ..conftest import load_tool
from ..test_models.samples import narrow_hrnet
from .conftest import ROOT

#: A narrow HRNet, of as many channels at stride 4 as docs/own_config.md has.
EXTRA = narrow_hrnet(32, 16, 16, 16)
PAFPN = dict(
    backbone=dict(type='CSPNeXt', arch='P5', deepen_factor=0.167, widen_factor=0.125,
                  out_indices=(2, 3, 4), norm_cfg=dict(type='BN')),
    neck=dict(type='mmdet.CSPNeXtPAFPN', in_channels=[32, 64, 128], out_channels=32,
              num_csp_blocks=1, norm_cfg=dict(type='BN')))


@pytest.fixture(scope='module')
def own_config(tmp_path_factory):
    """The config of docs/own_config.md, with the extra settings of a small HRNet."""
    example, = [block for block in re.findall(r'```python\n(.*?)```',
                                              (ROOT / 'docs/own_config.md').read_text(), re.S)
                if 'HRNet' in block]
    assert 'extra=...' in example
    file = tmp_path_factory.mktemp('own_config') / 'example.py'
    file.write_text(example.replace('extra=...', f'extra={EXTRA}'))
    return Config.fromfile(file)


def set_size(cfg, size):
    cfg = copy.deepcopy(cfg)
    cfg.model.head.decoder.update(input_size=size, radius=8)
    return cfg


def with_data(cfg, folder, size):
    """The same with the training that ``configs/kdc_rn152_coco.py`` has whole."""
    cfg = set_size(cfg, size)
    whole = Config.fromfile(ROOT / 'configs/kdc_rn152_coco.py')
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
        cfg[key] = whole[key]
    for part in ('train', 'val'):
        cfg[f'{part}_dataloader'].update(batch_size=3, num_workers=0, persistent_workers=False)
        dataset = cfg[f'{part}_dataloader'].dataset
        dataset.update(type='KDCCrowdPoseDataset', data_root=f'{folder}/', ann_file='people.json',
                       data_prefix=dict(img='images/'))
        dataset.pipeline[1].input_size = size
    cfg.val_evaluator = dict(whole.val_evaluator[0], ann_file=f'{folder}/people.json')
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.merge_from_dict(dict(
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-4)),
        train_cfg=dict(by_epoch=True, max_epochs=1), val_cfg=dict(), work_dir=str(folder / 'run'),
        experiment_name=f'own_config-{size[0]}'))
    return cfg


def test_the_config_of_the_docs_trains_and_validates(own_config, crowdpose):
    runner = Runner.from_cfg(with_data(own_config, crowdpose, (96, 96)))
    runner.train()
    assert runner.iter == 1
    assert 'coco/AP' in runner.val_loop.run()


def test_its_codec_names_a_data_set_that_is_there(own_config):
    assert MODELS.build(set_size(own_config, (96, 96)).model).head.num_keypoints == 14


@pytest.mark.parametrize('size, parts, working', [
    ((401, 401), 'HRNet', '384x384 or 416x416'), ((97, 128), 'HRNet', '96x128 or 128x160'),
    ((401, 401), 'CSPNeXt with CSPNeXtPAFPN', '384x384 or 416x416')])
def test_a_size_that_a_network_cannot_do_is_told_with_sizes_that_it_can(
        own_config, size, parts, working):
    cfg = set_size(own_config, size)
    if 'PAFPN' in parts:
        cfg.model.backbone, cfg.model.neck = copy.deepcopy((PAFPN['backbone'], PAFPN['neck']))
    model = MODELS.build(cfg.model).train()
    with pytest.raises(InputSizeError) as error:
        check_input_size(model)
    message = str(error.value)
    assert message.startswith(f'{parts} cannot do inputs of {size[0]}x{size[1]} (')
    assert f'but {working}. Give' in message and '\n' not in message
    assert model.training and model.backbone.training


@pytest.mark.parametrize('size', [(97, 97), (96, 96), (100, 64)])
def test_a_size_that_a_network_can_do_passes(demo_cfg, size):
    model = MODELS.build(set_size(demo_cfg, size).model)
    check_input_size(model)


def test_other_errors_of_backbone_and_neck_stay_what_they_are(demo_cfg):
    cfg = copy.deepcopy(demo_cfg)
    cfg.model.neck.in_channels = [1, 2, 3, 4]
    with pytest.raises(RuntimeError, match='channels'):
        check_input_size(MODELS.build(cfg.model))


def test_estimators_of_others_are_left_alone():
    check_input_size(torch.nn.Linear(1, 1))


class Iterations(Hook):
    """Counts the iterations that have begun."""
    count = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        Iterations.count += 1


def test_training_stops_before_its_first_iteration(own_config, crowdpose):
    Iterations.count = 0
    cfg = with_data(own_config, crowdpose, (97, 97))
    cfg.custom_hooks = Config.fromfile(ROOT / 'configs/kdc_rn152_coco.py').custom_hooks
    assert 'InputSizeHook' in [hook.type for hook in cfg.custom_hooks]
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Iterations())
    with pytest.raises(InputSizeError, match='97x97'):
        runner.train()
    assert Iterations.count == 0


def test_our_tool_says_it_in_one_line_whatever_hooks_the_config_has(
        own_config, crowdpose, tmp_path, monkeypatch):
    cfg = with_data(own_config, crowdpose, (401, 401))
    cfg.experiment_name = 'own_config-tool'
    assert 'custom_hooks' not in cfg or not any(
        hook.type == 'InputSizeHook' for hook in cfg.custom_hooks)
    cfg.dump(tmp_path / 'config.py')
    monkeypatch.setattr('sys.argv', ['train.py', str(tmp_path / 'config.py')])
    with pytest.raises(SystemExit, match='^HRNet cannot do inputs of 401x401 .*384x384 or 416x416'):
        load_tool('train').main()


def test_the_hook_is_known_by_name():
    init_default_scope('mmpose')
    from mmpose.registry import HOOKS
    assert isinstance(HOOKS.build(dict(type='InputSizeHook')), InputSizeHook)
