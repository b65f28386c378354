"""What a web page shows of a photo: the network looks once, pictures are drawn as often as asked.

Nothing here knows of a web server. All of a photo is held in memory.
"""
import itertools
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import cv2
import mmcv
import numpy as np
from mmengine.structures import InstanceData, PixelData
from mmpose.structures import PoseDataSample
from pycocotools import mask as coco_mask

from ..benchmarks.network.speed import ForwardClock
from ..visualization.draw import (
    Color,
    decode_masks,
    draw_people,
    person_colors,
    zoom_for,
    zoom_image,
    zoom_points,
)
from ..visualization.fields import field_panels
from .inferencer import PoseSegInferencer, describe_people
from .sources import check_image

#: Pixels of the longer side of a picture at most.
LONGEST_SIDE = 1280

#: Layers of the picture of people.
PEOPLE = ('skeletons', 'masks')
#: Layers with pictures of their own, and the fields that are drawn there.
FIELDS = {
    'heatmaps': ('heatmaps', ),
    'KeyCentroids': ('key_centroids', ),
    'MaskCentroids': ('mask_centroids', 'semantic')
}


class View(NamedTuple):
    """What is to be shown of a photo."""
    layers: Sequence[str] = ('skeletons', 'masks')
    """Of :data:`PEOPLE` and :data:`FIELDS`."""
    person_thr: float = 0.1
    """People of a lower score are left out, from the JSON too."""
    kpt_thr: float = 0.2
    """Keypoints of a lower score are not drawn."""


class Photo(NamedTuple):
    """A photo that the network has seen."""
    name: str
    image: np.ndarray
    """RGB (h, w, 3) uint8, no longer than :data:`LONGEST_SIDE`."""
    sample: PoseDataSample
    """n people and the fields, in pixels of ``image``."""
    people: List[dict]
    """The n people in pixels of the photo itself, as :func:`.describe_people` says."""
    milliseconds: Dict[str, float]
    """Of the steps load, network and decode."""

    def is_shown(self, view: View) -> np.ndarray:
        """Which of the people are, bool (n,)."""
        return self.sample.pred_instances.bbox_scores >= view.person_thr

    def shown_people(self, view: View) -> List[dict]:
        """The people that are shown, as ``predictions/`` of ``tools/infer.py`` has them."""
        return list(itertools.compress(self.people, self.is_shown(view)))


class PhotoViewer:
    """Looks at photos with a network, and draws what it saw.

    Args:
        inferencer (PoseSegInferencer): The network.
    """

    def __init__(self, inferencer: PoseSegInferencer) -> None:
        self.inferencer = inferencer
        grey = np.full((64, 64, 3), 127, np.uint8)
        batch, _ = next(inferencer.preprocess([grey]))
        fields = self._forward(batch).pred_fields  # this loads kernels, too
        #: What there is of :data:`PEOPLE` and :data:`FIELDS`.
        self.layers = ['skeletons', *(['masks'] if 'semantic' in fields else []),
                       *[layer for layer, needed in FIELDS.items() if needed[0] in fields]]

    def look(self, file: Path) -> Photo:
        """Find people on a photo; not to be called by two threads at a time.

        Args:
            file (Path): The photo.

        Raises:
            OSError: It cannot be used; the message names it without its folder.
        """
        begun = time.perf_counter()
        image = self._load(file)
        batch, _ = next(self.inferencer.preprocess([image]))
        device = next(self.inferencer.model.parameters()).device
        with ForwardClock(self.inferencer.model, device.type) as clock:
            loaded = clock.now()
            sample = self._forward(batch)
            done = clock.now()
        seconds = dict(load=loaded - begun, network=clock.elapsed,
                       decode=done - loaded - clock.elapsed)
        people = describe_people(sample.pred_instances)
        image, sample = shrink(mmcv.bgr2rgb(image), sample)
        return Photo(file.name, image, sample, people,
                     {step: 1e3 * duration for step, duration in seconds.items()})

    def _forward(self, batch: dict) -> PoseDataSample:
        """A sample with its fields, which any call of the inferencer switches off."""
        self.inferencer.model.test_cfg['output_heatmaps'] = True
        return self.inferencer.forward(batch)[0]

    def _load(self, file: Path) -> np.ndarray:
        try:
            check_image(str(file))
            return self.inferencer.load_image(str(file))
        except OSError as error:
            raise OSError(str(error).replace(str(file), file.name)) from error

    def draw(self, photo: Photo, view: View) -> Dict[str, np.ndarray]:
        """Pictures of a photo: ``people``, and one for each field that the view names.

        Returns:
            dict: RGB (h, w, 3) uint8 by name; fields are called as in :data:`FIELDS`.
        """
        is_shown = photo.is_shown(view)
        found = photo.sample.pred_instances[is_shown]
        colors = list(itertools.compress(person_colors(len(is_shown)), is_shown))
        people = draw_people(
            photo.image, found.keypoints, found.keypoint_scores,
            found.masks if 'masks' in view.layers else None,
            self.inferencer.model.dataset_meta['skeleton_links'],
            view.kpt_thr if 'skeletons' in view.layers else np.inf, colors, zoom_for(photo.image))
        layers = [layer for layer in FIELDS if layer in view.layers]
        return dict(people=people, **draw_fields(photo, found, colors, layers))


def draw_fields(photo: Photo, found: InstanceData, colors: Sequence[Color],
                layers: Sequence[str]) -> Dict[str, np.ndarray]:
    """Pictures of fields, by layer.

    Args:
        photo (Photo): The photo.
        found (InstanceData): n people of it.
        colors (Sequence): n colours.
        layers (Sequence[str]): Of :data:`FIELDS`, in that order.
    """
    if not layers:
        return {}
    drawn = ['heatmaps', *[layer for layer in layers if layer != 'heatmaps']]
    fields = PixelData(**{name: photo.sample.pred_fields.get(name)
                          for layer in drawn for name in FIELDS[layer]})
    masks = decode_masks(found.get('masks', []), photo.image.shape[:2])
    panels = field_panels(photo.image, fields, photo.sample, masks, colors, zoom_for(photo.image))
    pictures = dict(zip(drawn, panels))
    return {layer: pictures[layer] for layer in layers}


def shrink(image: np.ndarray, sample: PoseDataSample) -> Tuple[np.ndarray, PoseDataSample]:
    """An image no longer than :data:`LONGEST_SIDE`, and what was found in its pixels.

    Args:
        image (np.ndarray): (h, w, 3) uint8.
        sample (PoseDataSample): In pixels of ``image``; it is changed.
    """
    sample = sample.cpu()
    factor = LONGEST_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image, sample
    image = zoom_image(image, factor)
    found = sample.pred_instances
    found.keypoints = zoom_points(found.keypoints, factor)
    if 'masks' in found:
        found.masks = [shrink_mask(mask, image.shape[1::-1]) for mask in found.masks]
    sample.set_metainfo(dict(
        ori_shape=image.shape[:2],
        input_center=zoom_points(sample.input_center, factor),
        input_scale=np.asarray(sample.input_scale) * factor))
    return image, sample


def shrink_mask(mask: dict, size: Tuple[int, int]) -> dict:
    """A COCO RLE resized to w, h."""
    soft = cv2.resize(
        coco_mask.decode(mask).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return coco_mask.encode(np.asfortranarray(soft >= 0.5, np.uint8))
