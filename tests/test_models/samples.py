"""Packed samples of drawn people, as the loader gives them to a model."""
import cv2
import numpy as np
from mmpose.datasets.transforms import PackPoseInputs

from kdc_mm.datasets import BottomupGetPersonMasks
from tests.test_codecs.people import STANDING, Scene

COCO = 'configs/_base_/datasets/coco.py'
META_KEYS = ('id', 'img_id', 'img_path', 'ori_shape', 'img_shape', 'input_size', 'input_center',
             'input_scale', 'flip_indices')


def codec_config(size=97, **settings):
    """A codec for square inputs of ``size`` px."""
    return dict(
        dict(type='PoseSeg', input_size=(size, size), metainfo=COCO, radius=12), **settings)


def two_people(size=97) -> Scene:
    """Two standing persons side by side, all keypoints labelled."""
    keypoints = np.stack([STANDING * 0.7 * size + (x * size, 0.5 * size) for x in (0.3, 0.7)])
    return Scene(keypoints, np.ones((2, 17), bool))


def outlines(scene: Scene, size=97) -> np.ndarray:
    """Owner map (size, size) of the persons' convex hulls."""
    owner = np.zeros((size, size), np.uint8)
    for j, keypoints in enumerate(scene.keypoints):
        hull = cv2.convexHull(keypoints.astype(np.float32))
        cv2.fillConvexPoly(owner, hull.round().astype(np.int32), j + 1)
    return owner


def pack(codec: dict, scene: Scene, mask_owner=None, ignore=None, flip_indices=None) -> dict:
    """``inputs`` and ``data_samples`` of one image of noise, through the pipeline's last step.

    Args:
        codec (dict): Its input size is the image's.
        scene (Scene): The people.
        mask_owner (np.ndarray, optional): (h, w) uint8 owner map of the masks.
        ignore (np.ndarray, optional): (h, w) bool, what the heatmap loss ignores.
        flip_indices (list, optional): Of the data set.
    """
    width, height = codec['input_size']
    results = dict(
        img=np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8),
        keypoints=scene.keypoints.astype(np.float32),
        keypoints_visible=scene.labelled.astype(np.float32),
        id=[], img_id=7, img_path='7.jpg', ori_shape=(height, width), img_shape=(height, width),
        input_size=(width, height), input_center=np.array([width, height]) / 2,
        input_scale=np.array([width, height], float), flip_indices=flip_indices)
    results.update(
        keypoint_table=np.concatenate(
            [scene.keypoints, scene.labelled[..., None]], axis=2).astype(np.float32),
        heatmap_ignore_field=np.zeros((1, height, width), bool) if ignore is None else ignore[None],
        field_mapping_table=BottomupGetPersonMasks.field_mapping_table,
        label_mapping_table=BottomupGetPersonMasks.label_mapping_table)
    if mask_owner is not None:
        results['mask_owner_field'] = mask_owner[None]
    return PackPoseInputs(meta_keys=META_KEYS)(results)


def pack_two_people(codec: dict, **masks):
    """One packed image of :func:`two_people`, with masks unless told otherwise."""
    size = codec['input_size'][0]
    scene = two_people(size)
    masks = masks or dict(mask_owner=outlines(scene, size))
    return pack(codec, scene, **masks)


NOBODY = Scene(np.zeros((0, 17, 2)), np.zeros((0, 17), bool))


def narrow_hrnet(*channels):
    """``extra`` of an HRNet of one block a branch, whose four branches have these channels."""
    def stage(branches, block='BASIC', channels=channels):
        return dict(num_modules=1, num_branches=branches, block=block, num_blocks=(1, ) * branches,
                    num_channels=channels[:branches])

    return dict(stage1=stage(1, 'BOTTLENECK', (16, )), stage2=stage(2), stage3=stage(3),
                stage4=stage(4))
