from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmpose.registry import HOOKS

from ..whole_files import PARTIAL, WholeFilesBackend


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, after which there is a whole checkpoint at any moment.

    Checkpoints and the file ``last_checkpoint`` take their names when they are whole, see
    :class:`~kdc_mm.engine.whole_files.WholeFilesBackend`, and older ones go only when the newer
    one is there: the disk has to hold one more than ``max_keep_ckpts``.

    Args:
        **kwargs: Those of ``CheckpointHook``. A ``backend_args`` other than None replaces the
            backend, and with it the first of the two.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        if self.backend_args is None:
            self.backend_args = dict(backend='whole_files')

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self._remove_partial()

    @master_only
    def _remove_partial(self) -> None:
        """Remove what a killed process left half written."""
        for path in Path(self.out_dir).glob('*' + PARTIAL):
            path.unlink()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """Save, name the checkpoint in ``last_checkpoint``, and then remove the oldest."""
        outdated = self._keep(step)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        info = runner.message_hub
        info.update_info('last_ckpt', self.last_ckpt)
        if self.max_keep_ckpts > 0:
            info.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        runner.save_checkpoint(
            self.out_dir, name, save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler, meta=meta, by_epoch=self.by_epoch,
            backend_args=self.backend_args, **self.args)
        if not is_main_process():
            return
        WholeFilesBackend().put_text(self.last_ckpt, Path(runner.work_dir, 'last_checkpoint'))
        for step in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _keep(self, step: int) -> list:
        """Add a step to those that are kept; the steps that no longer are."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        outdated = [self.keep_ckpt_ids.popleft()] if full else []
        self.keep_ckpt_ids.append(step)
        return outdated

    def _save_best_checkpoint(self, runner, metrics) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextmanager
    def _removing_last(self) -> Iterator[None]:
        """The best checkpoint so far, which MMEngine removes first, goes when all is saved."""
        remove, outdated = self.file_backend.remove, []
        self.file_backend.remove = outdated.append
        try:
            yield
        finally:
            self.file_backend.remove = remove
        for path in outdated:
            if path not in self._best_checkpoints():
                remove(path)

    def _best_checkpoints(self) -> list:
        return [getattr(self, 'best_ckpt_path', None),
                *getattr(self, 'best_ckpt_path_dict', {}).values()]
