from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmpose.registry import OPTIM_WRAPPERS
from torch import nn


def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = next(line for line in open('/proc/cpuinfo') if line.startswith('flags'))
    except (OSError, StopIteration):
        return False
    return any(flag in flags.split() for flag in ('avx512_bf16', 'amx_bf16'))


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Mixed precision on CPUs: bfloat16 convolutions, where mmengine's wrapper wants a GPU.

    bfloat16 has float32's range, so that the loss needs no scaling. On processors that multiply
    it in hardware (:func:`cpu_has_bfloat16`) a training step takes about half the time; on others
    it is slower than float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Autocast around the forward pass, inside mmengine's own context."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield
