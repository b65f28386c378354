"""Masks for annotated persons who have keypoints and no mask, drawn by a network around them."""
from collections import Counter
from typing import Dict, Mapping, Optional, Sequence

import numpy as np
from pycocotools import mask as cocomask

from .annotations import is_labelled
from .segmentations import text_rle

WITH_MASK = 'persons with a mask'
COMPLETED = 'masks added'
BAD_BOX = 'masks that do not fit the annotated box, left out'
NO_KEYPOINTS = 'persons with neither mask nor keypoints'


def masks_by_id(data_sample) -> Dict[int, dict]:
    """The predicted mask of each annotation of an image that has labelled keypoints.

    Args:
        data_sample (PoseDataSample): Predicted with ``test_cfg.keypoints='annotated'``, with
            ``raw_ann_info`` and ``pred_instances.masks``, RLEs.
    """
    annotated = data_sample.raw_ann_info
    annotated = annotated if isinstance(annotated, list) else [annotated] if annotated else []
    posed = [ann['id'] for ann in annotated if is_labelled(ann)]
    masks = data_sample.pred_instances.masks
    if len(posed) != len(masks):
        raise ValueError(f'{data_sample.img_path}: {len(posed)} persons have keypoints, and '
                         f'{len(masks)} masks were predicted')
    return dict(zip(posed, masks))


def complete_masks(annotations: Sequence[dict], masks: Mapping[int, dict],
                   min_box_iou: float) -> Counter:
    """Add the masks to the annotations that have none.

    Args:
        annotations (sequence[dict]): In COCO's layout; those that get a mask are changed.
        masks (mapping): Annotation id → RLE.
        min_box_iou (float): A mask stays out whose own box and the annotated one have a smaller
            IoU: the network saw another person there, or a part of one.

    Returns:
        Counter: numbers of persons of each kind.
    """
    counts = Counter()
    for ann in annotations:
        if ann['iscrowd']:
            continue
        kind = _kind(ann, masks.get(ann['id']), min_box_iou)
        counts[kind] += 1
        if kind == COMPLETED:
            ann['segmentation'] = text_rle(masks[ann['id']])
    return counts


def _kind(ann: dict, mask: Optional[dict], min_box_iou: float) -> str:
    if 'segmentation' in ann:
        return WITH_MASK
    if mask is None:
        return NO_KEYPOINTS
    box, own_box = np.array([ann['bbox']], np.float64), cocomask.toBbox([mask])
    iou = cocomask.iou(own_box, box, [0])[0, 0]
    return COMPLETED if iou >= min_box_iou and own_box.any() else BAD_BOX
