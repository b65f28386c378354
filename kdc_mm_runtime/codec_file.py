"""``codec.json``: all that has to be known beside a network's graph to find people with it."""
import json
from pathlib import Path
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from .decoder import Decoder
from .skeleton import Skeleton, graph_of_limbs

#: Raised where older readers would misunderstand.
_FORMAT = 1


class Codec(NamedTuple):
    """``decoder`` of a network's maps, and ``pad_value`` (b, g, r) around the image in its input.
    """
    decoder: Decoder
    pad_value: Tuple[float, float, float]


def write_codec(path: Path, codec: Codec, network: Dict[str, Any]) -> None:
    """Write ``codec.json``.

    Args:
        path (Path): The file.
        codec (Codec): What to write.
        network (dict): Where the graph comes from, for people who read the file.
    """
    skeleton = codec.decoder.skeleton
    path.write_text(json.dumps(dict(
        format=_FORMAT,
        network=network,
        pad_value=list(codec.pad_value),
        decoder=codec.decoder.settings,
        skeleton=dict(
            names=skeleton.names, limbs=skeleton.limbs.tolist(),
            flip_indices=skeleton.flip_indices, oks_sigmas=skeleton.oks_sigmas)), indent=2) + '\n')


def read_codec(path: Path) -> Codec:
    """Read ``codec.json``.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not what :func:`write_codec` writes, or a setting is out of range.
    """
    try:
        content = json.loads(path.read_text())
        known = content['format']
        if known == _FORMAT:
            parts = dict(content['skeleton'])
            limbs = np.array(parts.pop('limbs'), np.int64)
            graph = graph_of_limbs(limbs, len(parts['names']))
            skeleton = Skeleton(graph=graph, **{name: tuple(part) for name, part in parts.items()})
            return Codec(Decoder(skeleton=skeleton, **content['decoder']),
                         tuple(content['pad_value']))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f'{path} is no codec of an exported network '
                         f'({type(error).__name__}: {error}). Export it again.') from error
    raise ValueError(f'{path} has format {known}, this kdc_mm_runtime reads {_FORMAT}: export the '
                     'network again, or install the kdc_mm that exported it.')
