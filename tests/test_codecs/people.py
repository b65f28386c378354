"""Random people for tests of the codec, and what of them a perfect network's maps still show."""
from typing import NamedTuple

import cv2
import numpy as np

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from kdc_mm.codecs.owner_maps import keypoint_owner_map
from kdc_mm_runtime.people import ImageFrame, Poses

#: A standing person in COCO's order, (x, y) in units of its height, centre (0, 0).
STANDING = np.array([
    (0., -.44), (.02, -.46), (-.02, -.46), (.05, -.44), (-.05, -.44), (.12, -.32), (-.12, -.32),
    (.17, -.15), (-.17, -.15), (.19, 0.), (-.19, 0.), (.08, .02), (-.08, .02), (.09, .25),
    (-.09, .25), (.1, .46), (-.1, .46)
])


class Scene(NamedTuple):
    """N persons: ``keypoints`` (N, K, 2) in input pixels and ``labelled`` (N, K) bool."""
    keypoints: np.ndarray
    labelled: np.ndarray


def random_people(rng, num_persons: int, size: int, label_rate: float = 0.7) -> Scene:
    """Persons of random place, height, turn and pose, partly off an image of ``size`` px.

    Every person has a labelled keypoint, and every fourth has just one.
    """
    keypoints = np.empty((num_persons, 17, 2))
    labelled = rng.random((num_persons, 17)) < label_rate
    for j in range(num_persons):
        angle = rng.normal(0, 0.4)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        pose = STANDING + rng.normal(0, 0.05, (17, 2))
        keypoints[j] = pose @ turn.T * rng.uniform(0.15, 0.9) * size + rng.uniform(
            -0.1, 1.1, 2) * size
        if rng.random() < 0.25:
            labelled[j] = False
        labelled[j, rng.integers(17)] |= not labelled[j].any()
    return Scene(keypoints, labelled)


def standing(*persons) -> Scene:
    """A scene of whole persons, each (x, y, height) in pixels."""
    keypoints = np.array([STANDING * height + (x, y) for x, y, height in persons])
    return Scene(keypoints, np.ones(keypoints.shape[:2], bool))


def body_masks(scene: Scene, size: int) -> np.ndarray:
    """Owner map (size, size) of the persons' outlines; the first person is in front."""
    owner = np.zeros((size, size), np.uint8)
    for j in reversed(range(len(scene.keypoints))):
        hull = cv2.convexHull(scene.keypoints[j].astype(np.float32))
        cv2.fillConvexPoly(owner, hull.round().astype(np.int32), j + 1)
    return owner


def whole_input(size: int) -> ImageFrame:
    """The frame of an image that fills an input of ``size`` px."""
    return ImageFrame((size, size), (1., 1.), (0., 0.))


def support(codec: PoseSeg, scene: Scene) -> np.ndarray:
    """Share of an undisturbed disk's votes that each keypoint gets from the cells it owns: (N, K).

    Cells nearer to another person's keypoint of the same kind are that one's, and beyond the border
    there are none.
    """
    owner = keypoint_owner_map(scene.keypoints, scene.labelled, codec.heatmap_size,
                               codec.heatmap_stride, codec.radius)
    width, height = codec.heatmap_size
    x = np.arange(width) * codec.heatmap_stride
    y = np.arange(height)[:, None] * codec.heatmap_stride
    share = np.zeros(scene.labelled.shape)
    reach = np.arange(-100, 101) * codec.heatmap_stride
    whole = votes_at(reach**2 + reach[:, None]**2, codec).sum()
    for j, k in np.argwhere(scene.labelled):
        squared = (x - scene.keypoints[j, k, 0])**2 + (y - scene.keypoints[j, k, 1])**2
        share[j, k] = votes_at(squared, codec)[owner[k] == j + 1].sum() / whole
    return share


def votes_at(squared: np.ndarray, codec: PoseSeg) -> np.ndarray:
    """F* of eq. 3 within the vote radius, σ = R / 2."""
    near = squared <= codec.vote_settings.vote_radius**2
    return np.exp(-squared / (2 * (codec.radius / 2)**2)) * near


def decode_perfect(codec: PoseSeg, scene: Scene, mask_owner=None, frame=None):
    """Encode people and decode the maps that a perfect network would give."""
    encoded = codec.encode(scene.keypoints, scene.labelled, mask_owner)
    return codec.batch_decode(perfect_maps(codec, encoded), [frame])[0]


def least_gap(scene: Scene) -> float:
    """How far the nearest two persons stand apart: distance of their means of labelled keypoints,
    in heights or widths of the larger person, whichever is more."""
    centres = np.array([keypoints[labelled].mean(0) for keypoints, labelled in zip(*scene)])
    size = np.ptp(scene.keypoints, axis=1).max(1)
    gap = np.linalg.norm(centres[:, None] - centres, axis=-1) / np.maximum(size[:, None], size)
    np.fill_diagonal(gap, np.inf)
    return gap.min()


def match_people(scene: Scene, share: np.ndarray, poses: Poses, tolerance_px: float = 1.):
    """Which persons of a scene are decoded as they are, and how many of the decoded are nobody.

    Right is a person whose keypoints with a tenth of an undisturbed disk's votes are detected, all
    in one decoded person; those with less may be missing, but not elsewhere.

    Args:
        scene (Scene): N persons.
        share (np.ndarray): (N, K) what :func:`support` returns.
        poses (Poses): What was decoded.
        tolerance_px (float): Error of a keypoint in its place.

    Returns:
        tuple: right (N,) bool, and the number of decoded persons that are nobody, or somebody who
        is already decoded.
    """
    matched, right = np.zeros((2, len(share)), bool)
    nobody = 0
    for keypoints, detected in zip(poses.keypoints, poses.detected):
        gaps = np.linalg.norm(scene.keypoints[:, detected] - keypoints[detected], axis=-1)
        gaps = np.where(scene.labelled[:, detected], gaps, np.inf).max(1)
        j = gaps.argmin()
        if gaps[j] > tolerance_px or matched[j]:
            nobody += 1
            continue
        matched[j] = True
        right[j] = (detected | (share[j] < 0.1)).all()
    return right | ~(share >= 0.1).any(1), nobody
