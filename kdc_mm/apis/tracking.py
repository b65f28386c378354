"""Who is who in a video: people of consecutive frames are matched by OKS and mask IoU."""
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from mmengine.structures import InstanceData
from mmpose.evaluation.functional.nms import oks_iou
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment


class Seen(NamedTuple):
    """A person where it was seen last."""
    frame: int
    keypoints: np.ndarray
    """(K * 3,): x and y in pixels, score."""
    area: float
    """Of the box around the keypoints, in square pixels."""
    mask: Optional[dict]
    """COCO RLE."""


class PersonTracker:
    """Gives people of a video ids that stay with them.

    In each frame people are assigned to those seen before so that their likeness is greatest in
    total. Likeness is the mean of OKS, over the keypoints seen in both frames, and of mask IoU;
    where there are no masks, OKS.

    Args:
        sigmas (Sequence[float]): (K,) of OKS, as in a data set's meta information.
        least_likeness (float): Below it two people are not the same one. Defaults to 0.3.
        memory (int): For so many frames without a person its id is kept for it. Defaults to 10.
    """

    def __init__(self, sigmas: Sequence[float], least_likeness: float = 0.3,
                 memory: int = 10) -> None:
        self.sigmas = np.asarray(sigmas)
        self.least_likeness = least_likeness
        self.memory = memory
        self._seen: Dict[int, Seen] = {}
        self._frame = 0
        self._next_id = 0

    def update(self, instances: InstanceData) -> List[int]:
        """Ids of the people of the next frame.

        Args:
            instances (InstanceData): n people: ``keypoints`` (n, K, 2) in pixels,
                ``keypoint_scores`` (n, K), ``bboxes`` (n, 4) and, if there are any, ``masks``.

        Returns:
            list[int]: n ids, counted from 0 in the order of appearance.
        """
        self._frame += 1
        self._seen = {
            person: last for person, last in self._seen.items()
            if self._frame - last.frame <= self.memory + 1
        }
        found = [self._look(instances, row) for row in range(len(instances.keypoints))]
        known = list(self._seen)
        likeness = self._likeness(found, [self._seen[person] for person in known])
        ids = [-1] * len(found)
        for row, column in zip(*linear_sum_assignment(-likeness)):
            if likeness[row, column] >= self.least_likeness:
                ids[row] = known[column]
        for row, person in enumerate(ids):
            if person < 0:
                ids[row] = self._next_id
                self._next_id += 1
        self._seen.update(zip(ids, found))
        return ids

    def _look(self, instances: InstanceData, row: int) -> Seen:
        keypoints = np.concatenate(
            [instances.keypoints[row], instances.keypoint_scores[row][:, None]], axis=1)
        x1, y1, x2, y2 = instances.bboxes[row]
        mask = instances.masks[row] if 'masks' in instances else None
        return Seen(self._frame, keypoints.ravel(), float((x2 - x1) * (y2 - y1)), mask)

    def _likeness(self, found: List[Seen], known: List[Seen]) -> np.ndarray:
        """(n, m) in 0 to 1."""
        likeness = np.zeros((len(found), len(known)))
        if not likeness.size:
            return likeness
        keypoints = np.stack([last.keypoints for last in known])
        areas = np.array([last.area for last in known])
        for row, person in enumerate(found):
            likeness[row] = oks_iou(
                person.keypoints, keypoints, person.area, areas, self.sigmas, vis_thr=0)
        if found[0].mask is None:
            return likeness
        overlap = coco_mask.iou(
            [person.mask for person in found], [last.mask for last in known], [0] * len(known))
        return (likeness + overlap) / 2
