"""Configs by path, or by the names that MMPose's and mmdet's own ``_base_`` lines use."""
import copy
import difflib
import importlib
import importlib.util
from pathlib import Path
from typing import List

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

PACKAGES = ('mmpose', 'mmdet')


class ConfigError(RuntimeError):
    """A config cannot be found, read or built; the message names it and says what to do."""


def load_config(name: str) -> Config:
    """Read a config and register the classes that it names.

    Args:
        name (str): A file, or ``mmpose::...`` or ``mmdet::...`` for a file below the ``configs``
            folder of the installed package, with or without ``.py``.

    Raises:
        ConfigError: There is no such file, or it is no config.
    """
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
    except Exception as error:  # a config is code, which fails in any way
        raise ConfigError(f'{name} cannot be read as a config: '
                          f'{type(error).__name__}: {_first_line(error)}') from error
    if cfg.get('model') is None:
        raise ConfigError(f'{name} has no model, so it is no config of a network.')
    register_all(scope_of(cfg))
    return cfg


def find_config(name: str) -> Path:
    """The file behind a config's name.

    Raises:
        ConfigError: There is none. The message names those that are spelt alike.
    """
    package, separator, inside = name.partition('::')
    if not separator:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f'There is no config {name}{_alike(path.name, path.parent)}. Name a '
                              'file, or mmpose::... or mmdet::... for one of theirs.')
        return path
    if package not in PACKAGES:
        raise ConfigError(f'{name}: configs are taken from {" and ".join(PACKAGES)}, '
                          f'not from {package!r}.')
    folder = _configs_of(package)
    path = folder / (inside if inside.endswith('.py') else f'{inside}.py')
    if not path.is_file():
        raise ConfigError(f'{package} has no config {inside}{_alike(path.name, folder)}.')
    return path


def _configs_of(package: str) -> Path:
    """Folder of an installed package's configs; its sources keep them beside the package."""
    root = Path(importlib.util.find_spec(package).origin).parent
    installed = root / '.mim/configs'
    return installed if installed.is_dir() else root.parent / 'configs'


def _alike(file_name: str, folder: Path) -> str:
    """What to put behind an error: files below a folder with a similar name, if any."""
    there: List[str] = [path.name for path in folder.rglob('*.py')] if folder.is_dir() else []
    close = difflib.get_close_matches(file_name, there, n=3)
    return f' (did you mean {" or ".join(close)}?)' if close else ''


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or '(no message)').splitlines()[0]


def scope_of(cfg: Config) -> str:
    """The package in whose registries a config's classes are looked for."""
    return cfg.get('default_scope') or 'mmpose'


def register_all(scope: str) -> None:
    """Import all of MMPose or mmdet, as their own tools do before they build anything."""
    if scope in PACKAGES:
        importlib.import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)


def build_model(name: str, cfg: Config) -> nn.Module:
    """The network of a config with the random weights of its layers, in evaluation mode.

    Nothing is fetched: weights that the config names as a start are left out.

    Raises:
        ConfigError: It cannot be built.
    """
    model_cfg = copy.deepcopy(cfg.model)
    if 'preprocess_cfg' in cfg:
        model_cfg.setdefault('data_preprocessor', cfg.preprocess_cfg)
    if 'data_preprocessor' in cfg:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        with DefaultScope.overwrite_default_scope(scope_of(cfg)):
            model = MODELS.build(model_cfg)
    except Exception as error:  # a constructor fails in any way
        raise ConfigError(f'The model of {name} cannot be built: '
                          f'{type(error).__name__}: {_first_line(error)}') from error
    model.eval()
    return model
