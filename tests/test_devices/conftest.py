"""A stand-in for a GPU, built once per version of its source and of PyTorch."""
import contextlib
import hashlib
import os
import shutil
import types
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

SOURCE = Path(__file__).with_name('stand_in.cpp')


def load_library(folder):
    """Load the extension from the cache, or build it and keep it there.

    Args:
        folder (Path): Where to build it.
    """
    version = hashlib.sha256(torch.__version__.encode() + SOURCE.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache'), 'kdc_mm')
    built = cache / f'stand_in-{version}.so'
    if built.exists():
        torch.ops.load_library(str(built))
        return
    if not shutil.which(cpp_extension.get_cxx_compiler()):
        pytest.skip('needs a C++ compiler: the stand-in device is built here')
    cpp_extension.load('stand_in', [str(SOURCE)], extra_cflags=['-O0'],
                       build_directory=str(folder), is_python_module=False)
    with contextlib.suppress(OSError):  # without a cache it is built each time
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / 'stand_in.so', built.with_suffix('.partial'))
        os.replace(built.with_suffix('.partial'), built)


@pytest.fixture(scope='session')
def device(tmp_path_factory):
    """Name of the device, which lives as long as the process."""
    load_library(tmp_path_factory.mktemp('stand_in'))
    torch.utils.rename_privateuse1_backend('stand_in')
    module = types.ModuleType('torch.stand_in')
    module.is_available = lambda: True
    module.device_count = lambda: 1
    module.current_device = lambda: 0
    module._is_in_bad_fork = lambda: False
    module.manual_seed_all = lambda seed: None
    torch._register_device_module('stand_in', module)
    torch.utils.generate_methods_for_privateuse1_backend()
    return 'stand_in'


@pytest.fixture
def waits(device):
    """Function that returns what the host has waited for since it was called last."""
    torch.ops.stand_in.take_waits()
    return torch.ops.stand_in.take_waits
