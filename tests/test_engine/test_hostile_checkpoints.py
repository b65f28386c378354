"""No file that is given as a checkpoint runs code; each that cannot be used is one line."""
import json
import sys
from pathlib import Path

import pytest
import torch
from mmpose.registry import MODELS
from torch import nn

from kdc_mm.benchmarks.board.board import BoardEntry
from kdc_mm.benchmarks.board.evaluate import Candidate
from kdc_mm.benchmarks.network.named_configs import load_config
from kdc_mm.benchmarks.study.heads import CID_CONFIG
from kdc_mm.engine import CheckpointError, check_checkpoint
from kdc_mm.engine.checkpoint import check_fit
from kdc_mm.engine.safetensors import DTYPES, load_from_safetensors
from tests.conftest import load_tool

from .hostile import HOSTILE, RUN, entry, safetensors
from .toy import ToyModel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def tools():
    return {name: load_tool(name) for name in ('train', 'test')}


@pytest.fixture
def config(tmp_path):
    """A config of a model that could not be built: nothing gets that far."""
    file = tmp_path / 'config.py'
    file.write_text(
        "model = dict(type='NoSuchModel', backbone=dict(init_cfg=dict(type='Kaiming')))\n")
    return file


def write_hostile(kind, folder):
    """The path of the file, and of the one that its code would make."""
    name, write = HOSTILE[kind]
    path, made = folder / name, folder / 'made'
    write(path, made)
    return path, made


def refusal_of_tool(tool, monkeypatch, *arguments):
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
    with pytest.raises(SystemExit) as error:
        tool.main()
    return error.value.code


WAYS = {
    '--resume': ('train', lambda path: ['--resume', path]),
    'load_from': ('train', lambda path: ['--cfg-options', f'load_from={path}']),
    'init_cfg': ('train', lambda path: [
        '--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={path}']),
    'test.py': ('test', lambda path: [path]),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_a_hostile_file_runs_no_code_and_is_one_line_wherever_it_is_named(
        kind, tools, config, tmp_path, monkeypatch):
    path, made = write_hostile(kind, tmp_path)
    with pytest.raises(CheckpointError) as error:
        check_checkpoint(str(path))
    line = str(error.value)
    assert str(path) in line and '\n' not in line
    for tool, flags in WAYS.values():
        said = refusal_of_tool(tools[tool], monkeypatch, config, '--work-dir', tmp_path / 'work',
                               *flags(path))
        assert said == line
    candidate = Candidate(BoardEntry('a', config=str(ROOT / 'configs/kdc_rn101_coco.py'),
                                     checkpoint=str(path)))
    assert '\n' not in candidate.checkpoint_problem and candidate.checkpoint_problem
    assert not made.exists()


def test_a_resumed_run_passes_over_a_hostile_file_in_its_folder(tools, config, tmp_path,
                                                                monkeypatch, capsys):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    torch.save(RUN, work_dir / 'iter_1.pth')
    path, made = write_hostile('os.system', work_dir)
    (work_dir / 'last_checkpoint').write_text(str(path))
    monkeypatch.setattr(tools['train'].Runner, 'from_cfg', lambda cfg: sys.exit(cfg.load_from))
    start = refusal_of_tool(tools['train'], monkeypatch, config, '--work-dir', work_dir, '--resume')
    assert start == str(work_dir / 'iter_1.pth') and not made.exists()
    assert f'warning: {path} holds' in capsys.readouterr().err


@pytest.mark.parametrize('change, message', [
    (lambda run: run.pop('message_hub'), 'holds weights only'),
    (lambda run: run.pop('meta'), 'holds weights only'),
    (lambda run: run.update(meta=[1]), 'holds weights only'),
    (lambda run: run.update(meta=dict(epoch='1', iter=2)), 'holds weights only'),
])
def test_a_state_that_is_none_is_not_resumed(tmp_path, change, message):
    run = dict(RUN)
    change(run)
    torch.save(run, tmp_path / 'a.pth')
    check_checkpoint(str(tmp_path / 'a.pth'))
    with pytest.raises(CheckpointError, match=message):
        check_checkpoint(str(tmp_path / 'a.pth'), resume=True)


# Weights that are right, in other forms

def write_safetensors(path, tensors):
    names = {kind: name for name, kind in DTYPES.items()}
    header, data = dict(__metadata__=dict(format='pt')), b''
    for name, tensor in tensors.items():
        values = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header.update({name: entry(list(tensor.shape), len(data), len(data) + len(values),
                                   dtype=names[tensor.dtype])['weight']})
        data += values
    safetensors(json.dumps(header).encode(), data)(path, None)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_safetensors_hold_what_was_written(tmp_path, dtype):
    written = dict(
        weight=torch.arange(6).reshape(2, 3).to(dtype), none=torch.zeros(0, 4, dtype=dtype),
        number=torch.tensor([7]).to(dtype).squeeze())
    write_safetensors(tmp_path / 'a.safetensors', written)
    read = load_from_safetensors(str(tmp_path / 'a.safetensors'), 'cpu')
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        assert read[name].dtype == dtype and torch.equal(read[name], tensor)


@pytest.mark.parametrize('form', ['pth', 'half', 'safetensors', 'half safetensors', 'of a wrapper'])
def test_right_weights_load_in_every_form(tmp_path, form):
    source, model = ToyModel(), ToyModel()
    weights = source.state_dict()
    if 'half' in form:
        weights = {name: weight.half() for name, weight in weights.items()}
    if form == 'of a wrapper':
        weights = {f'module.{name}': weight for name, weight in weights.items()}
    path = tmp_path / ('a.safetensors' if 'safetensors' in form else 'a.pth')
    if 'safetensors' in form:
        write_safetensors(path, weights)
    else:
        torch.save(dict(state_dict=weights), path)
    check_checkpoint(str(path))
    check_fit(model, str(path), 'toy.py')
    for one, other in zip(model.parameters(), source.parameters(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=1e-3 if 'half' in form else 0, atol=0)


@pytest.mark.parametrize('wrapped', [False, True])
def test_heads_that_rename_the_weights_of_older_versions_keep_those_of_their_own(tmp_path, wrapped):
    head = dict(load_config(CID_CONFIG).model.head, in_channels=8, gfd_channels=4)
    source, loaded = (nn.ModuleDict(dict(head=MODELS.build(head))) for _ in range(2))
    weights = (nn.DataParallel(source) if wrapped else source).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'cid.pth')
    check_fit(loaded, str(tmp_path / 'cid.pth'), 'cid.py')
    for one, other in zip(loaded.parameters(), source.parameters(), strict=True):
        assert torch.equal(one, other)


def net(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 1), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))


@pytest.mark.parametrize('weights, wrong, partly', [
    (net(8).state_dict(), '5 of 6', True),
    (nn.Sequential(net()).state_dict(), '6 of 6', False),
    ({**net().state_dict(), '0.weight': 'text'}, '1 of 6', True),
    ({key: value for key, value in net().state_dict().items() if key[0] != '2'}, '2 of 6', True),
])
def test_weights_of_another_network_are_refused_and_some_suffice_to_start(
        tmp_path, weights, wrong, partly):
    path = str(tmp_path / 'a.pth')
    torch.save(dict(state_dict=weights), path)
    with pytest.raises(CheckpointError, match=f'{wrong} weights are missing') as error:
        check_fit(net(), path, 'net.py')
    assert '\n' not in str(error.value)
    if partly:
        check_fit(net(), path, 'net.py', partly=True)
    else:
        with pytest.raises(CheckpointError, match='another architecture'):
            check_fit(net(), path, 'net.py', partly=True)
