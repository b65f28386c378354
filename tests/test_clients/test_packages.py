"""The wheel, an editable installation, and what is said where the stack is incomplete."""
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from kdc_mm import cli, stack

ROOT = Path(__file__).resolve().parents[2]
needs_mim = pytest.mark.skipif(
    importlib.util.find_spec('mim') is None, reason='needs openmim (pip install openmim)')


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """A copy of the sources, where a build may leave what it likes."""
    folder = tmp_path_factory.mktemp('clone')
    tracked = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
        capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip('needs a git checkout, for the list of source files')
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory):
    """The wheel, unpacked."""
    folder = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-build-isolation', '--no-deps', '-w',
         str(folder), str(sources)], check=True)
    built, = folder.glob('*.whl')
    zipfile.ZipFile(built).extractall(folder / 'unpacked')
    return folder / 'unpacked'


@pytest.fixture(scope='module')
def editable(sources, tmp_path_factory):
    """The wheel of an editable installation, unpacked: metadata that point to the sources."""
    folder = tmp_path_factory.mktemp('editable')
    subprocess.run(
        [sys.executable, '-c', 'from setuptools import build_meta\n'
         f'build_meta.build_editable({str(folder)!r})'],
        cwd=sources, check=True, capture_output=True)
    built, = folder.glob('*.whl')
    zipfile.ZipFile(built).extractall(folder / 'unpacked')
    return folder / 'unpacked'


def run_installed(folder, *command, cwd):
    """A Python command where kdc_mm is installed in ``folder``, and nowhere else."""
    environment = dict(os.environ, PYTHONPATH=str(folder), PYTHONWARNINGS='ignore', COLUMNS='200')
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True,
        text=True)


def test_the_wheel_carries_configs_tools_and_indices(wheel):
    mim = wheel / 'kdc_mm' / '.mim'
    for part in ('configs', 'tools'):
        ours = {file.relative_to(ROOT) for file in (ROOT / part).rglob('*')
                if file.suffix in ('.py', '.sh', '.yml')}
        assert ours and all((mim / file).is_file() for file in ours)
    for index in ('model-index.yml', 'dataset-index.yml'):
        assert (mim / index).read_bytes() == (ROOT / index).read_bytes()


def test_the_wheel_carries_the_runtime_beside_the_plugin(wheel):
    ours = {file.name for file in (ROOT / 'kdc_mm_runtime').glob('*.py')}
    assert ours and ours == {file.name for file in (wheel / 'kdc_mm_runtime').iterdir()}


def test_the_wheel_requires_nothing_of_the_stack(wheel):
    metadata = next(wheel.glob('*.dist-info/METADATA')).read_text()
    required = {line.split()[1] for line in metadata.splitlines()
                if line.startswith('Requires-Dist') and 'extra' not in line}
    assert {'numba', 'rich', 'pycocotools'} <= required
    assert not required & {'torch', 'numpy', 'mmpose', 'mmengine', 'mmcv', 'mmdet'}


def test_a_missing_package_of_the_stack_is_named_before_any_is_imported(monkeypatch):
    monkeypatch.setitem(stack.STACK, 'mm_that_is_not_there', 'mm_that_is_not_there>=1')
    with pytest.raises(ImportError, match='no mm_that_is_not_there.* mim install'):
        stack.check_stack()


def test_the_ranges_are_those_of_the_requirements():
    lines = (ROOT / 'requirements' / 'mminstall.txt').read_text().splitlines()
    ranges = {line for line in lines if line and not line.startswith('#')}
    assert ranges and ranges <= set(stack.STACK.values())


FIND = """
import site, sys
site.addsitedir(sys.argv[1])  # as an installation's folder, with what its .pth files do
import kdc_mm
from mmengine.hub import get_config
from mmengine.utils import get_installed_path
print(get_installed_path('kdc_mm'))
print(get_config('kdc_mm::demo/kdc_rn18_synthcrowd.py').filename)
"""


