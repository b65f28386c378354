"""The set-up script, without a network: what it decides, not what pip does."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def make_env():
    return load_tool('setup/make_env')


@pytest.fixture
def repository(tmp_path):
    """A copy of the files that the environment depends on."""
    shutil.copytree(ROOT / 'requirements', tmp_path / 'requirements')
    (tmp_path / 'tools/setup').mkdir(parents=True)
    for file in ('setup.py', 'tools/setup/make_env.py'):
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def finished_venv(folder, stamp):
    (folder / 'bin').mkdir(parents=True)
    (folder / 'bin/python').touch()
    (folder / 'kdc-stamp').write_text(stamp)
    return folder


@pytest.mark.parametrize('version', [(3, 11, 0), (3, 12, 4)])
def test_supported_pythons_pass(make_env, version):
    assert make_env.python_problem(version) is None


@pytest.mark.parametrize('version', [(3, 6, 15), (3, 10, 13), (3, 13, 0), (4, 0, 0)])
def test_an_unsupported_python_gets_one_line_that_names_it_and_the_way_out(make_env, version):
    problem = make_env.python_problem(version)
    assert '\n' not in problem
    assert f'this is {version[0]}.{version[1]}' in problem
    assert 'make PYTHON=' in problem


def test_make_says_in_one_line_that_an_interpreter_does_not_exist():
    answer = subprocess.run(['make', '-s', 'env', 'PYTHON=no-such-python'], cwd=ROOT, text=True,
                            capture_output=True)
    assert answer.returncode != 0
    assert answer.stderr.splitlines()[0] == (
        'No Python "no-such-python" here; name one: make PYTHON=/path/to/python3.11')


def test_the_stamp_stays_while_nothing_changes(make_env, repository):
    assert make_env.stamp(repository, 'cpython-3.11') == make_env.stamp(repository, 'cpython-3.11')


@pytest.mark.parametrize('file', ['requirements/runtime.txt', 'requirements/mmcv.txt', 'setup.py',
                                  'tools/setup/make_env.py'])
def test_the_stamp_changes_with_each_file_it_covers(make_env, repository, file):
    before = make_env.stamp(repository, 'cpython-3.11')
    with open(repository / file, 'a') as stream:
        stream.write('\n')
    assert make_env.stamp(repository, 'cpython-3.11') != before


def test_the_stamp_changes_with_the_python_and_with_the_place(make_env, repository, tmp_path):
    before = make_env.stamp(repository, 'cpython-3.11')
    assert make_env.stamp(repository, 'cpython-3.12') != before
    moved = shutil.copytree(repository, tmp_path / 'elsewhere')
    assert make_env.stamp(moved, 'cpython-3.11') != before


def test_only_a_finished_environment_with_the_same_stamp_is_current(make_env, tmp_path):
    assert not make_env.is_current(tmp_path / 'missing', 'stamp')
    venv = finished_venv(tmp_path / 'venv', 'stamp')
    assert make_env.is_current(venv, 'stamp')
    assert not make_env.is_current(venv, 'another stamp')
    (venv / 'kdc-stamp').unlink()  # what an interrupted install looks like
    assert not make_env.is_current(venv, 'stamp')


def test_an_environment_whose_interpreter_is_gone_is_stale(make_env, tmp_path):
    venv = finished_venv(tmp_path / 'venv', 'stamp')
    (venv / 'bin/python').unlink()
    (venv / 'bin/python').symlink_to('/no/such/python3.11')
    assert not make_env.is_current(venv, 'stamp')


@pytest.fixture
def fake_make(make_env, repository, monkeypatch):
    """``main`` in a repository of its own; ``fake_make(error)`` is a set-up that ends like that."""
    monkeypatch.setattr(make_env, 'ROOT', repository)
    monkeypatch.setattr(make_env, 'compiler_problem', lambda compiler: None)

    def with_result(error=None):
        calls = []

        def make(venv, compiler):
            calls.append(venv)
            finished_venv(venv, 'unfinished')
            if error:
                raise error

        monkeypatch.setattr(make_env, 'make', make)
        return make_env.main([]), calls

    return with_result


def test_a_second_start_does_nothing(fake_make, repository):
    assert fake_make() == (0, [repository / '.venv'])
    assert fake_make() == (0, [])


@pytest.mark.parametrize('error', ['SetupError', KeyboardInterrupt()])
def test_a_failed_or_interrupted_set_up_is_not_taken_for_finished(
        make_env, fake_make, repository, error):
    code, _ = fake_make(make_env.SetupError('no network') if error == 'SetupError' else error)
    assert code != 0
    wanted = make_env.stamp(repository, make_env.this_python())
    assert not make_env.is_current(repository / '.venv', wanted)


def test_a_failing_command_shows_the_end_of_its_output_and_where_the_log_is(
        make_env, tmp_path, capfd):
    log = tmp_path / 'make_env.log'
    program = 'print("\\n".join(f"line {i}" for i in range(100))); raise SystemExit(1)'
    with pytest.raises(make_env.SetupError) as error:
        make_env.run('a step', [sys.executable, '-c', program], log, dict(os.environ))
    assert 'line 99' in str(error.value)
    assert 'line 1\n' not in str(error.value)
    assert str(log) in str(error.value)
    assert 'line 1\n' in log.read_text()


@pytest.mark.parametrize('line, detail', [
    ('  [21/77] c++ -MMD -c nms.cpp', 'compiling, 21 of 77 files'),
    ('  Downloading https://host/torch-2.14.1.whl (900 MB)', 'downloading torch-2.14.1.whl'),
    ('Collecting numba==0.68.1', 'collecting numba==0.68.1'),
    ('Installing collected packages: numpy, scipy, numba', 'installing 3 packages'),
    ('    276 | #pragma unroll', None),
])
def test_pips_lines_turn_into_progress(make_env, line, detail):
    assert make_env.describe(line) == detail


@pytest.mark.parametrize('has_gpu, nvcc, cuda, note', [
    (False, '13.0', False, ''),
    (True, '13.2', True, ''),
    (True, None, False, 'no nvcc'),
    (True, '12.4', False, 'does not match'),
])
def test_cuda_ops_are_built_only_with_a_gpu_and_an_nvcc_that_matches(
        make_env, has_gpu, nvcc, cuda, note):
    plan, said = make_env.cuda_plan(has_gpu, '13.0', nvcc)
    assert plan == cuda
    assert note in said
    assert '\n' not in said


class FakeEnvironment:
    """Records pip calls; ``proofs`` are the answers of mmcv's proof, errors among them."""

    def __init__(self, venv, proofs, built=False):
        self.venv = venv
        self.log = venv / 'log'
        self.proofs = list(proofs)
        self.built = built
        self.calls = []

    def pip(self, label, *arguments, env):
        self.calls.append((arguments, env))
        return 'Building wheel for mmcv' if self.built else 'Using cached mmcv-2.1.0.whl'

    def ask(self, program):
        answer = self.proofs.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def venv(tmp_path):
    (tmp_path / 'bin').mkdir()
    return tmp_path


