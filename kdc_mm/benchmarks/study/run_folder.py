"""What lies on disk of a run: its folder with config, log, checkpoints and what it has noted of
itself, and its file of results."""
import fcntl
import json
import tempfile
from pathlib import Path
from typing import Dict, Optional, TextIO, Tuple

from kdc_mm.engine.checkpoint import CheckpointError, resolve_checkpoint
from kdc_mm.engine.whole_files import WholeFilesBackend

from .configs import Run
from .record import PROGRESS
from .results import Origin, final_runs
from .study import Study, StudyEntry

LOCK = 'lock'
#: What a run's settings and data were, beside its checkpoints.
ORIGIN = 'origin.json'
#: MMEngine's file that names the checkpoint to go on from.
_LAST = 'last_checkpoint'
#: How the folders are called into which earlier work is put aside.
_ASIDE = 'before-'


class FolderLock:
    """A folder for one process at a time; entering says whether it is this one.

    Args:
        folder (Path): Made if it is missing.
        wait (bool): Block until the lock is free.
    """

    def __init__(self, folder: Path, wait: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file: TextIO = (folder / LOCK).open('w')
        self.how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB

    def __enter__(self) -> bool:
        try:
            fcntl.flock(self.file, self.how)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *error) -> None:
        self.file.close()


class RunFolder:
    """The places of a run below the folder ``out`` of its study."""

    def __init__(self, out: Path, run: Run) -> None:
        self.path = out / 'runs' / run.name
        self.config = self.path / 'config.py'
        self.log = self.path / 'log.txt'
        self.result = out / 'results' / f'{run.name}.json'

    def lock(self) -> FolderLock:
        return FolderLock(self.path)

    def is_busy(self) -> bool:
        """Whether another process is at the run."""
        with self.lock() as locked:
            return not locked

    def has_checkpoint(self) -> bool:
        return (self.path / _LAST).is_file()

    def progress(self) -> Dict:
        """What the run has noted of itself; empty before it has."""
        return _read_json(self.path / PROGRESS) or {}

    def origin(self) -> Optional[Origin]:
        """What the run was begun with; ``None`` where none was."""
        found = _read_json(self.path / ORIGIN)
        return None if found is None else Origin(*found)

    def begin(self, origin: Origin) -> Optional[Path]:
        """Note what the run is begun with; what was begun otherwise is put aside, with its result:
        the run must neither go on from it nor take its place.

        Returns:
            Path | None: Where that lies now.
        """
        if self.origin() == origin:
            return None
        aside = self._put_aside()
        WholeFilesBackend().put_text(json.dumps(origin), self.path / ORIGIN)
        return aside

    def _put_aside(self) -> Optional[Path]:
        found = [path for path in self.path.iterdir()
                 if path.name != LOCK and not path.name.startswith(_ASIDE)]
        if not self.result.is_file() and not any(
                path.name in (PROGRESS, _LAST) or path.suffix == '.pth'
                for path in found):
            return None  # nothing that could be gone on with
        aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=self.path))
        if self.result.is_file():
            self.result.rename(aside / 'result.json')
        # what names a checkpoint before the checkpoints, and the origin last: whenever this is
        # broken off, the next start finds nothing to go on with, or all of it of other settings
        for path in sorted(found, key=lambda path: (path.name == ORIGIN, path.name != _LAST)):
            path.rename(aside / path.name)
        return aside

    def remove_weights(self) -> None:
        for path in [*self.path.glob('*.pth'), self.path / _LAST]:
            path.unlink(missing_ok=True)


def trained(study: Study, entry: StudyEntry, seed: int, out: Path,
            results: Dict[Run, Dict]) -> Tuple[Run, str]:
    """An entry's finished run of a seed, and its weights.

    Raises:
        LookupError: It is not finished, or its weights are not there.
    """
    for run in final_runs(study, entry, results):
        if run.seed == seed and run in results:
            folder = RunFolder(out, run)
            origin = folder.origin()
            if origin is None or origin.settings != results[run]['settings']:
                raise LookupError(
                    f'{folder.path} has no weights of the settings that {study.name} has.')
            try:
                return run, resolve_checkpoint(str(folder.path))
            except CheckpointError as error:
                raise LookupError(str(error)) from error
    raise LookupError(f'{entry.name} is not trained with seed {seed} yet.')


def _read_json(path: Path):
    """A file's content; ``None`` where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
