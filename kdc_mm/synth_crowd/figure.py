"""A painted person: body, clothes, hair and face as shapes and details, in the order in which they
cover each other."""
from functools import lru_cache
from typing import Dict, List, NamedTuple

import cv2
import numpy as np

from .body import FACE_KEYPOINTS, KEYPOINT_NAMES, SIDES, BodyJoints, body_keypoints, direction
from .clothing import dye
from .shapes import Camera, Detail, Light, Patch, ShapeList, fill, fill_convex, fixed_point

# Parts, which are painting groups as well. A left part is even, its right twin follows.
(TORSO, HEAD, NECK, L_UPPER, R_UPPER, L_FORE, R_FORE, L_THIGH, R_THIGH, L_SHANK, R_SHANK, L_FOOT,
 R_FOOT, HAIR, SKIRT, PACK) = range(1, 17)
_NUM_PARTS = 17

# On which parts a keypoint is in sight; the torso and the skirt count for joints that are not on
# their far side.
_OWN_PARTS = dict(
    nose=(HEAD,), eye=(HEAD,), ear=(HEAD,),
    shoulder=(L_UPPER, TORSO), elbow=(L_UPPER, L_FORE), wrist=(L_FORE,),
    hip=(L_THIGH, TORSO, SKIRT), knee=(L_THIGH, L_SHANK, SKIRT), ankle=(L_SHANK, L_FOOT))


def _own_parts() -> np.ndarray:
    table = np.zeros((len(KEYPOINT_NAMES), _NUM_PARTS), dtype=bool)
    for row, name in zip(table, KEYPOINT_NAMES):
        for part in _OWN_PARTS[name.split('_')[-1]]:
            row[part + (name.startswith('right') and L_UPPER <= part <= R_FOOT)] = True
    return table


_OWN = _own_parts()


class Figures(NamedTuple):
    """N painted persons, each around its own origin (the pelvis), in px of the canvas."""
    patches: List[Patch]
    keypoints: np.ndarray  # (N, 17, 2)
    in_sight: np.ndarray  # (N, 17) bool: the person's own body does not hide the keypoint


def paint_figures(body: BodyJoints, build: Dict[str, np.ndarray], clothing: Dict[str, np.ndarray],
                  camera: Camera, light: Light, rng: np.random.Generator) -> Figures:
    """Paint N persons."""
    shapes = ShapeList(camera)
    torso = _Torso(body, build, clothing, camera)
    _add_legs(shapes, body, build, clothing)
    _add_torso(shapes, torso, body, build, clothing)
    _add_arms(shapes, body, build, clothing)
    _add_head(shapes, body, build, clothing)
    index, vertices, colours = shapes.outlines(light, np.digitize(camera.scale, [300, 450]) + 2)

    ranks = _paint_order(body)
    figure, shape, level = index.T
    part, group, layer = np.array(shapes.keys).T
    rank = ranks[figure, group[shape]]
    order = np.lexsort((shape, level, layer[shape], rank, figure))
    colours = np.rint(np.concatenate([colours, part[shape][:, None]], axis=1)).astype(int).tolist()
    details = _merge(_head_details(body, clothing, camera, light),
                     _torso_details(torso, clothing))
    patches = []
    bounds = np.searchsorted(figure[order], np.arange(1, len(ranks)))
    for n, rows in enumerate(np.split(order, bounds)):
        patches.append(_paint(vertices, colours, rows, rank, ranks[n], details[n], rng))
    keypoints = body_keypoints(body)
    return Figures(patches, *_sight(keypoints, body, clothing, camera, patches))


def _merge(*details: List[Dict[int, List[Detail]]]) -> List[Dict[int, List[Detail]]]:
    return [{key: value for part in person for key, value in part.items()}
            for person in zip(*details)]


def _paint(vertices: np.ndarray, colours: List[List[int]], rows: np.ndarray, rank: np.ndarray,
           ranks: np.ndarray, details: Dict[int, List[Detail]], rng: np.random.Generator) -> Patch:
    """Paint one figure: its outlines ``rows`` in order, each group's details after the group."""
    everything = [d.vertices for group in details.values() for d in group]
    everything.append(vertices[rows].reshape(-1, 2))
    x, y, width, height = cv2.boundingRect(np.concatenate(everything).astype(np.float32))
    low, width, height = np.array([x - 1, y - 1]), width + 3, height + 3
    image = np.zeros((height, width, 4), dtype=np.uint8)
    outlines = fixed_point(vertices[rows] - low)
    due = sorted((ranks[group], group) for group in details)
    for row, outline, row_rank in zip(rows.tolist(), outlines, rank[rows].tolist()):
        while due and due[0][0] < row_rank:
            _paint_details(image, details[due.pop(0)[1]], low)
        fill_convex(image, outline, colours[row])
    for _, group in due:
        _paint_details(image, details[group], low)
    texture = _cloth_texture(1 << max(10, int(2 * max(width, height) - 1).bit_length()))
    y, x = rng.integers(0, np.array(texture.shape[:2]) - (height, width))
    return Patch(cv2.multiply(image, texture[y:y + height, x:x + width], scale=1 / 128),
                 (int(low[0]), int(low[1])))


