from .channels_last_hook import ChannelsLastHook
from .input_size_hook import InputSizeHook
from .loss_guard_hook import LossGuardHook
from .skipped_samples_hook import SkippedSamplesHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'ChannelsLastHook', 'InputSizeHook', 'LossGuardHook', 'SkippedSamplesHook',
    'WholeCheckpointHook'
]
