"""Make ``.venv``: the pinned stack of ``requirements/`` with mmcv's compiled ops, and prove it.

``make`` runs this file with the interpreter that the environment is to have; it needs the standard
library only. What it does, in order: check the interpreter and the compiler, install what
``requirements/*.txt`` pins, build mmcv (or take the wheel that pip cached), install kdc_mm itself,
compile its kernels, import all of it in the new environment, and only then write the stamp that
calls ``.venv`` finished. The stamp is a hash over everything the result depends on, so a second
start is a comparison.
"""
import argparse
import fcntl
import hashlib
import json
import os
import platform
import queue
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
PYTHON_RANGE = ((3, 11), (3, 12))
STAMP = 'kdc-stamp'
LOG = 'make_env.log'

# Compiles only where torch's headers and Python's can be used.
COMPILER_PROBE = '#include <Python.h>\n#include <concepts>\nint main() { return 0; }\n'

CUDA_PROBE = """
import json, torch
from torch.utils.cpp_extension import CUDA_HOME
print(json.dumps([torch.cuda.is_available(), torch.version.cuda, CUDA_HOME]))
"""

# Of three boxes the second repeats the first. Prints 'not available' where mmcv has CPU ops only.
MMCV_PROOF = """
import torch
from mmcv.ops import get_compiling_cuda_version, nms
boxes = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
scores = torch.tensor([.9, .8, .7])
cuda = get_compiling_cuda_version()
for device in ['cpu'] + ['cuda'] * (cuda != 'not available' and torch.cuda.is_available()):
    kept = nms(boxes.to(device), scores.to(device), 0.5)[1].tolist()
    assert kept == [0, 2], f'mmcv.ops.nms on {device} keeps {kept} and should keep [0, 2]'
print(cuda)
"""

STACK_PROOF = """
import mmcv.ops, mmdet.evaluation, mmpose.apis, torch
import kdc_mm
print(f'torch {torch.__version__}, mmcv {mmcv.__version__}, mmdet {mmdet.__version__}, '
      f'mmpose {mmpose.__version__}, kdc_mm {kdc_mm.__version__}')
"""


class SetupError(Exception):
    """What went wrong, in words for the person who typed ``make``."""


# ---- What the environment depends on


def python_problem(version: Tuple[int, ...]) -> Optional[str]:
    """One line that says why this Python cannot be used, or None.

    Args:
        version: (major, minor, ...), as in ``sys.version_info``.
    """
    low, high = ('.'.join(map(str, bound)) for bound in PYTHON_RANGE)
    if PYTHON_RANGE[0] <= tuple(version[:2]) <= PYTHON_RANGE[1]:
        return None
    return (f'kdc_mm installs on Python {low} to {high}; this is {version[0]}.{version[1]}. '
            f'Choose another interpreter: make PYTHON=/path/to/python{low}')


def compiler_problem(compiler: Sequence[str]) -> Optional[str]:
    """Why mmcv's ops cannot be compiled here, or None.

    Args:
        compiler: The C++ compiler's command line, such as ``['c++']``.
    """
    advice = (f'A C++20 compiler and the headers of Python are needed to build mmcv (on Debian or '
              f'Ubuntu: apt install g++ python{sys.version_info[0]}.{sys.version_info[1]}-dev).')
    if not shutil.which(compiler[0]):
        return f'{advice} There is no {compiler[0]} here; CXX=... names another compiler.'
    command = [*compiler, '-std=c++20', '-fsyntax-only', '-x', 'c++', '-I',
               sysconfig.get_path('include'), '-']
    probe = subprocess.run(
        command, input=COMPILER_PROBE, universal_newlines=True, stderr=subprocess.PIPE)
    if probe.returncode:
        return f'{advice} {shlex.join(command)} says: {probe.stderr.strip().splitlines()[0]}'
    return None


def stamp(root: Path, python: str) -> str:
    """Hash over the requirement files, setup.py, this script, the Python and the place.

    Args:
        root: The repository.
        python: Version and kind of the interpreter, such as ``cpython-3.11-x86_64``.
    """
    files = [*sorted((root / 'requirements').glob('*.txt')), root / 'setup.py',
             root / 'tools' / 'setup' / 'make_env.py']
    digest = hashlib.sha256(f'{python}\n{root}\n'.encode())
    for file in files:
        digest.update(f'{file.relative_to(root)}\n'.encode() + file.read_bytes())
    return digest.hexdigest()


