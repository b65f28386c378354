from mmpose.datasets import CocoDataset
from mmpose.registry import DATASETS

from .person_rows import PersonRowsMixin


@DATASETS.register_module()
class KDCCocoDataset(PersonRowsMixin, CocoDataset):
    """MMPose's ``CocoDataset`` in bottom-up mode, with each person's segmentation.

    It also reads what is written in COCO's layout with COCO's 17 keypoints, such as SynthCrowd.
    See :class:`PersonRowsMixin` for the keys added to a sample.
    """

    DOWNLOAD = """\
COCO 2017 belongs into data/coco:
    data/coco/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    data/coco/train2017/*.jpg
    data/coco/val2017/*.jpg
Get it from https://cocodataset.org/#download and unpack it there:
    http://images.cocodataset.org/annotations/annotations_trainval2017.zip
    http://images.cocodataset.org/zips/train2017.zip
    http://images.cocodataset.org/zips/val2017.zip"""
