from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch.nn.parallel import DistributedDataParallel

from ...models.input_size import check_input_size


@HOOKS.register_module()
class InputSizeHook(Hook):
    """Says before anything is trained or tested where the network cannot do the input size.

    It costs one image's way through backbone and neck, and is left out where FSDP has sharded them.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner) -> None:
        """
        Raises:
            InputSizeError: The network cannot do the codec's input size.
        """
        model = runner.model
        if isinstance(model, DistributedDataParallel):
            model = model.module
        if not is_model_wrapper(model):
            check_input_size(model)


def check_size_first(runner) -> None:
    """Give a runner the hook, if its config has not."""
    if not any(isinstance(hook, InputSizeHook) for hook in runner.hooks):
        runner.register_hook(InputSizeHook())
