import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.engine.hooks import PoseVisualizationHook
from mmpose.registry import HOOKS, VISUALIZERS
from mmpose.structures import PoseDataSample
from pycocotools import mask as coco_mask

from kdc_mm.visualization import PoseSegVisualizer

LINKS = [(0, 1), (1, 2)]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


def make_visualizer(**kwargs):
    visualizer = PoseSegVisualizer(**kwargs)
    visualizer.set_dataset_meta(dict(skeleton_links=LINKS))
    return visualizer


@pytest.fixture
def visualizer():
    """One that draws fields, and enlarges nothing, so that sizes are easy to tell."""
    return make_visualizer(draw_fields=True, min_long_side=0)


def sample(n=2, fields=False, ground_truth=False):
    """A sample of n predicted people on an image of 60x80 in an input of 81x81."""
    rng = np.random.default_rng(1)
    mask = np.zeros((60, 80), np.uint8, order='F')
    mask[10:50, 20:60] = 1
    rle = coco_mask.encode(mask)
    data_sample = PoseDataSample(
        metainfo=dict(
            ori_shape=(60, 80),
            input_size=(81, 81),
            input_center=np.array([40., 30]),
            input_scale=np.array([80., 80])))
    data_sample.pred_instances = InstanceData(
        keypoints=rng.uniform(5, 55, (n, 3, 2)),
        keypoint_scores=np.ones((n, 3)),
        bboxes=rng.uniform(5, 55, (n, 4)),
        masks=[rle] * n)
    if fields:
        data_sample.pred_fields = PixelData(
            heatmaps=torch.rand(3, 21, 21),
            key_centroids=torch.randn(6, 21, 21),
            semantic=torch.rand(1, 21, 21),
            mask_centroids=torch.randn(2, 21, 21))
    if ground_truth:
        annotation = dict(keypoints=[30, 30, 2] * 3, bbox=[20, 10, 40, 40], segmentation=rle)
        data_sample.set_metainfo(dict(raw_ann_info=[annotation]))
    return data_sample


def test_a_config_reaches_it_by_name():
    assert VISUALIZERS.get('PoseSegVisualizer') is PoseSegVisualizer


@pytest.mark.parametrize('n', [0, 1, 3])
def test_a_prediction_is_drawn_at_the_size_of_its_image(visualizer, image, n):
    picture = visualizer.add_datasample('name', image, sample(n), draw_gt=False)
    assert picture.shape == image.shape and picture.dtype == np.uint8


def test_small_images_are_enlarged(image):
    visualizer = make_visualizer(min_long_side=320)
    picture = visualizer.add_datasample('name', image, sample(), draw_gt=False)
    assert picture.shape == (240, 320, 3)


def test_ground_truth_stands_beside_the_prediction(visualizer, image):
    picture = visualizer.add_datasample('name', image, sample(ground_truth=True))
    assert picture.shape == (60, 160, 3)


@pytest.mark.parametrize('n', [0, 2])
def test_predicted_fields_add_three_panels(visualizer, image, n):
    picture = visualizer.add_datasample('name', image, sample(n, fields=True), draw_gt=False)
    assert picture.shape == (120, 160, 3)


def test_without_the_flag_no_fields_are_drawn(image):
    visualizer = make_visualizer(min_long_side=0)
    picture = visualizer.add_datasample('name', image, sample(fields=True), draw_gt=False)
    assert picture.shape == image.shape


def test_people_without_masks_have_boxes_on_request(visualizer, image):
    data_sample = sample()
    del data_sample.pred_instances.masks
    plain = visualizer.add_datasample('name', image, data_sample)
    boxed = visualizer.add_datasample('name', image, data_sample, draw_bbox=True)
    assert (plain != boxed).any()


def test_the_picture_is_written_to_a_file(visualizer, image, tmp_path):
    out = tmp_path / 'out.png'
    picture = visualizer.add_datasample('name', image, sample(), draw_gt=False, out_file=str(out))
    assert (cv2.imread(str(out))[..., ::-1] == picture).all()


class Run:
    """What a visualization hook asks of a runner."""
    timestamp = 'run'

    def __init__(self, work_dir, meta):
        self.work_dir = str(work_dir)
        self.test_evaluator = type('Evaluator', (), dict(dataset_meta=meta))


@pytest.mark.parametrize('kind, panels', [('PoseVisualizationHook', 2),
                                          ('PoseSegVisualizationHook', 4)])
def test_the_hooks_draw_what_they_hand_over(visualizer, image, tmp_path, monkeypatch, kind, panels):
    monkeypatch.setattr(PoseVisualizationHook.__init__.__globals__['Visualizer'],
                        'get_current_instance', lambda: visualizer)
    hook = HOOKS.build(dict(type=kind, enable=True, out_dir='pictures'))
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    data_sample = sample(fields=True)
    data_sample.set_metainfo(dict(img_path=str(tmp_path / 'a.png')))
    run = Run(tmp_path, dict(skeleton_links=LINKS))
    hook.after_test_iter(run, 0, {}, [data_sample])
    picture = cv2.imread(str(tmp_path / 'run/pictures/a_0.png'))
    assert picture.shape[0] * picture.shape[1] == panels * 60 * 80
