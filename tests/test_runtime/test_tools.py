"""The command lines of tools/deploy."""
import json

import cv2
import pytest
import torch
from mmpose.registry import MODELS

from tests.conftest import load_tool
from tests.test_apis.test_inferencer import noise

CONFIG = 'demo/kdc_rn18_synthcrowd'


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path_factory):
    """Tools start in a folder that has no configs: they are taken by name."""
    monkeypatch.chdir(tmp_path_factory.mktemp('elsewhere'))


@pytest.fixture
def checkpoint(small_cfg, tmp_path):
    """Weights of the demo's config."""
    weights = MODELS.build(small_cfg.model).state_dict()
    torch.save(dict(state_dict=weights), tmp_path / 'demo.pth')
    return str(tmp_path / 'demo.pth')


@pytest.fixture
def export(monkeypatch):
    """The tool, and a list of what it hands to export_onnx."""
    tool, calls = load_tool('deploy/export_onnx'), []

    def export_onnx(inferencer, folder, *others):
        calls.append((inferencer, *others))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'model.onnx').write_bytes(bytes(2_000_000))
        return 3e-6

    monkeypatch.setattr(tool, 'export_onnx', export_onnx)
    return tool, calls


def test_a_checkpoint_is_exported_with_the_options_of_the_command_line(
        export, checkpoint, tmp_path, capsys):
    tool, calls = export
    cv2.imwrite(str(tmp_path / 'a.jpg'), noise(60, 80))
    tool.main([CONFIG, checkpoint, str(tmp_path / 'out'), '--flip-test', '--int8', str(tmp_path),
               '--cfg-options', 'model.head.decoder.person_threshold=0.3'])
    [(inferencer, flip_test, photos)] = calls
    assert inferencer.model.head.decoder.settings['person_threshold'] == 0.3
    assert flip_test is True and photos == [str(tmp_path / 'a.jpg')]
    said = capsys.readouterr().out
    assert '2.0 MB' in said and '3.0e-06 at most, before they had 8 bits' in said


def test_what_cannot_be_exported_is_said_in_one_line(export, checkpoint, tmp_path):
    tool, calls = export
    out, empty = str(tmp_path / 'out'), tmp_path / 'empty'
    empty.mkdir()
    for arguments, message in [
        (['no_config.py', checkpoint, out], '^There is no config no_config.py'),
        ([CONFIG, str(tmp_path / 'no.pth'), out], 'no.pth'),
        ([CONFIG, checkpoint, out, '--int8', str(empty)], 'empty holds no image to calibrate'),
    ]:
        with pytest.raises(SystemExit, match=message) as ended:
            tool.main(arguments)
        assert '\n' not in str(ended.value)
    assert not calls


def test_figures_of_a_folder_are_printed_and_written(monkeypatch, tmp_path, capsys):
    tool = load_tool('deploy/test_onnx')
    monkeypatch.setattr(tool, 'Runtime', lambda folder, threads: (folder, threads))
    monkeypatch.setattr(tool, 'evaluate_runtime', lambda runtime, cfg, _: {
        'coco/AP': 0.25, 'radius': cfg.model.head.decoder.radius})
    tool.main(['folder', CONFIG, '--out', str(tmp_path / 'f.json'), '--cfg-options',
               'model.head.decoder.radius=7'])
    assert 'coco/AP: 0.2500' in capsys.readouterr().out
    assert json.loads((tmp_path / 'f.json').read_text()) == {'coco/AP': 0.25, 'radius': 7}


@pytest.mark.parametrize('config, message', [
    (CONFIG, 'holds no model.onnx'), ('no_config.py', '^There is no config no_config.py')])
def test_a_folder_without_a_network_and_a_missing_config_are_said_in_one_line(
        tmp_path, config, message):
    with pytest.raises(SystemExit, match=message) as ended:
        load_tool('deploy/test_onnx').main([str(tmp_path), config])
    assert '\n' not in str(ended.value)
