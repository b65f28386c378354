"""Shaded solids: hulls of two ellipsoids, outlined for many figures at once and painted with
OpenCV.

A limb is the hull of two spheres, a rib cage the hull of two flat ellipsoids, a head one ellipsoid.
Each is painted as nested outlines from a dark rim to a light core that is shifted towards the
light, which looks round and costs microseconds.

Letters: N figures, P shapes, Q painted outlines (P times shading levels), V vertices of an outline.
"""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

SHIFT = 4  # cv2 fixed point: vertices are in 1/16 px
_NUM_VERTICES = 16
_TURN = np.linspace(0, 2 * np.pi, _NUM_VERTICES, endpoint=False)
_NORMALS = np.stack([np.cos(_TURN), np.sin(_TURN)]).astype(np.float32)
_SHRINK = np.array([1., 0.82, 0.60, 0.36], dtype=np.float32)


class Patch(NamedTuple):
    """A painted figure. ``image`` (h, w, 4) uint8 holds blue, green, red and the part (0 is outside
    the figure); its pixel (0, 0) lies at ``origin`` (x, y) from the figure's own origin."""
    image: np.ndarray
    origin: Tuple[int, int]


class Light(NamedTuple):
    """``towards`` (2,) is the image direction to the light, ``levels`` (4,) the brightness from rim
    to core."""
    towards: np.ndarray
    levels: np.ndarray


def sample_light(rng: np.random.Generator) -> Light:
    angle = rng.uniform(-np.pi, 0)  # image y points down: the light comes from above
    contrast = rng.uniform(0.5, 1.25)
    levels = 1 + contrast * np.array([-0.30, -0.11, 0.02, 0.11])
    return Light(np.array([np.cos(angle), np.sin(angle)], dtype=np.float32), levels)


