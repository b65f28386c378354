"""Channels last is another layout of the same weights, also in what EMAHook averages."""
import torch
from torch import nn

from .toy import ToyModel, build_runner

EMA = dict(type='EMAHook', priority=49)


class ConvModel(ToyModel):
    """A model whose one weight has a layout to choose."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Sequential(
            nn.Unflatten(1, (2, 1, 1)), nn.Conv2d(2, 1, (3, 3), padding=1), nn.Flatten())


def trained_weight(work_dir, hooks):
    runner = build_runner(work_dir, ConvModel(), epochs=2, hooks=hooks)
    runner.train()
    return runner.model.layer[1].weight


def test_training_gives_the_same_weights_in_another_layout(tmp_path):
    plain = trained_weight(tmp_path / 'plain', [])
    last = trained_weight(tmp_path / 'last', [dict(type='ChannelsLastHook')])
    assert plain.is_contiguous() and not last.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(plain, last, atol=1e-6)


def test_averaged_weights_have_the_layout_too(tmp_path):
    hooks = [EMA, dict(type='ChannelsLastHook')]
    runner = build_runner(tmp_path, ConvModel(), epochs=1, hooks=hooks)
    runner.train()
    averaged = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook')
    weight = averaged.ema_model.module.layer[1].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
