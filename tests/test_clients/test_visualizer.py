"""MMPose's hooks and callers draw with PoseSegVisualizer as with their own visualizer."""
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData, PixelData
from mmpose.engine.hooks import BadCaseAnalysisHook, PoseVisualizationHook
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer
from pycocotools import mask as coco_mask

from kdc_mm.visualization import PoseSegVisualizer

H, W = 100, 120
META = dict(keypoint_colors=[None, (127, 127, 127), (127, 127, 127), 'red'],
            skeleton_link_colors=[(127, 127, 127), (127, 127, 127), None],
            skeleton_links=[[0, 1], [1, 2], [2, 3]])


@pytest.fixture
def image():
    return np.zeros((H, W, 3), np.uint8)


def diagonal(shift=0):
    """A person of four keypoints on the diagonal."""
    points = np.array([[[1, 1], [20, 20], [40, 40], [80, 80]]], np.float32)
    return InstanceData(keypoints=points + shift, bboxes=np.array([[20, 30, 50, 70]]))


def both(**fields):
    """A sample with truth and prediction, as other packages fill it: without metainfo."""
    sample = PoseDataSample(gt_instances=diagonal(), pred_instances=diagonal(10))
    for name, maps in fields.items():
        sample.set_field(PixelData(heatmaps=maps), name, dtype=PixelData)
    return sample


def coco_people(n=1):
    """n persons of COCO's keypoints, standing side by side."""
    x = np.array([5, 6, 4, 8, 2, 12, -2, 15, -5, 17, -7, 10, 0, 10, 0, 10, 0.]) + 30
    y = np.array([10, 8, 8, 9, 9, 20, 20, 35, 35, 50, 50, 50, 50, 70, 70, 90, 90.])
    points = np.stack([x, y], 1)[None] + 40 * np.arange(n)[:, None, None] * np.array([1, 0])
    return InstanceData(keypoints=points, keypoint_scores=np.ones((n, 17)),
                        bboxes=np.concatenate([points.min(1), points.max(1)], 1))


@pytest.fixture(scope='module')
def coco_meta():
    return DATASETS.get('CocoDataset')._load_metainfo(DATASETS.get('CocoDataset').METAINFO)


def drawn(picture, x, y):
    """Whether something colours the neighbourhood of a pixel."""
    return picture[y - 1:y + 2, x - 1:x + 2].any()


@pytest.mark.parametrize('settings', [
    dict(),
    dict(draw_bbox=True),
    dict(draw_pred=False),
    dict(draw_gt=False, draw_heatmap=True),
    dict(draw_pred=False, draw_heatmap=True),
    dict(draw_heatmap=True),
])
@pytest.mark.parametrize('maps', [(), ('gt_fields', ), ('gt_fields', 'pred_fields')])
@pytest.mark.parametrize('meta', [None, META])
def test_pictures_have_the_size_of_mmposes(image, tmp_path, settings, maps, meta):
    shapes = []
    for visualizer in (PoseLocalVisualizer(), PoseSegVisualizer()):
        if meta:
            visualizer.set_dataset_meta(meta)
        sample = both(**{name: np.random.default_rng(0).random((4, H, W)) for name in maps})
        out = tmp_path / 'out.png'
        picture = visualizer.add_datasample(
            'image', image, sample, out_file=str(out), **settings)
        assert picture.dtype == np.uint8 and (cv2.imread(str(out))[..., ::-1] == picture).all()
        shapes.append(picture.shape)
    assert shapes[1] == shapes[0]


def test_without_a_description_of_the_data_keypoints_are_drawn_without_limbs(image):
    visualizer = PoseSegVisualizer()
    for meta in (None, {}, SimpleNamespace(get=lambda *_: None)):
        visualizer.dataset_meta = {} if meta is None else visualizer.dataset_meta
        visualizer.set_dataset_meta(meta or {})
        picture = visualizer.add_datasample('image', image, both(), draw_gt=False)
        assert drawn(picture, 30, 30) and drawn(picture, 90, 90) and not drawn(picture, 70, 70)
    visualizer.dataset_meta = None
    visualizer.add_datasample('image', image, both(), draw_gt=False)


def test_a_description_that_is_merely_assigned_draws_limbs(image):
    visualizer = PoseSegVisualizer()
    visualizer.dataset_meta = META
    assert drawn(visualizer.add_datasample('image', image, both(), draw_gt=False), 70, 70)


def test_keypoints_that_are_not_the_data_sets_have_no_limbs(image, coco_meta):
    visualizer = PoseSegVisualizer()
    visualizer.set_dataset_meta(coco_meta)
    picture = visualizer.add_datasample('image', image, both(), draw_gt=False)
    assert drawn(picture, 50, 50) and not drawn(picture, 70, 70)


def test_keypoints_that_are_not_visible_are_left_out(image):
    sample = both()
    sample.pred_instances.keypoints_visible = np.array([[1, 1, 1, 0.]])
    sample.pred_instances.keypoint_scores = np.array([[1, 1, 0.1, 1.]])
    visualizer = PoseSegVisualizer()
    visualizer.set_dataset_meta(META)
    picture = visualizer.add_datasample('image', image, sample, draw_gt=False)
    assert drawn(picture, 30, 30) and not drawn(picture, 50, 50) and not drawn(picture, 90, 90)


