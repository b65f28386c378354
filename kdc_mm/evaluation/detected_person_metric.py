from typing import Sequence

from mmpose.registry import METRICS

from .person_seg_metric import PersonSegMetric


@METRICS.register_module()
class DetectedPersonSegMetric(PersonSegMetric):
    """COCO mask AP of the persons that a detector of many classes finds.

    mmdet's detectors that were trained on COCO have persons as their first class. What else they
    find is left out.

    Args:
        ann_file (str): Annotation file in COCO's layout, with segmentations.
        **kwargs: The other arguments of :class:`PersonSegMetric`.
    """

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store one batch of predictions.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): mmdet's data samples as dicts, with ``pred_instances``
                (``bboxes``, ``scores``, ``labels``, and ``masks`` (n, h, w) bool), ``img_id`` and
                ``ori_shape``.
        """
        persons = []
        for sample in data_samples:
            found = sample['pred_instances']
            is_person = found['labels'] == 0
            persons.append(
                dict(sample, pred_instances={key: found[key][is_person] for key in found.keys()}))
        super(PersonSegMetric, self).process(data_batch, persons)
