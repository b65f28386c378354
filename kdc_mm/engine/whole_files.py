"""Files that are whole or not there, whenever the process or the machine stops."""
import os
from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend

#: Ending of a file that is being written, until it takes its name.
PARTIAL = '.partial'


@register_backend('whole_files')
class WholeFilesBackend(LocalBackend):
    """MMEngine's backend of local files, whose files appear under their names when they are whole.

    A file is written beside its place, brought to the disk, and renamed. What was there before
    stays until then, so that a full disk or a killed process leaves it as it was.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + PARTIAL)
        try:
            with open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error
        _sync_folder(path.parent)

    def put_text(self, obj: str, filepath: Union[str, Path], encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
