"""KDC in mmdeploy 1.3: all fields in the exported graph, decoded to poses and masks behind it.

mmdeploy imports this module where a deploy config asks for it, as
``configs/deploy/kdc_onnxruntime.py`` does.
"""
from os.path import split
from typing import Callable, Dict, List, Optional, Sequence, Union

import mmcv
import numpy as np
from aenum import extend_enum
from mmdeploy.codebase.mmpose.deploy.pose_detection import MMPOSE_TASK, PoseDetection
from mmdeploy.codebase.mmpose.deploy.pose_detection_model import End2EndModel
from mmdeploy.core import FUNCTION_REWRITER
from mmdeploy.utils import Task, get_backend
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.models import BottomupPoseEstimator
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor

from .models.heads.field_head import FieldHead

TASK = 'PoseAndMasks'
if TASK not in [task.value for task in Task]:
    extend_enum(Task, 'POSE_AND_MASKS', TASK)


@FUNCTION_REWRITER.register_rewriter('torch.onnx.export')
def trace(*args, **kwargs) -> None:
    """PyTorch's export by tracing, which all of mmdeploy's rewriters are for; since PyTorch 2.9 it
    has to be asked for."""
    FUNCTION_REWRITER.get_context().origin_func(*args, dynamo=False, **kwargs)


@FUNCTION_REWRITER.register_rewriter(
    'mmpose.models.pose_estimators.base.BasePoseEstimator._forward')
def forward(self, inputs: Tensor, *args, **kwargs):
    """Fields as a graph's outputs: in the order of the head's ``field_names``."""
    outputs = FUNCTION_REWRITER.get_context().origin_func(self, inputs, *args, **kwargs)
    if not isinstance(self.head, FieldHead):
        return outputs
    return tuple(outputs[name] for name in self.head.field_names)


class FieldsModel(End2EndModel):
    """A backend that computes fields, and the head that decodes them.

    Its outputs are named as the fields in the deploy config. Arguments as mmdeploy gives them.
    """

    def forward(self,
                inputs: Tensor,
                data_samples: List[PoseDataSample],
                mode: str = 'predict',
                **kwargs) -> List[PoseDataSample]:
        """People on a batch of preprocessed images (B, 3, H, W), as MMPose's bottom-up estimators
        give them: ``pred_instances`` in the original images."""
        fields = self.wrapper({self.input_name: inputs.contiguous().to(self.device)})
        instances = self.head.decode(fields, data_samples)
        return BottomupPoseEstimator.add_pred_to_datasample(self, instances, None, data_samples)


@MMPOSE_TASK.register_module(TASK)
class PoseAndMasks(PoseDetection):
    """Bottom-up poses and masks; ``codebase_config.task='PoseAndMasks'`` in a deploy config."""

    def build_backend_model(self,
                            model_files: Optional[Sequence[str]] = None,
                            data_preprocessor_updater: Optional[Callable] = None,
                            **kwargs) -> FieldsModel:
        """The exported network of ``model_files``, ready to run."""
        preprocessor = self.model_cfg.model.data_preprocessor
        if data_preprocessor_updater is not None:
            preprocessor = data_preprocessor_updater(preprocessor)
        model = FieldsModel(
            backend=get_backend(self.deploy_cfg),
            backend_files=model_files,
            device=self.device,
            deploy_cfg=self.deploy_cfg,
            model_cfg=self.model_cfg,
            data_preprocessor=MODELS.build(preprocessor),
            **kwargs)
        return model.eval().to(self.device)

    def visualize(self,
                  image: Union[str, np.ndarray],
                  result: PoseDataSample,
                  output_file: str,
                  window_name: str = 'kdc_mm',
                  show_result: bool = False,
                  **kwargs: Dict) -> None:
        """Draw skeletons and masks with the model config's own visualizer.

        Args:
            image (str | np.ndarray): File, or RGB (h, w, 3).
            result (PoseDataSample): What was found on it.
            output_file (str): Picture to write.
        """
        if isinstance(image, str):
            image = mmcv.imread(image, channel_order='rgb')
        folder, name = split(output_file)
        visualizer = self.get_visualizer(window_name, folder)
        visualizer.set_dataset_meta(dataset_meta_from_config(self.model_cfg, dataset_mode='test'))
        visualizer.add_datasample(
            name, image, result, draw_gt=False, show=show_result, out_file=output_file)
