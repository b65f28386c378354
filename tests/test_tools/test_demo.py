"""The demo's clock, and its whole path in small: make data, train, evaluate, draw."""
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.optim import CosineAnnealingLR, OptimWrapper

from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def demo():
    return load_tool('demo')


class Clock:
    """A clock that only work moves on."""

    def __init__(self):
        self.now = 100.

    def perf_counter(self):
        return self.now


class Run:
    """A runner whose iterations and validations take given seconds of a :class:`Clock`."""

    def __init__(self, demo, clock, step_seconds, val_seconds):
        self.demo, self.clock, self.step_seconds = demo, clock, step_seconds
        self.visualizer = self
        self.model = torch.nn.Linear(1, 1)
        self.optim_wrapper = OptimWrapper(torch.optim.SGD(self.model.parameters(), lr=1.))
        scheduler = CosineAnnealingLR(
            self.optim_wrapper, T_max=100, eta_min=0.01, by_epoch=False, end=100)
        self.param_schedulers = [scheduler]
        self.hook = demo.TimedParamSchedulerHook()
        self.rates, self.validated_at, self.last_iterations = [], [], []
        self.val_loop = self
        self.val_seconds = val_seconds

    def run(self):
        self.validated_at.append(self.train_loop.position)
        self.clock.now += self.val_seconds

    def train_step(self, data_batch, optim_wrapper):
        self.clock.now += self.step_seconds(len(self.rates))
        optim_wrapper.step()

    def call_hook(self, name, **kwargs):
        if name == 'after_train_iter':
            self.rates.append(self.optim_wrapper.get_lr()['lr'][0])
            loop = self.train_loop
            self.last_iterations.append(loop.iter + 1 == loop.max_iters)
            self.hook.after_train_iter(self, **kwargs)

    def train(self, minutes, val_interval=25):
        self.model.train_step = self.train_step
        loader = torch.utils.data.DataLoader(list(range(7)))
        self.train_loop = self.demo.TimedTrainLoop(self, loader, minutes, 100, val_interval)
        start = self.clock.now
        self.train_loop.run()
        return self.clock.now - start


@pytest.fixture
def run(demo, monkeypatch):

    def make(step_seconds, val_seconds=0.):
        clock = Clock()
        monkeypatch.setattr(demo.time, 'perf_counter', clock.perf_counter)
        # mmengine waits between epochs
        monkeypatch.setattr('mmengine.runner.loops.time.sleep', lambda seconds: None)
        return Run(demo, clock, step_seconds, val_seconds)

    return make


@pytest.mark.parametrize('seconds', [0.07, 1., 13.])
def test_training_fills_its_time_at_any_speed_and_never_exceeds_it(run, seconds):
    took = run(lambda i: seconds).train(minutes=2)
    assert 120 - 2 * seconds < took <= 120 + 1e-6


@pytest.mark.parametrize('seconds', [0.2, 3.])
def test_the_learning_rate_ends_where_the_schedule_ends(run, seconds):
    training = run(lambda i: seconds)
    training.train(minutes=2)
    assert training.rates[0] == 1.
    assert training.rates == sorted(training.rates, reverse=True)
    assert training.rates[-1] < 0.02


def test_validations_come_when_the_schedule_says_and_count_as_time(run):
    training = run(lambda i: 0.5, val_seconds=6)
    assert training.train(minutes=2) <= 120 + 1e-6
    assert len(training.validated_at) == 3
    for position, due in zip(training.validated_at, (25, 50, 75)):
        assert due <= position < due + 2


def test_only_the_last_iteration_is_announced_as_the_last(run):
    training = run(lambda i: 9. if i == 0 else 1.)
    training.train(minutes=1)
    assert training.last_iterations[-1]
    assert not any(training.last_iterations[:-1])


def test_on_a_machine_too_slow_for_its_time_training_ends_in_order_nevertheless(run):
    training = run(lambda i: 100.)
    training.train(minutes=1)
    assert training.last_iterations == [False, True]


def demo_run(folder, *flags):
    """Run tools/demo.py on a handful of images, and return what it printed."""
    done = subprocess.run(
        [
            sys.executable, 'tools/demo.py', '--work-dir', folder / 'work', '--data-dir',
            folder / 'data', '--train', '16', '--val', '3', '--pictures', '2', *flags
        ],
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def demo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    demo_run(folder, '--minutes', '0.1')
    return folder


def test_the_demo_leaves_metrics_pictures_and_curves(demo_folder):
    work = demo_folder / 'work'
    metrics = json.loads((work / 'metrics.json').read_text())
    assert 0 <= metrics['keypoints_AP'] <= 1 and 0 <= metrics['segm_AP'] <= 1
    assert metrics['images'] == 3 and metrics['persons'] >= 3
    assert 0 < metrics['train_minutes'] < 1
    pictures = cv2.imread(str(work / 'pictures.png'))
    assert pictures.shape[1] > pictures.shape[0] > 900, 'two rows of three'
    assert (work / 'curves.png').stat().st_size > 0


def test_the_demo_draws_a_checkpoint_without_training(demo_folder):
    checkpoint = Path((demo_folder / 'work/last_checkpoint').read_text())
    printed = demo_run(demo_folder, '--checkpoint', checkpoint)
    assert 'Training' not in printed
    metrics = json.loads((demo_folder / 'work/metrics.json').read_text())
    assert metrics['train_minutes'] == 0


def test_the_grid_tool_draws_fields_of_a_checkpoint(demo_folder):
    out = demo_folder / 'grid.png'
    config = next((demo_folder / 'work').glob('*.py'))
    checkpoint = (demo_folder / 'work/last_checkpoint').read_text()
    subprocess.run([
        sys.executable, 'tools/misc/picture_grid.py', config, checkpoint, '--out', out, '--num',
        '1', '--draw-fields'
    ], cwd=ROOT, check=True)
    grid = cv2.imread(str(out))
    assert grid.shape[1] > 5 * grid.shape[0], 'one row of six'
