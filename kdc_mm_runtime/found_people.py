"""People as they are handed out: from what is decoded to what evaluators and callers read."""
import itertools
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from .people import ImageFrame, People, Poses
from .rle import decode_rle, mask_area, mask_box


class FoundPeople(NamedTuple):
    """n people of an image, the surest first and those that only a mask shows last.

    ``keypoints`` (n, K, 2) x, y in pixels of the image, ``keypoint_scores`` (n, K), ``scores`` (n,)
    the OKS that each pose may expect; and, if the network has masks, ``rles``, n COCO RLEs of the
    image's size, and ``mask_scores`` (n,).

    Those of whom only a mask is found are no poses: their scores are 0, and each keypoint's, so
    that any threshold leaves them out, and ``mask_scores`` alone ranks them; their keypoints lie on
    the diagonal of their mask's box, see :func:`spread_unseen`.
    """
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    scores: np.ndarray
    rles: Optional[List[Dict]] = None
    mask_scores: Optional[np.ndarray] = None

    @classmethod
    def of(cls, people: People, frame: Optional[ImageFrame] = None) -> 'FoundPeople':
        """Those that are decoded, with keypoints in input pixels. Masks without a pixel make
        nobody.

        Args:
            people (People): As the codec decodes them.
            frame (ImageFrame, optional): Where their image lies in the input; needed with masks.
        """
        poses = people.poses
        masks = None if people.masks is None else people.masks.rles
        kept = poses.detected.any(1) | (poses.scores > 0).any(1)
        if masks is not None:
            kept |= np.array([mask_area(mask) > 0 for mask in masks], bool)
        found = cls(spread_unseen(poses, masks, frame)[kept], poses.scores[kept],
                    people.scores[kept])
        if masks is None:
            return found
        return found._replace(rles=list(itertools.compress(masks, kept)),
                              mask_scores=people.mask_scores[kept])

    def in_image(self, frame: ImageFrame) -> 'FoundPeople':
        """The same with keypoints, so far in input pixels, in those of the image."""
        return self._replace(keypoints=frame.to_image(self.keypoints).astype(np.float32))

    @property
    def bboxes(self) -> np.ndarray:
        """(n, 4) x1, y1, x2, y2 around the keypoints."""
        if not len(self.keypoints):
            return np.zeros((0, 4), np.float32)
        return np.concatenate([self.keypoints.min(1), self.keypoints.max(1)], axis=1)

    def masks(self) -> np.ndarray:
        """(n, h, w) bool."""
        return np.array([decode_rle(rle) for rle in self.rles], bool)

    def describe(self) -> List[Dict[str, Any]]:
        """Each person as plain values that JSON can hold, by the names of MMPose's inferencers, as
        :func:`kdc_mm.apis.describe_people` gives them."""
        described = [
            dict(keypoints=keypoints.tolist(), keypoint_scores=scores.tolist(),
                 bbox=(bbox.tolist(), ), bbox_score=float(score))
            for keypoints, scores, bbox, score in zip(
                self.keypoints, self.keypoint_scores, self.bboxes, self.scores)
        ]
        masks = () if self.rles is None else zip(described, self.rles, self.mask_scores)
        for person, rle, score in masks:
            person['mask'] = dict(rle, counts=rle['counts'].decode())
            person['mask_score'] = float(score)
        return described


def spread_unseen(poses: Poses, masks: Optional[Sequence[dict]],
                  frame: Optional[ImageFrame]) -> np.ndarray:
    """Keypoints (n, K, 2) of n poses, those without extent spread.

    MMPose's NMS of poses measures distances against a pose's extent, and fails without any. Where
    all keypoints of a person lie at one place, those of score 0 are laid out along the diagonal of
    its mask's box, or else of the pixel there.

    Args:
        poses (Poses): n poses in input pixels.
        masks (sequence[dict], optional): Their n RLEs in the original image.
        frame (ImageFrame, optional): Where that image lies in the input; needed with masks.
    """
    keypoints = poses.keypoints.copy()
    along = np.linspace(0, 1, keypoints.shape[1], dtype=np.float32)[:, None]
    for row in np.flatnonzero((np.ptp(keypoints, axis=1) == 0).all(1)):
        corner, size = keypoints[row, 0] - 0.5, np.ones(2)
        if masks is not None and mask_area(masks[row]):
            box = mask_box(masks[row])
            corner = (box[:2] - 0.5) * frame.scale + frame.offset
            size = box[2:] * frame.scale
        unseen = poses.scores[row] == 0
        keypoints[row, unseen] = (corner + along * size)[unseen]
    return keypoints
