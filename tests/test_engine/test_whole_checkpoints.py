"""Whenever a run is stopped, there is a whole checkpoint, and the run goes on from it."""
import errno
import multiprocessing
import os
import random
import resource
import subprocess
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from kdc_mm.engine import CheckpointError
from kdc_mm.engine.checkpoint import checkpoint_to_start_from, last_whole_checkpoint
from kdc_mm.engine.faults import last_words
from kdc_mm.engine.whole_files import PARTIAL, WholeFilesBackend

from .toy import ToyModel, build_runner

WHOLE = dict(type='WholeCheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=1)


class LargeModel(ToyModel):
    """With Adam's moments a checkpoint of 24 MB, which takes a while to write."""

    def __init__(self):
        super().__init__()
        self.large = nn.Parameter(torch.zeros(2_000_000))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        losses = super().forward(inputs, data_samples, mode)
        return dict(losses, loss_large=(self.large * 0).sum())


def train(work_dir, model, max_iters, hook=WHOLE):
    """Train as tools/train.py --resume does, saving after every iteration."""
    start, _ = checkpoint_to_start_from(Config(dict(work_dir=str(work_dir), resume=True)))
    runner = build_runner(
        work_dir, model, checkpoint=hook, resume=start is not None, load_from=start,
        train_cfg=dict(by_epoch=False, max_iters=max_iters))
    runner.train()
    return runner


#: Starts processes from one of a single thread: a copy of this one might wait for ever for a lock
#: that another of its threads held.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload([__name__])


def files_of(folder):
    """Names of the checkpoints and what belongs to them, without logs and config."""
    return sorted(path.name for path in folder.iterdir() if path.suffix not in ('.py', '')
                  or path.name == 'last_checkpoint')


def train_on_a_slow_disk(work_dir):
    """Train until killed; most of the time a checkpoint is being written."""
    torch.set_num_threads(1)
    fsync = os.fsync
    os.fsync = lambda handle: (time.sleep(0.1), fsync(handle))
    train(work_dir, LargeModel(), 100_000)


def kill_and_resume(work_dir, kills, seed):
    """Kill a run at random moments from its first checkpoint on; how often it was writing one.

    Every other kill waits for a checkpoint to be begun; the others fall anywhere between two.
    """
    moments, while_writing, reached = random.Random(seed), 0, 0
    for i in range(kills):
        child = FORKS.Process(target=train_on_a_slow_disk, args=(work_dir, ))
        child.start()
        wait_until(lambda: has_saved(work_dir, after=reached))
        if i % 2:
            wait_until(lambda: is_writing(work_dir))
        time.sleep(moments.uniform(0, 0.1 if i % 2 else 0.6))
        child.kill()
        child.join()
        while_writing += is_writing(work_dir)
        start, problems = last_whole_checkpoint(str(work_dir))
        assert problems == []
        before, reached = reached, torch.load(start)['meta']['iter']
        assert reached > before
    runner = train(work_dir, LargeModel(), reached + 2)
    assert runner.iter == reached + 2
    assert not any(work_dir.glob('*' + PARTIAL))
    return while_writing


def has_saved(work_dir, after):
    """Whether the run has named a checkpoint since that of iteration ``after``."""
    last = work_dir / 'last_checkpoint'
    return last.exists() and not last.read_text().endswith(f'/iter_{after}.pth')


def is_writing(work_dir):
    """Whether a checkpoint is there in part."""
    return any(work_dir.glob('*.pth' + PARTIAL))


def wait_until(condition):
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.005)
    pytest.fail('the run saved nothing within 100 s')


