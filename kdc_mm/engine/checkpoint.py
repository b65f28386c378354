"""Checkpoints under PyTorch's ``weights_only`` safety: what it has to allow, and clear refusals.

Since PyTorch 2.6 ``torch.load`` builds only classes on a list. MMEngine's checkpoints need a few
more, for the logged history beside the weights; they are allowed here one by one, by name.
"""
import mmap
import re
import zipfile
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

from ..config_types import type_name
from .safetensors import read_safetensors

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

    The file is read once, to compare its checksums, and then mapped. A URL is fetched into the
    cache where MMEngine then finds it; it loads what it fetches itself without the safety, so this
    is also what keeps it on.

    Args:
        source: A file, or an http(s) URL. Other schemes, such as ``torchvision://``, name weights
            of known origin and are left to MMEngine.
        resume: Whether training is to go on from it, rather than to start with its weights.

    Raises:
        CheckpointError: It is missing, a directory, empty, cut short, damaged or of another format,
            holds classes that are not on the safe list, or lacks what is needed.
    """
    is_url = source.startswith(('http://', 'https://'))
    if '://' in source and not is_url:
        return
    path = _fetch(source) if is_url else Path(source).expanduser()
    try:
        _check_file(path)
    except OSError as error:
        raise CheckpointError(f'{path} cannot be read: {error.strerror}.') from error
    _check_content(path, _load(path), resume)
    if is_url and _is_safetensors(path):
        raise CheckpointError(f'{source} has been fetched: name {path} instead.')


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
        _check_zip(path)
    elif not start.startswith(b'\x80') and not _is_safetensors(path):
        raise CheckpointError(
            f'{path} is no PyTorch checkpoint: it starts with {start[:40]!r}. Name a file that '
            f'training saved{_others(path)}.')


def _is_safetensors(path: Path) -> bool:
    return path.suffix == '.safetensors'


def _check_zip(path: Path) -> None:
    """Refuse an archive that is cut short, or whose checksums are not those of its content."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f'{path} is cut short: saving or fetching it broke off. Fetch it again, or use an '
            f'earlier one{_others(path)}.')
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(entry.compress_type for entry in archive.infolist())
            damaged = 'its directory' if packed else archive.testzip()
    except Exception:  # a damaged directory makes zipfile fail in many ways
        damaged = 'its directory'
    if damaged:
        raise CheckpointError(
            f'{path} is damaged: {damaged} is not what was saved. Fetch it again, or use an '
            f'earlier one{_others(path)}.')


def _load(path: Path) -> Any:
    """What the file holds, by way of the safe loader."""
    try:
        if _is_safetensors(path):
            return read_safetensors(path)
        _refuse_bytearray(path)
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


def _refuse_bytearray(path: Path) -> None:
    """``bytearray`` is on PyTorch's own list, and of a number it fills that much memory.

    Raises:
        UnpicklingError: The file names it.
    """
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(b'\nbytearray\n') >= 0:
            raise UnpicklingError('GLOBAL builtins.bytearray')


def _check_content(path: Path, checkpoint: Any, resume: bool) -> None:
    """Refuse a file without the weights that MMEngine looks for, or without a state to resume."""
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not any(
            isinstance(value, torch.Tensor) for value in weights.values()):
        raise CheckpointError(
            f"{path} holds no weights: neither it nor its entry 'state_dict' maps names to "
            'tensors. Name a file that training saved.')
    if resume and not _has_state(checkpoint):
        raise CheckpointError(
            f'{path} holds weights only, and no state that training could go on from. To start '
            f'with these weights: --cfg-options load_from={path}')


def _has_state(checkpoint: dict) -> bool:
    """Whether training can go on from it: it says where it was, and what it had logged."""
    meta = checkpoint.get('meta')
    return isinstance(checkpoint.get('message_hub'), dict) and isinstance(meta, dict) and all(
        isinstance(meta.get(count), int) for count in ('epoch', 'iter'))


def _reason(error: Exception) -> str:
    """The one line of a loading error that says what is wrong, without PyTorch's advice around."""
    text = str(error).rsplit('WeightsUnpickler error:')[-1].strip() or type(error).__name__
    return text.splitlines()[0].rstrip('.')


def _others(path: Path) -> str:
    """What to put behind an advice: checkpoints in or beside ``path``, newest last, if any."""
    folder = path if path.is_dir() else path.parent
    found = sorted(set(folder.glob('*.pth')) - {path}, key=lambda one: one.stat().st_mtime)
    return f' (in {folder}: {", ".join(one.name for one in found[-5:])})' if found else ''


def checkpoint_to_start_from(cfg) -> Tuple[Optional[str], List[str]]:
    """The checkpoint from which training starts or goes on, if any; it has been checked.

    Args:
        cfg (Config): With ``work_dir``, and ``resume`` and ``load_from`` as the runner reads them:
            resuming without a name takes the newest in ``work_dir`` that is whole.

    Returns:
        tuple: Its name, and why newer ones are passed over.

    Raises:
        CheckpointError: The one that is named cannot be used, or none that there is.
    """
    source, resume = cfg.get('load_from'), cfg.get('resume', False)
    if source is None:
        return last_whole_checkpoint(cfg.work_dir) if resume else (None, [])
    check_checkpoint(source, resume)
    return source, []


