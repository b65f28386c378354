"""What ends a run from outside ends it in one line: folders, disks and weights that are not right.
"""
import errno
import multiprocessing
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmpose.registry import HOOKS

from kdc_mm.datasets.person_rows import UnreadableImagesError
from kdc_mm.engine.checkpoint import last_whole_checkpoint
from kdc_mm.engine.faults import WorkDirError, check_work_dir, last_words

from ..conftest import load_tool
from .tiny import tiny_config

DEMO = 'demo/kdc_rn18_synthcrowd.py'


@HOOKS.register_module()
class DiskGoesAwayHook(Hook):
    """Removes a folder before the third iteration, or before validation."""

    def __init__(self, folder, in_training):
        self.folder, self.in_training = folder, in_training

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.in_training and runner.iter == 2:
            shutil.rmtree(self.folder)

    def before_val_epoch(self, runner):
        if not self.in_training:
            shutil.rmtree(self.folder)


@pytest.fixture
def data(synth, tmp_path):
    return shutil.copytree(synth, tmp_path / 'data')


@pytest.fixture
def end_of(tmp_path, monkeypatch):
    """Function that runs a tool on a config and returns what it ends with."""

    def run(tool, cfg, *arguments):
        cfg.dump(tmp_path / 'config.py')
        monkeypatch.setenv('LOCAL_RANK', '0')
        monkeypatch.setattr(sys, 'argv', ['tool', str(tmp_path / 'config.py'), *arguments])
        with pytest.raises(SystemExit) as error:
            load_tool(tool).main()
        return error.value.code

    return run


@pytest.mark.parametrize('part, words', [
    ('train', '21 training images in a row could not be read'), ('val', 'No such file')])
def test_a_data_disk_that_goes_away_ends_in_one_line_with_the_last_checkpoint_whole(
        data, tmp_path, end_of, part, words):
    cfg = tiny_config(
        DEMO, data, tmp_path / 'work', train_cfg__max_iters=40, train_cfg__val_interval=4,
        default_hooks__checkpoint__interval=2, train_dataloader__num_workers=1,
        val_dataloader__num_workers=1)
    cfg.custom_hooks.append(dict(
        type='DiskGoesAwayHook', folder=str(data / f'{part}2017'), in_training=part == 'train'))
    line = end_of('train', cfg)
    assert words in line and f'{part}2017' in line
    assert 'Traceback' not in line and '\n' not in line
    start, problems = last_whole_checkpoint(str(tmp_path / 'work'))
    assert problems == []
    assert line.endswith(
        f' The last checkpoint is as it was: {start}. Go on from it with --resume.')
    assert not multiprocessing.active_children()  # which would log after the line


def test_a_folder_without_images_is_told_with_where_they_come_from(tmp_path):
    error = UnreadableImagesError('21 images could not be read.\nCOCO belongs into data/coco.')
    assert last_words(error, str(tmp_path)) == str(error)


def test_a_full_work_dir_is_left_without_the_probe(tmp_path, monkeypatch):
    def write_part(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', write_part)
    with pytest.raises(WorkDirError, match='No space left on device'):
        check_work_dir(str(tmp_path))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_a_work_dir_that_cannot_be_written_is_said_before_anything_is_built(
        synth, tmp_path, end_of, tool):
    (tmp_path / 'file').touch()
    torch.save(dict(state_dict=dict(weight=torch.zeros(3))), tmp_path / 'a.pth')
    cfg = tiny_config(DEMO, synth, tmp_path / 'file/work', model__type='NoSuchModel')
    arguments = [str(tmp_path / 'a.pth')] if tool == 'test' else []
    assert end_of(tool, cfg, *arguments) == (
        f'The work dir {tmp_path}/file/work cannot be written (Not a directory): choose another '
        'with --work-dir.')


@pytest.mark.parametrize('tool, flags', [
    ('test', []), ('train', ['--resume']), ('train', ['--cfg-options', 'load_from={}'])])
def test_weights_of_another_network_are_one_line(synth, tmp_path, end_of, tool, flags):
    path = str(tmp_path / 'other.pth')
    state = dict(meta=dict(epoch=0, iter=1), message_hub={}, optimizer={})
    torch.save(dict(state_dict=dict(weight=torch.zeros(3)), **state), path)
    cfg = tiny_config(DEMO, synth, tmp_path / 'work')
    arguments = [path] if flags in ([], ['--resume']) else []
    line = end_of(tool, cfg, *(flag.format(path) for flag in flags), *arguments)
    assert line.startswith(f'{path} is of another architecture than') and '\n' not in line