def test_a_killed_run_goes_on_from_a_whole_checkpoint(tmp_path):
    kill_and_resume(tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_runs_killed_at_a_hundred_moments_go_on(tmp_path):
    kills = 100
    while_writing = kill_and_resume(tmp_path, kills, seed=1)
    print(f'{kills} kills, {while_writing} of them while a checkpoint was being written')
    assert while_writing > kills / 10


@pytest.mark.parametrize('moment', ['open', 'write', 'fsync', 'replace'])
def test_what_was_there_stays_where_writing_breaks_off(tmp_path, monkeypatch, moment):
    file = tmp_path / 'epoch_1.pth'
    file.write_bytes(b'whole')

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    if moment == 'write':
        monkeypatch.setattr('builtins.open', lambda *args: open_full(*args))
    else:
        monkeypatch.setattr('builtins.open' if moment == 'open' else f'os.{moment}', fail)
    with pytest.raises(OSError, match='No space left on device') as error:
        WholeFilesBackend().put(b'next', file)
    monkeypatch.undo()
    assert error.value.filename == str(file)
    assert file.read_bytes() == b'whole' and files_of(tmp_path) == ['epoch_1.pth']


def open_full(path, mode):
    """A file on a disk that takes two bytes more."""
    stream = Path(path).open(mode)
    stream.write(b'ne')
    stream.flush()
    stream.write = lambda data: os.write(os.open('/dev/full', os.O_WRONLY), data)
    return stream


def test_the_older_checkpoint_goes_when_the_newer_one_is_there(tmp_path, monkeypatch):
    seen = []
    put = WholeFilesBackend.put

    def note(self, obj, filepath):
        put(self, obj, filepath)
        seen.append(files_of(tmp_path))

    monkeypatch.setattr(WholeFilesBackend, 'put', note)
    train(tmp_path, ToyModel(), 3)
    assert [[name for name in files if name.endswith('.pth')] for files in seen[::2]] == [
        ['iter_1.pth'], ['iter_1.pth', 'iter_2.pth'], ['iter_2.pth', 'iter_3.pth']]
    assert files_of(tmp_path) == ['iter_3.pth', 'last_checkpoint']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_3.pth')


def test_the_best_checkpoint_goes_when_a_better_one_is_there(tmp_path, monkeypatch):
    hook = dict(WHOLE, save_best='toy/AP', rule='greater', by_epoch=True)
    scores = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr('tests.test_engine.toy.ToyMetric.compute_metrics',
                        lambda self, results: dict(AP=next(scores)))
    written = []
    put = WholeFilesBackend.put
    monkeypatch.setattr(
        WholeFilesBackend, 'put',
        lambda self, obj, path: (put(self, obj, path), written.append(files_of(tmp_path))))
    build_runner(tmp_path, checkpoint=hook, validate=True, epochs=3).train()
    both = ['best_toy_AP_epoch_1.pth', 'best_toy_AP_epoch_2.pth']
    assert any(set(both) <= set(files) for files in written)
    assert files_of(tmp_path) == [both[1], 'epoch_3.pth', 'last_checkpoint']


def last_words_of(work_dir, max_iters):
    """The line with which training ends when the disk is full."""
    with pytest.raises(OSError) as error:
        train(work_dir, LargeModel(), max_iters)
    return last_words(error.value, str(work_dir))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 60 MB in memory; checkpoints of LargeModel take 24."""
    disk = tmp_path / 'disk'
    disk.mkdir()
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=60m', 'tmpfs', disk],
                             capture_output=True)
    if mounted.returncode:
        pytest.skip('a disk in memory can be mounted only by root')
    yield disk
    subprocess.run(['umount', '--lazy', disk], check=True)  # its log is still open


def test_a_full_disk_ends_training_in_one_line_and_leaves_the_last_checkpoint(small_disk):
    train(small_disk, LargeModel(), 2)
    (small_disk / 'others').write_bytes(bytes(20_000_000))
    words = last_words_of(small_disk, 3)
    assert words == (
        f'No space left on device: {small_disk}/iter_3.pth. The last checkpoint is as it was: '
        f'{small_disk}/iter_2.pth. Go on from it with --resume.')
    (small_disk / 'others').unlink()
    assert train(small_disk, LargeModel(), 3).iter == 3


def test_a_limit_on_the_size_of_files_leaves_the_last_checkpoint(tmp_path):
    train(tmp_path, LargeModel(), 2)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, limits[1]))
    try:
        words = last_words_of(tmp_path, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert words.startswith(f'File too large: {tmp_path}/iter_3.pth. The last checkpoint')
    assert last_whole_checkpoint(str(tmp_path)) == (f'{tmp_path}/iter_2.pth', [])


@pytest.fixture
def saved_twice(tmp_path):
    """The work dir of a run with two checkpoints."""
    train(tmp_path, ToyModel(), 2, dict(WHOLE, max_keep_ckpts=2))
    return tmp_path


@pytest.mark.parametrize('damage', [
    lambda path: path.write_bytes(path.read_bytes()[:1000]),
    lambda path: path.write_bytes(b''),
    lambda path: path.unlink(),
])
def test_a_broken_checkpoint_is_passed_over_by_name(saved_twice, damage):
    damage(saved_twice / 'iter_2.pth')
    start, problems = last_whole_checkpoint(str(saved_twice))
    assert start == str(saved_twice / 'iter_1.pth')
    assert len(problems) == 1 and problems[0].startswith(str(saved_twice / 'iter_2.pth'))


@pytest.mark.parametrize('text', ['', '/elsewhere/iter_2.pth'])
def test_the_newest_is_found_without_last_checkpoint_or_in_a_moved_folder(saved_twice, text):
    (saved_twice / 'last_checkpoint').write_text(text)
    assert last_whole_checkpoint(str(saved_twice))[0] == str(saved_twice / 'iter_2.pth')


def test_a_run_without_a_whole_checkpoint_does_not_start_over(saved_twice):
    for path in saved_twice.glob('*.pth'):
        path.write_bytes(b'')
    with pytest.raises(CheckpointError, match='^No checkpoint in .* can be resumed. .*iter_2.pth'):
        last_whole_checkpoint(str(saved_twice))


def test_a_run_that_has_not_saved_yet_starts_at_the_beginning(tmp_path):
    assert last_whole_checkpoint(str(tmp_path)) == (None, [])
