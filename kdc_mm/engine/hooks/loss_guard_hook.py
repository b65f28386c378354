from math import isfinite
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
        losses = {name: loss.item() for name, loss in outputs.items() if 'loss' in name}
        broken = {name: loss for name, loss in losses.items() if not isfinite(loss)}
        if broken:
            what = 'the loss is not finite (' + ', '.join(
                f'{name} = {loss}' for name, loss in broken.items()) + ')'
        elif not weights_are_finite(runner.model):
            what = 'weights are not finite, though the loss was (' + ', '.join(
                non_finite_weights(runner.model)[:5]) + ')'
        else:
            return
        saved = runner.message_hub.runtime_info.get('last_ckpt')
        message = (
            f'Training stopped: {what} at epoch {runner.epoch + 1}, iteration {runner.iter + 1}. '
            f'Images of the batch: {describe_samples(data_batch)}. ' +
            (f'The last checkpoint is as it was: {saved}. ' if saved else 'Nothing was saved. ') +
            'Look at these images with tools/misc/browse_dataset.py; if nothing is wrong with '
            'them, lower the learning rate.')
        runner.logger.error(message)
        raise FloatingPointError(message)


def weights_are_finite(model: nn.Module) -> bool:
    """Whether all floating-point parameters and buffers are finite, with one look at the device."""
    tensors = [tensor for tensor in _weights(model).values() if tensor.numel()]
    largest = torch._foreach_norm(tensors, ord=float('inf'))
    return bool(torch.stack([value.float() for value in largest]).isfinite().all())


def non_finite_weights(model: nn.Module) -> List[str]:
    """Names of the parameters and buffers that hold a NaN or an infinity."""
    return [name for name, tensor in _weights(model).items() if not tensor.isfinite().all()]


def _weights(model: nn.Module) -> Dict[str, Tensor]:
    return {
        name: tensor.detach()
        for name, tensor in model.state_dict().items() if tensor.is_floating_point()
    }


def describe_samples(data_batch: Optional[dict]) -> str:
    """Id and path of each image of a batch, such as ``785 (data/coco/train2017/000785.jpg)``."""
    samples: Sequence = (data_batch or {}).get('data_samples') or []
    return ', '.join(
        f'{sample.get("img_id")} ({sample.get("img_path")})' for sample in samples) or 'unknown'
