"""Distractors: things that are not people, some of them with a person's colours, limb shapes or clothes."""
import cv2
import numpy as np

from .shapes import Camera, Light, Patch, ShapeList, fill, fixed_point

_THING = 255  # any non-zero value marks the object's pixels
_SKINS = np.array([[84, 120, 170], [150, 186, 228], [50, 70, 105]], dtype=float)
KINDS = ('pole', 'box', 'ball', 'bush', 'limb', 'shirt', 'tree', 'panel', 'bottle')
_ODDS = np.array([.14, .14, .08, .14, .18, .10, .08, .08, .06])


def paint_object(rng: np.random.Generator, light: Light, size_px: float) -> Patch:
    """Paint one random object, ``size_px`` px long, around its own origin."""
    kind = KINDS[rng.choice(len(KINDS), p=_ODDS)]
    shapes = ShapeList(Camera(np.array([50.]), np.array([size_px])))
    colour = np.clip(rng.uniform(30, 220) * rng.uniform(0.45, 1.15, 3), 5, 250)
    tilt = rng.normal(0, 0.12)

    def solid(a, size_a, b, size_b, tint=colour, layer=0):
        turned = []
        for x, y in (a, b):
            turned.append(np.array([[x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt), 0.]]))
        axes = [np.full(1, s) if np.ndim(s) == 0 else np.diag([*s, 0.01])[None] for s in (size_a, size_b)]
        shapes.add(turned[0], axes[0], turned[1], axes[1], np.asarray(tint)[None], _THING, 0, layer)

    if kind == 'pole':
        thick = rng.uniform(0.012, 0.035)
        solid((0, -0.5), thick, (0, 0.5), thick)
        if rng.random() < 0.5:
            solid((0, 0.5), (0.10, 0.07), (0, 0.5), (0.10, 0.07), colour[::-1], 1)
    elif kind in ('box', 'panel'):
        return _paint_box(rng, size_px * (0.5 if kind == 'box' else 0.8), colour, light)
    elif kind == 'ball':
        solid((0, 0), 0.14, (0, 0), 0.14)
    elif kind == 'bush':
        green = np.array([rng.uniform(20, 70), rng.uniform(70, 150), rng.uniform(30, 100)])
        for _ in range(26):
            x, y = rng.normal(0, 0.13, 2)
            tilt = rng.uniform(-np.pi, np.pi)
            solid((x, y), (0.03, 0.07), (x, y), (0.03, 0.07), green * rng.uniform(0.6, 1.3))
    elif kind == 'limb':  # one or two jointed segments in skin or cloth colours
        tilt = rng.uniform(-np.pi, np.pi)
        skin = _SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.85, 1.1)
        thick = rng.uniform(0.03, 0.05)
        bend = rng.uniform(-1.2, 1.2)
        end = 0.3 * np.sin(bend), 0.3 * np.cos(bend)
        solid((0, -0.3), thick, (0, 0), thick * 0.8, colour if rng.random() < 0.6 else skin)
        solid((0, 0), thick * 0.8, end, thick * 0.6, skin)
    elif kind == 'shirt':  # clothes without anybody in them
        solid((0, -0.13), (0.095, 0.02), (0, 0.05), (0.10, 0.04))
        solid((0, 0.05), (0.10, 0.04), (0, 0.12), (0.085, 0.02))
        for sign in (-1, 1):
            solid((sign * 0.10, 0.10), 0.03, (sign * 0.15, -0.04), 0.03)
    elif kind == 'tree':
        solid((0, -0.55), 0.05, (0, 0.1), 0.035, np.array([45, 70, 95]) * rng.uniform(0.6, 1.3))
        for _ in range(14):
            x, y = rng.normal(0, 0.12), rng.normal(0.3, 0.12)
            solid((x, y), 0.09, (x, y), 0.09, np.array([40, 110, 60]) * rng.uniform(0.6, 1.3), 1)
    elif kind == 'bottle':
        solid((0, -0.15), 0.045, (0, 0.05), 0.045)
        solid((0, 0.05), 0.04, (0, 0.16), 0.015)
        solid((0, 0.16), 0.018, (0, 0.19), 0.018, colour * 0.5, 1)

    index, vertices, colours = shapes.outlines(light, np.array([3]))
    layer = np.array([key[2] for key in shapes.keys])[index[:, 1]]
    order = np.lexsort((index[:, 2], index[:, 1], layer)) if kind in ('bush', 'tree') else np.lexsort(
        (index[:, 1], index[:, 2], layer))
    low = np.floor(vertices.reshape(-1, 2).min(0)).astype(int) - 1
    width, height = np.ceil(vertices.reshape(-1, 2).max(0)).astype(int) + 2 - low
    image = np.zeros((height, width, 4), dtype=np.uint8)
    for outline, tint in zip(fixed_point(vertices[order] - low), colours[order].tolist()):
        fill(image, outline, (*tint, _THING), convex=True)
    return Patch(image, (int(low[0]), int(low[1])))


def _paint_box(rng: np.random.Generator, size_px: float, colour: np.ndarray, light: Light) -> Patch:
    """A crate or a sign: a front, a side and some print."""
    width, height = np.maximum(8, size_px * rng.uniform(0.3, 1.0, 2)).astype(int)
    depth = int(width * rng.uniform(0.1, 0.4))
    image = np.zeros((height + depth, width + depth, 4), dtype=np.uint8)
    tint = [float(c) for c in colour]

    def quad(points, brightness):
        cv2.fillPoly(image, [np.array(points, np.int32)], (*np.clip(np.multiply(tint, brightness), 0, 255).tolist(), _THING))

    quad([(0, depth), (width - 1, depth), (width - 1 + depth, 0), (depth, 0)], 1.15)
    quad([(width - 1, depth), (width - 1 + depth, 0), (width - 1 + depth, height), (width - 1, height + depth - 1)], 0.6)
    quad([(0, depth), (width - 1, depth), (width - 1, height + depth - 1), (0, height + depth - 1)], 0.9)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.integers(0, width), rng.integers(depth, height + depth)
        w, h = rng.integers(2, max(3, width // 2)), rng.integers(2, max(3, height // 4))
        tone = rng.uniform(0.5, 1.4)
        cv2.rectangle(image, (int(x), int(y)), (int(min(x + w, width - 1)), int(min(y + h, height + depth - 1))),
                      (*np.clip(np.multiply(tint, tone), 0, 255).tolist(), _THING), -1)
    return Patch(image, (-(width + depth) // 2, -(height + depth) // 2))
