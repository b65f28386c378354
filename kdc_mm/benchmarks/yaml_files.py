"""Boards and studies are YAML files with settings."""
from pathlib import Path
from typing import Any, Dict, Sequence, Type

import yaml


def read_settings(path: Path, kind: str, keys: Sequence[str],
                  error: Type[Exception]) -> Dict[str, Any]:
    """The settings at the top of a YAML file.

    Args:
        path (Path): The file.
        kind (str): What it is, in messages: ``'board'``.
        keys (sequence[str]): What such a file needs, in messages.
        error (type[Exception]): What is raised where it is missing, no YAML or no mapping.
    """
    if not path.is_file():
        raise error(f'There is no {kind} {path}.')
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as problem:
        raise error(f'{path} is no YAML: {" ".join(str(problem).split())}') from problem
    if not isinstance(content, dict):
        raise error(f'{path} is no {kind}: it needs the keys {" and ".join(keys)}.')
    return content
