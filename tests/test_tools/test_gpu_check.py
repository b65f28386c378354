"""tools/setup/gpu_check.py without its measurements: order, what a failed step means, the JSON."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
COUNTS = 'tests="3" skipped="2"'
SKIPPED = '<testcase name="test_{}"><skipped message="no CUDA"/></testcase>'
PASSED = SKIPPED.format('a') + SKIPPED.format('b') + '<testcase name="test_c"/>'
FAILED = '<testcase name="test_a"/><testcase name="test_b"><failure message="no"/></testcase>'
STEPS = ['install', 'gpu tests', 'decode parity', 'speed', 'training step', 'demo']


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools/setup'))
    import gpu_check
    return gpu_check


@pytest.fixture
def run(tool, tmp_path, monkeypatch):
    """Function that runs the tool; ``failing`` is the label of the program that fails, if any."""

    def run_with(*arguments, failing=None, tests=PASSED, error=tool.SetupError('It failed.')):
        def call(check, label, *command):
            seen.append(json.loads((tmp_path / 'gpu_check.json').read_text())['steps'])
            if label == failing:
                raise error
            if label == 'tests':
                (tmp_path / 'gpu_tests.xml').write_text(
                    f'<testsuites><testsuite {COUNTS}>{tests}</testsuite></testsuites>')
            if label == 'demo':
                (tmp_path / 'demo/1/vis_data').mkdir(parents=True)
                (tmp_path / 'demo/metrics.json').write_text('{"keypoints_AP": 0.5}')
                (tmp_path / 'demo/1/vis_data/scalars.json').write_text(
                    '{"loss": 3, "step": 7}\n{"coco/AP": 0.5, "coco/segm_mAP": 0.25, "step": 0}\n')
            return 'some output\n{"found": 1, "difference": NaN}\n'

        seen.clear()
        monkeypatch.setattr(tool.Check, 'call', call)
        code = tool.main(['--out', str(tmp_path), '--device', 'cpu', *arguments])
        return code, json.loads((tmp_path / 'gpu_check.json').read_text())

    seen = run_with.seen = []
    return run_with


def test_all_steps_go_into_one_json_in_order(run):
    code, report = run()
    assert code == 0 and report['machine']['device'] == 'cpu'
    assert [step['name'] for step in report['steps']] == STEPS
    results = {step['name']: step['result'] for step in report['steps']}
    assert results['gpu tests'] == dict(passed=1, skipped=2, reasons=['no CUDA'])
    assert results['speed'] == dict(found=1, difference='NaN')
    assert results['demo'] == dict(metrics=dict(keypoints_AP=0.5), curve=[[7, 0.5, 0.25]])


def test_each_moment_has_a_whole_json_that_names_all_steps(run):
    run(failing='speed')
    for steps in run.seen:
        assert [step['name'] for step in steps] == STEPS
        assert all(step['ok'] or step['error'] for step in steps)
    before_the_demo = {step['name']: step['error'] for step in run.seen[-1]}
    assert before_the_demo == dict.fromkeys(STEPS[:-1]) | {
        'speed': 'It failed.', 'demo': 'Broken off.'}


@pytest.mark.parametrize('label, name', [
    ('tests', 'gpu tests'), ('parity', 'decode parity'), ('speed', 'speed'),
    ('step', 'training step'), ('demo', 'demo')])
@pytest.mark.parametrize('error', [OSError(12, 'no memory'), KeyError('step')])
def test_a_step_that_fails_in_any_way_is_told_and_the_others_go_on(run, label, name, error):
    code, report = run(failing=label, error=error)
    assert code == 1
    assert [step['name'] for step in report['steps']] == STEPS
    assert {step['name']: step['error'] for step in report['steps'] if not step['ok']} == {
        name: repr(error)}


def test_tests_that_fail_are_named(run):
    _, report = run(tests=FAILED)
    assert report['steps'][1]['error'].startswith('1 of 3 tests failed: test_b.')


def test_without_an_installation_the_other_steps_are_left_out_with_the_reason(run):
    code, report = run(failing='mmcv')
    assert code == 1 and [step['name'] for step in report['steps']] == STEPS
    assert [step['error'] for step in report['steps']] == [
        'It failed.', *['Left out: the installation failed.'] * 5]


def test_the_environment_sees_the_packages_of_the_python_that_runs_the_tool(tool, tmp_path):
    environment = tool.Environment(tmp_path / 'venv')
    environment.create('--without-pip')
    tool.see_packages_of_this_python(environment)
    assert environment.ask('import torch; print(torch.__version__)') == torch.__version__


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
