from mmengine.hooks import Hook
from mmpose.registry import HOOKS


@HOOKS.register_module()
class SkippedSamplesHook(Hook):
    """Says at the end of an epoch how many images could not be read and were replaced.

    The data sets of kdc_mm count them in ``num_skipped``, over all workers and epochs.
    """

    def after_train_epoch(self, runner) -> None:
        skipped = count_skipped(runner.train_dataloader.dataset)
        if skipped:
            runner.logger.warning(
                f'{skipped} times since training started, an image could not be read and another '
                'one was taken; the warnings above name the files.')


def count_skipped(dataset) -> int:
    """``num_skipped`` of a data set and of those that it wraps."""
    inner = [*getattr(dataset, 'datasets', []), getattr(dataset, 'dataset', None)]
    return getattr(dataset, 'num_skipped', 0) + sum(
        count_skipped(one) for one in inner if one is not None)
