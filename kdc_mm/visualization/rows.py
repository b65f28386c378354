"""Rows of a picture grid: image, prediction, ground truth."""
from typing import List, Sequence

import mmcv
import numpy as np
import torch
from mmengine.dataset import BaseDataset, pseudo_collate
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.structures import PoseDataSample

from .draw import draw_people, person_colors, zoom_for, zoom_image
from .fields import field_panels
from .people import annotated_people, matching_colors, predicted_people

TITLES = ['image', 'prediction', 'ground truth']
FIELD_TITLES = ['keypoint heatmaps', 'KeyCentroid', 'MaskCentroid']


def from_few_to_many_people(dataset: BaseDataset, num: int) -> List[int]:
    """Indices of ``num`` samples, evenly spread from the emptiest to the most crowded image."""
    persons = [len(dataset.get_data_info(i)['raw_ann_info'] or []) for i in range(len(dataset))]
    order = np.argsort(persons, kind='stable')
    positions = np.linspace(0, len(order) - 1, min(num, len(order))).round().astype(int)
    return order[positions].tolist()


def predict(model: BasePoseEstimator, dataset: BaseDataset, index: int) -> PoseDataSample:
    """Prediction for one sample of a test data set, with its ground truth."""
    model.eval()
    with torch.no_grad():
        return model.test_step(pseudo_collate([dataset[index]]))[0]


def picture_row(data_sample: PoseDataSample, skeleton_links: Sequence, kpt_thr: float = 0.3,
                draw_fields: bool = False) -> List[np.ndarray]:
    """Pictures of a predicted sample, to stand under :data:`TITLES`.

    A person has the same colour in prediction and ground truth.

    Args:
        data_sample (PoseDataSample): With ``pred_instances`` and ``raw_ann_info``.
        skeleton_links (Sequence): Pairs of keypoint indices.
        kpt_thr (float): Keypoints of a lower score are left out.
        draw_fields (bool): Whether to add those of ``pred_fields``, under :data:`FIELD_TITLES`.
    """
    image = mmcv.imread(data_sample.img_path, channel_order='rgb')
    zoom = zoom_for(image)
    predicted, annotated = predicted_people(data_sample), annotated_people(data_sample)
    colors = matching_colors(predicted, annotated)
    row = [zoom_image(image, zoom)]
    for people, people_colors in ((predicted, colors),
                                  (annotated, person_colors(len(annotated.keypoints)))):
        row.append(
            draw_people(image, people.keypoints, people.scores, people.masks, skeleton_links,
                        kpt_thr, people_colors, zoom))
    if draw_fields:
        row += field_panels(image, data_sample.pred_fields, data_sample, predicted.masks, colors,
                            zoom)
    return row
