"""What ends a run from outside, told in one line: disks that are full or gone, broken files."""
import multiprocessing
import os
import sys
from pathlib import Path
from typing import NoReturn, Optional

from kdc_mm.datasets.annotations import AnnotationError
from kdc_mm.datasets.person_rows import UnreadableImagesError

from ..models.input_size import InputSizeError
from .checkpoint import CheckpointError, saved_checkpoints
from .config_files import ConfigError, find_config


class WorkDirError(RuntimeError):
    """Results cannot be written; the message says where, and what to do."""


#: Errors that are no mistake in code: their message is enough.
FAULTS = (AnnotationError, CheckpointError, ConfigError, InputSizeError, UnreadableImagesError,
          WorkDirError, FloatingPointError, OSError)


def check_work_dir(work_dir: str) -> None:
    """Make sure that results can be written, before anything else is done.

    Raises:
        WorkDirError: They cannot.
    """
    folder = Path(work_dir)
    probe = folder / f'.probe-{os.getpid()}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b'0')
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise WorkDirError(f'The work dir {work_dir} cannot be written ({error.strerror}): '
                           'choose another with --work-dir.') from error


def config_or_end(name: str) -> str:
    """:func:`find_config` for a command line: the program ends where there is no such config."""
    try:
        return str(find_config(name))
    except ConfigError as error:
        end(error)


def last_words(error: Exception, work_dir: Optional[str] = None) -> str:
    """The line with which a run ends: what is wrong and, if it is the disk, what is left.

    Args:
        error (Exception): One of :data:`FAULTS`. A loader's process puts its traceback in front of
            the message.
        work_dir (str, optional): Where checkpoints were saved, if so.
    """
    message = str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()
    if work_dir is None or not isinstance(error, (OSError, UnreadableImagesError)):
        return message
    while_saving = getattr(error, 'errno', None) is not None
    if while_saving:
        message = f'{error.strerror}: {error.filename or work_dir}'
    saved = saved_checkpoints(Path(work_dir))
    if saved:  # there have been images: more lines would say where a data set comes from
        return (f'{message.splitlines()[0].rstrip(".")}. The last checkpoint is as it was: '
                f'{saved[0]}. Go on from it with --resume.')
    return f'{message}. No checkpoint was saved.' if while_saving else message


def end(error: Exception, work_dir: Optional[str] = None) -> NoReturn:
    """End the program with :func:`last_words`, which nothing follows: loaders' processes end first.

    Raises:
        SystemExit: always.
    """
    for loader in multiprocessing.active_children():
        loader.terminate()
        loader.join()
    sys.exit(last_words(error, work_dir))
