"""tools/misc/browse_dataset.py on the demo's pipelines."""
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from kdc_mm.synth_crowd import make_synth_crowd

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def synth(tmp_path_factory):
    folder = tmp_path_factory.mktemp('synth')
    make_synth_crowd(folder, 'easy', 3, 2, size=128, workers=1, progress=False)
    return folder


def browse(synth, out, *flags):
    return subprocess.run(
        [
            sys.executable, 'tools/misc/browse_dataset.py', 'configs/demo/kdc_rn18_synthcrowd.py',
            '--not-show', '--output-dir', out, *flags, '--cfg-options',
            f'train_dataloader.dataset.data_root={synth}/',
            f'val_dataloader.dataset.data_root={synth}/'
        ],
        cwd=ROOT,
        capture_output=True,
        text=True)


@pytest.mark.parametrize('flags, number, shape', [
    (['--mode', 'original'], 3, (800, 800, 3)),
    (['--phase', 'val'], 2, (800, 800, 3)),
    (['--targets', '--max-item-per-dataset', '1'], 1, (1600, 2400, 3)),
])
def test_each_view_of_the_data_is_written(synth, tmp_path, flags, number, shape):
    done = browse(synth, tmp_path / 'out', *flags)
    assert done.returncode == 0, done.stderr
    pictures = [cv2.imread(str(path)) for path in (tmp_path / 'out').iterdir()]
    assert [picture.shape for picture in pictures] == [shape] * number


def test_targets_of_data_that_is_not_encoded_are_refused(synth, tmp_path):
    done = browse(synth, tmp_path, '--targets', '--phase', 'val')
    assert done.returncode == 2
    assert '--targets needs' in done.stderr
