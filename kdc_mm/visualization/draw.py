"""Drawing of people and of the fields they are decoded from: numpy in, numpy out.

Images are RGB uint8 of shape (h, w, 3). Points are (x, y) in pixels of the image, an integer being
a pixel's centre. Functions return a new image and leave their arguments alone.
"""
from typing import List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as coco_mask

Color = Tuple[int, int, int]

# Neighbours in this list are far apart in hue and lightness, and all stand out on photographs.
PALETTE: List[Color] = [
    (255, 64, 84), (38, 170, 255), (255, 199, 0), (66, 209, 92), (190, 92, 255), (255, 128, 20),
    (0, 214, 200), (255, 98, 190), (92, 112, 255), (188, 230, 30), (205, 140, 95), (150, 205, 255)
]

_SUBPIXEL = 4  # fractional bits of the coordinates handed to OpenCV


def person_colors(n: int) -> List[Color]:
    """One colour per person: the palette, then shades of it once it is used up."""
    colors = []
    for i in range(n):
        shade = 0.72**(i // len(PALETTE))
        colors.append(tuple(int(c * shade) for c in PALETTE[i % len(PALETTE)]))
    return colors


def decode_masks(masks: Sequence, image_shape: Tuple[int, int]) -> np.ndarray:
    """Instance masks of any kind that COCO or a head hands over, as arrays.

    Args:
        masks (Sequence): n masks, each one a bool array or tensor (h, w), an RLE dict, a list of
            polygons ``[[x0, y0, x1, y1, ...], ...]``, or None for a person without a mask.
        image_shape (tuple): h, w.

    Returns:
        np.ndarray: bool (n, h, w).
    """
    height, width = image_shape
    decoded = np.zeros((len(masks), height, width), dtype=bool)
    for row, mask in zip(decoded, masks):
        if mask is None:
            continue
        if isinstance(mask, list):
            polygons = [polygon for polygon in mask if len(polygon) >= 6]
            mask = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        elif isinstance(mask, dict) and isinstance(mask['counts'], list):
            mask = coco_mask.frPyObjects(mask, height, width)
        row[:] = coco_mask.decode(mask) if isinstance(mask, dict) else np.asarray(mask)
    return decoded


def zoom_for(image: np.ndarray, min_long_side: int = 800) -> float:
    """Factor that brings a small image to a size on which lines are crisp; 1 for large ones."""
    return max(1.0, min_long_side / max(image.shape[:2]))


def zoom_points(points: np.ndarray, zoom: float) -> np.ndarray:
    """Where points (..., 2) of an image lie on the image resized by ``zoom``."""
    return (np.asarray(points) + 0.5) * zoom - 0.5


def zoom_image(image: np.ndarray, zoom: float) -> np.ndarray:
    """The image resized by ``zoom``."""
    if zoom == 1:
        return image.copy()
    interpolation = cv2.INTER_CUBIC if zoom > 1 else cv2.INTER_AREA
    return cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=interpolation)


def draw_people(image: np.ndarray,
                keypoints: np.ndarray,
                scores: np.ndarray,
                masks: Optional[Sequence],
                skeleton_links: Sequence[Tuple[int, int]],
                kpt_thr: float = 0.3,
                colors: Optional[Sequence[Color]] = None,
                zoom: float = 1.0,
                limb_scale: float = 1.0,
                dot_scale: float = 1.0) -> np.ndarray:
    """Skeletons over translucent masks, in one colour per person.

    Args:
        image (np.ndarray): (h, w, 3).
        keypoints (np.ndarray): (n, K, 2) in pixels of ``image``.
        scores (np.ndarray): (n, K); keypoints below ``kpt_thr`` or of score 0, and their limbs, are
            left out.
        masks (Sequence, optional): n masks as :func:`decode_masks` takes them.
        skeleton_links (Sequence): pairs of keypoint indices.
        colors (Sequence, optional): n RGB colours. Defaults to :func:`person_colors`.
        zoom (float): The picture is drawn on the image resized by this factor.
        limb_scale, dot_scale (float): Limbs and keypoints are so many times as thick as suits the
            person.

    Returns:
        np.ndarray: (h * zoom, w * zoom, 3).
    """
    canvas = zoom_image(image, zoom)
    colors = person_colors(len(keypoints)) if colors is None else colors
    if masks is not None:
        for mask, color in zip(decode_masks(masks, image.shape[:2]), colors):
            _blend_mask(canvas, mask, color)

    points = zoom_points(keypoints, zoom)
    shown = _is_shown(scores, kpt_thr)
    extents = [_extent(points[i, shown[i]]) for i in range(len(points))]
    # Strokes follow a person's size, and small people lie on top, or large ones would hide them.
    for i in np.argsort(extents)[::-1]:
        width = max(canvas.shape) * np.clip(0.016 * extents[i] / max(canvas.shape), 0.0016, 0.007)
        _draw_skeleton(canvas, points[i], shown[i], skeleton_links, colors[i], limb_scale * width,
                       dot_scale * width)
    return canvas


