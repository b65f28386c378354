from .checkpoint import CheckpointError, allow_checkpoint_classes, check_checkpoint
from .cpu_amp import CpuAmpOptimWrapper, cpu_has_bfloat16
from .hooks import LossGuardHook, SkippedSamplesHook

allow_checkpoint_classes()

__all__ = [
    'CheckpointError', 'CpuAmpOptimWrapper', 'LossGuardHook', 'SkippedSamplesHook',
    'allow_checkpoint_classes', 'check_checkpoint', 'cpu_has_bfloat16'
]
