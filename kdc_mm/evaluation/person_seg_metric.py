from typing import Dict, List, Sequence, Union

import torch
from mmdet.evaluation.metrics.coco_metric import CocoMetric as DetCocoMetric
from mmpose.registry import METRICS


@METRICS.register_module()
class PersonSegMetric(DetCocoMetric):
    """COCO mask AP of person instances: mmdet's ``CocoMetric``, given what pose models predict.

    MMPose's metrics read numpy arrays from ``pred_instances``, mmdet's read tensors. This class
    hands its parent tensors; all scores are the parent's. It reads ``bboxes`` (n, 4), ``scores``
    (n,), ``labels`` (n,), ``masks``, a list of n COCO RLEs of the image's size, and, where masks do
    not rank as poses do, ``mask_scores`` (n,), and logs ``coco/segm_mAP`` and its five companions.

    Args:
        ann_file (str): Annotation file in COCO's layout, with segmentations.
        metric (str | list[str]): As in mmdet. Defaults to 'segm'.
        **kwargs: The other arguments of mmdet's ``CocoMetric``.

    Raises:
        KeyError: The predictions have no masks.
        ValueError: No annotation has a segmentation, or an image has another size than the
            annotation file says.
    """

    def __init__(self, ann_file: str, metric: Union[str, List[str]] = 'segm', **kwargs) -> None:
        super().__init__(ann_file=ann_file, metric=metric, **kwargs)
        if not any(ann.get('segmentation') for ann in self._coco_api.anns.values()):
            raise ValueError(f'No annotation in {ann_file!r} has a segmentation, so masks cannot '
                             'be evaluated on it: take PersonSegMetric out of the evaluators.')

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store one batch of predictions.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): Data samples as dicts, with ``pred_instances``,
                ``img_id``, ``img_path`` and ``ori_shape``.
        """
        super().process(data_batch, [self._to_tensors(sample) for sample in data_samples])

    def _to_tensors(self, data_sample: dict) -> dict:
        """The part of a data sample that mmdet's metric reads, in the types that it reads."""
        pred = data_sample['pred_instances']
        if 'masks' not in pred:
            raise KeyError('The predictions have no `masks`. KDCPoseHead alone predicts poses '
                           'only: use KDCHead, or take PersonSegMetric out of the evaluators.')
        h, w = data_sample['ori_shape'][:2]
        img = self._coco_api.imgs[data_sample['img_id']]
        if (h, w) != (img['height'], img['width']):
            raise ValueError(f'The image {data_sample["img_path"]!r} is {w}x{h} pixels, but the '
                             f'annotation file gives it {img["width"]}x{img["height"]}.')
        tensors = {
            key: torch.as_tensor(pred[key])
            for key in ('bboxes', 'scores', 'labels', 'mask_scores') if key in pred
        }
        return dict(
            img_id=data_sample['img_id'],
            ori_shape=(h, w),
            pred_instances=dict(tensors, masks=[dict(mask) for mask in pred['masks']]))

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Compute mmdet's scores.

        Args:
            results (list): What :meth:`process` has stored.

        Returns:
            dict[str, float]: The scores in 0 to 1, -1 where nothing is annotated in a size range.
            All are 0 if no image has a detection, for which mmdet returns none.
        """
        scores = super().compute_metrics(results)
        if not scores and not self.format_only:
            items = self.metric_items or ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
            scores = {f'{metric}_{item}': 0.0 for metric in self.metrics for item in items}
        return scores
