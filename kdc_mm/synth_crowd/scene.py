"""A scene: how many people of what size stand where, who covers whom, and the annotations that
follow from it."""
from dataclasses import dataclass
from typing import Dict, List, Tuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from .body import pose_body, sample_builds
from .clothing import sample_clothing
from .figure import Figures, paint_figures
from .objects import paint_objects
from .picture import cast_shadows, photograph, sample_background
from .pose import ANY_BEARING, UPRIGHT, Bearing, sample_poses
from .shapes import Camera, Patch, sample_light

# A person is left out, of the picture as well as of the annotations, if less than this share of the
# silhouette is visible (covered or cut off by the picture's edge alike), or less than this many
# pixels at 256 px.
MIN_VISIBLE_SHARE = 0.18
MIN_VISIBLE_AREA = 70
_SUPERSAMPLE = 2
_ATTEMPTS = 12
# Places that are tried for a person, and how many of them are next to others.
_TRIALS, _NEAR = 60, 40


@dataclass(frozen=True)
class Preset:
    """How crowded a scene is.

    Attributes:
        persons: Fewest and most annotated persons in a picture.
        stature: Smallest and largest standing height, as a share of the picture's side.
        overlap: Range of the box IoU that a person is placed to have with the nearest other one.
        crowding: Each picture's mean, over its persons, of the largest IoU between the person's
            annotated box and another one's is at least this.
        bearing: How people hold themselves.
    """
    persons: Tuple[int, int]
    stature: Tuple[float, float]
    overlap: Tuple[float, float]
    crowding: float
    bearing: Bearing = ANY_BEARING


