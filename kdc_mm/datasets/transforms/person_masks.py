from typing import Dict, List, Optional, Tuple, Union

import cv2
import numpy as np
import pycocotools.mask as cocomask
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from ...codecs.owner_maps import IGNORED, MAX_PERSONS, NOBODY
from ..segmentations import clean_segmentation


def image_to_input(results: Dict) -> Tuple[np.ndarray, Tuple[int, int]]:
    """The map from image to input pixel indices that the pipeline has applied so far.

    Args:
        results (dict): ``warp_mat`` (2, 3) or (3, 3) and ``input_size`` (w, h), or without
            ``warp_mat`` ``ori_shape`` (h, w); ``flip`` and ``flip_direction`` (optional). A flip
            is taken to come after the warp.

    Returns:
        tuple:
        - matrix (np.ndarray): (3, 3), homogeneous (x, y, 1)
        - shape (tuple): height and width of the frame it leads to, in pixels

    Raises:
        ValueError: An input that is not square was flipped.
    """
    matrix = np.eye(3)
    if 'warp_mat' in results:
        w, h = results['input_size']
        matrix[:len(results['warp_mat'])] = results['warp_mat']
    else:
        h, w = results['ori_shape'][:2]

    flip = np.eye(3)
    direction = results.get('flip_direction') if results.get('flip') else None
    if direction and 'warp_mat' in results and w != h:
        # RandomFlip reads `input_size`, which is (w, h), as (h, w).
        raise ValueError(f"MMPose's RandomFlip misplaces the keypoints of inputs that are not "
                         f'square: the input size is {(w, h)}. Use a square input or no flip.')
    if direction in ('horizontal', 'diagonal'):
        flip[0] = [-1, 0, w - 1]
    if direction in ('vertical', 'diagonal'):
        flip[1] = [0, -1, h - 1]
    return flip @ matrix, (int(h), int(w))


def warp_polygon(polygon: List[float], matrix: np.ndarray) -> np.ndarray:
    """Move a COCO polygon, whose pixel 0 spans 0 to 1, with a map of pixel indices, in which the
    centre of pixel 0 is 0.

    Args:
        polygon (list): P vertices x0, y0, x1, y1, ..., in pixels.
        matrix (np.ndarray): (3, 3) map of pixel indices.

    Returns:
        np.ndarray: The moved polygon, (2P,) in pixels.
    """
    points = np.asarray(polygon, dtype=np.float64).reshape(-1, 2) - 0.5
    points = points @ matrix[:, :2].T + matrix[:, 2]
    return (points[:, :2] / points[:, 2:] + 0.5).reshape(-1)


