"""The same on photographs, with the command line that users type."""
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import load_tool
from .tiny import ROOT, Recorder, build, tiny_config

MINI_FILE = 'annotations/person_keypoints_train2017.json'


@pytest.mark.parametrize('config, folder, ann_file, images, prefix', [
    ('kdc_rn152_coco.py', 'coco-mini', MINI_FILE, 'train2017/', 'coco'),
    ('kdc_rn152_crowdpose.py', 'mm-samples/crowdpose', 'test_crowdpose.json', '', 'crowdpose'),
])
def test_a_small_network_trains_and_validates_on_photographs(
        data_root, tmp_path, config, folder, ann_file, images, prefix):
    """An epoch on four images, or on the two that there are. CrowdPose has no masks to learn."""
    recorder = Recorder()
    files = dict(ann_file=ann_file, data_prefix=dict(img=images), indices=4)
    runner = build(
        tiny_config(config, data_root / folder, tmp_path, train_cfg__max_epochs=1,
                    train_cfg__val_interval=1, train_dataloader__dataset=files,
                    val_dataloader__dataset=files), recorder)
    runner.train()
    assert recorder.losses and all(math.isfinite(parts['loss']) for parts in recorder.losses)
    scalars = runner.message_hub.log_scalars
    assert f'val/{prefix}/AP' in scalars
    assert (f'val/{prefix}/segm_mAP' in scalars) == (prefix == 'coco')
    assert ('train/loss_instance' in scalars) == (prefix == 'coco')


def overfit_options(data_root):
    """Point configs/demo/kdc_rn18_coco-sample.py at its four images."""
    folder = data_root / 'mm-samples/coco'
    loaders = [f'{part}_dataloader.dataset.data_root={folder}/' for part in ('train', 'val')]
    return loaders + [f'val_evaluator.{i}.ann_file={folder}/test_coco.json' for i in (0, 1)]


def test_over_fitting_four_photographs_starts(data_root, tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', [
        'train.py', 'configs/demo/kdc_rn18_coco-sample.py', '--work-dir', str(tmp_path),
        '--no-validate', '--cfg-options', *overfit_options(data_root)[:1],
        'train_cfg.max_iters=2', 'train_dataloader.batch_size=2', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'default_hooks.logger.interval=1',
        'visualizer.name=over-fitting'
    ])
    load_tool('train').main()
    losses = [line['loss'] for line in logged(tmp_path) if 'loss' in line]
    assert len(losses) == 2 and all(map(math.isfinite, losses))


def train(config, work_dir, *arguments):
    """Run tools/train.py as a user does, and fail with its last lines."""
    done = subprocess.run(
        [sys.executable, ROOT / 'tools/train.py', ROOT / 'configs' / config, '--work-dir',
         work_dir, *arguments], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]


def logged(work_dir):
    """The lines that the last run in a folder wrote for its curves."""
    file = max(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_a_small_network_learns_four_photographs_by_heart(data_root, tmp_path):
    """From random weights: the whole path can represent and learn real people."""
    train('demo/kdc_rn18_coco-sample.py', tmp_path, '--cfg-options', *overfit_options(data_root))
    last = [line for line in logged(tmp_path) if 'coco/AP' in line][-1]
    assert last['coco/AP'] >= 0.90 and last['coco/segm_mAP'] >= 0.80


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
def test_the_papers_network_trains_validates_saves_and_resumes_on_coco(data_root, tmp_path):
    """ResNet-152 at 401 px: three epochs of nine iterations, and the third once more, resumed.

    Four of the forty images show nobody and are not trained on.
    The seed orders the images; nothing else is random, so that the losses must repeat.
    """
    folder = data_root / 'coco-mini'
    options = [
        'model.backbone.init_cfg=None', 'train_cfg.max_epochs=3', 'train_cfg.val_interval=3',
        'default_hooks.checkpoint.interval=1', 'default_hooks.logger.interval=1',
        'log_processor.window_size=1', 'randomness.seed=0',
        'train_dataloader.dataset.pipeline.1.scale_prob=0.',
        'train_dataloader.dataset.pipeline.1.shift_prob=0.',
        'train_dataloader.dataset.pipeline.1.rotate_prob=0.',
        'train_dataloader.dataset.pipeline.2.prob=0.', 'val_dataloader.dataset.indices=4',
        f'val_dataloader.dataset.ann_file={MINI_FILE}',
        'val_dataloader.dataset.data_prefix.img=train2017/'
    ]
    for part in ('train', 'val'):
        options += [f'{part}_dataloader.dataset.data_root={folder}/',
                    f'{part}_dataloader.num_workers=1']
    options += [f'val_evaluator.{i}.ann_file={folder}/{MINI_FILE}' for i in (0, 1)]

    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    train('kdc_rn152_coco.py', whole, '--cfg-options', *options)
    train('kdc_rn152_coco.py', resumed, '--resume', whole / 'epoch_2.pth', '--cfg-options',
          *options)
    steps, steps_after = ([line for line in logged(folder) if 'loss' in line]
                          for folder in (whole, resumed))
    assert [line['step'] for line in steps] == list(range(1, 28))
    assert [line['step'] for line in steps_after] == list(range(19, 28))
    for before, after in zip(steps[18:], steps_after):
        assert (after['epoch'], after['lr']) == (before['epoch'], before['lr'])
        assert after['loss'] == pytest.approx(before['loss'], rel=1e-3)
    assert {path.name for path in whole.glob('epoch_*.pth')} == {
        f'epoch_{epoch}.pth' for epoch in (1, 2, 3)
    }
    for folder in (whole, resumed):
        [metrics] = [line for line in logged(folder) if 'coco/AP' in line]
        assert 'coco/segm_mAP' in metrics