def draw_boxes(image: np.ndarray,
               boxes: np.ndarray,
               colors: Sequence[Color],
               zoom: float = 1.0) -> np.ndarray:
    """Thin boxes (n, 4), x1 y1 x2 y2, on an image that is already resized by ``zoom``."""
    canvas = image.copy()
    width = max(1, round(0.0025 * max(canvas.shape)))
    for box, color in zip(boxes, colors):
        corner1, corner2 = np.round(zoom_points(np.reshape(box, (2, 2)), zoom)).astype(int).tolist()
        cv2.rectangle(canvas, corner1, corner2, color, width, cv2.LINE_AA)
    return canvas


def draw_keypoint_numbers(image: np.ndarray,
                          keypoints: np.ndarray,
                          scores: np.ndarray,
                          kpt_thr: float = 0.3,
                          zoom: float = 1.0) -> np.ndarray:
    """The index of each shown keypoint beside it; arguments as of :func:`draw_people`.

    The image is already resized by ``zoom``.
    """
    size = max(9, round(0.018 * max(image.shape)))
    picture = Image.fromarray(image)
    draw, font = ImageDraw.Draw(picture), _font(size)
    for points, shown in zip(zoom_points(keypoints, zoom), _is_shown(scores, kpt_thr)):
        for k in np.flatnonzero(shown).tolist():
            place = (points[k] + (0, -0.3 * size)).tolist()
            draw.text(place, str(k), fill=(255, 255, 255), font=font, anchor='mb',
                      stroke_width=max(1, size // 10), stroke_fill=(18, 18, 18))
    return np.array(picture)


def draw_heatmap(image: np.ndarray, heat: np.ndarray, to_image: np.ndarray) -> np.ndarray:
    """Heat over the dimmed image: the hotter, the more opaque.

    Args:
        image (np.ndarray): (h, w, 3).
        heat (np.ndarray): (map height, map width) in 0..1.
        to_image (np.ndarray): (2, 3), takes a map cell (u, v) to its pixel of ``image``.
    """
    height, width = image.shape[:2]
    heat = np.clip(cv2.warpAffine(heat.astype(np.float32), to_image, (width, height)), 0, 1)
    warm = cv2.applyColorMap(np.uint8(60 + 195 * heat), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = 0.85 * np.minimum(1, 2 * heat)[..., None]
    return _mix(dim(image), warm, opacity)


def draw_vectors(image: np.ndarray,
                 starts: np.ndarray,
                 ends: np.ndarray,
                 colors: np.ndarray,
                 width: Optional[float] = None) -> np.ndarray:
    """Arrows.

    Args:
        image (np.ndarray): (h, w, 3).
        starts (np.ndarray): (m, 2) in pixels.
        ends (np.ndarray): (m, 2) in pixels.
        colors (np.ndarray): (m, 3), or (3,) for all.
        width (float, optional): Of the shafts, in pixels. Defaults to one that suits the image.
    """
    canvas = image.copy()
    width = 0.0016 * max(image.shape) if width is None else width
    colors = np.broadcast_to(colors, (len(starts), 3))
    for start, end, color in zip(np.asarray(starts, float), np.asarray(ends, float), colors):
        length = np.linalg.norm(end - start)
        if length < 1:
            continue
        along = (end - start) / length
        head = min(5 * width, 0.5 * length)
        neck = end - head * along
        color = tuple(int(c) for c in color)
        _stroke(canvas, start, neck, color, width)
        across = 0.5 * head * np.array([-along[1], along[0]])
        _fill(canvas, np.stack([end, neck + across, neck - across]), color)
    return canvas


def draw_centroid_vectors(image: np.ndarray, starts: np.ndarray, ends: np.ndarray,
                          colors: np.ndarray, length: float) -> np.ndarray:
    """Short arrows towards far ends, and a dot where each one would end.

    Whole arrows to one point of a person would cover the person; dots show how well they agree.

    Args:
        image (np.ndarray): (h, w, 3).
        starts (np.ndarray): (m, 2) in pixels.
        ends (np.ndarray): (m, 2) in pixels.
        colors (np.ndarray): (m, 3).
        length (float): Of the arrows at most, in pixels.
    """
    along = ends - starts
    reach = np.minimum(1, length / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6))
    canvas = draw_vectors(image, starts, starts + along * reach, colors)
    radius = 0.0045 * max(image.shape)
    for rim, shades in ((0.4 * radius, np.full((len(ends), 3), 255)), (0, colors)):
        for end, color in zip(ends, shades):
            _dot(canvas, end, radius + rim, tuple(int(c) for c in color))
    return canvas


def sample_vectors(field: np.ndarray, where: np.ndarray, stride: float, to_image: np.ndarray,
                   step: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors of a field on a regular grid, as arrows on the image.

    Args:
        field (np.ndarray): (2, map height, map width), x then y, in input pixels.
        where (np.ndarray): bool (map height, map width), the cells that have a vector.
        stride (float): Input pixels per cell.
        to_image (np.ndarray): (2, 3), takes a map cell (u, v) to its pixel of the image.
        step (int): Cells between two arrows; rows are staggered.

    Returns:
        tuple: starts (m, 2) and ends (m, 2) in pixels of the image, and their cells (m, 2), (u, v).
    """
    v, u = np.nonzero(where)
    on_grid = (v % step == 0) & ((u + (v // step % 2) * (step // 2)) % step == 0)
    u, v = u[on_grid], v[on_grid]
    cells = np.stack([u, v], axis=1)
    ends = cells + field[:, v, u].T / stride
    linear, shift = to_image[:, :2], to_image[:, 2]
    return cells @ linear.T + shift, ends @ linear.T + shift, cells


def map_to_image(stride: float,
                 input_size: Tuple[int, int],
                 input_center: np.ndarray,
                 input_scale: np.ndarray,
                 zoom: float = 1.0) -> np.ndarray:
    """The affine map (2, 3) from map cells (u, v) to the original image resized by ``zoom``.

    It undoes the test pipeline's resize as MMPose's bottom-up estimator does for keypoints.

    Args:
        stride (float): Input pixels per cell.
        input_size (tuple): w, h of the network input.
        input_center (np.ndarray): (2,) centre of the input on the image, in pixels.
        input_scale (np.ndarray): (2,) w, h of the input on the image, in pixels.
        zoom (float): See :func:`zoom_points`.
    """
    scale = np.asarray(input_scale, float) / input_size
    origin = np.asarray(input_center, float) - 0.5 * np.asarray(input_scale, float)
    return np.column_stack([np.diag(scale * stride * zoom), zoom_points(origin, zoom)])


def draw_owners(image: np.ndarray, owner: np.ndarray, colors: Sequence[Color],
                opacity: float) -> np.ndarray:
    """Regions in their owners' colours: ``owner`` int (h, w), 0 nobody, j + 1 person j."""
    layer = np.array([(0, 0, 0), *colors])[owner]
    return _mix(image, layer, opacity * (owner > 0)[..., None])


def draw_ignored(image: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """White stripes over the region ``ignored``, bool (h, w)."""
    y, x = np.indices(ignored.shape)
    pitch = max(8, round(0.016 * max(image.shape)))
    stripe = ignored & ((x + y) % pitch < max(1, pitch // 6))
    return _mix(image, (255, 255, 255), 0.7 * stripe[..., None])


def dim(image: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """The image drained of colour and darkened, as a ground for what is drawn over it."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.uint8(np.round((1 - strength) * (0.25 * image + 0.75 * grey)))


def add_label(image: np.ndarray, text: str) -> np.ndarray:
    """The image with a small caption in its upper left corner."""
    size = max(12, round(0.026 * max(image.shape)))
    font = _font(size)
    x1, y1, x2, y2 = font.getbbox(text)
    pad = round(0.45 * size)
    width, height = x2 + 2 * pad, round(1.2 * size) + pad
    canvas = image.copy()
    corner = canvas[:height, :width]
    corner[:] = _mix(corner, np.full_like(corner, 18), 0.78)
    picture = Image.fromarray(canvas)
    middle = (pad, height / 2)
    ImageDraw.Draw(picture).text(middle, text, fill=(255, 255, 255), font=font, anchor='lm')
    return np.array(picture)


def picture_grid(rows: Sequence[Sequence[np.ndarray]],
                 titles: Optional[Sequence[str]] = None,
                 cell: int = 480,
                 gap: int = 8) -> np.ndarray:
    """Images in rows and columns on white, each fitted into a square of ``cell`` pixels.

    Args:
        rows (Sequence): Rows of as many images; the sizes may differ.
        titles (Sequence[str], optional): One per column.
    """
    rows = [[zoom_image(image, cell / max(image.shape[:2])) for image in row] for row in rows]
    width = len(rows[0]) * (cell + gap) + gap
    header = round(0.1 * cell) if titles else 0
    heights = [max(image.shape[0] for image in row) for row in rows]
    canvas = np.full((header + sum(heights) + gap * (len(rows) + 1), width, 3), 255, np.uint8)
    if titles:
        picture = Image.fromarray(canvas)
        for column, title in enumerate(titles):
            middle = (gap + column * (cell + gap) + cell / 2, (gap + header) / 2)
            font = _font(round(0.05 * cell))
            ImageDraw.Draw(picture).text(middle, title, fill=(30, 30, 30), font=font, anchor='mm')
        canvas = np.array(picture)
    top = header + gap
    for row, height in zip(rows, heights):
        for column, image in enumerate(row):
            h, w = image.shape[:2]
            y, x = top + (height - h) // 2, gap + column * (cell + gap) + (cell - w) // 2
            canvas[y:y + h, x:x + w] = image
        top += height + gap
    return canvas


def stack_panels(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels of one size in rows of two, or of three where that leaves fewer gaps."""
    columns = min(len(panels), 3 if len(panels) in (3, 5, 6) else 2)
    blank = np.full_like(panels[0], 255)
    panels = [*panels, *[blank] * (-len(panels) % columns)]
    rows = [panels[i:i + columns] for i in range(0, len(panels), columns)]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


def hue_colors(n: int) -> np.ndarray:
    """n colours (n, 3) around the hue circle, for keypoint kinds and edges."""
    hsv = np.stack([np.arange(n) * 179 / max(n, 1), np.full(n, 190), np.full(n, 255)], axis=1)
    return cv2.cvtColor(hsv[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0]


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont('DejaVu Sans'), size)


def _extent(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.ptp(points, axis=0))) if len(points) else 0.0


def _is_shown(scores: np.ndarray, kpt_thr: float) -> np.ndarray:
    return (scores >= kpt_thr) & (scores > 0)


def _shade(color: Color, factor: float) -> Color:
    """Darker for a factor below 1, nearer to white above."""
    if factor <= 1:
        return tuple(int(c * factor) for c in color)
    return tuple(int(255 - (255 - c) * (2 - factor)) for c in color)


def _mix(ground: np.ndarray, top: Union[np.ndarray, Color],
         opacity: Union[np.ndarray, float]) -> np.ndarray:
    return np.uint8(np.round(ground * (1 - opacity) + np.asarray(top) * opacity))


def _blend_mask(canvas: np.ndarray, mask: np.ndarray, color: Color) -> None:
    """Blend a mask of the unresized image into ``canvas``, in place and nowhere else."""
    if not mask.any():
        return
    height, width = canvas.shape[:2]
    soft = mask.astype(np.float32)
    if soft.shape != (height, width):
        soft = cv2.GaussianBlur(soft, (0, 0), 0.6)
        soft = cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y, w, h = cv2.boundingRect(np.uint8(soft > 0))
    window = np.s_[y:y + h, x:x + w]
    soft = soft[window]
    inside = np.clip(0.5 + (soft - 0.5) * width / mask.shape[1], 0, 1)
    depth = cv2.distanceTransform(np.pad(np.uint8(soft >= 0.5), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    line_width = max(1, 0.0022 * max(height, width))
    line = np.clip(line_width + 1 - depth, 0, 1) * inside
    filled = _mix(canvas[window], color, 0.42 * inside[..., None])
    canvas[window] = _mix(filled, _shade(color, 0.8), 0.9 * line[..., None])


def _draw_skeleton(canvas: np.ndarray, points: np.ndarray, shown: np.ndarray,
                   links: Sequence[Tuple[int, int]], color: Color, width: float,
                   dot: float) -> None:
    """Limbs and keypoints with a dark rim that sets them off from the mask, in place."""
    limbs = [(points[a], points[b]) for a, b in links if shown[a] and shown[b]]
    rim, dot_rim = 0.35 * width + 0.5, 0.35 * dot + 0.5
    dark, limb, joint = _shade(color, 0.3), _shade(color, 1.15), _shade(color, 1.5)
    for start, end in limbs:
        _stroke(canvas, start, end, dark, width + 2 * rim)
    for point in points[shown]:
        _dot(canvas, point, 1.15 * dot + dot_rim, dark)
    for start, end in limbs:
        _stroke(canvas, start, end, limb, width)
    for point in points[shown]:
        _dot(canvas, point, 1.15 * dot, joint)


def _fixed(values: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(values) * 2**_SUBPIXEL).astype(np.int32)


def _dot(canvas: np.ndarray, point: np.ndarray, radius: float, color: Color) -> None:
    center, radius = _fixed(point).tolist(), int(_fixed(radius))
    cv2.circle(canvas, center, radius, color, -1, cv2.LINE_AA, _SUBPIXEL)


def _fill(canvas: np.ndarray, corners: np.ndarray, color: Color) -> None:
    cv2.fillConvexPoly(canvas, _fixed(corners), color, cv2.LINE_AA, _SUBPIXEL)


def _stroke(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, color: Color,
            width: float) -> None:
    """A straight line of fractional width, which OpenCV's own lines cannot have."""
    along = np.asarray(end, float) - start
    length = np.linalg.norm(along)
    if length > 0:
        across = 0.5 * width * np.array([-along[1], along[0]]) / length
        corners = [start + across, end + across, end - across, start - across]
        _fill(canvas, np.stack(corners), color)