def rasterize(segmentation: Union[List, Dict], matrix: np.ndarray, shape: Tuple[int,
                                                                               int]) -> np.ndarray:
    """Draw a segmentation in the frame that ``matrix`` leads to.

    Polygons are moved as vertices and drawn by pycocotools, the rasteriser of the metric. An RLE
    mask is resampled bilinearly and cut at one half.

    Args:
        segmentation (list | dict): Polygons in COCO's format, or an RLE, compressed or not, of
            the size of the image.
        matrix (np.ndarray): (3, 3) map of pixel indices, see :func:`image_to_input`.
        shape (tuple): Height h and width w of the frame in pixels.

    Returns:
        np.ndarray: (h, w) bool, in column-major order as pycocotools returns it.
    """
    if isinstance(segmentation, dict):
        if isinstance(segmentation['counts'], list):
            segmentation = cocomask.frPyObjects(segmentation, *segmentation['size'])
        # The transposed mask is row-major, as OpenCV wants it, without a copy: x and y change
        # places on both sides of the map.
        swap = [1, 0, 2]
        mask = cv2.warpPerspective(
            255 * cocomask.decode(segmentation).T, matrix[swap][:, swap], shape)
        return (mask > 127).T

    polygons = [warp_polygon(polygon, matrix) for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return np.zeros(shape, dtype=bool, order='F')
    rle = cocomask.merge(cocomask.frPyObjects(polygons, *shape))
    return cocomask.decode(rle).view(bool)


def box_polygon(box: List[float]) -> List[List[float]]:
    """The outline of a COCO box (x, y, w, h) as a segmentation."""
    x, y, w, h = box
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def keep_rows(results: Dict, rows: np.ndarray) -> None:
    """Keep these rows, in this order, of every key with one entry per row."""
    for key in ('bbox', 'bbox_score', 'num_keypoints', 'keypoints', 'keypoints_visible', 'area',
                'iscrowd', 'id', 'category_id', 'raw_ann_info', 'keypoint_undefined'):
        if key not in results:
            continue
        value = results[key]
        is_array = isinstance(value, np.ndarray)
        results[key] = value[rows] if is_array else [value[row] for row in rows]


@TRANSFORMS.register_module()
class BottomupGetPersonMasks(BaseTransform):
    """Draw the persons' segmentations in the input frame, once, after all geometric transforms,
    and have ``PackPoseInputs`` hand them on with the keypoints: all that a KDC head trains on.

    Works on this package's data sets and on MMPose's COCO-style ones. Letters: N rows of an image,
    K keypoints, input size w x h. Without ``warp_mat`` (before ``BottomupRandomAffine``, and after
    ``BottomupResize``, which moves no keypoints) the frame is the image's, that of the keypoints.

    Required Keys:

        - ori_shape
        - img_path
        - flip_indices, raw_ann_info
        - keypoints, keypoints_visible, iscrowd (if there are rows); keypoints_visible is (N, K), or
          after MMPose's ``KeypointConverter`` (N, K, 2) with 0 in the last column of keypoints that
          the image's data set does not define
        - ann_img_shape (optional)
        - warp_mat and input_size (optional)
        - flip and flip_direction (optional)

    Modified Keys:

        - keypoints_visible: (N, K), 0 in crowd rows
        - all keys with one entry per row, where N > 254: the rows of the 254 largest persons stay

    Added Keys:

        - mask_owner (np.ndarray): (h, w) uint8, who is visible in a pixel: 0 background, j + 1
          the instance of row j, 255 ignored. Larger instances are painted first. Ignored is what
          no instance covers in crowd regions and in the boxes of persons without segmentation.
          Not added if the image has persons and none of them has a segmentation.
        - heatmap_ignore (np.ndarray): (h, w) bool, crowd regions and persons without labelled
          keypoints: their segmentation, or else their box. It is the people themselves; the
          codec, which knows the disk radius R, leaves out what lies within R of them as well.
        - keypoint_table (np.ndarray): (N, K, 3) float32: x, y in pixels of the frame, labelled.
        - keypoint_undefined (np.ndarray): (N, K) bool, only after ``KeypointConverter``; packed
          with ``keypoint_table``
        - mask_owner_field, heatmap_ignore_field: the two maps as (1, h, w), which ``PixelData``
          wants
        - field_mapping_table, label_mapping_table: what ``PackPoseInputs`` puts into
          ``gt_fields`` (``mask_owner``, ``heatmap_ignore``) and ``gt_instance_labels``
          (``keypoint_table``)

    Raises:
        ValueError: The image file has another size than the annotation file says, an input that
            is not square was flipped, which MMPose does wrongly, or the data set gives single
            persons instead of images.
    """

    field_mapping_table = dict(
        mask_owner_field='mask_owner', heatmap_ignore_field='heatmap_ignore')
    label_mapping_table = dict(keypoint_table='keypoint_table')

    def transform(self, results: Dict) -> Optional[dict]:
        """The transform function of :class:`BottomupGetPersonMasks`.

        Args:
            results (dict): The result dict.

        Returns:
            dict: The result dict with the added keys.
        """
        if isinstance(results['raw_ann_info'], dict):
            raise ValueError(f'A sample is one person of the image {results["img_path"]!r}, not '
                             "the image: give the data set data_mode='bottomup', or take "
                             "kdc_mm's, as KDCCocoDataset.")
        h, w = results.get('ann_img_shape', results['ori_shape'][:2])
        if (h, w) != tuple(results['ori_shape'][:2]):
            raise ValueError(f'The image {results["img_path"]!r} is {results["ori_shape"][1]}x'
                             f'{results["ori_shape"][0]} pixels, but the annotation file gives it '
                             f'{w}x{h}: masks and keypoints would not lie on it.')
        if results['raw_ann_info'] and results['keypoints_visible'].ndim == 3:
            visible, defined = np.moveaxis(results['keypoints_visible'], 2, 0)
            results.update(keypoints_visible=visible, keypoint_undefined=defined == 0)
        self._draw(results)
        self._pack(results)
        return results

    def _draw(self, results: Dict) -> None:
        """Add ``mask_owner`` and ``heatmap_ignore``."""
        annotations = results['raw_ann_info'] or []
        matrix, shape = image_to_input(results)
        height, width = results['ori_shape'][:2]
        segs = [clean_segmentation(ann.get('segmentation'), height, width) for ann in annotations]
        # Column-major, as pycocotools draws.
        owner = np.zeros(shape, dtype=np.uint8, order='F')
        mask_ignore = np.zeros(shape, dtype=bool, order='F')
        heatmap_ignore = np.zeros(shape, dtype=bool, order='F')
        if segs:
            regions = [
                rasterize(seg or box_polygon(ann['bbox']), matrix, shape)
                for seg, ann in zip(segs, annotations)
            ]
            crowd = np.array(results['iscrowd'], dtype=bool)
            results['keypoints_visible'][crowd] = 0
            labelled = (results['keypoints_visible'] > 0).any(axis=1)
            areas = np.array([np.count_nonzero(region) for region in regions])

            order = np.lexsort((-areas, crowd))  # persons from large to small, then crowds
            kept = np.sort(order[:MAX_PERSONS])
            for row in order:
                dropped = row not in kept
                if crowd[row] or dropped or not labelled[row]:
                    heatmap_ignore |= regions[row]
                if crowd[row] or dropped or segs[row] is None:
                    mask_ignore |= regions[row]
                else:
                    np.copyto(owner, 1 + np.searchsorted(kept, row), where=regions[row])
            owner[mask_ignore & (owner == NOBODY)] = IGNORED
            if len(order) > len(kept):
                keep_rows(results, kept)

        if not segs or any(segs):
            results['mask_owner'] = np.ascontiguousarray(owner)
        results['heatmap_ignore'] = np.ascontiguousarray(heatmap_ignore)

    def _pack(self, results: Dict) -> None:
        """Add what ``PackPoseInputs`` hands on, and the tables that tell it so."""
        if results['raw_ann_info']:
            labelled = results['keypoints_visible'] > 0
            table = np.concatenate([results['keypoints'], labelled[..., None]], axis=2)
        else:
            table = np.zeros((0, len(results['flip_indices']), 3))
        results['keypoint_table'] = table.astype(np.float32)
        for key in ('mask_owner', 'heatmap_ignore'):
            if key in results:
                results[f'{key}_field'] = results[key][None]
        results['field_mapping_table'] = self.field_mapping_table
        results['label_mapping_table'] = self.label_mapping_table
        if 'keypoint_undefined' in results:
            results['label_mapping_table'] = dict(
                self.label_mapping_table, keypoint_undefined='keypoint_undefined')
