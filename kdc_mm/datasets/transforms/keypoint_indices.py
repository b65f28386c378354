from typing import Dict

from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackKeypointIndices(BaseTransform):
    """Let ``PackPoseInputs`` hand on the heatmap cells in which the tags of keypoints are read.

    MMPose's ``AssociativeEmbedding`` codec encodes them for its head's loss, but no table of
    MMPose's names them, so that they would be left behind. Stands between ``GenerateTarget`` and
    ``PackPoseInputs``.

    Required Keys:

        - keypoint_indices: (N, K, 2) int64, cell ``y * w + x`` and visibility
        - keypoint_weights: (N, K) float32

    Added Keys:

        - label_mapping_table
    """

    def transform(self, results: Dict) -> Dict:
        results['label_mapping_table'] = dict(
            keypoint_indices='keypoint_indices', keypoint_weights='keypoint_weights')
        return results
