from .checkpoint import CheckpointError, allow_checkpoint_classes, check_checkpoint
from .hooks import LossGuardHook, SkippedSamplesHook

allow_checkpoint_classes()

__all__ = [
    'CheckpointError', 'LossGuardHook', 'SkippedSamplesHook', 'allow_checkpoint_classes',
    'check_checkpoint'
]
