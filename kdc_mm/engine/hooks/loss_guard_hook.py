from typing import Dict, List, Optional, Sequence

import torch
from mmengine.hooks import Hook
from mmpose.registry import HOOKS
from torch import Tensor, nn


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Stops training when the loss or a weight is no longer finite.

    It runs after every iteration and before the hooks that log and save, so the last checkpoint
    stays what it was. The weights are looked at as well: a finite loss can have a gradient
    that is not, and what it leaves behind would otherwise be saved, or blamed on the next batch.
    Under AMP an infinite gradient is normal (the scaler skips that step) and leaves the weights
    finite, so it does not stop training.
    """

    priority = 'ABOVE_NORMAL'

    def after_train_iter(self,
                         runner,
                         batch_idx: int,
                         data_batch: Optional[dict] = None,
                         outputs: Optional[Dict[str, Tensor]] = None) -> None:
        """Check what the iteration left.

        Raises:
            FloatingPointError: Not all of it is finite. The message names the terms of the loss or
                the weights, epoch, iteration, the images of the batch and the last checkpoint.
        """
        losses = {name: loss for name, loss in outputs.items() if 'loss' in name}
        if all_finite([*losses.values(), *floating_weights(runner.model).values()]):
            return
        terms = [f'{name} = {loss.item()}' for name, loss in losses.items() if not loss.isfinite()]
        weights = [] if terms else non_finite_weights(runner.model)
        if not terms and not weights:
            return
        what = f'the loss is not finite ({", ".join(terms)})' if terms else (
            f'weights are not finite, though the loss was ({", ".join(weights[:5])})')
        saved = runner.message_hub.runtime_info.get('last_ckpt')
        message = (
            f'Training stopped: {what} at epoch {runner.epoch + 1}, iteration {runner.iter + 1}. '
            f'Images of the batch: {describe_samples(data_batch)}. ' +
            (f'The last checkpoint is as it was: {saved}. ' if saved else 'Nothing was saved. ') +
            'Look at these images with tools/misc/browse_dataset.py; if nothing is wrong with '
            'them, lower the learning rate.')
        runner.logger.error(message)
        raise FloatingPointError(message)


def all_finite(tensors: List[Tensor]) -> bool:
    """Whether the norm of every tensor is finite: False also where it overflows.

    The norms are all it takes while they are finite, with one look at the device (15 ms of CPU time
    for ResNet-152).
    """
    norms = torch._foreach_norm([tensor.detach() for tensor in tensors])
    return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())


def floating_weights(model: nn.Module) -> Dict[str, Tensor]:
    """Parameters and buffers of floating point, by name."""
    return {
        name: tensor
        for name, tensor in model.state_dict().items() if tensor.is_floating_point()
    }


def non_finite_weights(model: nn.Module) -> List[str]:
    """Names of the parameters and buffers that hold a NaN or an infinity."""
    return [
        name for name, tensor in floating_weights(model).items() if not tensor.isfinite().all()
    ]


def describe_samples(data_batch: Optional[dict]) -> str:
    """Id and path of each image of a batch, such as ``785 (data/coco/train2017/000785.jpg)``."""
    samples: Sequence = (data_batch or {}).get('data_samples') or []
    return ', '.join(
        f'{sample.get("img_id")} ({sample.get("img_path")})' for sample in samples) or 'unknown'
