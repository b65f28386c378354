"""The command lines of tools/train.py and tools/test.py, and the scripts that start them."""
import argparse
import os
import subprocess
import sys
from pathlib import Path

import mmpose
import pytest
from mmengine.config import Config

from tests.conftest import load_module, load_tool

ROOT = Path(__file__).resolve().parents[2]
MMPOSE_TOOLS = Path(mmpose.__file__).parent / '.mim/tools'


@pytest.fixture(autouse=True)
def local_rank(monkeypatch):
    """The tools set this variable; it is put back after each test."""
    monkeypatch.setenv('LOCAL_RANK', '0')


@pytest.fixture(scope='module', params=['train', 'test'])
def tool(request):
    return load_tool(request.param)


@pytest.fixture(scope='module')
def train():
    return load_tool('train')


@pytest.fixture(scope='module')
def test():
    return load_tool('test')


def describe_flags(parser):
    """What a command line can hold: per flag its spellings, arity, default, type and choices."""
    return {
        action.dest: (tuple(action.option_strings), action.nargs, action.const, action.default,
                      action.type or str, action.choices, type(action))
        for action in parser._actions
    }


def mmpose_parser(file, monkeypatch):
    """The parser that MMPose's tool builds inside its parse_args()."""
    seen = []
    monkeypatch.setattr(
        argparse.ArgumentParser, 'parse_args',
        lambda self: seen.append(self) or argparse.Namespace(local_rank=0))
    load_module(file).parse_args()
    return seen[0]


def test_the_flags_are_those_of_mmposes_own_tool(tool, monkeypatch):
    theirs = mmpose_parser(MMPOSE_TOOLS / Path(tool.__file__).name, monkeypatch)
    assert describe_flags(tool.build_parser()) == describe_flags(theirs)


def merged(tool, command, **settings):
    config = dict(
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-5)), auto_scale_lr=dict(enable=False),
        default_hooks=dict(
            visualization=dict(type='PoseVisualizationHook', enable=False),
            badcase=dict(type='BadCaseAnalysisHook', enable=False)),
        model=dict(head=dict(loss=dict(type='L'))), test_evaluator=dict(type='CocoMetric'),
        val_cfg=dict(), val_dataloader=dict(), val_evaluator=dict())
    config.update(settings)
    args = tool.build_parser().parse_args(command.split())
    return tool.merge_arguments(Config(config), args)


def test_the_work_dir_is_the_flags_then_the_configs_then_named_after_the_config(train):
    assert merged(train, 'a/b.py').work_dir == 'work_dirs/b'
    assert merged(train, 'a/b.py', work_dir='set').work_dir == 'set'
    assert merged(train, 'a/b.py --work-dir flag', work_dir='set').work_dir == 'flag'


def test_resume_takes_a_name_or_finds_the_last_checkpoint(train):
    named = merged(train, 'a.py --resume e.pth')
    assert (named.resume, named.load_from) == (True, 'e.pth')
    last = merged(train, 'a.py --resume', load_from='pretrained.pth')
    assert (last.resume, last.load_from) == (True, None)


def test_amp_takes_bfloat16_where_there_is_no_gpu(train, monkeypatch):
    monkeypatch.setattr(train, 'get_device', lambda: 'cpu')
    assert merged(train, 'a.py --amp').optim_wrapper.type == 'CpuAmpOptimWrapper'


def test_amp_without_a_gpu_replaces_a_gpus_wrapper_and_its_loss_scale(train, monkeypatch):
    monkeypatch.setattr(train, 'get_device', lambda: 'cpu')
    wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
    assert merged(train, 'a.py --amp', optim_wrapper=wrapper).optim_wrapper == dict(
        type='CpuAmpOptimWrapper')