def this_python() -> str:
    return (f'{sys.implementation.name}-{sys.version_info[0]}.{sys.version_info[1]}-'
            f'{platform.machine()}')


def is_current(venv: Path, wanted: str) -> bool:
    """Whether ``venv`` was finished with this very stamp."""
    written = venv / STAMP
    return (venv / 'bin' / 'python').exists() and written.exists() and (
        written.read_text() == wanted)


# ---- Steps that show what they are doing


def describe(line: str) -> Optional[str]:
    """What one line of pip's output says about its progress, or None."""
    ninja = re.match(r'\s*\[(\d+)/(\d+)\] ', line)
    if ninja:
        return f'compiling, {ninja.group(1)} of {ninja.group(2)} files'
    pip = re.match(r'\s*(Collecting|Downloading|Building wheel for) (\S+)', line)
    if pip:
        return f'{pip.group(1)[0].lower()}{pip.group(1)[1:]} {pip.group(2).rsplit("/", 1)[-1]}'
    if line.startswith('Installing collected packages'):
        return f'installing {line.count(",") + 1} packages'
    return None


class Progress:
    """One line about a step: rewritten in place on a terminal, repeated now and then elsewhere.

    Args:
        label: What the step does.
        every: Seconds between two lines where there is no terminal.
    """

    def __init__(self, label: str, every: float = 30):
        self.label = label
        self.every = every
        self.begun = self.last = time.monotonic()
        self.terminal = sys.stdout.isatty()
        self.show('')

    def show(self, detail: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = f'  {self.label:<24}{self.elapsed():>6}  {detail}'
        if self.terminal:
            print(f'\r{line[:width]:<{width}}', end='', flush=True)
        elif not detail or time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            print(line.rstrip(), flush=True)

    def done(self, result: str) -> None:
        self.every = 0
        self.show(result)
        if self.terminal:
            print()

    def elapsed(self) -> str:
        seconds = int(time.monotonic() - self.begun)
        return f'{seconds // 60}:{seconds % 60:02d}'


def run(label: str, command: Sequence[str], log: Path, env: Dict[str, str]) -> str:
    """Run a command with its output in the log and its progress on the screen.

    Returns:
        The command's output.

    Raises:
        SetupError: It failed; the message holds the end of its output and the log's path.
    """
    progress = Progress(label)
    lines: 'queue.Queue[Optional[str]]' = queue.Queue()
    output: List[str] = []
    detail = 'starting'
    with open(log, 'a') as record:
        record.write(f'\n$ {shlex.join(map(str, command))}\n')
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            universal_newlines=True, errors='replace')

        def pump():
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=pump, daemon=True).start()
        try:
            while True:
                try:
                    line = lines.get(timeout=1)
                except queue.Empty:
                    progress.show(detail)
                    continue
                if line is None:
                    break
                record.write(line)
                record.flush()
                output.append(line)
                detail = describe(line) or detail
                progress.show(detail)
            failed = process.wait() != 0
        finally:
            process.terminate()
    progress.done('failed' if failed else 'done')
    if failed:
        tail = ''.join(output[-25:]).rstrip()
        raise SetupError(f'{tail}\n\n{label} failed. The whole log: {log}')
    return ''.join(output)


# ---- The environment


