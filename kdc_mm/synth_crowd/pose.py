"""Poses: joint angles of N persons, drawn around named postures and kept inside human joint
limits."""
from typing import Dict, NamedTuple, Tuple

import numpy as np

# name: (lowest, highest) angle in degrees. Zero is standing upright with hanging arms. Flexion
# brings a limb forward (the knee: backward), abduction brings it outward, twist turns it inward, so
# left and right share one table.
TRUNK_LIMITS = dict(
    spine_flex=(-20, 95), spine_side=(-25, 25), spine_twist=(-35, 35),
    head_pitch=(-35, 45), head_yaw=(-65, 65), head_roll=(-25, 25))
LIMB_LIMITS = dict(
    shoulder_flex=(-50, 175), shoulder_abd=(-20, 165), shoulder_twist=(-40, 90),
    elbow=(2, 145), wrist=(-50, 60),
    hip_flex=(-25, 120), hip_abd=(-8, 55), hip_twist=(-35, 30), knee=(1, 145), ankle=(-25, 35))
ANGLES = tuple(TRUNK_LIMITS) + tuple(f'{side}_{name}' for side in 'lr' for name in LIMB_LIMITS)
_LOWEST, _HIGHEST = np.transpose(
    list(TRUNK_LIMITS.values()) + 2 * list(LIMB_LIMITS.values())).astype(float)

# Standard deviation of each angle around its posture, degrees.
_SPREAD = dict(
    spine_flex=6, spine_side=5, spine_twist=9, head_pitch=9, head_yaw=22, head_roll=6,
    shoulder_flex=13, shoulder_abd=9, shoulder_twist=16, elbow=16, wrist=14,
    hip_flex=7, hip_abd=5, hip_twist=8, knee=8, ankle=7)

# posture: (weight, angles that differ from the relaxed stance). A bare limb angle holds for both
# sides.
_RELAXED = dict(shoulder_abd=9, shoulder_flex=2, elbow=18, hip_abd=4, knee=5, shoulder_twist=12,
                wrist=5)
POSTURES = dict(
    stand=(4, {}),
    contrapposto=(2, dict(l_knee=28, l_hip_flex=14, l_hip_abd=9, spine_side=5, r_hip_abd=0)),
    walk=(4, dict(l_hip_flex=27, r_hip_flex=-14, l_knee=12, r_knee=28, r_ankle=18,
                  l_shoulder_flex=-22, r_shoulder_flex=26, elbow=28, spine_flex=4)),
    run=(2, dict(l_hip_flex=58, l_knee=85, r_hip_flex=-18, r_knee=38, r_ankle=25,
                 l_shoulder_flex=-40, r_shoulder_flex=45, elbow=92, spine_flex=15)),
    arms_up=(2, dict(shoulder_abd=32, shoulder_flex=150, elbow=25, shoulder_twist=0,
                     head_pitch=-8)),
    wave=(2, dict(l_shoulder_abd=95, l_shoulder_twist=-25, l_elbow=95, l_shoulder_flex=5)),
    reach=(2, dict(l_shoulder_flex=95, l_elbow=15, r_shoulder_flex=40, r_elbow=45, spine_flex=10)),
    spread=(1.5, dict(shoulder_abd=88, shoulder_flex=5, elbow=14, shoulder_twist=0, hip_abd=18)),
    hands_on_hips=(2, dict(shoulder_abd=42, shoulder_flex=-18, shoulder_twist=70, elbow=95,
                           hip_abd=9)),
    arms_crossed=(1.5, dict(shoulder_abd=14, shoulder_flex=32, shoulder_twist=75, elbow=100)),
    phone=(1.5, dict(l_shoulder_flex=35, l_elbow=115, l_shoulder_twist=35, head_pitch=20)),
    carry=(1.5, dict(shoulder_flex=28, elbow=85, shoulder_twist=20)),
    sit=(3, dict(hip_flex=86, knee=84, hip_abd=11, shoulder_flex=30, elbow=50, spine_flex=8,
                 ankle=0)),
    crouch=(1.5, dict(hip_flex=105, knee=128, hip_abd=16, spine_flex=28, shoulder_flex=50, elbow=50,
                      ankle=-18)),
    lunge=(1.5, dict(l_hip_flex=70, l_knee=72, r_hip_flex=-16, r_knee=45, spine_flex=10,
                     r_ankle=-15)),
    kneel=(1, dict(hip_flex=12, knee=95, ankle=25, spine_flex=12, shoulder_flex=35, elbow=45)),
    bend=(2, dict(spine_flex=75, hip_flex=32, shoulder_flex=85, elbow=20, head_pitch=-10, knee=14)),
    kick=(1, dict(l_hip_flex=72, l_knee=25, shoulder_abd=45, r_shoulder_flex=25, spine_flex=-6)),
    jump=(1, dict(hip_flex=35, knee=65, hip_abd=15, ankle=30, shoulder_abd=80, shoulder_flex=70)),
    lie=(1, dict(hip_flex=12, knee=18, shoulder_abd=32, elbow=45, hip_abd=9)))
