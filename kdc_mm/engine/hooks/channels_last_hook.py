import torch
from mmengine.hooks import Hook
from mmpose.registry import HOOKS


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays the weights out with channels last, and with them the feature maps.

    The results are the same but for rounding. On CPUs a training step of our networks takes a fifth
    less time; on GPUs it pays under AMP.

    Not for networks with operators of mmcv's, such as the RoIAlign of mmdet's two-stage detectors:
    those read the maps as if channels were first, and say nothing. None of ours has one.
    """

    priority = 'VERY_HIGH'  # before EMAHook copies the model

    def before_run(self, runner) -> None:
        runner.model.to(memory_format=torch.channels_last)
