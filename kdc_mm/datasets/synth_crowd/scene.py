"""A scene: how many people of what size stand where, who covers whom, and the annotations that follow from it."""
from dataclasses import dataclass
from typing import Dict, List, Tuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .body import pose_skeleton, sample_builds
from .clothing import sample_clothing
from .figure import Figures, paint_figures
from .objects import paint_object
from .picture import cast_shadows, photograph, sample_background
from .pose import sample_poses
from .shapes import Camera, Patch, sample_light

# A person is left out, of the picture as well as of the annotations, if less than this share of the silhouette is visible
# (covered or cut off by the picture's edge alike), or less than this many pixels at 256 px.
MIN_VISIBLE_SHARE = 0.18
MIN_VISIBLE_AREA = 70
_SUPERSAMPLE = 2
_ATTEMPTS = 12


@dataclass(frozen=True)
class Preset:
    """How crowded a scene is.

    Attributes:
        persons: Fewest and most annotated persons in a picture.
        stature: Smallest and largest standing height, as a share of the picture's side.
        overlap: Range of the box IoU that a person is placed to have with the nearest other one.
        crowding: Each picture's mean, over its persons, of the largest IoU between the person's annotated box and another
            one's is at least this.
    """
    persons: Tuple[int, int]
    stature: Tuple[float, float]
    overlap: Tuple[float, float]
    crowding: float


