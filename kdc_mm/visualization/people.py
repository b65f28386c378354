"""DrawnPeople and fields of a data sample, as the drawing functions take them."""
import functools
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import cv2
import mmpose
import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.datasets.datasets.utils import parse_pose_metainfo
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

    Masks, boxes and who is a crowd are those of the raw annotations, keypoints those of
    ``gt_instances`` where the sample has them: COCO-WholeBody's annotations keep them in several
    places.
    """
    rows = data_sample.metainfo.get('raw_ann_info')
    instances = data_sample.get('gt_instances', InstanceData())
    if not isinstance(rows, (list, type(None))) or 'raw_ann_info' not in data_sample.metainfo:
        return _people_of_instances(instances, data_sample.metainfo.get('ori_shape'))
    people = people_of_annotations(rows or [], data_sample.ori_shape)
    if not rows or 'keypoints' not in instances or len(instances.keypoints) != len(rows):
        return people
    persons = [not ann.get('iscrowd', 0) for ann in rows]
    keypoints, labelled = _keypoints_of_instances(instances)
    return people._replace(keypoints=keypoints[persons], scores=labelled[persons])


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
        keypoints, labelled = table[..., :2], table[..., 2]
        return DrawnPeople(keypoints, labelled, masks, _boxes_of_keypoints(keypoints))
    if 'input_center' not in data_sample.metainfo:
        return _people_of_instances(data_sample.gt_instances, data_sample.input_size[::-1])

    size = data_sample.input_size
    people = annotated_people(data_sample)
    to_input = cv2.invertAffineTransform(
        map_to_image(1, size, data_sample.input_center, data_sample.input_scale))
    keypoints = people.keypoints @ to_input[:, :2].T + to_input[:, 2]
    masks = None
    if people.masks is not None:
        masks = np.stack([cv2.warpAffine(np.uint8(mask), to_input, size) for mask in people.masks])
    return DrawnPeople(keypoints, people.scores, masks, _boxes_of_keypoints(keypoints))


def is_input(image_shape: Tuple[int, int], data_sample: PoseDataSample) -> bool:
    """Whether an image of this height and width is the network's input rather than the original
    image, as dataset browsers hand it over."""
    metainfo = data_sample.metainfo
    if tuple(metainfo.get('input_size', ())[::-1]) != tuple(image_shape):
        return False
    return 'input_center' not in metainfo or tuple(metainfo['ori_shape'][:2]) != tuple(image_shape)


def in_openpose_style(people: DrawnPeople, names: Sequence[str]) -> Optional[DrawnPeople]:
    """The people with OpenPose's 18 keypoints, the neck being the middle of the shoulders.

    Args:
        people (DrawnPeople): With K keypoints.
        names (Sequence[str]): Names of the K keypoints.

    Returns:
        DrawnPeople | None: None if these keypoints are not all among the K.
    """
    found = {name: k for k, name in enumerate(names)}
    parts = [('left_shoulder', 'right_shoulder') if name == 'neck' else (name, )
             for name in openpose_metainfo()['keypoint_name2id']]
    if not all(name in found for part in parts for name in part):
        return None
    rows = [[found[name] for name in part] for part in parts]
    return people._replace(
        keypoints=np.stack([people.keypoints[:, row].mean(1) for row in rows], 1),
        scores=np.stack([people.scores[:, row].min(1) for row in rows], 1))


@functools.lru_cache(maxsize=None)
def openpose_metainfo() -> dict:
    """MMPose's description of OpenPose's keypoints."""
    folder = Path(mmpose.__file__).parent / '.mim' / 'configs/_base_/datasets'
    return parse_pose_metainfo(dict(from_file=str(folder / 'coco_openpose.py')))


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
    keypoints, scores = _keypoints_of_instances(instances)
    masks = instances.get('masks')
    if masks is not None:
        masks = decode_masks(masks, image_shape)
    boxes = to_numpy(instances.bboxes) if 'bboxes' in instances else _boxes_of_keypoints(keypoints)
    return DrawnPeople(keypoints, scores, masks, boxes)


def _keypoints_of_instances(instances: InstanceData) -> Tuple[np.ndarray, np.ndarray]:
    """Keypoints (n, K, 2) and scores (n, K), 0 where they are not visible; K is 0 without any."""
    if 'keypoints' not in instances:
        return np.zeros((len(instances), 0, 2)), np.zeros((len(instances), 0))
    keypoints = to_numpy(instances.get('transformed_keypoints', instances.keypoints))
    scores = to_numpy(instances.get('keypoint_scores', np.ones(keypoints.shape[:2])))
    visible = to_numpy(instances.get('keypoints_visible', scores))
    visible = visible[..., 0] if visible.ndim == 3 else visible
    return keypoints[..., :2], np.where(visible > 0, scores, 0)


def _boxes_of_keypoints(keypoints: np.ndarray) -> np.ndarray:
    if not keypoints.size:
        return np.zeros((len(keypoints), 4))
    return np.concatenate([keypoints.min(axis=1), keypoints.max(axis=1)], axis=1)


def _box_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """IoU (n1, n2) of boxes x1 y1 x2 y2."""
    corner1 = np.maximum(boxes1[:, None, :2], boxes2[None, :, :2])
    corner2 = np.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    overlap = np.clip(corner2 - corner1, 0, None).prod(axis=-1)
    area1 = (boxes1[:, 2:] - boxes1[:, :2]).prod(axis=-1)
    area2 = (boxes2[:, 2:] - boxes2[:, :2]).prod(axis=-1)
    return overlap / np.maximum(area1[:, None] + area2[None] - overlap, 1e-6)
