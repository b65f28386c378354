from mmpose.datasets import OCHumanDataset
from mmpose.registry import DATASETS

from .person_rows import PersonRowsMixin


@DATASETS.register_module()
class KDCOCHumanDataset(PersonRowsMixin, OCHumanDataset):
    """MMPose's ``OCHumanDataset`` in bottom-up mode, with each person's segmentation.

    See :class:`PersonRowsMixin` for the keys added to a sample.
    """

    DOWNLOAD = """\
OCHuman belongs into data/ochuman:
    data/ochuman/annotations/ochuman_coco_format_val_range_0.00_1.00.json,
                             ochuman_coco_format_test_range_0.00_1.00.json
    data/ochuman/images/*.jpg
Get both from https://github.com/liruilong940607/OCHumanApi"""
