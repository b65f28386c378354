import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from kdc_mm.synth_crowd import PRESETS, make_synth_crowd
from kdc_mm.synth_crowd import scene as scene_module
from kdc_mm.synth_crowd.body import (
    KEYPOINT_NAMES,
    body_keypoints,
    pose_body,
    sample_builds,
)
from kdc_mm.synth_crowd.pose import ANGLES, NAMES, UPRIGHT, sample_poses
from kdc_mm.synth_crowd.scene import box_iou, crowding, render_scene

LEFT = [KEYPOINT_NAMES.index(f'left_{name}') for name in ('eye', 'ear', 'shoulder', 'hip')]
RIGHT = [KEYPOINT_NAMES.index(f'right_{name}') for name in ('eye', 'ear', 'shoulder', 'hip')]


def scenes(preset, num, size=192, seed=0):
    return [render_scene(np.random.default_rng((seed, i)), PRESETS[preset], size)
            for i in range(num)]


@pytest.fixture(scope='module')
def crowds():
    return scenes('crowd', 12)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp('synth') / 'crowd'
    return out, make_synth_crowd(out, 'crowd', 5, 3, seed=3, size=128, workers=1, progress=False)


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob('*'))
            if path.is_file()}


def masks_of(annotations):
    return np.array([coco_mask.decode(a['segmentation']).astype(bool) for a in annotations])


def keypoints_of(annotations):
    return np.array([a['keypoints'] for a in annotations]).reshape(-1, 17, 3)


def test_same_seed_gives_same_bytes_with_any_number_of_workers(made, tmp_path):
    make_synth_crowd(tmp_path / 'two', 'crowd', 5, 3, seed=3, size=128, workers=2, progress=False)
    assert contents(made[0]) == contents(tmp_path / 'two')


def test_another_seed_and_the_other_split_give_other_pictures(made, tmp_path):
    make_synth_crowd(tmp_path / 'other', 'crowd', 1, 1, seed=4, size=128, workers=1, progress=False)
    pictures = [data for out in (made[0], tmp_path / 'other')
                for name, data in contents(out).items() if name.endswith('.jpg')]
    assert len(set(pictures)) == len(pictures) == 10


def test_a_longer_data_set_begins_with_the_pictures_of_a_shorter_one(made, tmp_path):
    make_synth_crowd(tmp_path / 'short', 'crowd', 2, 1, seed=3, size=128, workers=1, progress=False)
    whole = contents(made[0])
    short = contents(tmp_path / 'short')
    assert all(whole[name] == data for name, data in short.items() if name.endswith('.jpg'))


def test_annotations_load_with_pycocotools_and_match_the_pictures(made, capsys):
    out, _ = made
    for split, num in (('train2017', 5), ('val2017', 3)):
        coco = COCO(str(out / 'annotations' / f'person_keypoints_{split}.json'))
        assert len(coco.imgs) == num
        category = coco.cats[1]
        assert category['name'] == 'person' and tuple(category['keypoints']) == KEYPOINT_NAMES
        assert len(category['skeleton']) == 19
        for image in coco.imgs.values():
            picture = cv2.imread(str(out / split / image['file_name']))
            assert picture.shape == (image['height'], image['width'], 3)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            y, x = np.nonzero(mask)
            assert annotation['area'] == mask.sum() > 0
            assert annotation['bbox'] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            visibility = np.array(annotation['keypoints'][2::3])
            assert annotation['num_keypoints'] == (visibility > 0).sum()
            assert annotation['iscrowd'] == 0


def test_masks_hold_visible_pixels_only_and_never_overlap(crowds):
    for _, annotations in crowds:
        assert masks_of(annotations).sum(0).max() == 1