def _paint_details(image: np.ndarray, details: List[Detail], low: np.ndarray) -> None:
    for vertices, colour, part in details:
        fill(image, fixed_point(vertices - low), (*colour, part))


@lru_cache(maxsize=2)
def _cloth_texture(side: int) -> np.ndarray:
    """Folds and fibre as a multiplier, 128 meaning 1; the last channel leaves the part alone."""
    rng = np.random.default_rng(7)
    texture = np.full((side, side), 128, dtype=np.float32)
    for cell, strength in ((40, 8), (14, 7), (2, 4)):
        grid = rng.standard_normal((side // cell + 1, side // cell + 1)).astype(np.float32)
        texture += strength * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    texture = np.clip(texture, 80, 180).astype(np.uint8)
    return cv2.merge([texture, texture, texture, np.full_like(texture, 128)])


def _paint_order(body: BodyJoints) -> np.ndarray:
    """Rank of every group, (N, groups): far ones first; a nearly straight limb is one group, so
    that it has no seam."""
    joints = body.joints
    z = {name: position[:, 2] for name, position in joints.items()}
    depth = np.zeros((len(z['pelvis']), _NUM_PARTS))
    depth[:, TORSO] = (z['pelvis'] + z['chest']) / 2 + 0.02
    depth[:, HEAD] = z['head'] + 0.06
    depth[:, NECK] = np.minimum(depth[:, TORSO], depth[:, HEAD]) - 0.001
    front = body.frames['head'][:, 2, 2]
    depth[:, HAIR] = z['head'] - 0.075 * front + 0.06
    front = body.frames['chest'][:, 2, 2]
    depth[:, PACK] = z['chest'] - 0.12 * front
    for i, (side, _) in enumerate(SIDES):
        depth[:, L_UPPER + i] = (z[side + '_shoulder'] + z[side + '_elbow']) / 2 + 0.035
        depth[:, L_FORE + i] = (z[side + '_elbow'] + z[side + '_wrist']) / 2 + 0.045
        depth[:, L_THIGH + i] = (z[side + '_hip'] + z[side + '_knee']) / 2
        depth[:, L_SHANK + i] = (z[side + '_knee'] + z[side + '_ankle']) / 2 - 0.01
        depth[:, L_FOOT + i] = (z[side + '_ankle'] + z[side + '_toe']) / 2 - 0.02
    depth[:, SKIRT] = np.maximum(depth[:, L_THIGH], depth[:, R_THIGH]) + 0.01
    merged = []
    for upper, lower, names in ((L_UPPER, L_FORE, ('shoulder', 'elbow', 'wrist')),
                                (L_THIGH, L_SHANK, ('hip', 'knee', 'ankle'))):
        for i, (side, _) in enumerate(SIDES):
            a, b, c = (joints[f'{side}_{name}'] for name in names)
            lengths = np.linalg.norm(b - a, axis=1) * np.linalg.norm(c - b, axis=1)
            straight = ((b - a) * (c - b)).sum(1) > 0.45 * lengths
            middle = (depth[:, upper + i] + depth[:, lower + i]) / 2
            for group in (upper + i, lower + i):
                depth[:, group] = np.where(straight, middle, depth[:, group])
            merged.append((upper + i, lower + i, straight))
    ranks = np.argsort(np.argsort(depth, axis=1, kind='stable'), axis=1, kind='stable')
    for upper, lower, straight in merged:
        ranks[:, lower] = np.where(straight, ranks[:, upper], ranks[:, lower])
    return ranks


def _sight(keypoints: np.ndarray, body: BodyJoints, clothing: Dict[str, np.ndarray],
           camera: Camera, patches: List[Patch]):
    """Keypoints in px and whether the person's own body leaves them in sight."""
    pixels = camera.project(keypoints)
    toward = _towards_camera(body)
    unit = FACE_KEYPOINTS / np.linalg.norm(FACE_KEYPOINTS, axis=1, keepdims=True)
    facing = toward @ unit.T
    in_sight = np.ones(pixels.shape[:2], dtype=bool)
    in_sight[:, :5] = facing > np.array([-0.08, 0.0, 0.0, -0.2, -0.2])
    in_sight[:, 3:5] &= ~clothing['long_hair'][:, None]
    part = np.zeros(in_sight.shape, dtype=int)
    for n, patch in enumerate(patches):
        x, y = (np.rint(pixels[n]).astype(int) - patch.origin).T
        height, width = patch.image.shape[:2]
        part[n] = patch.image[np.minimum(y, height - 1), np.minimum(x, width - 1), 3]
    behind = np.zeros(in_sight.shape, dtype=bool)
    behind[:, 5:7] = keypoints[:, 5:7, 2] < body.joints['neck'][:, None, 2] - 0.03
    behind[:, 11:13] = keypoints[:, 11:13, 2] < -0.025
    in_sight &= _OWN[np.arange(17), part] & ~(behind & ((part == TORSO) | (part == SKIRT)))
    return pixels, in_sight


# ---------------------------------------------------------------- limbs

def _between(a: np.ndarray, b: np.ndarray, share) -> np.ndarray:
    return a + (b - a) * (share[:, None] if np.ndim(share) else share)


def _ellipsoid(frame: np.ndarray, side, up, front) -> np.ndarray:
    """Semi-axes (N, 3, 3) along the axes of ``frame``."""
    radii = np.empty((len(frame), 1, 3))
    radii[:, 0, 0], radii[:, 0, 1], radii[:, 0, 2] = side, up, front
    return frame * radii


def _hem(frame: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """A flat end across a limb, whose axis is the frame's y."""
    return _ellipsoid(frame, radius, 0.005, radius)


def _add_legs(shapes: ShapeList, body: BodyJoints, build: Dict, wear: Dict) -> None:
    joints, frames, limb = body.joints, body.frames, build['limb']
    cloth = wear['loose']
    for i, (side, _) in enumerate(SIDES):
        hip, knee, ankle = (joints[f'{side}_{n}'] for n in ('hip', 'knee', 'ankle'))
        thigh, calf, shin = 0.049 * limb * build['girth'] ** 0.5, 0.034 * limb, 0.021 * limb
        parts = L_THIGH + i, L_SHANK + i, L_FOOT + i
        shade = (1 + 0.9 * np.clip((hip + ankle)[:, 2] / 2, -0.2, 0.05))[:, None]
        shoes = dye(wear['shoes'], side, wear) * shade
        skin, trousers = wear['skin'] * shade, dye(wear['trousers'], side, wear) * shade

        shapes.add(hip, thigh, knee, calf, skin, parts[0], parts[0], 0, wear['upper_leg'] < 1)
        end = _between(hip, knee, wear['upper_leg'])
        cuff = _hem(frames[side + '_thigh'], (thigh + (calf - thigh) * wear['upper_leg']) * cloth)
        shapes.add(hip, thigh * np.sqrt(cloth), end, cuff, trousers, parts[0], parts[0], 1)
        bare = wear['lower_leg'] == 0
        belly = _between(knee, ankle, 0.3) + frames[side + '_shank'] @ np.array([0, 0, -0.008])
        shapes.add(knee, calf * 0.94, ankle, shin, skin, parts[1], parts[1], 0, bare)
        shapes.add(belly, calf, ankle, shin * 0.95, skin, parts[1], parts[1], 0, bare)
        shapes.add(_between(knee, ankle, 0.72), shin * 1.12, ankle, shin * 1.15,
                   dye(np.full((len(hip), 3), 215.), side, wear), parts[1], parts[1], 1,
                   bare & wear['socks'])
        hem = _between(knee, ankle, wear['lower_leg'])
        cuff = _hem(frames[side + '_shank'], (calf + (shin - calf) * 0.75) * cloth)
        shapes.add(knee, calf * cloth, hem, cuff, trousers, parts[1], parts[1], 1, ~bare)
        shapes.add(knee, calf * cloth, hip * 0.2 + knee * 0.8, calf * cloth, trousers, parts[1],
                   parts[1], 1, ~bare)
        shapes.add(_between(knee, ankle, 0.85), shin, ankle, shin, skin, parts[1], parts[1], 0,
                   ~bare)

        heel, toe = joints[side + '_heel'], joints[side + '_toe']
        frame = frames[side + '_foot']
        sole = frame @ np.array([0, -0.010, 0])
        shapes.add(heel + sole, _ellipsoid(frame, 0.021, 0.013, 0.026), toe + sole,
                   _ellipsoid(frame, 0.027, 0.010, 0.028),
                   np.where(wear['socks'][:, None], 225., wear['shoes'] * 0.45), parts[2],
                   parts[2], 0)
        shapes.add(heel, _ellipsoid(frame, 0.022, 0.020, 0.025), toe,
                   _ellipsoid(frame, 0.026, 0.013, 0.026), shoes, parts[2],
                   parts[2], 1)
        shapes.add(ankle, 0.024 * limb, _between(heel, toe, 0.35), 0.021, wear['shoes'] * shade,
                   parts[2], parts[2], 1)


def _add_arms(shapes: ShapeList, body: BodyJoints, build: Dict, wear: Dict) -> None:
    joints, frames, limb = body.joints, body.frames, build['limb']
    cloth = 0.5 + 0.5 * wear['loose']
    for i, (side, _) in enumerate(SIDES):
        shoulder, elbow, wrist = (joints[f'{side}_{n}'] for n in ('shoulder', 'elbow', 'wrist'))
        upper, lower = L_UPPER + i, L_FORE + i
        deltoid, bend, thin = 0.032 * limb, 0.0245 * limb, 0.0165 * limb
        shade = (1 + 0.9 * np.clip((shoulder + wrist)[:, 2] / 2, -0.2, 0.06))[:, None]
        skin, shirt = wear['skin'] * shade, dye(wear['shirt'], side, wear) * shade

        shapes.add(shoulder, deltoid, elbow, bend, skin, upper, upper, 0, wear['upper_sleeve'] < 1)
        end = _between(shoulder, elbow, wear['upper_sleeve'])
        cuff = (deltoid + (bend - deltoid) * wear['upper_sleeve']) * cloth * 1.12
        frame = frames[side + '_upper']
        cuff = np.where((wear['sleeve'] == 2)[:, None, None],
                        _ellipsoid(frame, cuff, cuff, cuff), _hem(frame, cuff))
        shapes.add(shoulder, deltoid * (0.4 + 0.6 * cloth), end, cuff, shirt, upper, upper, 1,
                   wear['upper_sleeve'] > 0)
        shapes.add(elbow, bend * 0.95, wrist, thin, skin, lower, lower, 0)
        muscle = _between(elbow, wrist, 0.25)
        shapes.add(muscle, bend * 1.02, wrist, thin * 0.95, skin, lower, lower, 0,
                   wear['fore_sleeve'] == 0)
        shapes.add(elbow, bend * cloth * 1.12, _between(elbow, wrist, wear['fore_sleeve']),
                   _hem(frames[side + '_fore'], thin * cloth * 1.25), shirt, lower, lower, 1,
                   wear['fore_sleeve'] > 0)

        palm, fingers, thumb = (joints[f'{side}_{n}'] for n in ('palm', 'fingers', 'thumb'))
        frame = frames[side + '_hand']
        shapes.add(_between(wrist, palm, 0.3), 0.8 * thin, palm,
                   _ellipsoid(frame, 0.011, 0.02, 0.02), skin, lower, lower, 0)
        shapes.add(palm, _ellipsoid(frame, 0.010, 0.018, 0.02), fingers,
                   _ellipsoid(frame, 0.008, 0.012, 0.014), skin, lower, lower, 0)
        shapes.add(_between(wrist, palm, 0.5), 0.009, thumb, 0.0065, skin, lower, lower, 0)
        ring = _hem(frames[side + '_fore'], thin * cloth * 1.3)
        shapes.add(_between(elbow, wrist, 0.88), ring, _between(elbow, wrist, 0.99), ring,
                   dye(wear['accent'], side, wear) * shade, lower, lower, 2)
        if side == 'l':
            band = wear['watch'] & (wear['fore_sleeve'] == 0)
            ring = _hem(frames['l_fore'], thin * 1.2)
            shapes.add(_between(elbow, wrist, 0.74), ring, _between(elbow, wrist, 0.83), ring,
                       np.full((len(wrist), 3), 38.), lower, lower, 2, band)
            badge = wear['badge'] & (wear['upper_sleeve'] > 0.5)
            ring = _hem(frames['l_upper'], 0.5 * (bend + deltoid) * cloth * 1.12)
            shapes.add(_between(shoulder, elbow, 0.34), ring, _between(shoulder, elbow, 0.5), ring,
                       wear['accent'] * shade, upper, upper, 2, badge)


# ---------------------------------------------------------------- torso

_TORSO_ITEMS = ('untucked', 'stripes', 'open_jacket', 'print', 'placket', 'vneck', 'pocket',
                'back_print', 'belt', 'backpack', 'bag')
_BUTTON = np.array([[30., 30., 30.], [235., 235., 235.]])
_LEATHER = np.array([38., 46., 62.])
_STRAP = np.linspace(0, 1, 7)[:-1]
_EDGE = np.linspace(0, 1, 9)  # points along a patch's edge


class _Torso:
    """Rings around the trunk, from hip (0) over waist (1) and chest (2) to shoulders (3), for
    shapes and surface details."""

    def __init__(self, body: BodyJoints, build: Dict, wear: Dict, camera: Camera) -> None:
        joints, frames = body.joints, body.frames
        self.camera = camera
        girth, ease = build['girth'], 1 + 0.5 * (wear['loose'] - 1)
        broad = build['shoulder'] / 0.1
        self.frames = [frames['pelvis'], frames['waist'], frames['chest'], frames['chest']]
        self.widths = [(build['hip'] + 0.036) * girth ** 0.7 * ease,
                       0.074 * girth * build['waist'] * ease, 0.086 * girth ** 0.7 * broad * ease,
                       0.88 * build['shoulder']]
        self.depths = [0.060 * girth * ease, 0.054 * girth * ease, 0.064 * girth ** 0.8 * ease,
                       0.040 * girth ** 0.5]
        drop = frames['pelvis'] @ np.array([0, -0.028, 0])
        sink = frames['chest'] @ np.array([0, -0.008, 0])
        self.centres = [joints['pelvis'] + drop, joints['waist'], joints['chest'],
                        joints['neck'] + sink]
        stack = (np.stack(v, axis=1) for v in (self.centres, self.frames, self.widths, self.depths))
        self._centre, frame, width, depth = stack
        self._side, self._front = frame[..., 0] * width[..., None], frame[..., 2] * depth[..., None]

    def ring(self, i: int, grow: float = 1., up: float = 0.02) -> np.ndarray:
        return _ellipsoid(self.frames[i], self.widths[i] * grow, up, self.depths[i] * grow)

    def patches(self, figure: np.ndarray, bottom: np.ndarray, top: np.ndarray, left: np.ndarray,
                right: np.ndarray):
        """The parts in sight of D patches on the trunks.

        Args:
            figure: (D,) whose trunk.
            bottom, top: (D,) ring numbers, with fractions.
            left, right: (D,) angles in radians, 0 in front and pi/2 on the person's left.

        Returns:
            tuple: vertices (D, V, 2) in px; how much the patch faces the camera (D,), 0 to 1, and
            nan if it is out of sight.
        """
        ring = np.stack([bottom, top], axis=1)
        low = np.minimum(ring.astype(int), 2)
        share = (ring - low)[..., None]
        who = figure[:, None]
        centre, side, front = (v[who, low] * (1 - share) + v[who, low + 1] * share
                               for v in (self._centre, self._side, self._front))
        toward = np.arctan2(side[..., 2] / (side * side).sum(2),
                            front[..., 2] / (front * front).sum(2))
        middle, half = ((left + right) / 2)[:, None], ((right - left) / 2)[:, None]
        turn = (middle - toward + np.pi) % (2 * np.pi) - np.pi
        start = np.clip(turn - half, -np.pi / 2, np.pi / 2)
        stop = np.clip(turn + half, -np.pi / 2, np.pi / 2)
        seen = start[..., None] + (stop - start)[..., None] * _EDGE
        angle = (toward[..., None] + seen)[..., None]
        points = side[:, :, None] * np.sin(angle) + front[:, :, None] * np.cos(angle)
        points += centre[:, :, None]
        scale, distance = self.camera.scale[figure][:, None], self.camera.distance[figure][:, None]
        points = np.concatenate([points[:, 0], points[:, 1, ::-1]], axis=1)
        magnify = scale * distance / (distance - points[..., 2])
        pixels = points[..., :2] * np.array([1., -1.]) * magnify[..., None]
        facing = np.where((stop - start).mean(1) > 0.02, np.cos(seen).mean((1, 2)), np.nan)
        return pixels, facing


def _add_torso(shapes: ShapeList, torso: _Torso, body: BodyJoints, build: Dict,
               wear: Dict) -> None:
    joints, frames = body.joints, body.frames
    centres = torso.centres
    trousers = np.where(wear['skirt'][:, None], wear['skirt_colour'], wear['trousers'])
    belt = _between(centres[0], centres[1], 0.55)
    shapes.add(centres[0], torso.ring(0, 0.97, 0.03), belt, torso.ring(1, 1.04, 0.02), trousers,
               TORSO, TORSO, 0)
    hem = np.where(wear['untucked'], 0.05, 0.6)
    shapes.add(_between(centres[0], centres[1], hem), torso.ring(0, 1.0), centres[1], torso.ring(1),
               wear['shirt'], TORSO, TORSO, 1, wear['untucked'])
    shapes.add(_between(centres[0], centres[1], hem), torso.ring(1, 1.05), centres[1],
               torso.ring(1), wear['shirt'], TORSO, TORSO, 1, ~wear['untucked'])
    shapes.add(centres[1], torso.ring(1), centres[2], torso.ring(2, up=0.04), wear['shirt'], TORSO,
               TORSO, 1)
    shapes.add(centres[2], torso.ring(2, up=0.04), centres[3], torso.ring(3), wear['shirt'], TORSO,
               TORSO, 1)
    collar = _between(joints['neck'], joints['head'], 0.18)
    opening = _ellipsoid(frames['chest'], 0.036, 0.006, 0.034)
    shapes.add(centres[3], torso.ring(3, 0.75), collar, opening, wear['shirt'], TORSO, TORSO, 1)
    bust = build['female'] & ~build['child']
    for _, sign in SIDES:
        breast = centres[2] + frames['chest'] @ np.array([sign * 0.040, 0.004, 0.048])
        shapes.add(breast, 0.029, breast, 0.029, wear['shirt'], TORSO, TORSO, 1,
                   bust & (frames['chest'][:, 2, 2] < 0.75) & (frames['chest'][:, 2, 2] > -0.2))

    slim = 0.029 * build['limb']
    throat = _between(joints['neck'], joints['head'], -0.1)
    shapes.add(throat, slim * 1.25, _between(joints['neck'], joints['head'], 0.65), slim,
               wear['skin'] * 0.86, NECK, NECK, 0)

    hems = [_between(joints[side + '_hip'], joints[side + '_knee'], wear['skirt_length'])
            for side, _ in SIDES]
    span = (hems[0] - hems[1]) / 2
    width = np.linalg.norm(span, axis=1)
    flare = _ellipsoid(frames['pelvis'], 0.052, 0.012, 0.052)
    flare[:, :, 0] += span * (0.5 + 0.03 / np.maximum(width, 0.03))[:, None]
    shapes.add(centres[0], torso.ring(0, 1.03), (hems[0] + hems[1]) / 2, flare,
               wear['skirt_colour'], SKIRT, SKIRT, 0, wear['skirt'])

    back = frames['chest'] @ np.array([0, -0.02, -0.085])
    pack = _ellipsoid(frames['chest'], 0.075, 0.05, 0.045)
    bottom = centres[1] + back + frames['chest'] @ np.array([0, 0.03, 0])
    shapes.add(centres[2] + back, pack, bottom, pack * 1.05, wear['accent'] * 0.8, PACK, PACK, 0,
               wear['backpack'])


def _torso_details(torso: _Torso, wear: Dict) -> List[Dict[int, List[Detail]]]:
    """Front, back, left and right of the clothes."""
    patches: List[tuple] = []
    colours: List[np.ndarray] = []
    around = 2 * np.pi
    for n in range(len(wear['shirt'])):

        def put(colour, *where):
            patches.append((n, *where))
            colours.append(colour)

        has = {name: wear[name][n] for name in _TORSO_ITEMS}
        shirt, accent, skin = wear['shirt'][n], wear['accent'][n], wear['skin'][n]
        contrast = shirt * 0.6 if shirt.mean() > 90 else shirt * 1.35 + 25
        hem = 0.1 if has['untucked'] else 0.65
        if has['stripes']:
            for ring in np.arange(hem + 0.15, 2.75, 0.34):
                put(accent, ring, ring + 0.15, -around, around)
        if has['open_jacket']:
            put(accent, hem, 2.95, -0.42, 0.42)
        elif has['print']:
            put(accent, 1.55, 2.35, -0.55, 0.55)
        elif has['placket']:
            put(contrast, hem, 3, -0.05, 0.05)
            for ring in np.arange(hem + 0.2, 2.9, 0.42):
                put(_BUTTON[int(contrast.mean() < 128)], ring, ring + 0.07, -0.04, 0.04)
        if has['vneck']:
            put(skin * 0.93, 2.62, 3.0, -0.34, 0.34)
        if has['pocket']:
            put(contrast, 1.95, 2.32, 0.40, 0.82)
        if has['back_print']:
            put(accent, 1.9, 2.5, np.pi - 0.6, np.pi + 0.6)
        put(shirt * 0.8, 0.9, 2.6, np.pi - 0.03, np.pi + 0.03)  # the back's seam
        if has['belt'] and not has['untucked']:
            put(_LEATHER, 0.5, 0.64, -around, around)
        if has['backpack']:
            for angle in (-0.75, 0.75):
                put(accent * 0.7, 1.5, 3, angle - 0.13, angle + 0.13)
        if has['bag']:
            # from the right shoulder to the left hip, in front and behind
            for ring, angle in zip(2.95 - 2.6 * _STRAP, -0.7 + 1.5 * _STRAP):
                put(_LEATHER, ring - 0.45, ring, angle - 0.08, angle + 0.12)
                put(_LEATHER, ring - 0.45, ring, np.pi - angle - 0.12, np.pi - angle + 0.08)

    figure, *where = np.array(patches).T
    figure = figure.astype(int)
    vertices, facing = torso.patches(figure, *where)
    colours = np.clip(np.array(colours) * (0.68 + 0.32 * facing[:, None]), 0, 255)
    everyone = [{TORSO: []} for _ in wear['shirt']]
    for i in np.flatnonzero(~np.isnan(facing)).tolist():
        everyone[figure[i]][TORSO].append(Detail(vertices[i], colours[i].tolist(), TORSO))
    return everyone


# ---------------------------------------------------------------- head

def _add_head(shapes: ShapeList, body: BodyJoints, build: Dict, wear: Dict) -> None:
    frame, centre = body.frames['head'], body.joints['head']
    radii = frame * body.head_radii[:, None]
    shift = frame @ np.array([0, 0.003, -0.004])
    full = np.where(wear['hairless'], 1.0, 1.09)[:, None, None]
    shapes.add(centre + shift, radii * full, centre + shift, radii * full, wear['hair'], HEAD, HEAD,
               1)
    jaw = centre + frame @ np.array([0, -0.030, 0.014]) * build['head'][:, None]
    shapes.add(centre, radii * 0.9, jaw, radii * 0.62, wear['skin'] * 0.86, HEAD, HEAD, 0)
    for _, sign in SIDES:
        ear = centre + np.einsum('nij,j->ni', radii, direction(sign * 94, -6))
        lobe = _ellipsoid(frame, 0.008, 0.018, 0.012)
        shapes.add(ear, lobe, ear, lobe, wear['skin'] * 0.9, HEAD, HEAD, 1, ~wear['long_hair'])
    nape = centre + frame @ np.array([0, 0.01, -0.02])
    tip = body.joints['neck'] + body.frames['chest'] @ np.array([0, -0.035, -0.045])
    shapes.add(nape, radii * 1.06, tip, _ellipsoid(frame, 0.046, 0.02, 0.020), wear['hair'], HAIR,
               HAIR, 0, wear['long_hair'])
    bun = centre + frame @ np.array([0, 0.052, -0.052])
    shapes.add(bun, 0.024, bun, 0.024, wear['hair'], HEAD, HEAD, 0,
               wear['bun'] & ~wear['long_hair'])


def _ring(azimuth: float, elevation: float, width: float, height: float,
          num: int = 10) -> np.ndarray:
    """A small ellipse on the unit sphere, (num, 3)."""
    turn = np.linspace(0, 2 * np.pi, num, endpoint=False)
    return direction(azimuth + width * np.cos(turn), elevation + height * np.sin(turn))


def _line(*points) -> np.ndarray:
    return direction(*np.array(points, dtype=float).T)


_FACE = _line((-98, -50), (-88, -25), (-80, 2), (-66, 24), (-40, 38), (-15, 43), (15, 43), (40, 38),
              (66, 24), (80, 2), (88, -25), (98, -50), (125, -72), (180, -82), (-125, -72))
_CENTRE = direction(0, -12)


def _face_level(share: float) -> np.ndarray:
    points = _CENTRE + (_FACE - _CENTRE) * share
    return points / np.linalg.norm(points, axis=1, keepdims=True)


# In painting order: name: (outline on the unit sphere, distance in head radii, how much it must
# face the camera).
_FEATURES = dict(
    face=(_FACE, 1.0, 0.02),
    face2=(_face_level(0.8), 1.0, 0.02),
    face3=(_face_level(0.5), 1.0, 0.02),
    beard=(_line((-86, -20), (-70, -22), (-42, -34), (-22, -24), (22, -24), (42, -34), (70, -22),
                 (86, -20), (92, -50), (60, -76), (0, -80), (-60, -76), (-92, -50)), 1.02, 0.02),
    l_ear=(_ring(95, -6, 11, 17), 1.06, 0.35), r_ear=(_ring(-95, -6, 11, 17), 1.06, 0.35),
    l_brow=(_line((12, 17), (34, 18), (34, 22), (12, 22)), 1.0, 0.15),
    r_brow=(_line((-12, 17), (-34, 18), (-34, 22), (-12, 22)), 1.0, 0.15),
    l_eye=(_ring(23, 6, 10, 6), 1.0, 0.2), r_eye=(_ring(-23, 6, 10, 6), 1.0, 0.2),
    l_iris=(_ring(23, 6, 4.5, 5.5), 1.01, 0.2), r_iris=(_ring(-23, 6, 4.5, 5.5), 1.01, 0.2),
    l_lens=(_ring(24, 5, 15, 11), 1.05, 0.25), r_lens=(_ring(-24, 5, 15, 11), 1.05, 0.25),
    bridge=(_line((-10, 7), (10, 7), (10, 10), (-10, 10)), 1.06, 0.2),
    nose=(_line((-3, 8), (3, 8), (10, -17), (0, -21), (-10, -17)), 1.08, 0.1),
    tip=(_ring(0, -12, 5, 5, 8), 1.14, 0.1),
    mouth=(_line((-17, -37), (0, -35), (17, -37), (8, -43), (-8, -43)), 1.0, 0.1),
    cap=(direction(np.linspace(-180, 162, 20), np.full(20, 26.)), 1.13, 0.02),
    brim=(np.concatenate([_line((-55, 24), (-28, 26), (0, 28), (28, 26), (55, 24)),
                          1.55 * _line((32, 12), (0, 14), (-32, 12))]), 1.1, 0.1))
_FEATURE_POINTS = np.concatenate([outline * reach for outline, reach, _ in _FEATURES.values()])
_FEATURE_ENDS = np.cumsum([len(outline) for outline, _, _ in _FEATURES.values()])
_FEATURE_STARTS = np.concatenate([[0], _FEATURE_ENDS[:-1]])
_WIDE_FEATURES = [
    (start, end) for name, start, end in zip(_FEATURES, _FEATURE_STARTS, _FEATURE_ENDS)
    if name in ('face', 'face2', 'face3', 'beard', 'cap', 'brim')]
_EYE, _IRIS, _LENS = np.array([[225., 228., 230.], [35., 40., 48.], [38., 36., 34.]])
_LIPS = np.array([0.62, 0.55, 0.80])  # of the skin's blue, green and red


def _towards_camera(body: BodyJoints) -> np.ndarray:
    """For each head, the unit vector w (N, 3) such that the point u of its unit sphere is in sight
    if u.w > 0."""
    toward = body.frames['head'][:, 2] / body.head_radii
    return toward / np.linalg.norm(toward, axis=1, keepdims=True)


def _clip_to_sight(unit: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """Cut the wide features at the rim between the heads' near and far sides.

    A vertex on the far side moves to where its line to the feature's middle (or to the feature's
    nearest vertex, where the middle is out of sight itself) meets the rim.

    Args:
        unit: Vertices of all features on the unit sphere, (F, 3).
        facing: Their cosine towards the camera, (N, F, 1).

    Returns:
        np.ndarray: (N, F, 3).
    """
    clipped = np.repeat(unit[None], len(facing), axis=0)
    for start, end in _WIDE_FEATURES:
        here = facing[:, start:end]
        best = here.argmax(1)[:, 0]
        middle = here.mean(1)
        inner = middle > 0.05
        pivot = np.where(inner, unit[start:end].mean(0), unit[start:end][best])[:, None]
        pivot_facing = np.where(inner, middle, here[np.arange(len(best)), best])[:, None]
        share = np.where((here < 0) & (pivot_facing > 0),
                         here / np.minimum(here - pivot_facing, -1e-6), 0)
        points = unit[start:end] + share * (pivot - unit[start:end])
        clipped[:, start:end] = points / np.linalg.norm(points, axis=2, keepdims=True)
    return clipped


def _head_details(body: BodyJoints, wear: Dict, camera: Camera,
                  light: Light) -> List[Dict[int, List[Detail]]]:
    """Faces, ears, beards, glasses and caps, as far as they are on the camera's side of the
    head."""
    toward = _towards_camera(body)[:, None]
    reach = np.linalg.norm(_FEATURE_POINTS, axis=1)[:, None]
    unit = _FEATURE_POINTS / reach
    facing = (unit * toward).sum(2, keepdims=True)
    points = _clip_to_sight(unit, facing) * reach
    points = np.einsum('nij,nj,nkj->nki', body.frames['head'], body.head_radii, points)
    pixels = camera.project(points + body.joints['head'][:, None])

    facing = np.maximum.reduceat(facing[..., 0], _FEATURE_STARTS, axis=1)
    skin, hair, accent = wear['skin'], wear['hair'], wear['accent']
    tones = skin[:, None] * (0.12 + 0.88 * np.asarray(light.levels))[:, None]
    colours = np.empty((len(pixels), len(_FEATURES), 3))
    for name, colour in dict(
            face=tones[:, 0], face2=tones[:, 1], face3=tones[:, 2], beard=hair * 0.9,
            ear=skin * 0.9, brow=np.minimum(hair * 0.7, skin * 0.6), eye=_EYE, iris=_IRIS,
            nose=skin * 0.84, tip=skin * 1.06, mouth=skin * _LIPS, lens=_LENS, bridge=_LENS,
            cap=accent, brim=accent * 0.75).items():
        for column, feature in enumerate(_FEATURES):
            if name in (feature, feature[2:]):
                colours[:, column] = colour
    shown = facing > np.array([least for _, _, least in _FEATURES.values()])
    for column, feature in enumerate(_FEATURES):
        for name, item in (('ear', ~wear['long_hair']), ('beard', wear['beard']),
                           ('lens', wear['glasses']), ('bridge', wear['glasses']),
                           ('cap', wear['cap']), ('brim', wear['cap'])):
            if name in (feature, feature[2:]):
                shown[:, column] &= item
    colours = np.clip(colours, 0, 255).tolist()
    everyone = []
    for n, outlines in enumerate(pixels):
        everyone.append({HEAD: [
            Detail(outlines[_FEATURE_STARTS[i]:_FEATURE_ENDS[i]], colours[n][i], HEAD)
            for i in np.flatnonzero(shown[n])]})
    return everyone
