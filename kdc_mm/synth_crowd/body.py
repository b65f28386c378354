"""The body: proportions, forward kinematics and the 17 COCO keypoints.

Letters: N persons. Lengths are in statures (the standing height of a person is about 1). Camera
space has x to the right, y up and z towards the camera. Body space has x to the person's left, y up
and z to the front, so a person of yaw 0 faces the camera with the left hand on the right of the
image.
"""
from dataclasses import dataclass
from typing import Dict

import numpy as np

KEYPOINT_NAMES = (
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder',
    'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee',
    'right_knee', 'left_ankle', 'right_ankle')
# COCO's own skeleton, 1-based.
SKELETON = ((16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8),
            (7, 9), (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7))

SIDES = (('l', 1.), ('r', -1.))  # the side's letter and the sign of its body x


def direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector of body space; azimuth 0 is the front and 90 the person's left, in degrees."""
    azimuth, elevation = np.radians(azimuth), np.radians(elevation)
    return np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation),
                     np.cos(azimuth) * np.cos(elevation)], -1)


# Where the face's keypoints lie on the head ellipsoid: direction and distance in head radii.
FACE_KEYPOINTS = np.stack([
    direction(0, -10) * 1.12, direction(23, 6), direction(-23, 6), direction(93, -4) * 1.04,
    direction(-93, -4) * 1.04])


def rotation(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) by ``angle`` (N,) in radians about a coordinate axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.zeros(angle.shape + (3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1
    matrix[:, i, i] = matrix[:, j, j] = cos
    matrix[:, i, j] = -sin
    matrix[:, j, i] = sin
    return matrix


def sample_builds(rng: np.random.Generator, num: int) -> Dict[str, np.ndarray]:
    """Draw the proportions of ``num`` bodies, (num,) each: adults of both sexes, some of them
    heavy, and children."""
    child = rng.random(num) < 0.12
    female = rng.random(num) < 0.5
    heavy = np.exp(rng.normal(0, 0.10, num)) + 0.1 * (rng.random(num) < 0.15)
    leg = rng.normal(1, 0.03, num) * np.where(child, 0.93, 1)
    return dict(
        child=child,
        female=female,
        girth=heavy,
        limb=np.sqrt(heavy) * np.where(female, 0.94, 1.04),
        leg=leg,
        arm=rng.normal(1, 0.03, num) * np.where(child, 0.95, 1),
        head=rng.normal(1.03, 0.04, num) * np.where(child, 1.28, 1),
        shoulder=(np.where(female, 0.093, 0.106) * rng.normal(1, 0.04, num)
                  * np.where(child, 0.92, 1)),
        hip=np.where(female, 0.054, 0.050) * rng.normal(1, 0.04, num),
        waist=np.where(female, 0.88, 1.0) * rng.normal(1, 0.04, num))


@dataclass
class BodyJoints:
    """Joints (name to (N, 3), camera space, pelvis at the origin) and the frames (name to
    (N, 3, 3)) that carry them."""
    joints: Dict[str, np.ndarray]
    frames: Dict[str, np.ndarray]
    head_radii: np.ndarray  # (N, 3): to the side, up, to the front


def pose_body(pose: Dict[str, np.ndarray], build: Dict[str, np.ndarray]) -> BodyJoints:
    """Forward kinematics from the pelvis outward."""
    num = len(pose['yaw'])

    def offset(frame, x=0., y=0., z=0.):
        vector = np.zeros((num, 3))
        vector[:, 0], vector[:, 1], vector[:, 2] = x, y, z
        return np.einsum('nij,nj->ni', frame, vector)

    root = rotation(2, pose['roll']) @ rotation(0, pose['pitch']) @ rotation(1, pose['yaw'])
    bend = (rotation(0, pose['spine_flex'] / 2) @ rotation(2, pose['spine_side'] / 2)
            @ rotation(1, pose['spine_twist'] / 2))
    waist = root @ bend
    chest = waist @ bend
    head = (chest @ rotation(1, pose['head_yaw']) @ rotation(0, pose['head_pitch'])
            @ rotation(2, pose['head_roll']))
    frames = dict(pelvis=root, waist=waist, chest=chest, head=head)

    joints = dict(pelvis=np.zeros((num, 3)))
    joints['waist'] = offset(root, y=0.095)
    joints['chest'] = joints['waist'] + offset(waist, y=0.105)
    joints['neck'] = joints['chest'] + offset(chest, y=0.09)
    joints['head'] = joints['neck'] + offset(chest, y=0.045, z=0.006) + offset(
        head, y=0.028 + 0.036 * build['head'], z=0.012)
    head_radii = build['head'][:, None] * np.array([0.047, 0.066, 0.058])

    for side, sign in SIDES:
        angle = {name[2:]: value for name, value in pose.items() if name.startswith(side + '_')}
        raised = np.clip(np.maximum(angle['shoulder_abd'], angle['shoulder_flex']) / np.pi, 0, 1)
        upper = (chest @ rotation(0, -angle['shoulder_flex'])
                 @ rotation(2, sign * angle['shoulder_abd'])
                 @ rotation(1, -sign * angle['shoulder_twist']))
        fore = upper @ rotation(0, -angle['elbow'])
        hand = fore @ rotation(2, -sign * angle['wrist'])
        shoulder = joints['neck'] + offset(
            chest, x=sign * build['shoulder'] * (1 - 0.12 * raised), y=-0.012 + 0.035 * raised)
        elbow = shoulder + offset(upper, y=-0.165 * build['arm'])
        wrist = elbow + offset(fore, y=-0.142 * build['arm'])
        thigh = (root @ rotation(0, -angle['hip_flex']) @ rotation(2, sign * angle['hip_abd'])
                 @ rotation(1, sign * -angle['hip_twist']))
        shank = thigh @ rotation(0, angle['knee'])
        foot = shank @ rotation(0, angle['ankle'])
        hip = offset(root, x=sign * build['hip'], y=-0.012)
        knee = hip + offset(thigh, y=-0.245 * build['leg'])
        ankle = knee + offset(shank, y=-0.238 * build['leg'])
        joints.update({f'{side}_{name}': joint for name, joint in dict(
            shoulder=shoulder, elbow=elbow, wrist=wrist,
            palm=wrist + offset(hand, y=-0.034 * build['arm']),
            fingers=wrist + offset(hand, y=-0.078 * build['arm'], z=0.006),
            thumb=wrist + offset(hand, y=-0.046 * build['arm'], z=0.025),
            hip=hip, knee=knee, ankle=ankle,
            heel=ankle + offset(foot, y=-0.022, z=-0.014),
            toe=ankle + offset(foot, x=sign * 0.008, y=-0.030, z=0.088)).items()})
        frames.update({f'{side}_{n}': f for n, f in dict(
            upper=upper, fore=fore, hand=hand, thigh=thigh, shank=shank, foot=foot).items()})
    return BodyJoints(joints, frames, head_radii)


def body_keypoints(body: BodyJoints) -> np.ndarray:
    """The 17 COCO keypoints in camera space, (N, 17, 3)."""
    face = np.einsum('nij,nj,kj->nki', body.frames['head'], body.head_radii, FACE_KEYPOINTS)
    face = face + body.joints['head'][:, None]
    rest = [body.joints[f'{name[0]}_{name.split("_")[1]}'] for name in KEYPOINT_NAMES[5:]]
    return np.concatenate([face, np.stack(rest, axis=1)], axis=1)
