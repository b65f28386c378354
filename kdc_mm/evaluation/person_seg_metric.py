import tempfile
from typing import Dict, List, Optional, Sequence, Union

import torch
from mmdet.datasets.api_wrappers import COCOeval
from mmdet.evaluation.metrics.coco_metric import CocoMetric as DetCocoMetric
from mmengine.fileio import load
from mmengine.logging import print_log
from mmpose.registry import METRICS

#: The first of COCO's figures, as mmdet names them.
_SCORES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')


@METRICS.register_module()
class PersonSegMetric(DetCocoMetric):
    """COCO mask AP of person instances: mmdet's ``CocoMetric``, given what pose models predict.

    MMPose's metrics read numpy arrays from ``pred_instances``, mmdet's read tensors. This class
    hands its parent tensors, and does not round the scores to three digits as its parent does: they
    are pycocotools' own. It reads ``bboxes`` (n, 4), ``scores`` (n,), ``labels`` (n,), ``masks``, a
    list of n COCO RLEs of the image's size, and, where masks do not rank as poses do,
    ``mask_scores`` (n,), and logs ``coco/segm_mAP`` and its five companions.

    Args:
        ann_file (str): Annotation file in COCO's layout, with segmentations; with ``format_only``
            the list of images is enough.
        metric (str | list[str]): 'segm', 'bbox' or both. Defaults to 'segm'.
        format_only (bool): Write the files that COCO's server takes, and score nothing. Defaults to
            ``False``.
        outfile_prefix (str, optional): The results are kept as ``{outfile_prefix}.segm.json``.
            Needed with ``format_only``.
        collect_device (str): Where results of several processes meet. Defaults to 'cpu'.
        prefix (str, optional): Stands before the names of the scores. Defaults to 'coco'.

    Raises:
        KeyError: The predictions have no masks.
        ValueError: No annotation has a segmentation, or an image has another size than the
            annotation file says.
    """

    def __init__(self,
                 ann_file: str,
                 metric: Union[str, List[str]] = 'segm',
                 format_only: bool = False,
                 outfile_prefix: Optional[str] = None,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        super().__init__(
            ann_file=ann_file, metric=metric, format_only=format_only,
            outfile_prefix=outfile_prefix, collect_device=collect_device, prefix=prefix)
        if not self.format_only and not any(
                ann.get('segmentation') for ann in self._coco_api.anns.values()):
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
        """Write the results as mmdet does and evaluate them, without its rounding to 3 digits.

        Args:
            results (list): What :meth:`process` has stored.

        Returns:
            dict[str, float]: The scores in 0 to 1, -1 where nothing is annotated in a size range;
            none with ``format_only``.
        """
        self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json([pred for _, pred in results],
                                      self.outfile_prefix or f'{folder}/results')
            if self.format_only:
                print_log(f'Results are written to {", ".join(sorted(set(files.values())))}',
                          logger='current')
                return {}
            return {
                f'{metric}_{name}': score
                for metric in self.metrics
                for name, score in self._evaluate(metric, load(files[metric])).items()
            }

    def _evaluate(self, metric: str, rows: List[dict]) -> Dict[str, float]:
        """Scores of results in COCO's layout; all 0 without any."""
        if not rows:
            return dict.fromkeys(_SCORES, 0.0)
        if metric == 'segm':
            for row in rows:
                del row['bbox']  # its area would stand for the mask's
        evaluation = COCOeval(self._coco_api, self._coco_api.loadRes(rows), metric)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = self._coco_api.get_img_ids()
        evaluation.params.maxDets = list(self.proposal_nums)
        evaluation.params.iouThrs = self.iou_thrs
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return dict(zip(_SCORES, map(float, evaluation.stats)))
