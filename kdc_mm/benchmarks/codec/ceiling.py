"""What a codec can reach at best: ground truth encoded, decoded and evaluated."""
import contextlib
import io
import time
from collections import defaultdict
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmpose.datasets.transforms import BottomupRandomAffine
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from kdc_mm.datasets import BottomupGetPersonMasks
from kdc_mm.evaluation import PersonPoseMetric
from kdc_mm_runtime.people import ImageFrame

from .bottomup_codecs import Crowd, Decoded
from .map_noise import MapNoise

_SEGM_NAMES = ('AP', 'AP .5', 'AP .75', 'AP (S)', 'AP (M)', 'AP (L)', 'AR 1', 'AR 10', 'AR',
               'AR (S)', 'AR (M)', 'AR (L)')


class ImageResult(NamedTuple):
    """What was decoded from one image, in original pixels."""
    img_id: int
    decoded: Decoded


class Measured(NamedTuple):
    """Results of one codec on all images, and the times of each in ms by name."""
    results: List[ImageResult]
    times: Dict[str, List[float]]


def crowd_in_input(info: Dict, input_size: Tuple[int, int]) -> Crowd:
    """The people of one image as training encodes them, without random changes.

    The image fits into the input as a whole, in its middle.

    Args:
        info (dict): What ``dataset.get_data_info`` returns, with at least one row.
        input_size (tuple[int, int]): Input size [W, H].
    """
    info = dict(info, keypoints_visible=info['keypoints_visible'].copy())
    height, width = info['ann_img_shape']
    affine = BottomupRandomAffine(
        input_size=input_size, scale_type='long', shift_prob=0, scale_prob=0, rotate_prob=0)
    info.update(
        img=np.zeros((height, width), np.uint8), img_shape=(height, width),
        ori_shape=(height, width))
    masks = BottomupGetPersonMasks()
    image_owner = masks(dict(info)).get('mask_owner')
    info = masks(affine(info))
    warp = info['warp_mat']
    frame = ImageFrame((width, height), (warp[0, 0], warp[1, 1]), (warp[0, 2], warp[1, 2]))
    return Crowd(info['keypoints'], info['keypoints_visible'], frame, info.get('mask_owner'),
                 info['heatmap_ignore'], image_owner)


def measure_codecs(dataset, codecs: Sequence, noise_px: float = 0.,
                   after_image: Callable[[], None] = lambda: None) -> Dict[str, Measured]:
    """Encode and decode every image with every codec, in turns.

    Args:
        dataset: Data set of the plugin with an empty pipeline and annotated images only.
        codecs (sequence): Codecs of :mod:`kdc_mm.benchmarks.codec.bottomup_codecs`.
        noise_px (float): Errors of the maps, see
            :class:`~kdc_mm.benchmarks.codec.map_noise.MapNoise`; 0 for perfect maps.
        after_image (callable): Called after each image, for a progress bar.

    Returns:
        dict[str, Measured]: by the codecs' names. ``encode_ms`` and ``decode_ms`` are of keypoints;
        ``mask_ms`` is what masks add to decoding, for codecs that have them.
    """
    measured = {codec.name: Measured([], defaultdict(list)) for codec in codecs}
    for index in range(-1, len(dataset)):
        for codec in codecs:
            info = dataset.get_data_info(max(index, 0))
            crowd = crowd_in_input(info, codec.input_size)
            noise = MapNoise(noise_px, index) if noise_px and index >= 0 else None
            decoded, times = _measure_image(codec, crowd, noise)
            if index < 0:
                continue  # the first time, just-in-time compilers run
            results, all_times = measured[codec.name]
            keypoints = (decoded.keypoints - crowd.frame.offset) / crowd.frame.scale
            results.append(ImageResult(info['img_id'], decoded._replace(keypoints=keypoints)))
            for name, ms in times.items():
                all_times[name].append(ms)
        if index >= 0:
            after_image()
    return measured


def _measure_image(codec, crowd: Crowd,
                   noise: Optional[MapNoise]) -> Tuple[Decoded, Dict[str, float]]:
    encoded, encode_ms = timed(lambda: codec.encode(crowd))
    maps = codec.perfect_maps(crowd, encoded)
    if noise is not None:
        maps = codec.perturb(maps, crowd, noise)
    decoded, decode_ms = timed(lambda: codec.decode(maps))
    times = dict(encode_ms=encode_ms, decode_ms=decode_ms)
    if 'semantic' in maps:
        decoded, both_ms = timed(lambda: codec.decode(maps, crowd.frame))
        times['mask_ms'] = both_ms - decode_ms
    return decoded, times


def timed(call: Callable):
    """What the call returns, and the processor time it took in ms, whatever else is running."""
    start = time.process_time()
    result = call()
    return result, 1e3 * (time.process_time() - start)


def evaluate_keypoints(results: Sequence[ImageResult], ann_file: str, iou_type: str,
                       metainfo: Dict) -> Dict[str, float]:
    """The keypoint metric on decoded keypoints.

    Args:
        results (sequence[ImageResult]): The results of all images.
        ann_file (str): Annotation file.
        iou_type (str): 'keypoints' or 'keypoints_crowd'.
        metainfo (dict): The data set's, for its OKS sigmas.

    Returns:
        dict[str, float]: All scores of the metric, 0 to 1, -1 where nothing is annotated. Only
        AP 0 if nobody was decoded at all.
    """
    if not any(len(decoded.scores) for _, decoded in results):
        return dict(AP=0.)
    with contextlib.redirect_stdout(io.StringIO()):
        metric = PersonPoseMetric(
            ann_file=ann_file, iou_type=iou_type, nms_mode='none', score_mode='bbox')
        metric.dataset_meta = metainfo
        for img_id, decoded in results:
            metric.process({}, [
                dict(
                    id=[],
                    img_id=img_id,
                    gt_instances={},
                    pred_instances=dict(
                        keypoints=decoded.keypoints,
                        keypoint_scores=decoded.keypoint_scores,
                        bbox_scores=decoded.scores))
            ])
        scores = metric.compute_metrics(metric.results)
    return {name: float(value) for name, value in scores.items()}


def evaluate_masks(results: Sequence[ImageResult], ann_file: str) -> Dict[str, float]:
    """COCO's mask metric on decoded masks; scores as of :func:`evaluate_keypoints`.

    Args:
        results (sequence[ImageResult]): The results of all images.
        ann_file (str): Annotation file in which all persons have segmentations.
    """
    found = [
        dict(image_id=img_id, category_id=1, score=float(score), segmentation=mask)
        for img_id, decoded in results
        for mask, score in zip(decoded.masks, decoded.mask_scores)
    ]
    if not found:
        return dict(AP=0.)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ann_file)
        evaluation = COCOeval(truth, truth.loadRes(found), 'segm')
        evaluation.params.catIds = [1]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(_SEGM_NAMES, evaluation.stats.tolist()))