PRESETS = dict(
    easy=Preset((1, 4), (0.22, 0.92), (-0.25, 0.15), 0.0),
    crowd=Preset((4, 12), (0.24, 0.80), (0.28, 0.68), 0.3),
    occluded=Preset((2, 3), (0.40, 0.95), (0.58, 0.85), 0.5))


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of ``box`` (..., 4) with ``boxes`` (..., 4), both as x0, y0, x1, y1."""
    low, high = np.maximum(box[..., :2], boxes[..., :2]), np.minimum(box[..., 2:], boxes[..., 2:])
    inside = np.maximum(high - low, 0).prod(-1)
    areas = (box[..., 2:] - box[..., :2]).prod(-1) + (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    return inside / np.maximum(areas - inside, 1e-9)


def crowding(bboxes: List[List[float]]) -> np.ndarray:
    """Each person's largest box IoU with another person of the picture, (N,); boxes are COCO's x, y, width, height."""
    boxes = np.array(bboxes, dtype=float)
    boxes[:, 2:] += boxes[:, :2]
    iou = box_iou(boxes[:, None], boxes[None])
    np.fill_diagonal(iou, 0)
    return iou.max(1)


def render_scene(rng: np.random.Generator, preset: Preset, size: int) -> Tuple[np.ndarray, List[Dict]]:
    """Render one picture.

    Scenes that end up with another number of persons than the preset's, or less crowded, are drawn again.

    Returns:
        tuple: the picture (size, size, 3) uint8 BGR and, from the farthest person to the nearest, COCO annotations without ids:
        ``segmentation`` (compressed RLE of the visible pixels), ``bbox`` of it, ``area``, ``iscrowd``, ``keypoints`` (pixel
        indices) with visibility 2 in sight, 1 covered by the own body, a person or a thing, 0 outside the picture (x = y = 0).
    """
    light = sample_light(rng)
    for _ in range(_ATTEMPTS):
        count = _sample_count(rng, preset)
        figures, stature = _sample_figures(rng, preset, count, size, light)
        places = _place(rng, preset, figures, stature, size)
        layers = _stack(rng, figures, places, size, light)
        layers, owner = _remove_hidden(layers, size)
        annotations = _annotate(figures, places, owner, size)
        if preset.persons[0] <= len(annotations) and (
                len(annotations) < 2 or crowding([a['bbox'] for a in annotations]).mean() >= preset.crowding):
            break
    else:
        raise RuntimeError(f'no scene of {preset} in {_ATTEMPTS} attempts at {size} px')
    return _compose(rng, layers, figures, places, size), annotations


@dataclass
class _Layer:
    """A painted thing at its place, px of the canvas; ``person`` counts from 1, 0 is an object."""
    patch: Patch
    place: np.ndarray
    person: int

    def windows(self, side: int):
        """Matching slices of a canvas and of the patch, or None if the patch lies outside."""
        x, y = (self.place + self.patch.origin).tolist()
        height, width = self.patch.image.shape[:2]
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, side), min(y + height, side)
        if x0 >= x1 or y0 >= y1:
            return None
        return (slice(y0, y1), slice(x0, x1)), (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))


def _sample_count(rng: np.random.Generator, preset: Preset) -> int:
    low, high = preset.persons
    return int(rng.integers(low, high + 1))


def _sample_figures(rng, preset, count, size, light) -> Tuple[Figures, np.ndarray]:
    """Paint ``count`` persons; those of a crowd stand at similar distances. Statures are in px of the canvas."""
    low, high = preset.stature
    if preset.crowding:
        high = min(high, 2.3 / np.sqrt(count + 1))
        common = np.exp(rng.uniform(np.log(low), np.log(high)))
        share = np.clip(common * np.exp(rng.normal(0, 0.10, count)), low, high)
    else:
        share = np.exp(rng.uniform(np.log(low), np.log(high), count))
    stature = share * size * _SUPERSAMPLE
    build = sample_builds(rng, count)
    stature = np.where(build['child'], stature * 0.8, stature)
    camera = Camera(rng.uniform(2.6, 7, count), stature)
    skeleton = pose_skeleton(sample_poses(rng, count), build)
    return paint_figures(skeleton, build, sample_clothing(rng, build), camera, light, rng), stature


def _place(rng, preset: Preset, figures: Figures, stature: np.ndarray, size: int) -> np.ndarray:
    """Where each figure's origin goes, (N, 2) int px of the canvas: the best of some random places for the overlap wanted."""
    side = size * _SUPERSAMPLE
    boxes = np.array([(*p.origin, p.origin[0] + p.image.shape[1], p.origin[1] + p.image.shape[0])
                      for p in figures.patches], dtype=float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    places = np.zeros((len(boxes), 2), dtype=int)
    for n, box in enumerate(boxes):
        x = rng.uniform(-0.15 * width[n], side - 0.85 * width[n], 96)
        feet = side * (0.52 + 0.5 * stature[n] / side) + rng.normal(0, 0.09 * side, 96)
        feet = np.clip(feet, min(height[n], side), side + 0.12 * height[n])
        y = feet - height[n]
        if n and preset.crowding:
            near = rng.integers(0, n, 64)
            x[:64] = boxes[near, 0] + (boxes[near, 2] - boxes[near, 0]) * rng.uniform(-0.7, 1.2, 64) - 0.2 * width[n]
            x[:64] = np.clip(x[:64], -0.2 * width[n], side - 0.8 * width[n])
            y[:64] = boxes[near, 3] - height[n] + rng.normal(0, 0.07, 64) * height[n]
        trial = np.stack([x, y, x + width[n], y + height[n]], axis=1)
        best = 0
        if n:
            nearest = box_iou(trial[:, None], boxes[None, :n]).max(1)
            best = int(np.abs(nearest - max(0., rng.uniform(*preset.overlap))).argmin())
        places[n] = np.rint(trial[best, :2] - box[:2]).astype(int)
        boxes[n] = box + np.tile(places[n], 2)
    return places


def _stack(rng, figures: Figures, places: np.ndarray, size: int, light) -> List[_Layer]:
    """Everything from far to near: who stands lower in the picture is nearer, things lie between and before the people."""
    side = size * _SUPERSAMPLE
    feet = np.array([place[1] + p.origin[1] + p.image.shape[0] for place, p in zip(places, figures.patches)])
    depth = feet + rng.normal(0, 0.02 * side, len(feet))
    layers = [(d, _Layer(patch, place, n + 1)) for n, (d, patch, place) in enumerate(zip(depth, figures.patches, places))]
    for _ in range(rng.poisson(1.8)):  # behind everybody
        patch = paint_object(rng, light, side * rng.uniform(0.15, 0.7))
        layers.append((-np.inf, _Layer(patch, rng.integers(0, side, 2), 0)))
    for _ in range(rng.poisson(0.55)):  # anywhere, so that some cover people
        patch = paint_object(rng, light, side * rng.uniform(0.12, 0.45))
        place = rng.integers(0, side, 2)
        layers.append((rng.uniform(feet.min(), feet.max() + 0.2 * side), _Layer(patch, place, 0)))
    return [layer for _, layer in sorted(layers, key=lambda item: item[0])]


def _own(layers: List[_Layer], size: int) -> np.ndarray:
    """Whose pixel it is at canvas resolution, (2 size, 2 size) uint8: 0 nobody's, else the person."""
    side = size * _SUPERSAMPLE
    owner = np.zeros((side, side), dtype=np.uint8)
    for layer in layers:
        windows = layer.windows(side)
        if windows:
            owner[windows[0]][layer.patch.image[windows[1]][..., 3] > 0] = layer.person
    return owner


def _remove_hidden(layers: List[_Layer], size: int) -> Tuple[List[_Layer], np.ndarray]:
    """Take away the person who is seen least until everybody is seen well enough."""
    needed = MIN_VISIBLE_AREA * (size / 256 * _SUPERSAMPLE) ** 2
    while True:
        owner = _own(layers, size)
        seen = np.bincount(owner.ravel(), minlength=256)
        worst, worst_share = None, MIN_VISIBLE_SHARE
        for layer in layers:
            if layer.person:
                share = seen[layer.person] / np.count_nonzero(layer.patch.image[..., 3])
                if seen[layer.person] < needed:
                    share = 0.
                if share < worst_share:
                    worst, worst_share = layer, share
        if worst is None:
            return layers, _majority(owner)
        layers = [layer for layer in layers if layer is not worst]


def _majority(owner: np.ndarray) -> np.ndarray:
    """Owner of each picture pixel: the most frequent of its four canvas pixels."""
    four = np.sort(np.stack([owner[::2, ::2], owner[::2, 1::2], owner[1::2, ::2], owner[1::2, 1::2]]), axis=0)
    return np.where(four[2] == four[3], four[3], np.where(four[1] == four[2], four[1], np.where(
        four[0] == four[1], four[0], four[3])))


def _annotate(figures: Figures, places: np.ndarray, owner: np.ndarray, size: int) -> List[Dict]:
    annotations = []
    for person in np.unique(owner[owner > 0]).tolist():
        mask = owner == person
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        # Canvas pixel 2x + 0.5 is the centre of picture pixel x.
        xy = (figures.keypoints[person - 1] + places[person - 1] - 0.5) / _SUPERSAMPLE
        pixel = np.rint(xy).astype(int)
        inside = ((pixel >= 0) & (pixel < size)).all(1)
        pixel = np.clip(pixel, 0, size - 1)
        in_sight = figures.in_sight[person - 1] & mask[pixel[:, 1], pixel[:, 0]]
        keypoints = np.concatenate([np.round(xy, 2), np.where(in_sight, 2, 1)[:, None]], axis=1) * inside[:, None]
        annotations.append(dict(
            segmentation=dict(size=[size, size], counts=rle['counts'].decode()),
            bbox=coco_mask.toBbox(rle).tolist(),
            area=int(mask.sum()),
            iscrowd=0,
            keypoints=[value for x, y, v in keypoints.tolist() for value in (x, y, int(v))],
            num_keypoints=int(inside.sum())))
    return annotations


def _compose(rng, layers: List[_Layer], figures: Figures, places: np.ndarray, size: int) -> np.ndarray:
    """Paint the layers over a background and photograph them."""
    side = size * _SUPERSAMPLE
    feet = []
    for layer in layers:
        if layer.person:
            x, y = (layer.place + layer.patch.origin) / _SUPERSAMPLE
            height, width = np.array(layer.patch.image.shape[:2]) / _SUPERSAMPLE
            feet.append((x + width / 2, y + height * 0.98, width))
    background = cast_shadows(rng, sample_background(rng, size), feet)
    canvas = cv2.resize(cv2.cvtColor(background, cv2.COLOR_BGR2BGRA), (side, side), interpolation=cv2.INTER_LINEAR)
    for layer in layers:
        windows = layer.windows(side)
        if windows:
            patch = layer.patch.image[windows[1]]
            cv2.copyTo(patch, cv2.extractChannel(patch, 3), canvas[windows[0]])
    picture = cv2.cvtColor(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA), cv2.COLOR_BGRA2BGR)
    return photograph(rng, picture)
