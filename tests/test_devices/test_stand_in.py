"""Losses, flip test and decoding on a stand-in for a GPU, in a process of their own."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name('stand_in_cases.py')


def test_everything_on_the_stand_in_is_as_on_the_cpu(capsys):
    """Autograd counts the devices once, at the first backward pass of a process, and devices cannot
    be taken away again: so a device of the tests needs a process that has just begun."""
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-s', '-rs', '-p', 'no:cacheprovider', str(CASES)],
        capture_output=True, text=True, timeout=600)
    with capsys.disabled():
        print(*re.findall(r'[a-z][a-z 0-9]*: the host waits .*', run.stdout), sep='\n')
    if 'needs a C++ compiler' in run.stdout:
        pytest.skip('needs a C++ compiler: the stand-in device is built here')
    assert run.returncode == 0, run.stdout + run.stderr
    assert ' passed' in run.stdout and 'skipped' not in run.stdout
