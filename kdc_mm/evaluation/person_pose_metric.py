from typing import Dict, Optional, Sequence

from mmengine.logging import MessageHub
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO

from ..datasets.annotations import PERSON_ID
from .person_file import PersonFile


@METRICS.register_module()
class PersonPoseMetric(CocoMetric):
    """COCO keypoint AP of persons: MMPose's ``CocoMetric``, on annotations as training reads them.

    Where MMPose's metric reads the file as it is, this one reads it by
    :func:`~kdc_mm.datasets.annotations.read_annotations`, as kdc_mm's data sets do, so that files
    that mean the same score the same. Only images that were predicted on count.

    Args:
        ann_file (str, optional): Annotation file in COCO's layout; with ``format_only`` the list
            of images is enough. By default that of the data set.
        **kwargs: The other arguments of MMPose's metric.

    Raises:
        AnnotationError: The file cannot be used, or no person in it has a labelled keypoint.
    """

    def __init__(self, ann_file: Optional[str] = None, **kwargs) -> None:
        super().__init__(ann_file=None, **kwargs)
        self.file: Optional[PersonFile] = None
        if ann_file is not None:
            self._take_file(ann_file)

    def _take_file(self, ann_file: str) -> None:
        self.ann_file = ann_file
        needs = 'images' if self.format_only else 'keypoints'
        self.file = PersonFile(ann_file, needs, type(self).__name__)

    @property
    def dataset_meta(self) -> Optional[dict]:
        """Meta info of the data set; setting it reads the annotation file."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        if self.file is None:
            name = f'{dataset_meta["dataset_name"]}_ann_file'
            self._take_file(MessageHub.get_current_instance().get_info(name))
        self.file.read(dataset_meta)
        if self.iou_type == 'keypoints_crowd':
            self.file.check_crowd_index()
        self.coco = COCO()  # else MMPose looks for the ground truth in the samples
        CocoMetric.dataset_meta.fset(self, dataset_meta)

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Store one batch of predictions, all of which are persons.

        Args:
            data_batch (Sequence[dict]): Not used.
            data_samples (Sequence[dict]): Data samples as dicts, with ``id``, ``img_id``,
                ``gt_instances`` and ``pred_instances``.
        """
        persons = [dict(sample, category_id=PERSON_ID) for sample in data_samples]
        super().process(data_batch, persons)

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """MMPose's figures, of the images that were predicted on.

        Args:
            results (list): What :meth:`process` has stored.

        Returns:
            dict[str, float]: The scores in 0 to 1, -1 where nothing is annotated.
        """
        content = self.file.of_images(pred['img_id'] for pred, _ in results)
        self.coco = COCO(self.ann_file, ann_data=content)
        return super().compute_metrics(results)

