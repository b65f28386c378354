"""Boards and studies are YAML files with settings."""
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Sequence,
    Tuple,
    Type,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

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


def settings_of_type(content: Any, kind: type, place: str, error: Type[Exception],
                     needed: Sequence[str] = (), internal: Sequence[str] = ()) -> Dict[str, Any]:
    """The settings that a dataclass is made of; what is left blank is left out.

    Args:
        content (object): What a file has there.
        kind (type): The dataclass.
        place (str): In messages: ``'small.yml: data'``.
        error (type[Exception]): What is raised at settings that are none, that the dataclass does
            not know, that it lacks, or whose values are of other types than its annotations.
        needed (sequence[str]): Keys that must hold something.
        internal (sequence[str]): Attributes of the dataclass that are no settings.
    """
    if not isinstance(content, dict):
        words = f' with {" and ".join(needed)}' if needed else ''
        raise error(f'{place} must be settings{words}, got {content!r}.')
    content = {key: value for key, value in content.items() if value is not None}
    types = {name: hint for name, hint in get_type_hints(kind).items()
             if name in kind.__dataclass_fields__ and name not in internal}
    refuse_unknown(content, types, place, error)
    missing = [key for key in needed if not content.get(key)]
    if missing:
        raise error(f'{place} needs {" and ".join(missing)}.')
    for key, value in content.items():
        if not _fits(value, types[key]):
            raise error(f'{place}: {key} must be {_words(types[key])}, got {value!r}.')
    return content


def refuse_unknown(found: Iterable, known: Iterable, place: str, error: Type[Exception]) -> None:
    """Raise an error that names what is found and not known."""
    unknown = [one for one in found if one not in known]
    if unknown:
        raise error(f'{place}: {", ".join(map(repr, unknown))} is not known; '
                    f'known are {", ".join(map(str, known))}.')


def refuse_twice(names: List[str], what: str, place: str, error: Type[Exception]) -> None:
    """Raise an error that names what stands there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise error(f'{place}: two {what} have the name {twice[0]!r}.')


#: Types of settings as messages call them, one and several.
_TYPE_WORDS = {str: ('a text', 'texts'), bool: ('true or false', 'true or false'),
               int: ('a whole number', 'whole numbers'), float: ('a number', 'numbers'),
               dict: ('settings', 'settings')}


def _fits(value: Any, hint: Any) -> bool:
    """Whether YAML's value is what an annotation says; tuples are lists there."""
    parts = get_args(hint)
    if hint is Any:
        return True
    if get_origin(hint) is Union:
        return any(_fits(value, part) for part in parts)
    if get_origin(hint) is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(one, parts[0]) for one in value)
    if _plain(hint) is dict:
        return isinstance(value, dict)
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _plain(hint: Any) -> type:
    """The class of an annotation; settings of a dataclass are settings."""
    kind = get_origin(hint) or hint
    return dict if hasattr(kind, '__dataclass_fields__') else kind


def _words(hint: Any, several: bool = False) -> str:
    parts: Tuple = get_args(hint)
    if get_origin(hint) is Union:
        return ' or '.join(_words(part) for part in parts if part is not type(None))
    if get_origin(hint) is tuple:
        return f'a list of {_words(parts[0], several=True)}'
    return _TYPE_WORDS[_plain(hint)][several]


def file_name(text: str) -> str:
    """An entry's name as files and folders are called."""
    return ''.join(letter if letter.isalnum() or letter in '-.' else '_' for letter in text)
