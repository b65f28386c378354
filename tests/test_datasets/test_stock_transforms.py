"""What this package relies on in MMPose's own transforms."""
import cv2
import numpy as np
import pytest
from mmengine.structures import InstanceData
from mmpose.models import BottomupPoseEstimator
from mmpose.registry import TRANSFORMS
from mmpose.structures import PoseDataSample


def test_the_pillow_backend_loads_blue_first(tmp_path):
    path = tmp_path / 'blue.png'
    cv2.imwrite(str(path), np.full((4, 6, 3), (255, 10, 20), dtype=np.uint8))
    load = TRANSFORMS.build(dict(type='LoadImage', imdecode_backend='pillow'))
    results = load(dict(img_path=str(path)))
    assert results['img'].shape == (4, 6, 3)
    assert (results['img'] == (255, 10, 20)).all()


def test_random_flip_takes_the_width_of_an_oblong_input_for_its_height():
    # Why BottomupGetPersonMasks refuses it. When this fails, MMPose has been mended.
    flip = TRANSFORMS.build(dict(type='RandomFlip', prob=1.0))
    results = flip(
        dict(
            img=np.zeros((101, 201, 3), dtype=np.uint8),
            img_shape=(101, 201),
            input_size=(201, 101),
            flip_indices=[0],
            keypoints=np.zeros((1, 1, 2)),
            keypoints_visible=np.ones((1, 1))))
    assert results['keypoints'][0, 0, 0] == 100


@pytest.mark.parametrize('height, width', [(480, 640), (640, 427), (401, 401), (100, 1000)])
def test_the_estimator_maps_keypoints_back_through_the_test_resize(height, width):
    # A blurred spot is found again in the input as its centre of mass.
    resize = TRANSFORMS.build(
        dict(type='BottomupResize', input_size=(401, 401), size_factor=1, resize_mode='fit'))
    points = np.array([[width // 4, height // 4], [width * 3 // 4, height // 2]])
    found = []
    for x, y in points:
        rows, columns = np.mgrid[:height, :width]
        spot = np.exp(-((columns - x)**2 + (rows - y)**2) / (2 * 6.0**2))
        img = np.repeat(spot[..., None], 3, axis=-1).astype(np.float32)
        results = resize(dict(img=img, ori_shape=(height, width), img_shape=(height, width)))
        weights = results['img'][..., 0].astype(float)
        vs, us = np.mgrid[:401, :401]
        found.append([np.average(us, weights=weights), np.average(vs, weights=weights)])
    assert results['img'].shape == (401, 401, 3)
    assert 'warp_mat' not in results

    sample = PoseDataSample(metainfo={
        key: results[key]
        for key in ('input_size', 'input_center', 'input_scale')
    })
    pred = InstanceData(
        keypoints=np.array(found)[None], keypoint_scores=np.ones((1, 2)),
        bboxes=np.array(found).reshape(1, 4))
    BottomupPoseEstimator.add_pred_to_datasample(None, [pred], None, [sample])
    assert np.abs(sample.pred_instances.keypoints[0] - points).max() < 0.1
    assert np.abs(sample.pred_instances.bboxes[0] - points.reshape(-1)).max() < 0.1
