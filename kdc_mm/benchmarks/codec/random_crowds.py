"""Random standing people, to measure what decoding costs against their number."""
import cv2
import numpy as np

from kdc_mm_runtime.people import ImageFrame

from .bottomup_codecs import Crowd

#: Size of the original image, in which masks are decoded.
IMAGE_SIZE = (640, 480)
#: A standing person in COCO's order, (x, y) in units of its height.
STANDING = np.array([
    (.00, .06), (.02, .04), (-.02, .04), (.05, .06), (-.05, .06), (.12, .18), (-.12, .18),
    (.17, .35), (-.17, .35), (.19, .50), (-.19, .50), (.08, .52), (-.08, .52), (.09, .75),
    (-.09, .75), (.10, .96), (-.10, .96)
]) - (0, .5)
TRUNK = [5, 6, 12, 11]
LIMBS = [(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)]


def random_people(num_persons: int, seed: int):
    """Standing people of varied size, turn, pose and place; the more, the smaller.

    Returns:
        tuple: keypoints (N, 17, 2) in pixels of the original image, labelled (N, 17) bool, heights
        (N,); large persons first.
    """
    rng = np.random.default_rng([seed, num_persons])
    heights = np.sort(rng.uniform(0.35, 0.8, num_persons))[::-1]
    heights = heights * IMAGE_SIZE[1] / num_persons**0.35
    places = rng.uniform(0.05, 0.95, (num_persons, 1, 2)) * IMAGE_SIZE
    angle = rng.normal(0, 0.2, num_persons)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    poses = STANDING + rng.normal(0, 0.03, (num_persons, *STANDING.shape))
    poses = np.einsum('jkx,yxj->jky', poses, turn)
    keypoints = (places + poses * heights[:, None, None]).astype(np.float32)
    inside = ((keypoints >= 0) & (keypoints < IMAGE_SIZE)).all(axis=2)
    return keypoints, inside & (rng.random(inside.shape) < 0.9), heights


def draw_masks(keypoints: np.ndarray, heights: np.ndarray, size) -> np.ndarray:
    """Owner map (H, W) uint8 of stick people with flesh, the small ones in front."""
    owner = np.zeros(size[::-1], np.uint8)
    for j, (pose, height) in enumerate(zip(np.round(keypoints).astype(np.int32), heights)):
        color = j + 1
        cv2.fillPoly(owner, [pose[TRUNK]], color)
        cv2.circle(owner, tuple(pose[0].tolist()), int(0.09 * height), color, -1)
        for a, b in LIMBS:
            cv2.line(owner, tuple(pose[a].tolist()), tuple(pose[b].tolist()), color,
                     max(1, int(0.08 * height)))
    return owner


def frame_in_input(input_size) -> ImageFrame:
    """Where the original image lies in an input [W, H]: as a whole, in its middle."""
    scale = min(np.divide(input_size, IMAGE_SIZE))
    offset = (input_size - scale * np.array(IMAGE_SIZE)) / 2
    return ImageFrame(IMAGE_SIZE, (scale, scale), tuple(offset.tolist()))


def make_crowd(num_persons: int, seed: int, input_size) -> Crowd:
    """The same people in the input of any size, the image in its middle."""
    keypoints, labelled, heights = random_people(num_persons, seed)
    frame = frame_in_input(input_size)
    scale = frame.scale[0]
    keypoints = (keypoints * scale + frame.offset).astype(np.float32)
    owner = draw_masks(keypoints, heights * scale, input_size)
    return Crowd(keypoints, labelled.astype(np.float32), frame, owner,
                 np.zeros(owner.shape, bool))
