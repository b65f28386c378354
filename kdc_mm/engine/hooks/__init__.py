from .loss_guard_hook import LossGuardHook
from .skipped_samples_hook import SkippedSamplesHook

__all__ = ['LossGuardHook', 'SkippedSamplesHook']
