"""The images on which a test does worst."""
import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any, List, Optional, Sequence

import mmcv
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmpose.registry import HOOKS
from mmpose.structures import PoseDataSample

from ..evaluation import PersonPoseMetric


@HOOKS.register_module()
class PersonBadCaseHook(Hook):
    """Keeps the images whose keypoint AP is low: pictures of them, and ``results.json``.

    ``--badcase`` of MMPose's ``tools/test.py`` and of kdc_mm's switches it on. MMPose's own hook
    compares predicted and annotated people one by one, which bottom-up networks do not put out in
    the same number. AP is that of the test's ``PersonPoseMetric``, on the image alone; images in
    which nobody's keypoints are annotated are left out.

    Args:
        enable (bool): Defaults to ``False``.
        badcase_thr (float): Images up to this AP are kept. Defaults to 0.5.
        out_dir (str): Folder in the run's. Defaults to 'badcase'.
        show (bool): Show the pictures in a window. Defaults to ``False``.
        wait_time (float): Seconds for which a window stays. Defaults to 0.
        interval (int): Every so many images one is looked at. Defaults to 1.
        kpt_thr (float): Keypoints below this score are not drawn. Defaults to 0.3.
        metric_type (str): 'accuracy', which the tools read.
        metric: What the tools put here; the test's own metric is taken.
    """

    def __init__(self, enable: bool = False, badcase_thr: float = 0.5, out_dir: str = 'badcase',
                 show: bool = False, wait_time: float = 0., interval: int = 1,
                 kpt_thr: float = 0.3, metric_type: str = 'accuracy', metric: Any = None) -> None:
        self.enable = enable
        self.badcase_thr = badcase_thr
        self.out_dir = out_dir
        self.show = show
        self.wait_time = wait_time
        self.interval = interval
        self.kpt_thr = kpt_thr
        self.results: List[dict] = []
        self._seen = 0

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None,
                        outputs: Sequence[PoseDataSample] = ()) -> None:
        """Look at every ``interval``-th image."""
        if not self.enable:
            return
        for sample in outputs:
            self._seen += 1
            if (self._seen - 1) % self.interval == 0:
                self._look_at(runner, sample)

    def _look_at(self, runner: Runner, sample: PoseDataSample) -> None:
        score = average_precision(runner.test_evaluator, sample)
        if not 0 <= score <= self.badcase_thr:
            return
        path = Path(sample.img_path)
        name = f'{len(self.results):05d}_{path.stem}_AP{score:.2f}'
        self.results.append(dict(img=path.name, img_id=sample.img_id, AP=score))
        visualizer = Visualizer.get_current_instance()
        visualizer.set_dataset_meta(runner.test_evaluator.dataset_meta)
        visualizer.add_datasample(
            name, mmcv.imread(path, channel_order='rgb'), data_sample=sample, show=self.show,
            wait_time=self.wait_time, kpt_thr=self.kpt_thr,
            out_file=str(self._folder(runner) / f'{name}.jpg'))

    def after_test_epoch(self, runner: Runner, metrics: Optional[dict] = None) -> None:
        """Write the list of images, the worst first."""
        if not self.enable:
            return
        self.results.sort(key=lambda row: row['AP'])
        folder = self._folder(runner)
        (folder / 'results.json').write_text(json.dumps(self.results, indent=2))
        runner.logger.info(f'{len(self.results)} of {self._seen} images have AP up to '
                           f'{self.badcase_thr}: {folder}')

    def _folder(self, runner: Runner) -> Path:
        folder = Path(runner.work_dir, runner.timestamp, self.out_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def average_precision(evaluator, sample: PoseDataSample) -> float:
    """Keypoint AP of one image, -1 where nobody's keypoints are annotated.

    Raises:
        ValueError: The evaluators have no ``PersonPoseMetric``.
    """
    metrics = getattr(evaluator, 'metrics_dict', {}).get(
        sample.get('dataset_name'), evaluator.metrics)
    metric = next((one for one in metrics if isinstance(one, PersonPoseMetric)), None)
    if metric is None:
        raise ValueError('PersonBadCaseHook needs a PersonPoseMetric among the evaluators.')
    metric = copy.copy(metric)
    metric.file = copy.copy(metric.file)
    metric.file.says_partial = False
    metric.results, metric.outfile_prefix, metric.format_only = [], None, False
    with contextlib.redirect_stdout(io.StringIO()):
        metric.process([], [sample.to_dict()])
        found = metric.compute_metrics(metric.results)
    return float(found['AP'])
