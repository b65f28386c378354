"""What a run notes of itself while it trains: the curve of its figures, and what they cost."""
import json
import time
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop
from mmpose.registry import HOOKS

from kdc_mm.engine.whole_files import WholeFilesBackend

from ..board.evaluate import figures_of

#: File in the work dir.
PROGRESS = 'progress.json'


@HOOKS.register_module()
class StudyRecordHook(Hook):
    """Writes ``progress.json`` into the work dir, after each validation and every few seconds.

    What it has noted is part of each checkpoint, so that a run that goes on from one has the curve
    and the costs up to there, whatever was written later. A validation that was due at the
    checkpoint and is missing from its curve is done first.

    Images seen are those of all processes. Costs are processor time of the first, which loads its
    images itself: seconds of training (loading, network, losses, optimiser, checkpoints; no
    validation), and milliseconds of an image's prediction (no loading), the median over images:
    network, decoding, and what a metric keeps of it, for it is there that Mask R-CNN's masks are
    run-length encoded, which KDC's decoding does itself.

    Args:
        interval_s (float): Seconds between two notes. Defaults to 3.
    """

    priority = 'LOW'  # before checkpoints, which hold the costs of their last iteration

    def __init__(self, interval_s: float = 3.) -> None:
        self.interval_s = interval_s
        self.curve: List[Dict] = []
        self.cpu_seconds = 0.
        self.validation: Dict = {}
        self._loaded: Dict = {}
        self._since: Optional[float] = None  # processor time from which training counts
        self._written = 0.
        self._started = 0.  # processor time at which an image's prediction began

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['study'] = dict(cpu_seconds=self.cpu_seconds, curve=self.curve)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._loaded = checkpoint.get('study', {})

    def before_train(self, runner) -> None:
        if runner.iter > 0:  # goes on, and does not begin with another run's weights
            self.cpu_seconds = self._loaded.get('cpu_seconds', 0.)
            self.curve = list(self._loaded.get('curve', []))

    def before_train_epoch(self, runner) -> None:  # when all hooks are ready for a validation
        if self._lacks_validation(runner):
            runner.val_loop.run()
        self._write(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if self._since is None:
            self._since = time.process_time()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        now = time.process_time()
        self.cpu_seconds += now - self._since
        self._since = now
        if time.monotonic() > self._written + self.interval_s:
            self._write(runner, runner.iter + 1)

    def before_val_epoch(self, runner) -> None:
        self.validation = dict(ms=[], scores=[])

    before_test_epoch = before_val_epoch

    def before_val_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._started = time.process_time()

    before_test_iter = before_val_iter

    def after_val_iter(self, runner, batch_idx: int, data_batch=None,
                       outputs: Optional[Sequence] = None) -> None:
        elapsed = time.process_time() - self._started
        self.validation['ms'].append(1e3 * elapsed / max(len(outputs), 1))
        self.validation['scores'] += [
            np.asarray(sample.pred_instances.keypoint_scores) for sample in outputs
            if 'keypoint_scores' in sample.pred_instances]

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self._note(runner, metrics)
        self._write(runner)
        self._since = None

    def after_test_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self.curve = []
        self._note(runner, metrics)
        self._write(runner, finished=True)

    def after_train(self, runner) -> None:
        if self._lacks_validation(runner):  # a loop of epochs that has none left
            runner.val_loop.run()
        self._write(runner, finished=runner.iter >= runner.max_iters)

    def _lacks_validation(self, runner) -> bool:
        """Whether training goes on from where a validation belongs that is not on the curve."""
        if runner.val_loop is None:
            return False
        loop, done, last = runner.train_loop, runner.iter, runner.max_iters
        if isinstance(loop, EpochBasedTrainLoop):
            done, last = runner.epoch, runner.max_epochs
        noted = self.curve[-1]['iteration'] if self.curve else 0
        return runner.iter != noted and done >= loop.val_begin and (
            done % loop.val_interval == 0 or done == last)

    def _note(self, runner, metrics: Dict[str, float]) -> None:
        found = self.validation
        self.curve.append(dict(
            iteration=runner.iter,
            samples=runner.iter * images_per_iteration(runner),
            cpu_seconds=round(self.cpu_seconds, 2),
            run_ms=round(float(np.median(found['ms'])), 3),
            figures={task: {name: round(value, 3) for name, value in figures.items()}
                     for task, figures in figures_of(metrics).items()},
            keypoint_scores=mean_keypoint_scores(found['scores'])))

    def _write(self, runner, iteration: Optional[int] = None, finished: bool = False) -> None:
        self._written = time.monotonic()
        if not is_main_process():
            return
        model = getattr(runner.model, 'module', runner.model)
        content = dict(
            iteration=runner.iter if iteration is None else iteration,
            max_iters=runner.max_iters,
            finished=finished,
            cpu_seconds=round(self.cpu_seconds, 2),
            parameters=sum(weight.numel() for weight in model.parameters()),
            curve=self.curve)
        WholeFilesBackend().put_text(json.dumps(content), Path(runner.work_dir, PROGRESS))


def images_per_iteration(runner) -> int:
    """Images that all processes see in an iteration of training; 0 where nothing is trained."""
    if runner.iter == 0:
        return 0
    return runner.train_dataloader.batch_size * get_world_size()


def mean_keypoint_scores(scores: Sequence[np.ndarray]) -> List[float]:
    """Mean confidence of each of K keypoints over the persons of whom it was found; 0 where never.

    Args:
        scores (sequence[np.ndarray]): (n, K) per image; nothing of networks without keypoints.
    """
    scores = [one for one in scores if len(one)]
    if not scores:
        return []
    joined = np.concatenate(scores)
    found = (joined > 0).sum(0)
    return [round(float(value), 4) for value in joined.sum(0) / found.clip(min=1)]
