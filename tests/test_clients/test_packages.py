"""The wheel, and what is said where the stack is incomplete."""
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kdc_mm import stack

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    """The wheel of a copy of the sources, unpacked."""
    folder = tmp_path_factory.mktemp('wheel')
    tracked = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
        capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip('needs a git checkout, for the list of source files')
    for name in tracked.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / 'src' / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / 'src' / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '-q', '--no-build-isolation', '--no-deps', '-w',
         str(folder), str(folder / 'src')], check=True)
    built, = folder.glob('*.whl')
    zipfile.ZipFile(built).extractall(folder / 'unpacked')
    return folder / 'unpacked'


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
