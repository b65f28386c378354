import tempfile
from typing import Dict, List, Optional, Sequence, Union

import numpy as np
import pycocotools.mask as cocomask
import torch
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation.metrics.coco_metric import CocoMetric as DetCocoMetric
from mmengine.fileio import load
from mmengine.logging import print_log
from mmpose.registry import METRICS

from ..datasets.annotations import PERSON_ID
from ..datasets.transforms.person_masks import box_polygon
from .person_file import PersonFile

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

    The annotations are those that training reads
    (:func:`~kdc_mm.datasets.annotations.read_annotations`). Only images that were predicted on
    count. Persons without a mask are neither missed nor found: what lies in their box is left out.
    Boxes are those of masks and detected keypoints.

    Args:
        ann_file (str): Annotation file in COCO's layout; with ``format_only`` the list of images
            is enough.
        metric (str | list[str]): 'segm', 'bbox' or both. Defaults to 'segm'.
        format_only (bool): Write the files that COCO's server takes, and score nothing. Defaults to
            ``False``.
        outfile_prefix (str, optional): The results are kept as ``{outfile_prefix}.segm.json``.
            Needed with ``format_only``.
        collect_device (str): Where results of several processes meet. Defaults to 'cpu'.
        prefix (str, optional): Stands before the names of the scores. Defaults to 'coco'.

    Raises:
        KeyError: The predictions have no masks.
        AnnotationError: The file cannot be used, or nobody in it has a segmentation.
        ValueError: An image has another size than the annotation file says.
    """

    def __init__(self,
                 ann_file: str,
                 metric: Union[str, List[str]] = 'segm',
                 format_only: bool = False,
                 outfile_prefix: Optional[str] = None,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        super().__init__(
            metric=metric, format_only=format_only, outfile_prefix=outfile_prefix,
            collect_device=collect_device, prefix=prefix)
        needs = 'segmentation' if 'segm' in self.metrics else 'bbox'
        self.file = PersonFile(
            ann_file, 'images' if format_only else needs, type(self).__name__)
        self.images: Dict[int, dict] = {}

    @property
    def dataset_meta(self) -> Optional[dict]:
        """Meta info of the data set; setting it reads the annotation file."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self.file.read(dataset_meta)
        self._coco_api = COCO()  # else mmdet looks for the ground truth in the samples
        self.images = {image['id']: image for image in self.file.content['images']}

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
        if 'masks' not in pred and 'segm' in self.metrics:
            raise KeyError('The predictions have no `masks`. KDCPoseHead alone predicts poses '
                           'only: use KDCHead, or take PersonSegMetric out of the evaluators.')
        h, w = data_sample['ori_shape'][:2]
        img = self.images.get(data_sample['img_id'], dict(height=h, width=w))
        if (h, w) != (img['height'], img['width']):
            raise ValueError(f'The image {data_sample["img_path"]!r} is {w}x{h} pixels, but the '
                             f'annotation file gives it {img["width"]}x{img["height"]}.')
        found = {
            key: torch.as_tensor(pred[key])
            for key in ('scores', 'labels', 'mask_scores') if key in pred
        }
        found['bboxes'] = torch.as_tensor(boxes_of(pred))
        if 'masks' in pred:
            found['masks'] = [dict(mask) for mask in pred['masks']]
        return dict(img_id=data_sample['img_id'], ori_shape=(h, w), pred_instances=found)

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """Write the results as mmdet does and evaluate them, without its rounding to 3 digits.

        Args:
            results (list): What :meth:`process` has stored.

        Returns:
            dict[str, float]: The scores in 0 to 1, -1 where nothing is annotated in a size range;
            none with ``format_only``.
        """
        self.cat_ids = [PERSON_ID]
        with tempfile.TemporaryDirectory() as folder:
            files = self.results2json([pred for _, pred in results],
                                      self.outfile_prefix or f'{folder}/results')
            if self.format_only:
                print_log(f'Results are written to {", ".join(sorted(set(files.values())))}',
                          logger='current')
                return {}
            content = self.file.of_images(pred['img_id'] for _, pred in results)
            return {
                f'{metric}_{name}': score
                for metric in self.metrics
                for name, score in self._evaluate(metric, content, load(files[metric])).items()
            }

    def _evaluate(self, metric: str, content: dict, rows: List[dict]) -> Dict[str, float]:
        """Scores of results in COCO's layout; all 0 without any."""
        if not rows:
            return dict.fromkeys(_SCORES, 0.0)
        if metric == 'segm':
            content = dict(content, annotations=[with_region(ann) for ann in
                                                 content['annotations']])
            for row in rows:
                del row['bbox']  # its area would stand for the mask's
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(rows), metric)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = truth.get_img_ids()
        evaluation.params.maxDets = list(self.proposal_nums)
        evaluation.params.iouThrs = self.iou_thrs
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return dict(zip(_SCORES, map(float, evaluation.stats)))


def with_region(ann: dict) -> dict:
    """An annotation that mask AP can use: who has no mask becomes a region in which nothing counts,
    as COCO's crowds are."""
    if 'segmentation' in ann:
        return ann
    return dict(ann, iscrowd=1, segmentation=box_polygon(ann['bbox']))


def boxes_of(pred: dict) -> np.ndarray:
    """Boxes (n, 4) x1, y1, x2, y2 in image pixels, around the mask and the detected keypoints of
    each person: a keypoint with score 0 has a place, but was not seen."""
    boxes = np.array(pred['bboxes'], dtype=np.float32).reshape(-1, 4)
    masks = pred['masks'] if 'masks' in pred else []
    for row in range(len(boxes)):
        x, y, w, h = cocomask.toBbox(masks[row]) if len(masks) else np.zeros(4)
        corners = [(x, y), (x + w, y + h)] if w and h else []
        if 'keypoints' in pred:
            corners += list(pred['keypoints'][row][pred['keypoint_scores'][row] > 0])
        if corners:
            boxes[row] = np.concatenate([np.min(corners, axis=0), np.max(corners, axis=0)])
    return boxes
