"""``--cfg-options`` that nothing would read are refused, naming the keys that work.

A config's own variables, such as ``codec`` or ``data_root``, have done their work when the file is
read: what stands where they were used is a copy, and changing the variable changes nothing.
"""
import difflib
import inspect
import sys
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

from mmengine.config import Config
from mmengine.registry import RUNNERS

from ..config_types import type_class

#: Read by the runners beside the arguments that they document, or by tools/train.py.
_OTHER_KEYS = ('runner_type', 'preprocess_cfg', 'sync_bn', 'find_unused_parameters',
               'model_wrapper_cfg', 'compile', 'activation_checkpointing', 'efficient_conv_bn_eval')

Path = Tuple[str, ...]


def merge_options(cfg: Config, options: Dict[str, Any]) -> None:
    """Merge ``--cfg-options`` into a config; those that nothing would read end the program.

    Args:
        cfg (Config): Is changed.
        options (dict): Dotted key → value.

    Raises:
        SystemExit: with a line for each option that would change nothing.
    """
    refused = refusals(cfg, options)
    if refused:
        sys.exit('\n'.join(f'--cfg-options: {line}' for line in refused))
    cfg.merge_from_dict(options)


def refusals(cfg: Config, keys: Iterable[str]) -> List[str]:
    """A line for each key that nothing reads, with what does what it seems to; arguments as of
    :func:`unread_options`."""
    advice = {key: f'; set {", ".join(working)} instead' if working else ''
              for key, working in unread_options(cfg, keys).items()}
    return [f'nothing reads {key}{text}.' for key, text in advice.items()]


def unread_options(cfg: Config, keys: Iterable[str]) -> Dict[str, List[str]]:
    """The keys that nothing reads, each with those that do what it seems to.

    Args:
        cfg (Config): As it is before they are merged.
        keys (iterable[str]): Dotted keys.
    """
    read = keys_read(cfg)
    unread = [key for key in keys if key.split('.')[0] not in read]
    if not unread:
        return {}
    defined = cfg.to_dict()
    places = list(_places({name: part for name, part in defined.items() if name in read}))
    return {
        key: ['.'.join(path) for path in _working_keys(defined, key.split('.'), places, read)]
        for key in unread
    }


def keys_read(cfg: Config) -> Set[str]:
    """The top-level keys of a config that its runner or the tools look at."""
    runner = type_class(dict(type=cfg.get('runner_type', 'Runner')), RUNNERS)
    return set(inspect.signature(runner).parameters) - {'cfg'} | set(_OTHER_KEYS)


def _places(node: Any, path: Path = ()) -> Iterator[Tuple[Path, Any]]:
    """Every value below a node with the keys that lead to it."""
    if isinstance(node, dict):
        children = node.items()
    else:
        children = enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in children:
        yield (*path, str(key)), value
        yield from _places(value, (*path, str(key)))


def _working_keys(cfg: dict, key: List[str], places: list, read: Set[str]) -> List[Path]:
    """Where a variable's value stands in what is read; of another key, what ends like it."""
    defined = dict(_places(cfg))
    variable, value = defined.get((key[0], )), defined.get(tuple(key))
    copies = [(*path, *key[1:]) for path, other in places if _is_copy(other, variable)]
    named = [path for path, other in places if path[-1] == key[-1] and _same(value, other)]
    if isinstance(variable, list):
        return copies
    if isinstance(variable, dict):
        return list(dict.fromkeys(copies + named))
    equal = named or [path for path, other in places if _same(value, other)]
    begun = [path for path, other in places if _begins_with(other, value)]
    alike = [path for path, _ in places if path[-len(key):] == tuple(key)]
    close = [(name, *key[1:]) for name in difflib.get_close_matches(key[0], read, 1)]
    return equal + begun or alike or close


def _is_copy(node: Any, variable: Any) -> bool:
    """Whether a list is a variable's, or a dict builds the same class, settings changed or not."""
    if isinstance(variable, dict) and isinstance(node, dict) and 'type' in variable:
        return node.get('type') == variable['type']
    return bool(variable) and node == variable


def _same(value: Any, other: Any) -> bool:
    """Whether two values agree that say something; flags do not."""
    return value not in (None, True, False) and type(value) is type(other) and value == other


def _begins_with(path: Any, folder: Any) -> bool:
    """Whether a path was put together from a variable, as ``data_root + 'annotations/...'``."""
    return bool(folder) and isinstance(folder, str) and isinstance(path, str) and \
        path.startswith(folder) and path != folder
