"""What ends a run from outside, told in one line: disks that are full or gone, broken files."""
import os
from pathlib import Path
from typing import Optional

from kdc_mm.datasets.annotations import AnnotationError
from kdc_mm.datasets.person_rows import UnreadableImagesError

from .checkpoint import CheckpointError, saved_checkpoints

#: Errors that are no mistake in code: their message is enough.
FAULTS = (AnnotationError, CheckpointError, UnreadableImagesError, FloatingPointError, OSError)


def check_work_dir(work_dir: str) -> None:
    """Make sure that results can be written, before anything else is done.

    Raises:
        OSError: They cannot.
    """
    folder = Path(work_dir)
    probe = folder / f'.probe-{os.getpid()}'
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b'0')
        probe.unlink()
    except OSError as error:
        raise OSError(f'The work dir {work_dir} cannot be written ({error.strerror}): '
                      'choose another with --work-dir.') from error


def last_words(error: Exception, work_dir: Optional[str] = None) -> str:
    """The line with which a run ends: what is wrong and, if it is the disk, what is left.

    Args:
        error (Exception): One of :data:`FAULTS`. A loader's process puts its traceback in front of
            the message.
        work_dir (str, optional): Where checkpoints were saved, if so.
    """
    message = str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()
    if work_dir is None or getattr(error, 'errno', None) is None:
        return message
    saved = saved_checkpoints(Path(work_dir))
    left = (f'The last checkpoint is as it was: {saved[0]}. Go on from it with --resume.'
            if saved else 'No checkpoint was saved.')
    return f'{error.strerror}: {error.filename or work_dir}. {left}'