def test_a_cached_mmcv_that_works_is_kept(make_env, venv):
    environment = FakeEnvironment(venv, ['not available'])
    make_env.install_mmcv(environment, ['c++'], cuda=False)
    assert len(environment.calls) == 1
    assert '--no-cache-dir' not in environment.calls[0][0]


@pytest.mark.parametrize('cuda, first, second', [
    (False, 'undefined symbol', 'not available'),
    (True, 'not available', '13.0'),
])
def test_a_cached_mmcv_that_does_not_serve_is_built_without_the_cache(
        make_env, venv, cuda, first, second):
    first = make_env.SetupError(first) if first == 'undefined symbol' else first
    environment = FakeEnvironment(venv, [first, second])
    make_env.install_mmcv(environment, ['c++'], cuda=cuda)
    assert len(environment.calls) == 2
    assert {'--no-cache-dir', '--force-reinstall'} <= set(environment.calls[1][0])


def test_an_mmcv_that_was_just_built_and_fails_is_not_built_again(make_env, venv):
    environment = FakeEnvironment(venv, [make_env.SetupError('undefined symbol')], built=True)
    with pytest.raises(make_env.SetupError, match='undefined symbol'):
        make_env.install_mmcv(environment, ['c++'], cuda=False)
    assert len(environment.calls) == 1


def test_where_nvcc_fails_mmcv_gets_cpu_ops_and_one_line_says_so(
        make_env, venv, monkeypatch, capfd):
    monkeypatch.setattr(make_env, 'nvcc_release', lambda home: '13.0')
    environment = FakeEnvironment(
        venv, ['[true, "13.0", "/usr/local/cuda"]', make_env.SetupError('nvcc'), 'not available'],
        built=True)
    note = make_env.install_mmcv_with_best_ops(environment, ['c++'])
    assert 'CPU ops only' in note and '\n' not in note
    assert [env['FORCE_CUDA'] for _, env in environment.calls] == ['1', '0']
    assert environment.calls[1][1]['CUDA_VISIBLE_DEVICES'] == ''


def test_the_compiler_of_the_build_gets_cpp20_as_its_last_word(make_env, venv):
    settings = make_env.build_settings(venv, ['echo', 'c++'], cuda=False)
    answer = subprocess.run([settings['CXX'], '-std=c++17', 'a file.cpp'], text=True,
                            capture_output=True)
    assert answer.stdout == 'c++ -std=c++17 a file.cpp -std=c++20\n'


def test_a_missing_compiler_is_named_before_anything_is_installed(make_env):
    assert 'no-such-compiler' in make_env.compiler_problem(['no-such-compiler'])


def test_a_compiler_without_cpp20_is_told_in_one_line(make_env, tmp_path):
    old = tmp_path / 'old-c++'
    old.write_text('#!/bin/sh\necho "error: unrecognized option -std=c++20" >&2\nexit 1\n')
    old.chmod(0o755)
    problem = make_env.compiler_problem([str(old)])
    assert 'unrecognized option -std=c++20' in problem and '\n' not in problem