PRESETS = dict(
    easy=Preset((1, 4), (0.42, 0.92), (-0.25, 0.15), 0.0, UPRIGHT),
    crowd=Preset((4, 12), (0.24, 0.80), (0.26, 0.60), 0.3),
    occluded=Preset((2, 3), (0.40, 0.95), (0.54, 0.80), 0.5))


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of ``box`` (..., 4) with ``boxes`` (..., 4), both as x0, y0, x1, y1."""
    low, high = np.maximum(box[..., :2], boxes[..., :2]), np.minimum(box[..., 2:], boxes[..., 2:])
    inside = np.maximum(high - low, 0)
    inside = inside[..., 0] * inside[..., 1]
    areas = sum((b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (box, boxes))
    return inside / np.maximum(areas - inside, 1e-9)


def crowding(bboxes: List[List[float]]) -> np.ndarray:
    """Each person's largest box IoU with another person of the picture, (N,); boxes are COCO's x,
    y, width, height."""
    boxes = np.array(bboxes, dtype=float)
    boxes[:, 2:] += boxes[:, :2]
    iou = box_iou(boxes[:, None], boxes[None])
    np.fill_diagonal(iou, 0)
    return iou.max(1)


def render_scene(rng: np.random.Generator, preset: Preset,
                 size: int) -> Tuple[np.ndarray, List[Dict]]:
    """Render one picture.

    Scenes that end up with another number of persons than the preset's, or less crowded, are drawn
    again.

    Returns:
        tuple: the picture (size, size, 3) uint8 BGR and, from the farthest person to the nearest,
        COCO annotations without ids: ``segmentation`` (compressed RLE of the visible pixels),
        ``bbox`` of it, ``area``, ``iscrowd``, ``keypoints`` (pixel indices) with visibility 2 in
        sight, 1 covered by the own body, a person or a thing, 0 outside the picture (x = y = 0).
    """
    light = sample_light(rng)
    for _ in range(_ATTEMPTS):
        count = _sample_count(rng, preset)
        figures, stature = _sample_figures(rng, preset, count, size, light)
        places = _place(rng, preset, figures, stature, size)
        layers = _stack(rng, figures, places, size, light)
        layers, owner = _remove_hidden(layers, size)
        annotations = _annotate(figures, places, owner, size)
        if len(annotations) >= preset.persons[0] and crowding(
                [a['bbox'] for a in annotations]).mean() >= preset.crowding:
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
    """Paint ``count`` persons; those of a crowd stand at similar distances. Statures are in px of
    the canvas."""
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
    body = pose_body(sample_poses(rng, count, preset.bearing), build)
    return paint_figures(body, build, sample_clothing(rng, build), camera, light, rng), stature


def _place(rng, preset: Preset, figures: Figures, stature: np.ndarray, size: int) -> np.ndarray:
    """Where each figure's origin goes, (N, 2) int px of the canvas: the best of some random places
    for the overlap wanted."""
    side = size * _SUPERSAMPLE
    boxes = np.array([(*p.origin, p.origin[0] + p.image.shape[1], p.origin[1] + p.image.shape[0])
                      for p in figures.patches], dtype=float)
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    places = np.zeros((len(boxes), 2), dtype=int)
    for n, box in enumerate(boxes):
        x = rng.uniform(-0.15 * width[n], side - 0.85 * width[n], _TRIALS)
        feet = side * (0.52 + 0.5 * stature[n] / side) + rng.normal(0, 0.09 * side, _TRIALS)
        feet = np.clip(feet, min(height[n], side), side + 0.12 * height[n])
        y = feet - height[n]
        if n and preset.crowding:
            near = rng.integers(0, n, _NEAR)
            x[:_NEAR] = boxes[near, 0] + width[near] * rng.uniform(
                -0.7, 1.2, _NEAR) - 0.2 * width[n]
            x[:_NEAR] = np.clip(x[:_NEAR], -0.2 * width[n], side - 0.8 * width[n])
            y[:_NEAR] = boxes[near, 3] - height[n] + rng.normal(0, 0.07, _NEAR) * height[n]
        trial = np.stack([x, y, x + width[n], y + height[n]], axis=1)
        best = 0
        if n:
            iou = box_iou(trial[:, None], boxes[None, :n])
            nearest = iou.max(1)
            # The overlap wanted with one person, and little with the others: a crowd, not a pile.
            wanted = max(0., rng.uniform(*preset.overlap))
            cost = np.abs(nearest - wanted) + 0.5 * (iou.sum(1) - nearest)
            best = int(cost.argmin())
        places[n] = np.rint(trial[best, :2] - box[:2]).astype(int)
        boxes[n] = box + np.tile(places[n], 2)
    if preset.crowding:  # the group as a whole stands anywhere in the picture
        low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
        room = np.sort([-0.06 * side - low, 1.06 * side - high], axis=0)
        places += np.rint(rng.uniform(room[0], room[1])).astype(int)
    return places


def _stack(rng, figures: Figures, places: np.ndarray, size: int, light) -> List[_Layer]:
    """Everything from far to near: who stands lower in the picture is nearer, things lie between
    and before the people."""
    side = size * _SUPERSAMPLE
    feet = np.array([place[1] + patch.origin[1] + patch.image.shape[0]
                     for place, patch in zip(places, figures.patches)])
    depth = feet + rng.normal(0, 0.02 * side, len(feet))
    layers = [(d, _Layer(patch, place, person)) for person, (d, patch, place) in enumerate(
        zip(depth, figures.patches, places), start=1)]
    behind, among = rng.poisson((1.8, 0.55))  # the latter lie anywhere, so that some cover people
    size_px = side * np.concatenate([rng.uniform(0.15, 0.7, behind),
                                     rng.uniform(0.12, 0.45, among)])
    depth = np.concatenate([np.full(behind, -np.inf),
                            rng.uniform(feet.min(), feet.max() + 0.2 * side, among)])
    for patch, d in zip(paint_objects(rng, light, size_px), depth):
        layers.append((d, _Layer(patch, rng.integers(0, side, 2), 0)))
    return [layer for _, layer in sorted(layers, key=lambda item: item[0])]


def _own(layers: List[_Layer], size: int) -> np.ndarray:
    """Whose pixel it is at canvas resolution, (2 size, 2 size) uint8: 0 nobody's, else the
    person."""
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
    whole = {layer.person: cv2.countNonZero(cv2.extractChannel(layer.patch.image, 3))
             for layer in layers}
    while True:
        owner = _own(layers, size)
        seen = cv2.calcHist([owner], [0], None, [256], [0, 256])[:, 0]
        shares = {person: seen[person] / whole[person] * (seen[person] >= needed)
                  for person in (layer.person for layer in layers) if person}
        if not shares or min(shares.values()) >= MIN_VISIBLE_SHARE:
            return layers, _majority(owner)
        worst = min(shares, key=shares.get)
        layers = [layer for layer in layers if layer.person != worst]


def _majority(owner: np.ndarray) -> np.ndarray:
    """Owner of each picture pixel: the most frequent of its four canvas pixels, the highest number
    of equally frequent ones."""
    a, b, c, d = (np.ascontiguousarray(owner[y::2, x::2]) for y in (0, 1) for x in (0, 1))
    a, b = cv2.min(a, b), cv2.max(a, b)  # sort the four
    c, d = cv2.min(c, d), cv2.max(c, d)
    a, c = cv2.min(a, c), cv2.max(a, c)
    b, d = cv2.min(b, d), cv2.max(b, d)
    b, c = cv2.min(b, c), cv2.max(b, c)
    return np.where(c == d, d, np.where(b == c, b, np.where(a == b, a, d)))


def _annotate(figures: Figures, places: np.ndarray, owner: np.ndarray, size: int) -> List[Dict]:
    # Canvas pixel 2x + 0.5 is the centre of picture pixel x.
    places = (figures.keypoints + places[:, None] - 0.5) / _SUPERSAMPLE
    pixels = np.rint(places).astype(int)
    inside = ((pixels >= 0) & (pixels < size)).all(2)
    pixels = np.clip(pixels, 0, size - 1)
    own = owner[pixels[..., 1], pixels[..., 0]] == np.arange(1, len(pixels) + 1)[:, None]
    in_sight = figures.in_sight & own
    visibility = np.where(in_sight, 2, 1)[..., None]
    keypoints = np.concatenate([np.round(places, 2), visibility], axis=2) * inside[..., None]
    owner = np.asfortranarray(owner)
    annotations = []
    for person in np.flatnonzero(np.bincount(owner.ravel('K'))[1:]).tolist():
        rle = coco_mask.encode((owner == person + 1).view(np.uint8))
        annotations.append(dict(
            segmentation=dict(size=[size, size], counts=rle['counts'].decode()),
            bbox=coco_mask.toBbox(rle).tolist(),
            area=int(coco_mask.area(rle)),
            iscrowd=0,
            keypoints=[value for x, y, v in keypoints[person].tolist() for value in (x, y, int(v))],
            num_keypoints=int(inside[person].sum())))
    return annotations


def _compose(rng, layers: List[_Layer], figures: Figures, places: np.ndarray,
             size: int) -> np.ndarray:
    """Paint the layers over a background and photograph them."""
    side = size * _SUPERSAMPLE
    feet = []
    for layer in layers:
        if layer.person:
            x, y = (layer.place + layer.patch.origin) / _SUPERSAMPLE
            height, width = np.array(layer.patch.image.shape[:2]) / _SUPERSAMPLE
            feet.append((x + width / 2, y + height * 0.98, width))
    background = cast_shadows(rng, sample_background(rng, size), feet)
    canvas = cv2.resize(cv2.cvtColor(background, cv2.COLOR_BGR2BGRA), (side, side),
                        interpolation=cv2.INTER_LINEAR)
    for layer in layers:
        windows = layer.windows(side)
        if windows:
            patch = layer.patch.image[windows[1]]
            cv2.copyTo(patch, cv2.extractChannel(patch, 3), canvas[windows[0]])
    picture = cv2.cvtColor(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA),
                           cv2.COLOR_BGRA2BGR)
    return photograph(rng, picture)
