"""tools/analysis_tools/run_ablation.py: what it runs, keeps and draws."""
import importlib.util
import json
import subprocess
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
from mmengine.config import Config

from kdc_mm.codecs.skeleton import build_skeleton

ROOT = Path(__file__).resolve().parents[2]
ABLATIONS = ROOT / 'configs/ablations'
COCO = 'configs/_base_/datasets/coco.py'


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location(
        'run_ablation', ROOT / 'tools/analysis_tools/run_ablation.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(tool, monkeypatch):
    """Commands that the tool starts, which only pretend to train and test; those that name a
    config of the list ``fails`` fail."""
    class Calls(list):
        fails = ()

    started = Calls()

    def pretend(command, stdout, stderr, check):
        command = list(map(str, command))
        name = Path(command[2]).stem
        started.append((Path(command[1]).name, name, command))
        if name in started.fails:
            raise subprocess.CalledProcessError(1, command)
        folder = Path(command[command.index('--work-dir') + 1])
        if 'train' in started[-1][0]:
            (folder / 'last_checkpoint').write_text(str(folder / 'epoch_400.pth'))
            return
        metrics = {'coco/AP': 0.5, 'coco/AP .5': 0.7, 'coco/segm_mAP': 0.4}
        (folder / 'metrics.json').write_text(json.dumps(metrics))
        scores = np.tile([[0.8], [0.]], (1, 17))
        scores[1, 0] = 0.4
        mmengine.dump([dict(pred_instances=dict(keypoint_scores=scores))],
                      folder / 'predictions.pkl')

    monkeypatch.setattr(tool.subprocess, 'run', pretend)
    return started


def test_an_entry_is_trained_and_its_last_checkpoint_tested(tool, calls, tmp_path):
    assert tool.main([str(ABLATIONS / 'radius-8.py'), '--out', str(tmp_path), '--cfg-options',
                      'a.b=1', 'c=2']) == 0
    [train, test] = calls
    assert train[:2] == ('train.py', 'radius-8') and '--resume' in train[2]
    assert test[:2] == ('test.py', 'radius-8')
    assert test[2][3] == str(tmp_path / 'radius-8/epoch_400.pth')
    for _, _, command in calls:
        assert command[-3:] == ['--cfg-options', 'a.b=1', 'c=2']
    entry = json.loads((tmp_path / 'results.json').read_text())['radius-8']
    assert entry['setting'] == 8 and entry['metrics']['coco/AP'] == 0.5
    assert entry['keypoint_scores']['left_ankle'] == pytest.approx(0.8)
    assert entry['keypoint_scores']['nose'] == pytest.approx(0.6)
    assert cv2.imread(str(tmp_path / 'fig7_radius.png')) is not None


def test_several_processes_train_through_the_launcher(tool, calls, tmp_path):
    assert tool.main([str(ABLATIONS / 'radius-8.py'), '--out', str(tmp_path), '--gpus', '4']) == 0
    command = calls[0][2]
    assert command[0] == 'bash' and command[1].endswith('tools/dist_train.sh')
    assert command[3] == '4'


def test_entries_of_decoding_alone_test_one_checkpoint(tool, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'check_checkpoint', lambda path: None)
    configs = [str(ABLATIONS / f'sigma-instance-{sigma}.py') for sigma in (0.1, 0.5)]
    assert tool.main([*configs, '--out', str(tmp_path), '--checkpoint', 'base.pth']) == 0
    assert [(script, name, command[3]) for script, name, command in calls] == [
        ('test.py', 'sigma-instance-0.1', 'base.pth'),
        ('test.py', 'sigma-instance-0.5', 'base.pth'),
    ]


def test_finished_entries_are_not_run_again_and_failed_ones_are(tool, calls, tmp_path):
    configs = [str(ABLATIONS / f'mask-centroid-{kind}.py') for kind in ('static', 'dynamic')]
    calls.fails = ('mask-centroid-dynamic', )
    assert tool.main([*configs, '--out', str(tmp_path)]) == 1
    assert list(json.loads((tmp_path / 'results.json').read_text())) == ['mask-centroid-static']
    calls.clear()
    calls.fails = ()
    assert tool.main([*configs, '--out', str(tmp_path)]) == 0
    assert {name for _, name, _ in calls} == {'mask-centroid-dynamic'}
    calls.clear()
    assert tool.main([*configs, '--out', str(tmp_path)]) == 0 and not calls


def test_an_entry_with_other_settings_is_run_again(tool, calls, tmp_path):
    arguments = [str(ABLATIONS / 'radius-8.py'), '--out', str(tmp_path)]
    tool.main(arguments)
    calls.clear()
    tool.main([*arguments, '--cfg-options', 'train_cfg.max_epochs=1'])
    assert len(calls) == 2


@pytest.mark.parametrize('config, words', [
    (ABLATIONS / 'sigma-instance-0.1.py', '--checkpoint'),
    (ROOT / 'configs/kdc_rn152_coco.py', 'is no ablation'),
    (ROOT / 'configs/no.py', 'no.py'),
])
def test_what_cannot_run_is_named_before_anything_starts(tool, calls, tmp_path, capsys, config,
                                                         words):
    arguments = [str(ABLATIONS / 'radius-8.py'), str(config), '--out', str(tmp_path)]
    assert tool.main(arguments) == 1 and not calls
    assert words in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(tool, calls, tmp_path, capsys):
    config = str(ABLATIONS / 'sigma-instance-0.1.py')
    assert tool.main([config, '--checkpoint', 'no.pth', '--out', str(tmp_path)]) == 1
    assert 'no.pth' in capsys.readouterr().err and not calls


def test_every_figure_of_the_paper_is_drawn_from_its_studies(tool, tmp_path):
    from kdc_mm.visualization.ablations import draw_ablations
    entries = []
    for path in sorted(ABLATIONS.glob('*.py')):
        entries.append(dict(
            Config.fromfile(path).ablation,
            metrics={'coco/AP': 0.5, 'coco/AP (M)': -1, 'coco/segm_mAP': 0.4},
            keypoint_scores=dict.fromkeys(build_skeleton(COCO).names, 0.7)))
    pictures = draw_ablations(entries, tmp_path)
    assert [path.stem for path in pictures] == [
        'table7_key_centroid', 'fig7_radius', 'fig8_mask_centroid', 'fig9_point_sigma',
        'fig10_instance_sigma']
    assert all(cv2.imread(str(path)) is not None for path in pictures)


def test_the_ablations_are_the_papers():
    found = {}
    for path in ABLATIONS.glob('*.py'):
        ablation = Config.fromfile(path).ablation
        found.setdefault(ablation.study, set()).add(ablation.setting)
    assert found['key-centroid'] == {'on', 'off'} and found['radius'] == {8, 16, 32}
    assert found['mask-centroid'] == {'static', 'dynamic'}
    assert found['sigma-instance'] == {0.1, 0.2, 0.3, 0.4, 0.5}
    for kind in ('high', 'low'):
        assert min(found[f'sigma-{kind}-variance']) == 0.1
        assert max(found[f'sigma-{kind}-variance']) == 1.0


@pytest.mark.parametrize('path', sorted(ABLATIONS.glob('*.py')), ids=lambda path: path.stem)
def test_an_ablation_differs_from_its_base_in_what_its_name_says(path):
    base, changed = (Config.fromfile(file) for file in (ROOT / 'configs/kdc_rn152_coco.py', path))
    study, setting = changed.ablation.study, changed.ablation.setting
    assert path.stem == f'{study}-{setting}'
    expected = {
        'key-centroid': dict(use_key_centroid=setting == 'on'),
        'radius': dict(radius=setting),
        'sigma-high-variance': dict(sigma_high_variance=setting),
        'sigma-low-variance': dict(sigma_low_variance=setting),
        'sigma-instance': dict(sigma_instance=setting),
    }.get(study, {})
    assert changed.model.head.decoder == {**base.model.head.decoder, **expected}
    if study == 'mask-centroid':
        assert changed.model.head.seg_head.centroid == setting
    for part in ('backbone', 'neck', 'test_cfg'):
        assert changed.model[part] == base.model[part]
    assert changed.optim_wrapper == base.optim_wrapper