class Environment:
    """The virtual environment in the making.

    Args:
        venv: Where it lies.
    """

    def __init__(self, venv: Path):
        self.venv = venv
        self.python = str(venv / 'bin' / 'python')
        self.log = venv / LOG
        self.env = {
            name: value for name, value in os.environ.items()
            if name not in ('PYTHONPATH', 'PYTHONHOME', 'PIP_USER', 'PIP_TARGET', 'PIP_PREFIX')
        }
        self.env.update(
            PATH=f'{venv / "bin"}{os.pathsep}{os.environ["PATH"]}', PYTHONNOUSERSITE='1',
            VIRTUAL_ENV=str(venv))

    def create(self, *options: str) -> None:
        """An empty environment in place of whatever is there.

        Args:
            *options: For Python's module venv.

        Raises:
            SetupError: Python has no venv module that works.
        """
        if (self.venv / STAMP).exists():
            (self.venv / STAMP).unlink()
        made = subprocess.run(
            [sys.executable, '-m', 'venv', '--clear', *options, str(self.venv)],
            universal_newlines=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if made.returncode:
            raise SetupError(
                f'{made.stdout.strip()}\n\npython -m venv failed (on Debian or Ubuntu: apt install '
                f'python{sys.version_info[0]}.{sys.version_info[1]}-venv).')

    def pip(self, label: str, *arguments: str, env: Optional[Dict[str, str]] = None) -> str:
        return run(label, [self.python, '-m', 'pip', 'install', *arguments], self.log,
                   {**self.env, **(env or {})})

    def ask(self, program: str) -> str:
        """What a Python program prints in the environment.

        Raises:
            SetupError: It failed; the message is the last line of its traceback.
        """
        answer = subprocess.run(
            [self.python, '-c', program], cwd=str(self.venv), env=self.env,
            universal_newlines=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with open(self.log, 'a') as record:
            record.write(f'\n$ python -c {shlex.quote(program)}\n{answer.stdout}{answer.stderr}')
        if answer.returncode:
            reason = (answer.stderr.strip().splitlines() or [f'exit code {answer.returncode}'])[-1]
            raise SetupError(f'{reason}\nThe whole log: {self.log}')
        return answer.stdout.strip().splitlines()[-1]


# ---- mmcv


def cuda_plan(has_gpu: bool, torch_cuda: Optional[str], nvcc: Optional[str]) -> Tuple[bool, str]:
    """Whether to build mmcv's CUDA ops, and what to say where a GPU goes without them.

    Args:
        has_gpu: Whether torch sees a GPU.
        torch_cuda: The CUDA release that torch was built with, such as ``13.0``.
        nvcc: The release of the nvcc that torch would call, or None.
    """
    if not has_gpu:
        return False, ''
    if nvcc is None:
        return False, 'there is a GPU but no nvcc: mmcv gets its CPU ops only (see README, Install)'
    if nvcc.split('.')[0] != torch_cuda.split('.')[0]:
        return False, (f'nvcc {nvcc} does not match the CUDA {torch_cuda} of torch: mmcv gets its '
                       'CPU ops only (see README, Install)')
    return True, ''


def nvcc_release(cuda_home: Optional[str]) -> Optional[str]:
    """The release of ``cuda_home/bin/nvcc``, such as ``13.0``; None where it does not run."""
    try:
        answer = subprocess.run(
            [os.path.join(cuda_home or '', 'bin', 'nvcc'), '--version'], universal_newlines=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError:
        return None
    release = re.search(r'release (\d+\.\d+)', answer.stdout)
    return release.group(1) if release else None


def build_jobs() -> int:
    """Compilers to run at once: one per core, and 2 GB of memory for each."""
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return max(1, min(len(os.sched_getaffinity(0)), memory // 2**31))


def build_settings(venv: Path, compiler: Sequence[str], cuda: bool) -> Dict[str, str]:
    """Environment variables for the build of mmcv.

    mmcv 2.1 asks its compilers for C++17 and torch's headers need C++20. The last ``-std`` on a
    command line wins, so a compiler that appends one stands in for the real one.
    """
    wrapper = venv / 'bin' / 'c++20'
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(compiler)} "$@" -std=c++20\n')
    wrapper.chmod(0o755)
    settings = dict(
        CXX=str(wrapper), MMCV_WITH_OPS='1', FORCE_CUDA=str(int(cuda)),
        MAX_JOBS=os.environ.get('MAX_JOBS', str(build_jobs())))
    if cuda:
        settings['NVCC_APPEND_FLAGS'] = f'{os.environ.get("NVCC_APPEND_FLAGS", "")} -std=c++20'
    else:
        settings['CUDA_VISIBLE_DEVICES'] = ''  # mmcv builds CUDA ops wherever torch sees a GPU
    return settings


def install_mmcv(environment: Environment, compiler: Sequence[str], cuda: bool) -> None:
    """Install mmcv and run one of its ops; a wheel of pip's cache that fails is built anew.

    pip names wheels by mmcv's version alone: the one it kept may have been built against another
    torch, or without CUDA.

    Raises:
        SetupError: mmcv does not build or does not work.
    """
    settings = build_settings(environment.venv, compiler, cuda)
    common = ('-v', '--no-build-isolation', '--no-deps', '-r', 'requirements/mmcv.txt')

    def prove() -> None:
        if environment.ask(MMCV_PROOF) == 'not available' and cuda:
            raise SetupError('mmcv was built without CUDA')

    output = environment.pip('mmcv', *common, env=settings)
    try:
        prove()
    except SetupError as problem:
        if 'Building wheel for mmcv' in output:
            raise
        print(f'  the mmcv wheel at hand does not serve here ({str(problem).splitlines()[0]}); '
              'building it', flush=True)
        environment.pip('mmcv, from source', '--force-reinstall', '--no-cache-dir', '--no-binary',
                        'mmcv', *common, env=settings)
        prove()


def install_mmcv_with_best_ops(environment: Environment, compiler: Sequence[str]) -> str:
    """mmcv with CUDA ops where they can be built, else with CPU ops.

    Returns:
        A line for the user where a GPU goes without CUDA ops, else an empty string.
    """
    print('  mmcv has no wheel for this PyTorch: if pip kept none from before, it is compiled now '
          '(10 minutes on 2 cores)', flush=True)
    has_gpu, torch_cuda, cuda_home = json.loads(environment.ask(CUDA_PROBE))
    cuda, note = cuda_plan(has_gpu, torch_cuda, nvcc_release(cuda_home))
    if cuda:
        try:
            install_mmcv(environment, compiler, cuda=True)
            return note
        except SetupError:
            note = (f"nvcc could not build mmcv's CUDA ops (log: {environment.log}): mmcv gets "
                    'its CPU ops only (see README, Install)')
            print(f'  {note}', flush=True)
    install_mmcv(environment, compiler, cuda=False)
    return note


# ---- All of it


def make(venv: Path, compiler: Sequence[str]) -> None:
    """Install everything into a fresh ``venv`` and prove it.

    Raises:
        SetupError: A step failed.
    """
    begun = time.monotonic()
    environment = Environment(venv)
    print(f'Making {venv} for Python {platform.python_version()}', flush=True)
    environment.create()
    environment.pip('build tools', '-r', 'requirements/build.txt')
    environment.pip('PyTorch and the rest', '-r', 'requirements/runtime.txt', '-r',
                    'requirements/tests.txt', '-r', 'requirements/deploy.txt')
    environment.pip('mmengine, mmdet, mmpose', '--no-build-isolation', '--no-deps', '-r',
                    'requirements/mm.txt')
    environment.pip('gradio', '--no-deps', '-r', 'requirements/web.txt')
    note = install_mmcv_with_best_ops(environment, compiler)
    environment.pip('kdc_mm', '--no-build-isolation', '--no-deps', '-e', '.')
    compile_kernels = [environment.python, '-m', 'kdc_mm.compile_kernels']
    run('kernels of decoding', compile_kernels, environment.log, environment.env)
    versions = environment.ask(STACK_PROOF)
    minutes = (time.monotonic() - begun) / 60
    print(f'Ready in {minutes:.1f} min: {versions}', flush=True)
    if note:
        print(f'Note: {note}', flush=True)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description='Make .venv where it is missing or stale.')
    parser.parse_args(arguments)
    problem = python_problem(sys.version_info)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    venv = ROOT / '.venv'
    with open(ROOT / '.venv.lock', 'w') as lock:  # a second make waits for the first
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = stamp(ROOT, this_python())
        if is_current(venv, wanted):
            return 0
        compiler = shlex.split(os.environ.get('CXX', 'c++'))
        problem = compiler_problem(compiler)
        if problem:
            print(problem, file=sys.stderr)
            return 2
        try:
            make(venv, compiler)
        except SetupError as error:
            print(f'\n{error}', file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print('\nInterrupted; the next make starts over (what pip cached is kept).',
                  file=sys.stderr)
            return 130
        (venv / STAMP).write_text(wanted)
    return 0


if __name__ == '__main__':
    sys.exit(main())
