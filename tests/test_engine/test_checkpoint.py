"""Checkpoints load with PyTorch's safety on; what is no checkpoint is refused in clear words."""
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from kdc_mm.engine import CheckpointError, check_checkpoint
from kdc_mm.engine.checkpoint import checkpoint_to_start_from, pretrained_weights

from .toy import build_runner


@pytest.fixture
def trained(tmp_path):
    """Work dir of a run of 2 epochs that validated, with history and scores in its checkpoints."""
    build_runner(tmp_path, validate=True).train()
    return tmp_path


def test_the_safe_loader_is_what_torch_uses_by_default(tmp_path):
    torch.save(dict(path=Path('a')), tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError, match='weights_only'):
        torch.load(tmp_path / 'a.pth')


def test_a_checkpoint_of_mmengines_runner_passes_and_resumes(trained):
    last = str(trained / 'epoch_2.pth')
    check_checkpoint(last, resume=True)
    runner = build_runner(trained, epochs=3, validate=True, resume=True)
    runner.train()
    assert runner.epoch == 3
    history, _ = runner.message_hub.get_scalar('train/loss').data
    assert len(history) == runner.iter


@pytest.mark.parametrize('core', ['core', '_core'])
def test_checkpoints_written_under_numpy_1_and_numpy_2_load_under_either(tmp_path, core):
    """Each writes the name of the module that holds its functions; here the other one is put in."""
    file = tmp_path / 'epoch_1.pth'
    torch.save(dict(best=np.float64(0.5), sigmas=np.ones(3, np.float32)), file,
               _use_new_zipfile_serialization=False)
    rebuild = np.zeros(0).__reduce__()[0].__module__.split('.')[1]
    data = file.read_bytes().replace(f'numpy.{rebuild}.'.encode(), f'numpy.{core}.'.encode())
    file.write_bytes(data)
    loaded = torch.load(file)
    assert loaded['best'] == 0.5
    assert loaded['sigmas'].dtype == np.float32 and loaded['sigmas'].tolist() == [1, 1, 1]


class Foreign:
    """A class that a safe checkpoint does not hold."""


class RunsCode:
    """Unpickling it unsafely would call a function."""

    def __reduce__(self):
        return (eval, ('1 + 1', ))


class ReachesForCode:
    """Unpickling it would lead from a class that is allowed to its module's globals."""

    def __reduce__(self):
        return (getattr, (HistoryBuffer.update, '__globals__'))


def write_text(path):
    path.write_text('version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\n')


def write_truncated(path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), path)
    path.write_bytes(path.read_bytes()[:2000])


def write_truncated_in_the_old_format(path):
    torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), path,
               _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:2000])


def write_another_zip(path):
    np.savez(path.with_suffix('.npz'), a=np.zeros(3))
    path.with_suffix('.npz').rename(path)


BROKEN = {
    'missing': (lambda path: None, 'does not exist'),
    'directory': (lambda path: path.mkdir(), 'is a directory'),
    'empty': (lambda path: path.touch(), 'is empty'),
    'text': (write_text, 'is no PyTorch checkpoint'),
    'truncated': (write_truncated, 'is cut short'),
    'truncated in the old format': (write_truncated_in_the_old_format, 'damaged'),
    'a zip of something else': (write_another_zip, 'is no PyTorch checkpoint'),
    'a class from elsewhere': (lambda path: torch.save(dict(a=Foreign()), path), 'Foreign'),
    'a function call': (lambda path: torch.save(dict(a=RunsCode()), path), 'eval'),
    'a way around the list':
    (lambda path: torch.save(dict(a=ReachesForCode()), path), 'builtins.getattr'),
    'a plain pickle':
    (lambda path: path.write_bytes(pickle.dumps(Foreign(), protocol=2)), 'Foreign'),
    'a plain pickle of a later protocol':
    (lambda path: path.write_bytes(pickle.dumps([1], protocol=5)), 'is no PyTorch checkpoint'),
    'a list': (lambda path: torch.save([torch.zeros(3)], path), 'holds no weights'),
    'weights under another name':
    (lambda path: torch.save(dict(model=dict(weight=torch.zeros(3))), path), 'holds no weights'),
}


@pytest.mark.parametrize('kind', BROKEN)
def test_what_is_no_checkpoint_gets_one_line_with_its_name(tmp_path, kind):
    write, words = BROKEN[kind]
    path = tmp_path / 'epoch_7.pth'
    write(path)
    with pytest.raises(CheckpointError, match=words) as error:
        check_checkpoint(str(path))
    assert str(path) in str(error.value)
    assert '\n' not in str(error.value)


def test_the_advice_names_checkpoints_that_are_there(trained):
    with pytest.raises(CheckpointError, match='epoch_1.pth, epoch_2.pth'):
        check_checkpoint(str(trained / 'epoch_9.pth'))
    with pytest.raises(CheckpointError, match='epoch_1.pth, epoch_2.pth'):
        check_checkpoint(str(trained))


def test_weights_alone_can_be_loaded_but_not_resumed(tmp_path):
    path = str(tmp_path / 'weights.pth')
    torch.save(dict(weight=torch.zeros(3)), path)
    check_checkpoint(path)
    with pytest.raises(CheckpointError, match='load_from='):
        check_checkpoint(path, resume=True)


def test_weights_named_by_a_scheme_of_mmengine_are_left_to_it():
    check_checkpoint('torchvision://resnet18')


def test_a_url_is_checked_in_the_cache_that_mmengine_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file',
                        lambda url, file: torch.save(dict(a=RunsCode()), file))
    with pytest.raises(CheckpointError, match='eval'):
        check_checkpoint('https://host/weights.pth')
    assert (tmp_path / 'checkpoints/weights.pth').exists()


def test_the_start_is_what_the_config_names_or_the_newest_of_the_run(trained):
    def start(**settings):
        return checkpoint_to_start_from(Config(dict(work_dir=str(trained), **settings)))

    first, last = str(trained / 'epoch_1.pth'), str(trained / 'epoch_2.pth')
    assert start() == (None, [])
    assert start(resume=False) == (None, [])
    assert start(resume=True, load_from=None) == (last, [])
    assert start(resume=True, load_from=first) == (first, [])
    assert start(resume=False, load_from=first) == (first, [])
    with pytest.raises(CheckpointError, match='named.pth does not exist'):
        start(resume=True, load_from=str(trained / 'named.pth'))


def test_pretrained_weights_are_found_wherever_a_config_names_them():
    init = [dict(type='Kaiming', layer='Conv2d'), dict(type='Pretrained', checkpoint='a.pth')]
    model = dict(
        type='BottomupPoseEstimator', backbone=dict(type='ResNet', init_cfg=init),
        neck=[dict(init_cfg=dict(type='Pretrained', checkpoint='b.pth', prefix='neck.'))])
    assert list(pretrained_weights(model)) == ['a.pth', 'b.pth']
    assert list(pretrained_weights(None)) == []
