"""tools/setup/gpu_check.py without its measurements: order, what a failed step means, the JSON."""
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = ['install', 'gpu tests', 'decode parity', 'speed', 'training step', 'demo']


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/setup'))
    import gpu_check
    return gpu_check


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """Function that runs the tool; ``failing`` is the label of the program that fails, if any."""

    def run_with(*arguments, failing=None):
        def call(check, label, *command):
            if label == failing:
                raise tool.SetupError(f'{label} failed.')
            if label == 'tests':
                (tmp_path / 'gpu_tests.xml').write_text(
                    '<testsuites><testsuite tests="6" failures="0" errors="0" skipped="2"/>'
                    '</testsuites>')
            if label == 'demo':
                (tmp_path / 'demo/1/vis_data').mkdir(parents=True)
                (tmp_path / 'demo/metrics.json').write_text('{"keypoints_AP": 0.5}')
                (tmp_path / 'demo/1/vis_data/scalars.json').write_text(
                    '{"loss": 3, "step": 7}\n{"coco/AP": 0.5, "coco/segm_mAP": 0.25, "step": 0}\n')
            return 'some output\n{"found": 1}\n'

        monkeypatch.setattr(tool.Check, 'call', call)
        code = tool.main(['--out', str(tmp_path), '--device', 'cpu', *arguments])
        return code, json.loads((tmp_path / 'gpu_check.json').read_text())

    return run_with


def test_all_steps_go_into_one_json_in_order(run):
    code, report = run()
    assert code == 0 and report['machine']['device'] == 'cpu'
    assert [step['name'] for step in report['steps']] == STEPS
    results = {step['name']: step['result'] for step in report['steps']}
    assert results['gpu tests'] == dict(tests=6, failures=0, errors=0, skipped=2)
    assert results['speed'] == dict(found=1)
    assert results['demo'] == dict(metrics=dict(keypoints_AP=0.5), curve=[[7, 0.5, 0.25]])


def test_a_step_that_fails_is_told_and_the_others_go_on(run):
    code, report = run(failing='speed')
    assert code == 1
    assert [step['name'] for step in report['steps'] if not step['ok']] == ['speed']
    assert report['steps'][3]['error'] == 'speed failed.'
    assert [step['name'] for step in report['steps']] == STEPS


def test_nothing_goes_on_without_an_installation(run, tmp_path):
    (tmp_path / 'packages').mkdir()
    code, report = run(failing='mmcv')
    assert code == 1 and [step['name'] for step in report['steps']] == ['install']


def test_carried_packages_are_installed_wheels_first_and_mmcv_last(tool, tmp_path):
    for name in ('mmcv-2.1.0.tar.gz', 'xtcocotools-1.14.3.tar.gz', 'six-1.17.0-py3-none-any.whl',
                 'mmpose-1.3.2-py3-none-any.whl', 'notes.txt'):
        (tmp_path / name).touch()
    labels = [label for label, _ in tool.carried(tmp_path)]
    assert labels == ['mmpose', 'six', 'xtcocotools', 'mmcv']


def test_an_empty_folder_of_packages_is_named(tool, tmp_path):
    with pytest.raises(tool.SetupError, match=f'^{tmp_path} holds no wheels'):
        tool.carried(tmp_path)


def test_the_script_needs_the_standard_library_only():
    """It runs before anything is installed."""
    subprocess.run([sys.executable, '-S', '-c', 'import gpu_check'], cwd=ROOT / 'tools/setup',
                   check=True)
