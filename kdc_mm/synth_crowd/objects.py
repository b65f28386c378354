"""Distractors: things that are not people, some of them with a person's colours, limb shapes or
clothes."""
from typing import List, NamedTuple, Tuple, Union

import cv2
import numpy as np

from .shapes import Camera, Light, Patch, ShapeList, fill_convex, fixed_point

_THING = 255  # any non-zero value marks the object's pixels
_SKINS = np.array([[84, 120, 170], [150, 186, 228], [50, 70, 105]], dtype=float)


class Solid(NamedTuple):
    """The hull of two ellipses, in lengths of the object: centres (x, y up), semi-axes (x, y), BGR,
    later layers on top."""
    a: Tuple[float, float]
    axes_a: Tuple[float, float]
    b: Tuple[float, float]
    axes_b: Tuple[float, float]
    colour: np.ndarray
    layer: int = 0


def _round(a, radius_a: float, b, radius_b: float, colour: np.ndarray, layer: int = 0) -> Solid:
    return Solid(a, (radius_a, radius_a), b, (radius_b, radius_b), colour, layer)


def _blob(centre, axes, colour: np.ndarray, layer: int = 0) -> Solid:
    return Solid(centre, axes, centre, axes, colour, layer)


def _pole(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    thick = rng.uniform(0.012, 0.035)
    solids = [_round((0, -0.5), thick, (0, 0.5), thick, colour)]
    if rng.random() < 0.5:
        solids.append(_blob((0, 0.5), (0.10, 0.07), colour[::-1], 1))
    return solids


def _ball(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    return [_blob((0, 0), (0.14, 0.14), colour)]


def _bush(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    green = np.array([rng.uniform(20, 70), rng.uniform(70, 150), rng.uniform(30, 100)])
    leaves = zip(rng.normal(0, 0.12, (18, 2)), rng.uniform(0.03, 0.085, (18, 2)),
                 rng.uniform(0.6, 1.3, 18))
    return [_blob(place, axes, green * tone, layer)
            for layer, (place, axes, tone) in enumerate(leaves)]


def _tree(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    brown, green = np.array([45, 70, 95]) * rng.uniform(0.6, 1.3), np.array([40, 110, 60])
    leaves = zip(rng.normal((0, 0.3), 0.12, (14, 2)), rng.uniform(0.6, 1.3, 14))
    return [_round((0, -0.55), 0.05, (0, 0.1), 0.035, brown)] + [
        _blob(place, (0.09, 0.08), green * tone, layer)
        for layer, (place, tone) in enumerate(leaves, start=1)]


def _limb(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    """Two jointed segments, in the colours of an arm or a leg."""
    skin = _SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.85, 1.1)
    thick, first, bend = rng.uniform(0.03, 0.05), rng.uniform(-np.pi, np.pi), rng.uniform(-1.2, 1.2)
    start = 0.3 * np.sin(first), 0.3 * np.cos(first)
    end = -0.3 * np.sin(first + bend), -0.3 * np.cos(first + bend)
    return [_round(start, thick, (0, 0), thick * 0.8, colour if rng.random() < 0.6 else skin),
            _round((0, 0), thick * 0.8, end, thick * 0.6, skin)]


def _shirt(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    """Clothes without anybody in them."""
    return [Solid((0, -0.13), (0.095, 0.02), (0, 0.05), (0.10, 0.04), colour),
            Solid((0, 0.05), (0.10, 0.04), (0, 0.12), (0.085, 0.02), colour),
            _round((0.10, 0.10), 0.03, (0.15, -0.04), 0.03, colour),
            _round((-0.10, 0.10), 0.03, (-0.15, -0.04), 0.03, colour)]


def _bottle(rng: np.random.Generator, colour: np.ndarray) -> List[Solid]:
    return [_round((0, -0.15), 0.045, (0, 0.05), 0.045, colour),
            _round((0, 0.05), 0.04, (0, 0.16), 0.015, colour),
            _round((0, 0.16), 0.018, (0, 0.19), 0.018, colour * 0.5, 1)]


_KINDS = (_pole, _ball, _bush, _tree, _limb, _shirt, _bottle)
_ODDS = (.15, .08, .14, .09, .19, .11, .06)  # the rest are boxes


def paint_objects(rng: np.random.Generator, light: Light, sizes: np.ndarray) -> List[Patch]:
    """Paint random objects, each about its entry of ``sizes`` (in px) long, around their own
    origins."""
    patches: List[Union[Patch, None]] = []
    solids: List[Solid] = []
    owners: List[int] = []
    for i, size in enumerate(sizes):
        colour = np.clip(rng.uniform(30, 220) * rng.uniform(0.45, 1.15, 3), 5, 250)
        kind = rng.choice(len(_KINDS) + 1, p=[*_ODDS, 1 - sum(_ODDS)])
        if kind == len(_KINDS):
            patches.append(_paint_box(rng, size * rng.uniform(0.5, 0.9), colour))
        else:
            patches.append(None)
            made = _KINDS[kind](rng, colour)
            solids += made
            owners += [i] * len(made)
    if not solids:
        return patches

    # Every solid is a figure of one shape here, so that all objects are outlined at once.
    owner = np.array(owners)
    tilt = rng.normal(0, 0.12, len(sizes))[owner]
    turn = np.zeros((len(solids), 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(tilt)
    turn[:, 1, 0], turn[:, 0, 1] = np.sin(tilt), -np.sin(tilt)
    shapes = ShapeList(Camera(np.full(len(solids), 50.), sizes[owner]))
    a, axes_a, b, axes_b, colours, layer = (np.array(v, dtype=float) for v in zip(*solids))
    ends = [(turn[:, :, :2] * centre[:, None]).sum(2) for centre in (a, b)]
    spread_a, spread_b = (turn[:, :, :2] * axes[:, None] for axes in (axes_a, axes_b))
    shapes.add(ends[0], spread_a, ends[1], spread_b, colours, _THING, 0)
    index, vertices, colours = shapes.outlines(light, np.full(len(solids), 3))
    order = np.lexsort((index[:, 0], index[:, 2], layer[index[:, 0]], owner[index[:, 0]]))
    vertices, colours, owner = vertices[order], colours[order].tolist(), owner[index[order, 0]]
    for i in np.unique(owner).tolist():
        first, last = np.searchsorted(owner, [i, i + 1])
        x, y, width, height = cv2.boundingRect(vertices[first:last].reshape(-1, 2))
        image = np.zeros((height + 3, width + 3, 4), dtype=np.uint8)
        for outline, tint in zip(fixed_point(vertices[first:last] - (x - 1, y - 1)),
                                 colours[first:last]):
            fill_convex(image, outline, (*tint, _THING))
        patches[i] = Patch(image, (x - 1, y - 1))
    return patches


def _paint_box(rng: np.random.Generator, size_px: float, colour: np.ndarray) -> Patch:
    """A crate or a sign: a front, a side and some print."""
    width, height = np.maximum(8, size_px * rng.uniform(0.3, 1.0, 2)).astype(int)
    depth = int(width * rng.uniform(0.1, 0.4))
    image = np.zeros((height + depth, width + depth, 4), dtype=np.uint8)
    tint = [float(c) for c in colour]

    def quad(points, brightness):
        cv2.fillPoly(image, [np.array(points, np.int32)],
                     (*np.clip(np.multiply(tint, brightness), 0, 255).tolist(), _THING))

    quad([(0, depth), (width - 1, depth), (width - 1 + depth, 0), (depth, 0)], 1.15)
    quad([(width - 1, depth), (width - 1 + depth, 0), (width - 1 + depth, height),
          (width - 1, height + depth - 1)], 0.6)
    quad([(0, depth), (width - 1, depth), (width - 1, height + depth - 1), (0, height + depth - 1)],
         0.9)
    for _ in range(rng.integers(0, 4)):
        x, y = rng.integers(0, width), rng.integers(depth, height + depth)
        w, h = rng.integers(2, max(3, width // 2)), rng.integers(2, max(3, height // 4))
        tone = rng.uniform(0.5, 1.4)
        end = int(min(x + w, width - 1)), int(min(y + h, height + depth - 1))
        cv2.rectangle(image, (int(x), int(y)), end,
                      (*np.clip(np.multiply(tint, tone), 0, 255).tolist(), _THING), -1)
    return Patch(image, (-(width + depth) // 2, -(height + depth) // 2))