NAMES = tuple(POSTURES)


def _table() -> np.ndarray:
    """Mean angle of every posture, (postures, angles)."""
    table = np.zeros((len(POSTURES), len(ANGLES)))
    for row, (_, angles) in zip(table, POSTURES.values()):
        for name, value in {**_RELAXED, **angles}.items():
            for column, angle in enumerate(ANGLES):
                if angle == name or (name in LIMB_LIMITS and angle[2:] == name):
                    row[column] = value
    return table


_MEAN = _table()
_WEIGHT = np.array([weight for weight, _ in POSTURES.values()])
_WEIGHT = _WEIGHT / _WEIGHT.sum()
_STD = np.array([_SPREAD[a if a in _SPREAD else a[2:]] for a in ANGLES], dtype=float)
_MIRROR = [ANGLES.index({'l': 'r', 'r': 'l'}[a[0]] + a[1:] if a[1] == '_' else a) for a in ANGLES]
_MIRROR_SIGN = np.array([
    -1. if a in ('spine_side', 'spine_twist', 'head_yaw', 'head_roll') else 1. for a in ANGLES])
_ARMS = [i for i, a in enumerate(ANGLES) if a[2:].startswith(('shoulder', 'elbow', 'wrist'))]


class Bearing(NamedTuple):
    """Which postures people take, and the share of them that turn by each angle of
    :data:`HEADINGS`."""
    postures: Tuple[str, ...]
    headings: Tuple[float, ...]


#: Degrees that people turn by: facing the camera, away from it, to the sides, and between.
HEADINGS = (0., 180., 90., -90., 45., -45., 135., -135.)
ANY_BEARING = Bearing(NAMES, (.30, .14, .11, .11, .12, .12, .05, .05))
#: On their feet, most of them facing the camera.
UPRIGHT = Bearing(('stand', 'contrapposto', 'walk', 'arms_up', 'wave', 'reach', 'spread',
                   'hands_on_hips', 'carry'), (.50, .10, .04, .04, .16, .16, 0., 0.))


def sample_poses(rng: np.random.Generator, num: int,
                 bearing: Bearing = ANY_BEARING) -> Dict[str, np.ndarray]:
    """Draw ``num`` poses.

    Besides the postures, one person in five has arms anywhere within their limits, so that arms do
    not follow from legs.

    Returns:
        dict: every name of ``ANGLES`` in radians, (num,); and how the body stands to the camera,
        also in radians: ``yaw`` (0 faces the camera, +90 degrees turns the person's front to the
        image's right), ``pitch`` (the camera looks down), ``roll`` (in the image plane);
        ``posture``, an index into ``NAMES``.
    """
    weight = _WEIGHT * np.isin(NAMES, bearing.postures)
    posture = rng.choice(len(NAMES), num, p=weight / weight.sum())
    angles = _MEAN[posture] + rng.standard_normal((num, len(ANGLES))) * _STD
    stride = rng.uniform(0.6, 1.15, (num, 1))
    angles = np.where(np.isin(posture, [NAMES.index('walk'), NAMES.index('run')])[:, None],
                      angles * stride, angles)
    free = rng.random((num, len(ANGLES))) * (_HIGHEST - _LOWEST) * 0.85 + _LOWEST
    free_arm = np.repeat(rng.random((num, 2)) < 0.2, len(_ARMS) // 2, axis=1)
    angles[:, _ARMS] = np.where(free_arm, free[:, _ARMS], angles[:, _ARMS])
    mirrored = rng.random((num, 1)) < 0.5
    angles = np.where(mirrored, angles[:, _MIRROR] * _MIRROR_SIGN, angles)
    angles = np.clip(angles, _LOWEST, _HIGHEST)
    for side in 'lr':  # an arm raised sideways above the shoulder cannot swing forward as well
        flex, abd = (ANGLES.index(f'{side}_{name}') for name in ('shoulder_flex', 'shoulder_abd'))
        angles[:, flex] = np.where(angles[:, abd] > 80, np.minimum(angles[:, flex], 25),
                                   angles[:, flex])
    angles = np.radians(angles)

    heading = rng.choice(HEADINGS, num, p=bearing.headings)
    lies = posture == NAMES.index('lie')
    roll = rng.normal(0, 4, num) + lies * rng.choice([-1., 1.], num) * rng.uniform(70, 105, num)
    pose = dict(zip(ANGLES, angles.T))
    pose.update(
        yaw=np.radians(heading + rng.normal(0, 14, num)),
        pitch=np.radians(np.where(lies, rng.uniform(0, 35, num), rng.uniform(-4, 20, num))),
        roll=np.radians(roll),
        posture=posture)
    return pose
