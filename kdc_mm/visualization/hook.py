"""Visualization hook that keeps the predicted fields."""
from typing import Sequence

from mmengine.runner import Runner
from mmpose.engine.hooks import PoseVisualizationHook
from mmpose.registry import HOOKS
from mmpose.structures import PoseDataSample


@HOOKS.register_module()
class PoseSegVisualizationHook(PoseVisualizationHook):
    """MMPose's hook, for a :class:`PoseSegVisualizer` that is to draw fields.

    MMPose's hook hands the visualizer a copy of the sample in which ``pred_fields`` holds nothing
    but the heatmaps, so the visualizer gets the fields of each sample beforehand. All arguments
    are MMPose's.
    """

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                       outputs: Sequence[PoseDataSample]) -> None:
        """Draw the first sample of a batch, every ``interval`` iterations."""
        self._visualizer.pred_fields = outputs[0].get('pred_fields')
        super().after_val_iter(runner, batch_idx, data_batch, outputs)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                        outputs: Sequence[PoseDataSample]) -> None:
        """Draw every sample of a batch."""
        for output in outputs:
            self._visualizer.pred_fields = output.get('pred_fields')
            super().after_test_iter(runner, batch_idx, data_batch, [output])
