from typing import Dict

from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS


@METRICS.register_module()
class SharedKeypointsMetric(CocoMetric):
    """MMPose's ``CocoMetric`` of networks that predict another data set's keypoints: those that
    both data sets have are compared.

    ``CocoMetric`` counts what ``pred_converter`` leaves out as missed. Its ``gt_converter`` would
    leave it out of the annotations, and with it count persons of whom nothing is annotated. Here
    such keypoints are not labelled, and a person without others is ignored, as the metric does.

    Args:
        ann_file (str): Annotation file in COCO's layout.
        pred_converter (dict): ``num_keypoints`` of the annotations, and ``mapping``: pairs of a
            predicted keypoint and the annotated one that it is.
        **kwargs: The other arguments of MMPose's metric.
    """

    def __init__(self, ann_file: str, pred_converter: Dict, **kwargs) -> None:
        super().__init__(ann_file=ann_file, pred_converter=pred_converter, **kwargs)
        shared = {annotated for _, annotated in pred_converter['mapping']}
        for ann in self.coco.anns.values():
            visible = ann['keypoints'][2::3]
            ann['keypoints'][2::3] = [
                value if k in shared else 0 for k, value in enumerate(visible)]
            ann['num_keypoints'] = min(
                ann['num_keypoints'], sum(value > 0 for value in ann['keypoints'][2::3]))
