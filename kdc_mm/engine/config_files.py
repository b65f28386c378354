"""Configs by path or by name, wherever a config's name is read."""
import difflib
import importlib.util
from pathlib import Path
from typing import List, Optional, Tuple

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

#: Packages whose configs have a name of the form ``package::folder/file.py``.
PACKAGES = ('kdc_mm', 'mmpose', 'mmdet')

_mmengine_cfg_path = Config._get_cfg_path


class ConfigError(RuntimeError):
    """A config cannot be found, read or built; the message names it and says what to do."""


def find_config(name: str) -> Path:
    """The file behind a config's name.

    Args:
        name (str): A file; ``kdc_mm::...``, ``mmpose::...`` or ``mmdet::...`` for a file below the
            ``configs`` folder of the package, with or without ``.py``; or, where there is no such
            file, a config of kdc_mm as README.md and mim name it: by its path from the clone, or
            by its file name alone.

    Raises:
        ConfigError: There is none. The message names those that are spelt alike.
    """
    package, separator, inside = str(name).partition('::')
    if not separator:
        path = Path(name)
        found = path if path.is_file() else _own_config(name)
        if found is None:
            raise ConfigError(
                f'There is no config {name}{_alike(path.name, path.parent, configs_of("kdc_mm"))}.'
                ' Name a file, or mmpose::... or mmdet::... for one of theirs.')
        return found
    if package not in PACKAGES:
        raise ConfigError(f'{name}: configs are taken from {", ".join(PACKAGES[:-1])} and '
                          f'{PACKAGES[-1]}, not from {package!r}.')
    folder = configs_of(package)
    path = folder / with_ending(inside)
    if not path.is_file():
        raise ConfigError(f'{package} has no config {inside}{_alike(path.name, folder)}.')
    return path


def configs_of(package: str) -> Path:
    """Folder of a package's configs; its sources keep them beside the package."""
    root = Path(importlib.util.find_spec(package).origin).parent
    installed = root / '.mim/configs'
    return installed if installed.is_dir() else root.parent / 'configs'


def with_ending(name: str) -> str:
    return name if name.endswith('.py') else f'{name}.py'


def _own_config(name: str) -> Optional[Path]:
    """A config of kdc_mm by its path from the clone or by its file name alone."""
    inside = with_ending(str(name).removeprefix('configs/'))
    folder = configs_of('kdc_mm')
    files = [folder / inside] if '/' in inside else sorted(folder.rglob(inside))
    return next((file for file in files if file.is_file()), None)


def _alike(file_name: str, *folders: Path) -> str:
    """What to put behind an error: files below folders with a similar name, if any."""
    there: List[str] = [path.name for folder in folders if folder.is_dir()
                        for path in folder.rglob('*.py')]
    close = difflib.get_close_matches(file_name, dict.fromkeys(there), n=3)
    return f' (did you mean {" or ".join(close)}?)' if close else ''


def name_own_configs() -> None:
    """Have MMEngine resolve ``_base_ = 'kdc_mm::kdc_rn152_coco.py'`` in whatever config it reads.

    MMEngine knows a fixed list of packages, wants a folder in the name, and would look for the
    classes of the base in a registry of kdc_mm's own, where there are only MMPose's.
    """
    MODULE2PACKAGE.setdefault('kdc_mm', 'kdc_mm')
    Config._get_cfg_path = staticmethod(_get_cfg_path)


def _get_cfg_path(cfg_path: str, filename: str) -> Tuple[str, Optional[str]]:
    """MMEngine's, where ``kdc_mm::`` names a config: its file, and no scope."""
    if cfg_path.startswith('kdc_mm::'):
        return str(find_config(cfg_path)), None
    return _mmengine_cfg_path(cfg_path, filename)
