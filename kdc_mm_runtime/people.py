"""What is decoded: poses, masks, people, and where their image lies in the input."""
from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np


class ImageFrame(NamedTuple):
    """Where the original image lies in the network's input: input = scale · image + offset.

    ``size`` [w, h] of the original image, ``scale`` (x, y), ``offset`` (x, y) in input pixels.
    """
    size: Tuple[int, int]
    scale: Tuple[float, float]
    offset: Tuple[float, float]

    @classmethod
    def from_metainfo(cls, metainfo: dict) -> 'ImageFrame':
        """The inverse of the estimator's mapping from input to image space."""
        scale = np.asarray(metainfo['input_size']) / metainfo['input_scale']
        corner = metainfo['input_center'] - 0.5 * metainfo['input_scale']
        height, width = metainfo['ori_shape'][:2]
        return cls((width, height), tuple(scale.tolist()), tuple((-corner * scale).tolist()))

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the input in pixels of the original image."""
        return (points - self.offset) / np.array(self.scale)


class Poses(NamedTuple):
    """n persons, strongest first.

    ``keypoints`` (n, K, 2) input pixels, ``scores`` (n, K), ``detected`` (n, K) bool: false where
    only limbs and KeyCentroids lead to a keypoint; ``strength`` (n,) the OKS
    that each pose may expect.
    """
    keypoints: np.ndarray
    scores: np.ndarray
    detected: np.ndarray
    strength: np.ndarray


class Masks(NamedTuple):
    """``rles`` n COCO RLE dicts, ``scores`` (n,) mean probability of person times φ
    within each mask."""
    rles: List[Dict]
    scores: np.ndarray


class People(NamedTuple):
    """What is decoded from one image: n ``poses`` and their ``scores`` (n,), and if the maps had a
    segmentation part and the image's frame was given, their ``masks`` and ``mask_scores`` (n,).

    A person without a visible keypoint has a mask, and all its keypoints in the mask's middle with
    score 0.
    """
    poses: Poses
    scores: np.ndarray
    masks: Optional[Masks] = None
    mask_scores: Optional[np.ndarray] = None

    @classmethod
    def none(cls, num_keypoints: int) -> 'People':
        """No person of K keypoints, with masks."""
        scores = np.zeros(0, np.float32)
        shape = (0, num_keypoints)
        poses = Poses(np.zeros((*shape, 2), np.float32), np.zeros(shape, np.float32),
                      np.zeros(shape, bool), scores)
        return cls(poses, scores, Masks([], scores), scores)
