"""Configs by name: in ``_base_`` lines, on command lines, from Python."""
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmpose.registry import MODELS

from kdc_mm.engine.config_files import ConfigError, find_config
from kdc_mm.engine.faults import config_or_end

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs' / 'demo' / 'kdc_rn18_synthcrowd.py'


def write(folder, text):
    file = folder / 'mine.py'
    file.write_text(text)
    return file


@pytest.mark.parametrize('name', [
    'kdc_rn152_coco.py', 'kdc_rn152_coco', 'demo/kdc_rn18_synthcrowd.py'])
def test_a_config_in_any_folder_starts_from_one_of_ours(tmp_path, name):
    mine = Config.fromfile(write(tmp_path, f"_base_ = 'kdc_mm::{name}'\ncodec = dict(radius=7)\n"))
    ours = Config.fromfile(find_config(f'kdc_mm::{name}'))
    assert mine.codec.radius == 7 != ours.codec.radius
    mine.codec.radius = ours.codec.radius
    assert mine.to_dict() == ours.to_dict()


def test_a_network_of_such_a_config_is_built_from_mmposes_registry(tmp_path):
    text = ("_base_ = ['kdc_mm::demo/kdc_rn18_synthcrowd.py']\n"
            'model = dict(head=_base_.model.head)\n')
    model = MODELS.build(Config.fromfile(write(tmp_path, text)).model)
    assert type(model.head).__name__ == 'KDCHead' and model.head.decoder.radius == 10


def test_bases_of_other_packages_stand_beside_ours(tmp_path):
    text = ("_base_ = ['kdc_mm::_base_/kdc_runtime.py', 'mmpose::_base_/datasets/coco.py']\n")
    cfg = Config.fromfile(write(tmp_path, text))
    assert cfg.default_scope == 'mmpose' and cfg.dataset_info.dataset_name == 'coco'


def test_where_kdc_mm_is_not_imported_yet_the_line_imports_it(tmp_path):
    text = "_base_ = __import__('kdc_mm') and 'kdc_mm::demo/kdc_rn18_synthcrowd.py'\n"
    read = ('from mmengine.config import Config\n'
            f'print(Config.fromfile({str(write(tmp_path, text))!r}).codec.input_size)')
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', read], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ['(193, 193)'], done.stderr


@pytest.mark.parametrize('name', [
    'kdc_mm::demo/kdc_rn18_synthcrowd', 'configs/demo/kdc_rn18_synthcrowd.py',
    'demo/kdc_rn18_synthcrowd.py', 'kdc_rn18_synthcrowd.py', 'kdc_rn18_synthcrowd'])
def test_a_command_line_names_a_config_of_ours_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_config(name).samefile(DEMO)


def test_a_file_that_is_there_goes_before_one_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('kdc_rn152_coco.py').write_text('')
    assert find_config('kdc_rn152_coco.py') == Path('kdc_rn152_coco.py')


@pytest.mark.parametrize('name, message', [
    ('kdc_mm::kdc_rn512_coco.py', 'kdc_mm has no config kdc_rn512_coco.py .*kdc_rn152_coco.py'),
    ('kdc_rn512_coco', 'There is no config kdc_rn512_coco .*kdc_rn152_coco.py'),
    ('elsewhere/kdc_rn152_coco.py', 'no config elsewhere/kdc_rn152_coco.py .*kdc_rn152_coco.py')])
def test_an_unknown_name_is_answered_with_those_spelt_alike(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        find_config(name)
    with pytest.raises(SystemExit, match=message):
        config_or_end(name)


def test_an_unknown_base_is_named(tmp_path):
    with pytest.raises(ConfigError, match='has no config demo/kdc_rn18_sinthcrowd.py .*mean'):
        Config.fromfile(write(tmp_path, "_base_ = 'kdc_mm::demo/kdc_rn18_sinthcrowd.py'\n"))
