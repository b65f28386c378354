"""DrawnPeople and fields of a data sample, as the drawing functions take them."""
from typing import List, NamedTuple, Optional, Sequence

import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample
from scipy.optimize import linear_sum_assignment

from .draw import Color, decode_masks, map_to_image, person_colors


class DrawnPeople(NamedTuple):
    """n people of one image."""
    keypoints: np.ndarray
    """(n, K, 2), x and y in pixels."""
    scores: np.ndarray
    """(n, K), of predictions; 1 or 0 for labelled or not."""
    masks: Optional[np.ndarray]
    """bool (n, h, w)."""
    boxes: np.ndarray
    """(n, 4), x1 y1 x2 y2 in pixels."""


def predicted_people(data_sample: PoseDataSample, mask_thr: float = 0.3) -> DrawnPeople:
    """DrawnPeople of ``pred_instances``, in pixels of the original image.

    Those whose ``mask_scores`` lie below ``mask_thr`` are left out, if there are such scores: a
    head lists fragments and doubtful people too, for the metrics to rank.
    """
    instances = data_sample.pred_instances
    if 'mask_scores' in instances:
        instances = instances[to_numpy(instances.mask_scores) >= mask_thr]
    return _people_of_instances(instances, data_sample.metainfo.get('ori_shape'))


def annotated_people(data_sample: PoseDataSample) -> DrawnPeople:
    """DrawnPeople of the ground truth, in pixels of the original image.

    The raw annotations are preferred, since they hold the masks; ``gt_instances`` serve a sample
    without them.
    """
    if 'raw_ann_info' in data_sample.metainfo:
        return people_of_annotations(data_sample.raw_ann_info or [], data_sample.ori_shape)
    return _people_of_instances(data_sample.gt_instances, data_sample.metainfo.get('ori_shape'))


def people_of_annotations(annotations: Sequence[dict], image_shape) -> DrawnPeople:
    """DrawnPeople of COCO annotations; crowds are left out.

    Args:
        annotations (Sequence[dict]): of one image.
        image_shape (tuple): h, w of it.
    """
    persons = [ann for ann in annotations if not ann.get('iscrowd', 0)]
    num_keypoints = len(persons[0]['keypoints']) // 3 if persons else 0
    table = np.array([ann['keypoints'] for ann in persons], np.float32)
    table = table.reshape(len(persons), num_keypoints, 3)
    boxes = np.array([ann['bbox'] for ann in persons], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    segmentations = [ann.get('segmentation') or None for ann in persons]
    masks = None
    if any(segmentation is not None for segmentation in segmentations):
        masks = decode_masks(segmentations, image_shape)
    return DrawnPeople(table[..., :2], np.minimum(table[..., 2], 1), masks, boxes)


def people_in_input(data_sample: PoseDataSample) -> DrawnPeople:
    """The ground truth in pixels of the network input.

    A training sample holds its people in the input's pixels. The test pipeline moves the image but
    not the annotations, which are moved here.
    """
    labels = data_sample.get('gt_instance_labels', {})
    if 'keypoint_table' in labels:
        table = to_numpy(labels.keypoint_table)
        masks = None
        if 'mask_owner' in data_sample.gt_fields and len(table):
            owner = to_numpy(data_sample.gt_fields.mask_owner)[0]
            masks = np.stack([owner == j + 1 for j in range(len(table))])
        return DrawnPeople(table[..., :2], table[..., 2], masks, _boxes_of_keypoints(table[..., :2]))

    size = data_sample.input_size
    people = annotated_people(data_sample)
    to_input = cv2.invertAffineTransform(
        map_to_image(1, size, data_sample.input_center, data_sample.input_scale))
    keypoints = people.keypoints @ to_input[:, :2].T + to_input[:, 2]
    masks = None
    if people.masks is not None:
        masks = np.stack([cv2.warpAffine(np.uint8(mask), to_input, size) for mask in people.masks])
    return DrawnPeople(keypoints, people.scores, masks, _boxes_of_keypoints(keypoints))


def matching_colors(people: DrawnPeople, reference: DrawnPeople) -> List[Color]:
    """Colours for ``people`` by which each one looks like the same person of ``reference``.

    Pairs are the assignment of most box IoU in total; who has no partner gets a colour of nobody
    in ``reference``.
    """
    n_reference = len(reference.boxes)
    overlap = _box_iou(people.boxes, reference.boxes)
    rows, columns = linear_sum_assignment(-overlap)
    partner = {row: column for row, column in zip(rows, columns) if overlap[row, column] > 0.1}
    colors = person_colors(n_reference + len(people.boxes))
    unused = iter(colors[n_reference:])
    return [
        colors[partner[i]] if i in partner else next(unused) for i in range(len(people.boxes))
    ]


def to_numpy(values) -> np.ndarray:
    """A tensor of any device, or anything array-like, as an array."""
    return values.detach().cpu().numpy() if torch.is_tensor(values) else np.asarray(values)


def _people_of_instances(instances: InstanceData, image_shape) -> DrawnPeople:
    keypoints = to_numpy(instances.keypoints)
    scores = instances.get('keypoint_scores', instances.get('keypoints_visible'))
    scores = np.ones(keypoints.shape[:2]) if scores is None else to_numpy(scores)
    masks = instances.get('masks')
    if masks is not None:
        masks = decode_masks(masks, image_shape)
    boxes = to_numpy(instances.bboxes) if 'bboxes' in instances else _boxes_of_keypoints(keypoints)
    return DrawnPeople(keypoints, scores, masks, boxes)


def _boxes_of_keypoints(keypoints: np.ndarray) -> np.ndarray:
    return np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1).reshape(-1, 4)


def _box_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """IoU (n1, n2) of boxes x1 y1 x2 y2."""
    corner1 = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    corner2 = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    overlap = np.clip(corner2 - corner1, 0, None).prod(axis=-1)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(axis=-1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(axis=-1)
    return overlap / np.maximum(area1[:, None] + area2[None] - overlap, 1e-6)
