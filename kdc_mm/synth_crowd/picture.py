"""The picture around the people: background, cast shadows, and what light, lens and sensor do to
it."""
from functools import lru_cache
from typing import Sequence, Tuple

import cv2
import numpy as np


@lru_cache(maxsize=2)
def _noise_bank(size: int) -> np.ndarray:
    """Sensor noise around 128, (2 size, 2 size, 3); pictures take a random window of it, which
    costs next to nothing."""
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((2 * size, 2 * size, 3)).astype(np.float32)
    noise = 0.75 * noise + 0.65 * cv2.GaussianBlur(noise, (3, 3), 0.8)
    return np.clip(noise * 32 + 128, 0, 255).astype(np.uint8)


def _tone(rng: np.random.Generator) -> np.ndarray:
    """A background colour: mostly muted, now and then a person's own colours."""
    return np.clip(rng.uniform(60, 240) * rng.uniform(0.7, 1.15, 3), 5, 250)


def _clouds(rng: np.random.Generator, size: int, cells: int, smooth: bool = True) -> np.ndarray:
    """Colour noise of ``cells`` cells across."""
    spread = rng.uniform(10, 60)
    grey, colour = (rng.standard_normal((cells, cells, depth)) for depth in (1, 3))
    grid = _tone(rng) + spread * (grey + 0.4 * colour)
    grid = np.clip(grid, 0, 255).astype(np.uint8)
    interpolation = cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST
    return cv2.resize(grid, (size, size), interpolation=interpolation)


def _gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    corners = np.stack([_tone(rng) for _ in range(4)]).reshape(2, 2, 3).astype(np.float32)
    return cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def _tiles(rng: np.random.Generator, size: int) -> np.ndarray:
    """Bricks or tiles with joints and uneven colour."""
    height, width = int(size * rng.uniform(0.04, 0.14)), int(size * rng.uniform(0.06, 0.25))
    rows, columns = size // height + 1, size // width + 2
    tone = _tone(rng) + rng.normal(0, 12, (rows, columns, 1)) + rng.normal(0, 4, (rows, columns, 3))
    image = cv2.resize(np.clip(tone, 0, 255).astype(np.uint8), (columns * width, rows * height),
                       interpolation=cv2.INTER_NEAREST)
    joint = _tone(rng).tolist()
    for row in range(rows):
        cv2.line(image, (0, row * height), (image.shape[1], row * height), joint, 1)
    for column in range(columns):
        cv2.line(image, (column * width, 0), (column * width, image.shape[0]), joint, 1)
    return np.ascontiguousarray(image[:size, :size])


def _stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    image = np.full((size, size, 3), _tone(rng), dtype=np.uint8)
    colour, step = _tone(rng).tolist(), int(size * rng.uniform(0.04, 0.2))
    slant = int(size * rng.uniform(-0.5, 0.5))
    for x in range(-size, 2 * size, step):
        cv2.line(image, (x, 0), (x + slant, size), colour, int(step * rng.uniform(0.1, 0.6)) + 1,
                 cv2.LINE_AA)
    return image if rng.random() < 0.6 else np.ascontiguousarray(image.transpose(1, 0, 2))


def _blobs(rng: np.random.Generator, size: int) -> np.ndarray:
    """Things out of focus."""
    image = _gradient(rng, size // 2)
    for _ in range(rng.integers(6, 18)):
        centre, axes = rng.integers(0, size // 2, 2), rng.integers(size // 40, size // 8, 2)
        cv2.ellipse(image, centre.tolist(), axes.tolist(), float(rng.uniform(0, 180)), 0, 360,
                    _tone(rng).tolist(), -1)
    image = cv2.GaussianBlur(image, (0, 0), size * rng.uniform(0.004, 0.02))
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def _mosaic(rng: np.random.Generator, size: int) -> np.ndarray:
    return _clouds(rng, size, int(rng.integers(4, 14)), smooth=rng.random() < 0.7)


_SURFACES = (_gradient, _tiles, _stripes, _blobs, _mosaic)


def sample_background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall or a sky over a floor, both textured: (size, size, 3) uint8."""
    image = _SURFACES[rng.integers(len(_SURFACES))](rng, size)
    if rng.random() < 0.75:
        horizon = int(size * rng.uniform(0.3, 0.8))
        floor = _SURFACES[rng.integers(len(_SURFACES))](rng, size)
        squeeze = rng.uniform(0, 0.4) * size  # the floor recedes
        depth = size - horizon
        corners = np.float32([[squeeze, 0], [size - squeeze, 0], [size, size], [0, size]])
        target = np.float32([[0, 0], [size, 0], [size, depth], [0, depth]])
        image[horizon:] = cv2.warpPerspective(floor, cv2.getPerspectiveTransform(corners, target),
                                              (size, depth))
    fine = _clouds(rng, size, int(rng.integers(size // 8, size // 2)), smooth=False)
    coarse = _clouds(rng, size, int(rng.integers(3, 10)))
    share = rng.uniform(0.04, 0.16, 2)
    image = cv2.addWeighted(image, 1 - share[0], fine, share[0], 0)
    return cv2.addWeighted(image, 1 - share[1], coarse, share[1], 0)


def cast_shadows(rng: np.random.Generator, background: np.ndarray,
                 feet: Sequence[Tuple[float, float, float]]) -> np.ndarray:
    """Darken the floor at ``feet``: (x, y, width) in px."""
    size = background.shape[0]
    small = size // 2
    shadow = np.full((small, small), 255, dtype=np.uint8)
    for x, y, width in feet:
        cv2.ellipse(shadow, (int(x / 2), int(y / 2)), (int(width / 4) + 1, int(width / 14) + 1), 0,
                    0, 360, int(rng.uniform(110, 190)), -1)
    shadow = cv2.resize(cv2.GaussianBlur(shadow, (0, 0), size / 100), (size, size))
    return cv2.multiply(background, cv2.merge([shadow] * 3), scale=1 / 255)


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Uneven light, lens blur, exposure, white balance and sensor noise. Pixels do not move."""
    size = image.shape[0]
    corners = rng.uniform(88, 150, (2, 2)).astype(np.float32)
    light = cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    image = cv2.multiply(image, cv2.merge([light] * 3), scale=1 / 118)
    blur = rng.gamma(2.0, 0.22) * size / 256
    if rng.random() < 0.08:
        length = int(rng.integers(3, 6))
        kernel = np.zeros((length, length), np.float32)
        (kernel if rng.random() < 0.5 else kernel.T)[length // 2] = 1 / length
        image = cv2.filter2D(image, -1, kernel)
    elif blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), min(blur, 1.3 * size / 256))
    level = np.arange(256) / 255.0
    gamma, gain = rng.uniform(0.65, 1.2), rng.uniform(0.85, 1.2) * rng.uniform(0.93, 1.07, 3)
    table = 255 * (level ** gamma)[:, None] * gain + rng.uniform(-12, 12)
    table = np.clip(table, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table[:, None])
    bank = _noise_bank(size)
    y, x = rng.integers(0, size, 2)
    strength = rng.uniform(0.02, 0.28)
    return cv2.addWeighted(image, 1, bank[y:y + size, x:x + size], strength, -128 * strength)