@pytest.mark.parametrize('kind', ['wheel', 'editable'])
def test_mmengine_finds_an_installation_and_its_configs(kind, request, tmp_path):
    installed = request.getfixturevalue(kind)
    found = run_installed(installed, '-c', FIND, installed, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    folder = request.getfixturevalue('sources' if kind == 'editable' else 'wheel') / 'kdc_mm'
    config = folder / '.mim' / 'configs' / 'demo' / 'kdc_rn18_synthcrowd.py'
    assert found.stdout.splitlines()[-2:] == [str(folder), str(config)]


def test_kdc_lists_every_tool_with_a_line_about_it(wheel, monkeypatch, capsys):
    monkeypatch.setattr(cli, 'TOOLS', wheel / 'kdc_mm' / '.mim' / 'tools')
    monkeypatch.setattr(sys, 'argv', ['kdc', '--help'])
    cli.main()
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines if line.startswith('  '))
    tools = {file.stem for file in (ROOT / 'tools').rglob('*.py')
             if file.parent.name != 'setup'}
    assert set(told) == tools
    assert told['check_data'].startswith('Say before training what is missing')
    assert all(len(line) <= 120 for line in lines)


def test_an_installed_kdc_runs_nested_tools_and_finds_its_default_config(wheel, tmp_path):
    call = 'import sys; from kdc_mm.cli import main; sys.argv[0] = "kdc"; main()'
    made = run_installed(wheel, '-c', call, 'make_synth_crowd', 'crowd', '--train', '1', '--val',
                         '1', cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    file = tmp_path / 'crowd' / 'annotations' / 'person_keypoints_val2017.json'
    assert len(json.loads(file.read_text())['images']) == 1
    photo = next((tmp_path / 'crowd' / 'val2017').iterdir())
    lacking = run_installed(wheel, '-c', call, 'infer', photo, cwd=tmp_path)
    assert lacking.stderr.strip().splitlines()[-1].startswith(
        'data/bodypix/kdc.pth does not exist: docs/bodypix.md says how to get it.')


@needs_mim
def test_mim_search_lists_the_models_of_the_metafile(wheel, tmp_path):
    found = run_installed(wheel, '-m', 'mim', 'search', 'kdc_mm', '--json', 'a.json', cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    models = yaml.safe_load((ROOT / 'configs' / 'metafile.yml').read_text())['Models']
    listed = json.loads((tmp_path / 'a.json').read_text())
    assert listed['config'] == {model['Name']: model['Config'] for model in models}
    assert listed['paper']['kdc_rn152_coco'].startswith('Keypoints as Dynamic Centroids')


@needs_mim
def test_mim_download_says_that_no_checkpoints_are_published(wheel, tmp_path):
    got = run_installed(wheel, '-m', 'mim', 'download', 'kdc_mm', '--config', 'kdc_rn152_coco',
                        '--dest', '.', cwd=tmp_path)
    assert got.returncode == 1 and 'no_checkpoints_published' in got.stderr
    assert not list(tmp_path.iterdir())


@needs_mim
def test_mim_run_finds_a_nested_tool_by_its_name(wheel, tmp_path):
    made = run_installed(wheel, '-m', 'mim', 'run', 'kdc_mm', 'make_synth_crowd', 'crowd',
                         '--train', '1', '--val', '1', cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert (tmp_path / 'crowd' / 'annotations' / 'person_keypoints_train2017.json').is_file()


@needs_mim
@pytest.mark.slow
def test_mim_trains_and_tests_a_config_by_its_name(wheel, tmp_path):
    data = tmp_path / 'data' / 'synthcrowd' / 'easy'
    run_installed(wheel, '-m', 'mim', 'run', 'kdc_mm', 'make_synth_crowd', data, '--preset',
                  'easy', '--train', '8', '--val', '2', cwd=tmp_path)
    options = ['--cfg-options', 'train_cfg.max_iters=2', 'train_dataloader.batch_size=4']
    trained = run_installed(wheel, '-m', 'mim', 'train', 'kdc_mm', 'kdc_rn18_synthcrowd.py',
                            '--work-dir', 'out', *options, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr[-2000:]
    tested = run_installed(wheel, '-m', 'mim', 'test', 'kdc_mm', 'kdc_rn18_synthcrowd.py',
                           '--checkpoint', 'out/iter_2.pth', '--out', 'metrics.json', cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr[-2000:]
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert {'coco/AP', 'coco/segm_mAP'} <= set(metrics)