def test_pictures_change_exactly_where_a_person_is_painted(monkeypatch):
    monkeypatch.setattr(scene_module, 'photograph', lambda rng, image: image)
    monkeypatch.setattr(scene_module, 'cast_shadows', lambda rng, background, feet: background)
    with_people, annotations = render_scene(np.random.default_rng(5), PRESETS['crowd'], 192)
    own = scene_module._Layer.windows
    monkeypatch.setattr(
        scene_module._Layer, 'windows',
        lambda layer, side: None if layer.person and blank else own(layer, side))
    blank = False
    compose = scene_module._compose

    def compose_without_people(*args):
        nonlocal blank
        blank = True
        return compose(*args)

    monkeypatch.setattr(scene_module, '_compose', compose_without_people)
    without_people, _ = render_scene(np.random.default_rng(5), PRESETS['crowd'], 192)
    changed = (with_people != without_people).any(2)
    people = masks_of(annotations).any(0)
    inner = cv2.erode(people.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    outer = cv2.dilate(people.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert changed[inner].mean() > 0.97  # a person may have the background's colour
    assert not changed[~outer].any()


def test_a_keypoint_in_sight_lies_on_its_own_mask_and_a_covered_one_keeps_its_place(crowds):
    covered = 0
    for _, annotations in crowds:
        masks = masks_of(annotations)
        for person, keypoints in enumerate(keypoints_of(annotations)):
            for x, y, visibility in keypoints:
                if visibility == 0:
                    assert x == y == 0
                    continue
                column, row = int(np.rint(x)), int(np.rint(y))
                assert 0 <= column < 192 and 0 <= row < 192
                if visibility == 2:
                    assert masks[person, row, column]
                others = np.delete(masks, person, axis=0)
                if others[:, row, column].any():
                    assert visibility == 1
                    covered += 1
    assert covered > 50


def test_a_body_hides_its_own_far_side():
    hidden = []
    for _, annotations in scenes('easy', 25, seed=2):
        for annotation in annotations:
            nose, left_ear, right_ear = keypoints_of([annotation])[0][[0, 3, 4]]
            hidden.append((nose[2] == 1, left_ear[2] == 1 and right_ear[2] == 1))
    hidden = np.array(hidden)
    assert 0.05 < hidden[:, 0].mean() < 0.7  # people seen from behind have no nose to see
    assert hidden[:, 1].mean() < 0.6


def test_left_is_on_the_right_of_the_image_exactly_when_a_person_faces_the_camera():
    num = 40
    pose = {name: np.zeros(num) for name in (*ANGLES, 'yaw', 'pitch', 'roll')}
    pose['yaw'] = np.linspace(-np.pi, np.pi, num)
    builds = sample_builds(np.random.default_rng(0), num)
    keypoints = body_keypoints(pose_body(pose, builds))
    left_minus_right = keypoints[:, LEFT, 0] - keypoints[:, RIGHT, 0]
    facing = np.cos(pose['yaw'])[:, None]
    assert (np.sign(left_minus_right) == np.sign(facing))[abs(facing[:, 0]) > 0.05].all()
    nose_in_front = keypoints[:, 0, 2] > keypoints[:, 3:5, 2].mean(1)
    assert (nose_in_front == (facing[:, 0] > 0)).all()


def test_upright_people_with_a_face_in_sight_have_the_left_eye_on_the_right_of_the_image():
    right_way = []
    for _, annotations in scenes('easy', 30, seed=4):
        for keypoints in keypoints_of(annotations):
            upright = keypoints[0, 1] < min(keypoints[11, 1], keypoints[12, 1]) - 10
            if upright and (keypoints[[0, 1, 2], 2] == 2).all():
                right_way.append(keypoints[1, 0] > keypoints[2, 0])
    assert len(right_way) > 10 and np.mean(right_way) > 0.9  # heads may lean a lot


def redness(picture, mask, keypoint, radius):
    """Red minus blue, averaged over the person's pixels around a keypoint in sight."""
    y, x = np.mgrid[:picture.shape[0], :picture.shape[1]]
    near = mask & (np.hypot(x - keypoint[0], y - keypoint[1]) < radius)
    return (picture[near, 2].astype(float) - picture[near, 0]).mean()


@pytest.mark.parametrize('preset', PRESETS)
def test_left_and_right_limbs_are_told_apart_by_looks(preset):
    margins = []
    for picture, annotations in scenes(preset, 20, seed=6):
        for annotation, mask, keypoints in zip(annotations, masks_of(annotations),
                                               keypoints_of(annotations)):
            for joint in ('wrist', 'ankle'):
                pair = [keypoints[KEYPOINT_NAMES.index(f'{side}_{joint}')]
                        for side in ('left', 'right')]
                if all(keypoint[2] == 2 for keypoint in pair):
                    left, right = (redness(picture, mask, keypoint, annotation['bbox'][3] * 0.06)
                                   for keypoint in pair)
                    margins.append(left - right)
    assert len(margins) > 20
    assert np.mean(np.array(margins) > 0) > 0.85


def test_easy_people_are_on_their_feet_and_mostly_face_the_camera():
    poses = sample_poses(np.random.default_rng(0), 500, UPRIGHT)
    assert {NAMES[i] for i in poses['posture']} == set(UPRIGHT.postures)
    assert np.mean(np.cos(poses['yaw']) > 0) > 0.7
    anyhow = sample_poses(np.random.default_rng(0), 500)
    assert {NAMES[i] for i in anyhow['posture']} == set(NAMES)


@pytest.mark.parametrize('preset', PRESETS)
def test_every_picture_has_the_persons_and_the_crowding_of_its_preset(preset):
    low, high = PRESETS[preset].persons
    for _, annotations in scenes(preset, 12, size=160, seed=1):
        assert low <= len(annotations) <= high
        assert crowding([a['bbox'] for a in annotations]).mean() >= PRESETS[preset].crowding


def test_crowding_bars_are_those_of_the_description():
    assert PRESETS['easy'].persons == (1, 4)
    assert PRESETS['crowd'].persons == (4, 12) and PRESETS['crowd'].crowding == 0.3
    assert PRESETS['occluded'].persons == (2, 3) and PRESETS['occluded'].crowding == 0.5


def test_crowding_is_the_largest_iou_with_another_person():
    assert crowding([[0, 0, 10, 10]]).tolist() == [0]
    two_and_one = [[0, 0, 10, 10], [5, 0, 10, 10], [100, 100, 5, 5]]
    assert crowding(two_and_one) == pytest.approx([1 / 3, 1 / 3, 0])
    same_and_next = np.array([[0, 0, 4, 4], [4, 0, 8, 4]])
    assert box_iou(same_and_next[0], same_and_next).tolist() == [1, 0]


def test_statistics_describe_what_was_written(made):
    out, result = made
    found = json.loads((out / 'annotations' / 'person_keypoints_train2017.json').read_text())
    statistics = result['splits']['train2017']
    assert statistics['images'] == 5 and statistics['persons'] == len(found['annotations'])
    assert statistics['crowding'] >= 0.3 and 0 < statistics['occluded_share'] < 1
    assert not result['reused']


def test_the_same_arguments_again_reuse_the_data_set(made):
    before = {path: path.stat().st_mtime_ns for path in made[0].rglob('*')}
    again = make_synth_crowd(made[0], 'crowd', 5, 3, seed=3, size=128, workers=1, progress=False)
    assert again['reused'] and again['splits'] == made[1]['splits']
    assert before == {path: path.stat().st_mtime_ns for path in made[0].rglob('*')}


def test_other_arguments_are_refused_unless_overwritten(tmp_path):
    arguments = dict(size=96, workers=1, progress=False)
    make_synth_crowd(tmp_path / 'd', 'easy', 2, 1, **arguments)
    with pytest.raises(FileExistsError, match='other|another folder'):
        make_synth_crowd(tmp_path / 'd', 'easy', 1, 1, **arguments)
    make_synth_crowd(tmp_path / 'd', 'easy', 1, 1, overwrite=True, **arguments)
    assert len(list((tmp_path / 'd' / 'train2017').iterdir())) == 1


def test_a_folder_of_anything_else_is_never_touched(tmp_path):
    (tmp_path / 'train2017').mkdir()
    (tmp_path / 'train2017' / 'mine.jpg').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match='no SynthCrowd'):
        make_synth_crowd(tmp_path, 'easy', 1, 1, overwrite=True)
    assert contents(tmp_path) == {'train2017/mine.jpg': b'mine'}


def test_an_interrupted_data_set_is_not_taken_for_a_finished_one(tmp_path, monkeypatch):
    from kdc_mm.synth_crowd import make
    arguments = dict(size=96, workers=1, progress=False)

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(make, '_coco', interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_synth_crowd(tmp_path / 'd', 'easy', 2, 1, **arguments)
    assert not list((tmp_path / 'd').rglob('person_keypoints_*'))
    finished = make_synth_crowd(tmp_path / 'd', 'easy', 2, 1, **arguments)
    assert not finished['reused'] and finished['splits']['val2017']['images'] == 1


@pytest.mark.parametrize('change, message', [
    (dict(preset='dense'), 'unknown preset .*dense.*easy, crowd, occluded'),
    (dict(num_train=0), 'num_train'), (dict(num_val=-1), 'num_val'), (dict(seed=-1), 'seed'),
    (dict(size=16), 'size'), (dict(workers=0), 'workers')])
def test_wrong_arguments_are_named_and_write_nothing(tmp_path, change, message):
    arguments = dict(preset='easy', num_train=1, num_val=1, seed=0, size=96, workers=1,
                     progress=False)
    with pytest.raises(ValueError, match=message):
        make_synth_crowd(tmp_path / 'd', **{**arguments, **change})
    assert not (tmp_path / 'd').exists()
