"""Checkpoints under PyTorch's ``weights_only`` safety: what it has to allow, and clear refusals.

Since PyTorch 2.6 ``torch.load`` builds only classes on a list. MMEngine's checkpoints need a few
more, for the logged history beside the weights; they are allowed here one by one, by name.
"""
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Callable, Optional
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# Element types of the arrays in a checkpoint: logged scalars, and the data set's meta information.
ARRAY_DTYPES = ('bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64',
                'float16', 'float32', 'float64', 'str')

# The methods of HistoryBuffer that MMEngine stores with every logged value.
HISTORY_STATISTICS = ('min', 'max', 'current', 'mean')


class CheckpointError(RuntimeError):
    """A file cannot serve as a checkpoint; the message names it and says what to do."""


def allow_checkpoint_classes() -> None:
    """Put what MMEngine writes into its checkpoints on PyTorch's list of safe classes.

    These are the history of a logged value, and arrays and numbers of numpy, under the names that
    numpy 1 (``numpy.core``) and numpy 2 (``numpy._core``) give to the functions that rebuild them.
    A history refers to its own statistics through ``getattr``, which would open the way to any
    code: under that name a checkpoint gets :func:`history_statistic`.
    """
    rebuild_array = np.zeros(0).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        (history_statistic, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *(type(np.dtype(name)) for name in ARRAY_DTYPES),
        *((rebuild_array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
        *((rebuild_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
    ])


def history_statistic(owner: Any, name: str) -> Callable:
    """``getattr``, as far as the checkpoints of MMEngine need it.

    Raises:
        UnpicklingError: Something else than a statistic of a history is asked for.
    """
    if owner is not HistoryBuffer or name not in HISTORY_STATISTICS:
        raise UnpicklingError(f'GLOBAL builtins.getattr was called for {name!r} of {owner!r}')
    return getattr(owner, name)


def check_checkpoint(source: str, resume: bool = False) -> None:
    """Make sure that a checkpoint can be loaded, before anything else is built.

    The file is mapped, not read, so that this takes little time for large files as well. A URL is
    fetched into the cache where MMEngine then finds it; it loads what it fetches itself without
    the safety, so this is also what keeps it on.

    Args:
        source: A file, or an http(s) URL. Other schemes, such as ``torchvision://``, name weights
            of known origin and are left to MMEngine.
        resume: Whether training is to go on from it, rather than to start with its weights.

    Raises:
        CheckpointError: It is missing, a directory, empty, cut short or of another format, holds
            classes that are not on the safe list, or lacks what is needed.
    """
    is_url = source.startswith(('http://', 'https://'))
    if '://' in source and not is_url:
        return
    path = _fetch(source) if is_url else Path(source).expanduser()
    _check_file(path)
    _check_content(path, _load(path), resume)


def _fetch(url: str) -> Path:
    """The file in the cache of ``torch.hub`` that MMEngine reads for a URL."""
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(url).path).name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except OSError as error:
            raise CheckpointError(f'{url} cannot be fetched: {error}') from error
    return path


def _check_file(path: Path) -> None:
    """Refuse what is visibly no checkpoint, judging by the first and last bytes."""
    if path.is_dir():
        raise CheckpointError(f'{path} is a directory; name a checkpoint in it{_others(path)}.')
    if not path.exists():
        raise CheckpointError(f'{path} does not exist{_others(path)}.')
    with open(path, 'rb') as file:
        start = file.read(64)
    if not start:
        raise CheckpointError(
            f'{path} is empty: saving it broke off. Use an earlier one{_others(path)}.')
    if start.startswith(b'PK'):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f'{path} is cut short: saving or fetching it broke off. Fetch it again, or use an '
                f'earlier one{_others(path)}.')
    elif not start.startswith(b'\x80'):
        raise CheckpointError(
            f'{path} is no PyTorch checkpoint: it starts with {start[:40]!r}. Name a file that '
            f'training saved{_others(path)}.')


def _load(path: Path) -> Any:
    """What the file holds, by way of the safe loader."""
    try:
        return torch.load(
            path, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # bytes of another origin make the unpickler fail in any way
        foreign = re.search(r'GLOBAL (\S+)', str(error))
        if foreign:
            raise CheckpointError(
                f'{path} holds {foreign.group(1)}, which is not on the list of safe classes: '
                'loading it could run any code. If you trust where it comes from, load it by hand '
                "and save its weights alone: torch.save({'state_dict': ...}, file).") from error
        raise CheckpointError(
            f'{path} is no PyTorch checkpoint, or damaged ({_reason(error)}). Fetch it again, or '
            f'use an earlier one{_others(path)}.') from error


def _check_content(path: Path, checkpoint: Any, resume: bool) -> None:
    """Refuse a file without the weights that MMEngine looks for, or without a state to resume."""
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not any(
            isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(
            f"{path} holds no weights: neither it nor its entry 'state_dict' maps names to "
            'tensors. Name a file that training saved.')
    if resume and not {'meta', 'message_hub'} <= checkpoint.keys():
        raise CheckpointError(
            f'{path} holds weights only, and no state that training could go on from. To start '
            f'with these weights: --cfg-options load_from={path}')


def _reason(error: Exception) -> str:
    """The one line of a loading error that says what is wrong, without PyTorch's advice around."""
    text = str(error).rsplit('WeightsUnpickler error:')[-1].strip() or type(error).__name__
    return text.splitlines()[0].rstrip('.')


def _others(path: Path) -> str:
    """What to put behind an advice: checkpoints in or beside ``path``, newest last, if any."""
    folder = path if path.is_dir() else path.parent
    found = sorted(set(folder.glob('*.pth')) - {path}, key=lambda one: one.stat().st_mtime)
    return f' (in {folder}: {", ".join(one.name for one in found[-5:])})' if found else ''


def checkpoint_to_start_from(cfg) -> Optional[str]:
    """The checkpoint that MMEngine's runner will load or resume for a config, if any.

    Args:
        cfg (Config): With ``work_dir``, and ``resume`` and ``load_from`` as the runner reads them:
            resuming without a name takes the one that ``work_dir/last_checkpoint`` names.
    """
    last = Path(cfg.work_dir) / 'last_checkpoint'
    if cfg.get('load_from') is None and cfg.get('resume') and last.exists():
        return last.read_text().strip()
    return cfg.get('load_from')
