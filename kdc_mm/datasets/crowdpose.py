from mmpose.datasets import CrowdPoseDataset
from mmpose.registry import DATASETS

from .person_rows import PersonRowsMixin


@DATASETS.register_module()
class KDCCrowdPoseDataset(PersonRowsMixin, CrowdPoseDataset):
    """MMPose's ``CrowdPoseDataset`` in bottom-up mode.

    CrowdPose has no segmentations: only poses are learnt.
    See :class:`PersonRowsMixin` for the keys added to a sample.
    """

    DOWNLOAD = """\
CrowdPose belongs into data/crowdpose:
    data/crowdpose/annotations/mmpose_crowdpose_trainval.json, mmpose_crowdpose_test.json
    data/crowdpose/images/*.jpg
Images: https://github.com/Jeff-sjtu/CrowdPose
Annotations: https://download.openmmlab.com/mmpose/datasets/crowdpose_annotations.tar"""