def test_amp_wraps_the_optimizer_with_a_dynamic_loss_scale(train, monkeypatch):
    monkeypatch.setattr(train, 'get_device', lambda: 'cuda')
    wrapper = merged(train, 'a.py --amp').optim_wrapper
    assert (wrapper.type, wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')


def test_amp_refuses_an_optimizer_wrapper_that_it_would_replace(train):
    with pytest.raises(SystemExit, match='MyWrapper'):
        merged(train, 'a.py --amp', optim_wrapper=dict(type='MyWrapper'))


def test_no_validate_leaves_out_the_whole_validation(train):
    cfg = merged(train, 'a.py --no-validate')
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None


def test_auto_scale_lr_is_switched_on(train):
    assert merged(train, 'a.py --auto-scale-lr').auto_scale_lr.enable


def test_show_dir_switches_the_visualization_hook_on(tool):
    command = 'a.py e.pth' if 'test' in tool.__file__.rsplit('/', 1)[-1] else 'a.py'
    hook = merged(tool, f'{command} --show-dir out --interval 5').default_hooks.visualization
    assert (hook.enable, hook.show, hook.out_dir, hook.interval) == (True, False, 'out', 5)


def test_cfg_options_have_the_last_word(tool):
    command = 'a.py e.pth' if 'test' in tool.__file__.rsplit('/', 1)[-1] else 'a.py'
    assert merged(tool, f'{command} --work-dir w --cfg-options work_dir=o').work_dir == 'o'


def test_cfg_options_that_nothing_reads_are_refused(tool):
    command = 'a.py e.pth' if 'test' in tool.__file__.rsplit('/', 1)[-1] else 'a.py'
    codec = dict(radius=32)
    with pytest.raises(SystemExit, match='^--cfg-options: nothing reads codec.radius; '
                       'set model.head.decoder.radius instead.$'):
        merged(tool, f'{command} --cfg-options codec.radius=40', codec=codec,
               model=dict(head=dict(decoder=codec, loss=dict(type='L'))))


def test_dump_adds_a_metric_that_writes_the_predictions(test):
    evaluators = merged(test, 'a.py e.pth --dump out.pkl').test_evaluator
    assert [one.type for one in evaluators] == ['CocoMetric', 'DumpResults']
    with pytest.raises(SystemExit, match='pickle'):
        merged(test, 'a.py e.pth --dump out.json')


def test_dump_takes_the_predictions_on_all_of_several_data_sets(test):
    mixed = dict(type='MixedDatasetEvaluator', metrics=[dict(type='CocoMetric')],
                 datasets=[dict(type='KDCCocoDataset')])
    evaluator = merged(test, 'a.py e.pth --dump out.pkl', test_evaluator=mixed).test_evaluator
    assert [one.type for one in evaluator.metrics] == ['CocoMetric', 'DumpResults']
    assert evaluator.datasets == [dict(type='KDCCocoDataset'), None]
    with pytest.raises(SystemExit, match='^--dump works with MixedDatasetEvaluator'):
        merged(test, 'a.py e.pth --dump out.pkl',
               test_evaluator=dict(mixed, type='MultiDatasetEvaluator'))


def test_badcase_measures_by_the_loss_unless_the_config_names_another(test):
    assert merged(test, 'a.py e.pth --badcase').default_hooks.badcase.metric.type == 'L'
    hooks = dict(badcase=dict(metric_type='accuracy'))
    cfg = merged(test, 'a.py e.pth --badcase', default_hooks=hooks)
    assert cfg.default_hooks.badcase.metric.type == 'CocoMetric'


def test_a_broken_checkpoint_is_refused_in_one_line_before_anything_is_built(
        tool, tmp_path, monkeypatch):
    """From another directory, with a config whose model could not be built."""
    monkeypatch.chdir(tmp_path)
    Path('config.py').write_text("model = dict(type='NoSuchModel')\n")
    Path('broken.pth').write_text('these are not the weights')
    flags = ['broken.pth'] if tool.__file__.endswith('test.py') else ['--resume', 'broken.pth']
    monkeypatch.setattr(sys, 'argv', ['tool', 'config.py', *flags])
    with pytest.raises(SystemExit, match='^broken.pth is no PyTorch checkpoint'):
        tool.main()


SCRIPTS = ['tools/dist_train.sh', 'tools/dist_test.sh', 'tools/slurm_train.sh',
           'tools/slurm_test.sh', '.ci/run']


@pytest.mark.parametrize('script', SCRIPTS)
def test_shell_scripts_parse_and_can_be_executed(script):
    subprocess.run(['bash', '-n', ROOT / script], check=True)
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize('script, arguments, started', [
    ('dist_train.sh', ['c.py', '2', '--amp'], 'train.py c.py --launcher pytorch --amp'),
    ('dist_test.sh', ['c.py', 'e.pth', '2', '--out', 'a b'],
     'test.py c.py e.pth --launcher pytorch --out a b'),
    ('slurm_train.sh', ['part', 'job', 'c.py', 'work', '--amp'],
     'train.py c.py --work-dir=work --launcher=slurm --amp'),
    ('slurm_test.sh', ['part', 'job', 'c.py', 'e.pth', '--out', 'a b'],
     'test.py c.py e.pth --launcher=slurm --out a b'),
])
def test_launchers_pass_their_arguments_on_from_any_directory(
        tmp_path, script, arguments, started):
    for program in ('python', 'srun'):
        (tmp_path / program).write_text('#!/bin/sh\necho "$@"\n')
        (tmp_path / program).chmod(0o755)
    answer = subprocess.run(
        [ROOT / 'tools' / script, *arguments], cwd=tmp_path, text=True, capture_output=True,
        env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}'})
    assert answer.stdout.strip().endswith(f'{ROOT}/tools/{started}')
