"""Configs by path, or by the names that MMPose's and mmdet's own ``_base_`` lines use."""
import copy
import functools
import importlib

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ...engine.config_files import ConfigError, find_config

__all__ = ['ConfigError', 'build_model', 'config_as_read', 'find_config', 'load_config',
           'register_all', 'scope_of']


def load_config(name: str) -> Config:
    """Read a config and register the classes that it names.

    Args:
        name (str): As :func:`find_config` takes it.

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


def config_as_read(name: str) -> Config:
    """A config as :func:`load_config` read it when it was asked for first in this process: whatever
    becomes of the file, all runs of a study are of one version."""
    return copy.deepcopy(_first_read(name))


_first_read = functools.lru_cache(maxsize=None)(load_config)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or '(no message)').splitlines()[0]


def scope_of(cfg: Config) -> str:
    """The package in whose registries a config's classes are looked for."""
    return cfg.get('default_scope') or 'mmpose'


def register_all(scope: str) -> None:
    """Import all of MMPose or mmdet, as their own tools do before they build anything."""
    if scope in ('mmpose', 'mmdet'):
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
