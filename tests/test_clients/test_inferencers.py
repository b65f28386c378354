"""MMPose's own inferencers run KDC's configs, and what they do with poses suits people who have
only a mask."""
import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.apis import MMPoseInferencer, Pose2DInferencer
from pycocotools import mask as coco_mask

from .conftest import ROOT

CONFIGS = sorted(str(file.relative_to(ROOT)) for file in (ROOT / 'configs').rglob('*.py')
                 if '_base_' not in file.parts and file.name != 'ablations.py')


@pytest.fixture(scope='module', params=[MMPoseInferencer, Pose2DInferencer])
def client(request, demo_cfg, show_people):
    """MMPose's inferencer of a network that sees two poses and a mask without one."""
    client = request.param(demo_cfg, device='cpu')
    show_people(getattr(client, 'inferencer', client).model)
    return client


def people_of(batch):
    """Those of one image."""
    people, = batch['predictions']
    return people


def posed(people):
    return [one for one in people if one['bbox_score'] > 0]


def read_json(file):
    """The content of a file of JSON as the standard has it, without NaN."""
    def refuse(constant):
        raise AssertionError(f'{constant} is no JSON')

    return json.loads(Path(file).read_text(), parse_constant=refuse)


def test_paths_arrays_lists_folders_and_videos_give_the_same_people(client, photos, clip):
    file = str(photos / '0.png')
    expected = people_of(next(client(file)))
    assert len(expected) == 3
    for inputs, number in [(cv2.imread(file), 1), ([file, cv2.imread(file)], 2), (str(photos), 3),
                           (str(clip), 3)]:
        batches = list(client(inputs))
        assert len(batches) == number
        for batch in batches:
            np.testing.assert_allclose([one['keypoints'] for one in people_of(batch)],
                                       [one['keypoints'] for one in expected])


def test_a_person_with_only_a_mask_stands_last_without_a_score_and_in_the_masks_box(
        client, photos):
    sample, = next(client(str(photos / '0.png'), return_datasamples=True))['predictions']
    found = sample.pred_instances
    assert (found.bbox_scores[:2] > 0).all() and found.bbox_scores[2] == 0
    assert (found.keypoint_scores[2] == 0).all() and found.mask_scores[2] > 0
    x, y, w, h = coco_mask.toBbox(found.masks[2])
    np.testing.assert_allclose(found.bboxes[2], [x, y, x + w, y + h], atol=0.51)
    assert w > 5 and h > 5


def test_thresholds_leave_people_without_a_pose_out(demo_cfg, show_people, photos):
    cfg = copy.deepcopy(demo_cfg)
    cfg.model.test_cfg.score_thr = 0.  # MMPose puts bbox_thr here
    client = Pose2DInferencer(cfg, device='cpu')
    show_people(client.model)
    counts = {threshold: len(people_of(next(client(str(photos / '0.png'), bbox_thr=threshold))))
              for threshold in (0, 1e-6, 0.3)}
    assert counts == {0: 3, 1e-6: 2, 0.3: 1}


def test_without_a_threshold_in_the_config_that_of_a_call_leaves_nobody_out(client, photos):
    for threshold in (0.3, 0.99):
        assert len(people_of(next(client(str(photos / '0.png'), bbox_thr=threshold)))) == 3


def test_nms_of_poses_leaves_poses_alone(client, photos):
    everyone = people_of(next(client(str(photos / '0.png'))))
    left = people_of(next(client(str(photos / '0.png'), pose_based_nms=True)))
    assert [one['keypoints'] for one in posed(left)] == [
        one['keypoints'] for one in posed(everyone)]


def test_predictions_are_written_as_json(client, photos, clip, tmp_path):
    for batch in client(str(photos), pred_out_dir=str(tmp_path)):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ['0.json', '1.json', '2.json']
    written = read_json(tmp_path / '2.json')
    assert written == json.loads(json.dumps(people_of(batch), default=float))
    list(client(str(clip), pred_out_dir=str(tmp_path)))
    frames = read_json(tmp_path / 'clip.json')
    assert [frame['frame_id'] for frame in frames] == [0, 1, 2]
    assert all(len(frame['instances']) == 3 for frame in frames)


def test_pictures_have_the_size_of_their_images(client, photos, tmp_path):
    for batch in client(str(photos), return_vis=True, vis_out_dir=str(tmp_path)):
        picture, = batch['visualization']
        assert picture.shape == (120, 160, 3)
    assert [cv2.imread(str(tmp_path / f'{number}.png')).shape for number in range(3)] == [
        (120, 160, 3)] * 3


def test_a_video_is_written_frame_by_frame_at_its_size(client, clip, tmp_path):
    list(client(str(clip), vis_out_dir=str(tmp_path)))
    written = cv2.VideoCapture(str(tmp_path / 'clip.mp4'))
    plain = cv2.VideoCapture(str(clip))
    for _ in range(3):
        found, frame = written.read()
        assert found and frame.shape == (120, 160, 3)
        drawn = np.abs(frame.astype(int) - plain.read()[1]).max(-1) > 40
        assert 0.05 < drawn.mean() < 0.9
    assert not written.read()[0] and written.get(cv2.CAP_PROP_FPS) == 5


@pytest.mark.parametrize('settings', [
    dict(radius=9), dict(thickness=5), dict(draw_bbox=True), dict(skeleton_style='openpose'),
    dict(kpt_thr=0.999999), dict(black_background=True)
])
def test_settings_of_pictures_have_their_effect_on_one_call(client, photos, settings):
    def draw(**kwargs):
        return next(client(str(photos / '0.png'), return_vis=True, **kwargs))['visualization'][0]

    before, other, after = draw(), draw(**settings), draw()
    assert other.shape == before.shape and (other != before).any()
    np.testing.assert_array_equal(after, before)


def test_heads_without_masks_run_too(demo_cfg, photos):
    cfg = Config(demo_cfg.to_dict())
    head = {key: cfg.model.head[key] for key in ('in_channels', 'in_index', 'decoder')}
    cfg.model.head = dict(head, type='KDCPoseHead')
    [batch] = MMPoseInferencer(cfg, device='cpu')(str(photos / '0.png'), pose_based_nms=True,
                                                  return_vis=True)
    assert batch['visualization'][0].shape == (120, 160, 3)


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS)
def test_every_config_makes_an_inferencer_that_runs(config, photos, monkeypatch):
    monkeypatch.chdir(ROOT)
    client = MMPoseInferencer(config, device='cpu')
    assert client.inferencer.cfg.data_mode == 'bottomup'
    [batch] = client(str(photos / '0.png'), return_vis=True)
    assert batch['visualization'][0].shape == (120, 160, 3)
