"""The PoseSeg codec.

What decoding does on the host is in :mod:`kdc_mm_runtime`, which needs neither PyTorch nor MMPose.
Those of its modules that are wholly there go by their names here too.
"""
import sys

from kdc_mm_runtime import (
    agreement,
    cluster,
    decoder,
    embedding_group,
    group,
    merge,
    people,
    refine,
)

for _module in (agreement, cluster, decoder, embedding_group, group, merge, people, refine):
    sys.modules[_module.__name__.replace('kdc_mm_runtime', __name__)] = _module

from .pose_seg import PoseSeg  # noqa: E402

__all__ = [
    'PoseSeg', 'agreement', 'cluster', 'decoder', 'embedding_group', 'group', 'merge', 'people',
    'refine'
]