@pytest.mark.parametrize('name, settings, other', [
    ('radius', dict(radius=9), dict(radius=3)),
    ('line_width', dict(line_width=4), dict(line_width=1)),
])
def test_radius_and_line_width_make_thicker_strokes(image, name, settings, other):
    visualizer = PoseSegVisualizer()
    visualizer.set_dataset_meta(META)
    covered = []
    for wanted in (other, settings, other):
        vars(visualizer).update(wanted)  # as MMPose's inferencers do
        covered.append(visualizer.add_datasample('a', image, both(), draw_gt=False).any(-1).sum())
    built = PoseSegVisualizer(**settings)
    built.set_dataset_meta(META)
    assert covered[1] > 1.3 * covered[0] and covered[2] == covered[0]
    assert built.add_datasample('a', image, both(), draw_gt=False).any(-1).sum() == covered[1]


def test_a_box_is_drawn_on_request_for_people_with_masks_too(image):
    sample = both()
    mask = coco_mask.encode(np.asfortranarray(np.eye(H, W, dtype=np.uint8)))
    sample.pred_instances.masks = [mask]
    sample.set_metainfo(dict(ori_shape=(H, W)))
    visualizer = PoseSegVisualizer()
    plain = visualizer.add_datasample('image', image, sample, draw_gt=False)
    boxed = visualizer.add_datasample('image', image, sample, draw_gt=False, draw_bbox=True)
    assert not drawn(plain, 35, 70) and drawn(boxed, 35, 70) and drawn(boxed, 20, 50)


def test_indices_are_written_on_request(image):
    visualizer = PoseSegVisualizer()
    plain = visualizer.add_datasample('image', image, both(), draw_gt=False)
    numbered = visualizer.add_datasample('image', image, both(), draw_gt=False, show_kpt_idx=True)
    changed = (plain != numbered).any(-1)
    assert changed[70:90].any() and changed.sum() < 0.1 * changed.size


def test_openpose_is_the_style_of_one_picture(image, coco_meta):
    visualizer = PoseSegVisualizer()
    visualizer.set_dataset_meta(coco_meta)
    sample = PoseDataSample(pred_instances=coco_people(2))
    sample.pred_instances.keypoints *= 4
    large = np.zeros((4 * H, 4 * W, 3), np.uint8)

    def draw(style):
        return visualizer.add_datasample('a', large, sample, draw_gt=False, skeleton_style=style)

    before = draw('mmpose')
    visualizer.set_dataset_meta(coco_meta, 'openpose')  # as Pose2DInferencer does
    openpose = draw('openpose')
    # from the neck, in the middle of the shoulders, a limb leads to each hip and to the nose
    for x, y in [(130, 140), (140, 60)]:
        assert drawn(openpose, x, y) and not drawn(before, x, y)
    np.testing.assert_array_equal(draw('mmpose'), before)


def test_other_keypoints_have_no_openpose_style(image):
    visualizer = PoseSegVisualizer()
    visualizer.set_dataset_meta(META, 'openpose')
    mmpose = visualizer.add_datasample('image', image, both())
    openpose = visualizer.add_datasample('image', image, both(), skeleton_style='openpose')
    np.testing.assert_array_equal(openpose, mmpose)


class Run(SimpleNamespace):
    """What MMPose's hooks ask of a runner."""

    def __init__(self, work_dir):
        evaluator = SimpleNamespace(dataset_meta=META)
        super().__init__(iter=1, timestamp='run', work_dir=str(work_dir),
                         val_evaluator=evaluator, test_evaluator=evaluator)


@pytest.fixture
def current(monkeypatch):
    """A PoseSegVisualizer that is the hooks' visualizer."""
    visualizer = PoseSegVisualizer()
    monkeypatch.setattr(PoseVisualizationHook.__init__.__globals__['Visualizer'],
                        'get_current_instance', lambda: visualizer)
    return visualizer


@pytest.fixture
def outputs(tmp_path, image):
    cv2.imwrite(str(tmp_path / 'photo.png'), image)
    sample = both()
    sample.set_metainfo(dict(img_path=str(tmp_path / 'photo.png')))
    sample.gt_instances.keypoints_visible = np.ones((1, 4))
    return [sample] * 2


def test_the_visualization_hook_writes_pictures_of_the_images_size(current, tmp_path, outputs):
    hook = PoseVisualizationHook(enable=True, interval=1, out_dir='pictures')
    hook.after_val_iter(Run(tmp_path), 0, dict(data_samples=outputs), outputs)
    hook.after_test_iter(Run(tmp_path), 0, dict(data_samples=outputs), outputs)
    pictures = sorted((tmp_path / 'run/pictures').iterdir())
    assert [path.name for path in pictures] == ['photo_0.png', 'photo_1.png']
    assert all(cv2.imread(str(path)).shape == (H, W, 3) for path in pictures)


def test_the_badcase_hook_draws_truth_and_prediction_in_its_two_colours(
        current, tmp_path, outputs):
    outputs[0].pred_instances.keypoints[..., 1] -= 20  # beside the truth
    hook = BadCaseAnalysisHook(
        enable=True, out_dir='bad', metric_type='loss', metric=ConfigDict(type='KeypointMSELoss'),
        badcase_thr=-1)
    hook.after_test_iter(Run(tmp_path), 0, dict(data_samples=outputs), outputs)
    hook.after_test_epoch(Run(tmp_path))
    picture, = (tmp_path / 'run/bad').glob('*.png')
    picture = cv2.imread(str(picture))
    assert picture.shape == (H, W, 3)
    blue, _, red = np.moveaxis(picture.astype(int), 2, 0)
    assert (blue - red)[60, 60] > 100 and (red - blue)[50, 70] > 100
    assert len(json.loads((tmp_path / 'run/bad/results.json').read_text())) == 2
    current.set_dataset_meta(META)  # another hook's picture has colours of its own again
    assert current.kpt_color is None and current.link_color is None