class Camera:
    """Perspective camera at ``distance`` (N,) statures in front of each figure, ``scale`` (N,) px
    per stature there."""

    def __init__(self, distance: np.ndarray, scale: np.ndarray) -> None:
        self.distance, self.scale = distance, scale

    def magnify(self, points: np.ndarray) -> np.ndarray:
        """Pixels per stature at ``points`` (N, ..., 3): (N, ...)."""
        shape = (-1,) + (1,) * (points.ndim - 2)
        distance = self.distance.reshape(shape)
        return self.scale.reshape(shape) * distance / (distance - points[..., 2])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Image positions (N, ..., 2) in px, y down, of ``points`` (N, ..., 3)."""
        return points[..., :2] * np.array([1., -1.]) * self.magnify(points)[..., None]


class ShapeList:
    """Collects the shapes of N figures; every figure has the same list and switches off what it
    does not wear."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self._centres: List[np.ndarray] = []  # 2P of (N, 3)
        self._radii: List[np.ndarray] = []  # 2P of (N,), of the ends that are spheres
        self._axes: Dict[int, np.ndarray] = {}  # end: (N, 3, 3), of the others
        self._colours: List[np.ndarray] = []
        self._active: List[np.ndarray] = []
        self.keys: List[Tuple[int, int, int]] = []  # part, group, layer

    def add(self, a: np.ndarray, size_a: Union[float, np.ndarray], b: np.ndarray,
            size_b: Union[float, np.ndarray], colour: np.ndarray, part: int, group: int,
            layer: int = 0, active: Optional[np.ndarray] = None) -> None:
        """Add the hull of two ellipsoids.

        Args:
            a, b: Centres, (N, 3).
            size_a, size_b: A radius, radii (N,), or semi-axes as the columns of (N, 3, 3).
            colour: (N, 3), BGR.
            part: Written to the patch's last channel.
            group: Shapes of one group are painted together; layers, then shading levels, go over
                each other in it.
            active: (N,) bool, who has this shape; everybody by default.
        """
        num = len(a)
        for centre, size in ((a, size_a), (b, size_b)):
            if np.ndim(size) == 3:
                self._axes[len(self._centres)] = size
                size = 0.
            self._centres.append(centre)
            self._radii.append(size if np.ndim(size) else np.full(num, size))
        self._colours.append(colour)
        self._active.append(np.ones(num, bool) if active is None else active)
        self.keys.append((part, group, layer))

    def _ellipses(self) -> Tuple[np.ndarray, np.ndarray]:
        """Image ellipses of all ends: centres (N, P, 2, 2), and (N, P, 2, 3) with xx, xy and yy of
        the squared semi-axes."""
        centres = np.array(self._centres).transpose(1, 0, 2)
        spreads = np.zeros(centres.shape)
        spreads[..., 0] = spreads[..., 2] = np.array(self._radii).T ** 2
        if self._axes:
            axes = np.array(list(self._axes.values()))
            x, y = axes[:, :, 0], -axes[:, :, 1]
            spreads[:, list(self._axes)] = np.stack([(x * x).sum(2), (x * y).sum(2),
                                                     (y * y).sum(2)], 2).transpose(1, 0, 2)
        spreads *= self.camera.magnify(centres)[..., None] ** 2
        shape = (len(centres), -1, 2)
        return (self.camera.project(centres).astype(np.float32).reshape(*shape, 2),
                spreads.astype(np.float32).reshape(*shape, 3))

    def outlines(self, light: Light,
                 num_levels: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All outlines of the active shapes.

        Args:
            num_levels: (N,) shading levels of each figure, at most 4.

        Returns:
            tuple: index (Q, 3) of figure, shape and level; vertices (Q, V, 2) in px; colours
            (Q, 3).
        """
        painted = np.arange(4) < num_levels[:, None]
        active = np.array(self._active).T[:, :, None] & painted[:, None]
        index = np.argwhere(active)
        figure, shape, level = index.T
        centres, spreads = self._ellipses()
        centre, spread = centres[figure, shape], spreads[figure, shape]
        xx, xy, yy = (spread[..., i] for i in range(3))
        shrink = _SHRINK[level]
        radius = np.sqrt((xx * yy - xy * xy) / (xx + yy))
        centre = centre + ((1 - shrink)[:, None] * radius * 0.8)[..., None] * light.towards
        # The support point of an ellipse with squared axes S in direction n is S n / sqrt(n' S n);
        # the hull of two ellipses takes, in each direction, the farther of their support points.
        nx, ny = _NORMALS
        sx, sy = xx[..., None] * nx + xy[..., None] * ny, xy[..., None] * nx + yy[..., None] * ny
        grow = shrink[:, None, None] / np.sqrt(np.maximum(sx * nx + sy * ny, 1e-6))
        px, py = centre[..., :1] + sx * grow, centre[..., 1:] + sy * grow
        farther = px * nx + py * ny
        second = farther[:, 1] > farther[:, 0]
        vertices = np.stack([np.where(second, px[:, 1], px[:, 0]),
                             np.where(second, py[:, 1], py[:, 0])], axis=-1)
        colours = np.array(self._colours).transpose(1, 0, 2)[figure, shape]
        colours = colours * light.levels[level][:, None]
        return index, vertices, np.clip(colours, 0, 255)


def fixed_point(vertices: np.ndarray) -> np.ndarray:
    """Vertices in px as cv2's fixed-point integers."""
    return np.rint(vertices * (1 << SHIFT)).astype(np.int32)


class Detail(NamedTuple):
    """A flat polygon (V, 2) in px, painted after the shapes of its group."""
    vertices: np.ndarray
    colour: Sequence[float]
    part: int


def fill_convex(image: np.ndarray, vertices: np.ndarray, colour: Sequence[float]) -> None:
    """Fill one convex fixed-point polygon (V, 2)."""
    cv2.fillConvexPoly(image, vertices, colour, cv2.LINE_8, SHIFT)


def fill(image: np.ndarray, vertices: np.ndarray, colour: Sequence[float]) -> None:
    """Fill one fixed-point polygon (V, 2)."""
    cv2.fillPoly(image, [vertices], colour, cv2.LINE_8, SHIFT)