def last_whole_checkpoint(work_dir: str) -> Tuple[Optional[str], List[str]]:
    """The newest checkpoint of a run that can be resumed, that of ``last_checkpoint`` first.

    Returns:
        tuple: Its path, None where there is no checkpoint yet, and why newer ones are passed over.

    Raises:
        CheckpointError: There are some, and all are broken.
    """
    problems = []
    for path in saved_checkpoints(Path(work_dir)):
        try:
            check_checkpoint(str(path), resume=True)
            return str(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    if problems:
        raise CheckpointError(f'No checkpoint in {work_dir} can be resumed. {problems[0]}')
    return None, []


def resolve_checkpoint(checkpoint: str) -> str:
    """The file that a checkpoint's name means; a work dir stands for its last checkpoint.

    Raises:
        CheckpointError: The work dir has none, or no longer.
    """
    if not Path(checkpoint).is_dir():
        return checkpoint
    last = Path(checkpoint, 'last_checkpoint')
    if not last.is_file():
        raise CheckpointError(f'{checkpoint} holds no last_checkpoint: nothing was trained there '
                              'yet, or another folder is meant.')
    named = Path(last.read_text().strip())
    # a work dir that was moved or copied has its own
    for path in (Path(checkpoint, named.name), named):
        if path.is_file():
            return str(path)
    raise CheckpointError(f'{last} names {named}, which is not there.')


def saved_checkpoints(work_dir: Path) -> List[Path]:
    """Checkpoints to go on from, the newest first; what is best so far has no optimizer's state."""
    last = work_dir / 'last_checkpoint'
    named = last.read_text().strip() if last.is_file() else ''
    saved = [path for path in work_dir.glob('*.pth') if not path.name.startswith('best_')]
    saved.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    return list(dict.fromkeys([Path(named)] * bool(named) + saved))


def pretrained_weights(model: Any) -> Iterator[str]:
    """The checkpoints that a model's config initialises its parts from (``init_cfg``)."""
    if isinstance(model, dict):
        starts = 'type' in model and type_name(model) in ('Pretrained', 'PretrainedInit')
        if starts and isinstance(model.get('checkpoint'), str):
            yield model['checkpoint']
        model = list(model.values())
    for part in model if isinstance(model, (list, tuple)) else ():
        yield from pretrained_weights(part)


def check_fit(model: nn.Module, source: str, config: str, partly: bool = False) -> None:
    """Make sure that a checkpoint holds all weights of a network; MMEngine only warns.

    The network has the weights then.

    Args:
        model (nn.Module): The network.
        source (str): A checkpoint that :func:`check_checkpoint` let pass.
        config (str): What to call the network's config.
        partly (bool): Whether some of the weights suffice, as where training starts from others'.

    Raises:
        CheckpointError: Weights are missing or have other shapes.
    """
    content = _load_checkpoint(source, map_location='cpu')
    weights = _without_prefix(content.get('state_dict', content))
    parameters = [name for name, _ in model.named_parameters()]
    absent = _absent(model, weights)
    wrong = [name for name in parameters if name in absent]
    if wrong and not (partly and len(wrong) < len(parameters)):
        raise CheckpointError(
            f'{source} is of another architecture than {config}: {len(wrong)} of '
            f'{len(parameters)} weights are missing or have other shapes, the first is '
            f'{wrong[0]}. Name the config that it was trained with.')


def _without_prefix(weights: Dict[str, Any]) -> 'OrderedDict[str, Any]':
    """Weights by names without a wrapper's ``module.``; with the versions of their layers, without
    which some of MMPose's heads take any names for older ones and change them."""
    plain = OrderedDict(
        (re.sub(r'^module\.', '', name), value) for name, value in weights.items())
    versions = getattr(weights, '_metadata', None)
    if versions is not None:
        plain._metadata = OrderedDict(
            (re.sub(r'^module(\.|$)', '', name), value) for name, value in versions.items())
    return plain


def _absent(model: nn.Module, weights: 'OrderedDict[str, Any]') -> set:
    """Load weights; the names of those that are missing or do not fit."""
    try:
        return set(model.load_state_dict(weights, strict=False).missing_keys)
    except RuntimeError as error:
        misfits = re.findall(r'size mismatch for ([^:\s]+):|parameter named "(\S+)"', str(error))
        misfits = {one or other for one, other in misfits}
    if not misfits & weights.keys():
        return set(model.state_dict())
    fitting = weights.copy()
    for name in misfits & weights.keys():
        del fitting[name]
    fitting._metadata = getattr(weights, '_metadata', None)
    return misfits | _absent(model, fitting)
