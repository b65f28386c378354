"""An exported network finds the people that it finds in PyTorch, and needs neither it nor MMPose.
"""
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from kdc_mm.apis import describe_people
from kdc_mm_runtime import FoundPeople, Runtime
from kdc_mm_runtime.people import ImageFrame, Masks, People, Poses
from tests.test_apis.test_inferencer import noise

ROOT = Path(__file__).resolve().parents[2]
SHAPES = [(60, 80), (120, 50), (97, 97), (480, 640)]
#: What the runtime must do without.
ABSENT = ('torch', 'torchvision', 'mmcv', 'mmengine', 'mmpose', 'mmdet', 'kdc_mm', 'scipy',
          'pycocotools', 'PIL', 'matplotlib', 'onnx', 'onnxscript')


@pytest.fixture(scope='module')
def images():
    return [noise(*shape, seed) for seed, shape in enumerate(SHAPES)]


@pytest.fixture(scope='module')
def runtime(exported):
    return Runtime(exported, threads=1)


def assert_same_people(found, instances):
    """The people of the runtime are those of the inferencer, ``pred_instances``."""
    assert len(found.scores) == len(instances.keypoints) > 0
    np.testing.assert_allclose(found.keypoints, instances.keypoints, atol=1e-3)
    np.testing.assert_allclose(found.bboxes, instances.bboxes, atol=1e-3)
    np.testing.assert_allclose(found.keypoint_scores, instances.keypoint_scores, atol=1e-4)
    np.testing.assert_allclose(found.scores, instances.bbox_scores, atol=1e-4)
    np.testing.assert_allclose(found.mask_scores, instances.mask_scores, atol=1e-4)
    assert found.rles == instances.masks


def test_people_are_those_of_the_inferencer_one_by_one_and_in_a_batch(runtime, inferencer, images):
    together = runtime.predict(images)
    for image, of_batch in zip(images, together):
        [expected] = inferencer.predict([image])
        assert_same_people(runtime(image), expected.pred_instances)
        assert_same_people(of_batch, expected.pred_instances)


def test_people_are_described_as_the_inferencer_does(runtime, inferencer, images):
    [expected] = inferencer.predict(images[:1])
    described = runtime(images[0]).describe()
    for person, other in zip(described, describe_people(expected.pred_instances), strict=True):
        assert person.keys() == other.keys() and person['mask'] == other['mask']
        np.testing.assert_allclose(person['bbox'], other['bbox'], atol=1e-3)
    assert json.loads(json.dumps(described))[0]['mask']['size'] == list(SHAPES[0])


def test_masks_are_arrays_of_the_images_size(runtime, images):
    found = runtime(images[0])
    masks = found.masks()
    assert masks.shape == (len(found.scores), *SHAPES[0]) and masks.dtype == bool
    assert masks.any() and masks.sum(0).max() == 1  # disjoint


def test_nobody_gives_arrays_of_length_zero(runtime, monkeypatch):
    monkeypatch.setattr(runtime, 'run', lambda inputs: {
        name: np.full_like(part, -9) if name in ('heatmaps', 'mask_maps') else part
        for name, part in Runtime.run(runtime, inputs).items()})
    found = runtime(noise(60, 80))
    assert found.keypoints.shape == (0, 17, 2) and found.bboxes.shape == (0, 4)
    assert found.rles == [] and found.describe() == [] and found.masks().shape[0] == 0
    assert runtime.predict([]) == []


def test_people_without_a_pose_stand_in_their_masks_boxes_as_in_pytorch(
        runtime, inferencer, images, monkeypatch):
    head = inferencer.model.head
    forward, run = head.forward, runtime.run
    monkeypatch.setattr(head, 'forward', lambda feats: {
        name: torch.full_like(field, -20) if name == 'heatmaps' else field
        for name, field in forward(feats).items()})
    monkeypatch.setattr(runtime, 'run', lambda inputs: {
        name: np.zeros_like(part) if name == 'heatmaps' else part
        for name, part in run(inputs).items()})
    [expected], found = inferencer.predict(images[:1]), runtime(images[0])
    assert_same_people(found, expected.pred_instances)
    assert not found.scores.any() and (np.ptp(found.keypoints, axis=1) >= 1).all()


def test_a_mask_without_a_pixel_makes_nobody():
    frame = ImageFrame((6, 4), (2., 2.), (1., 1.))
    pixels = np.zeros((3, 4, 6), bool)
    pixels[0, 1:3, 2:5] = pixels[1, 3, 0] = True
    poses = Poses(np.full((3, 17, 2), 5., np.float32), np.zeros((3, 17), np.float32),
                  np.zeros((3, 17), bool), np.zeros(3, np.float32))
    masks = Masks([coco_mask.encode(np.asfortranarray(one, np.uint8)) for one in pixels],
                  np.zeros(3, np.float32))
    people = People(poses, poses.strength, masks, np.array([0.5, 0.4, 0.3], np.float32))
    found = FoundPeople.of(people, frame).in_image(frame)
    assert found.mask_scores.tolist() == np.float32([0.5, 0.4]).tolist()
    np.testing.assert_allclose(found.bboxes, [[1.5, 0.5, 4.5, 2.5], [-0.5, 2.5, 0.5, 3.5]])


def test_a_file_and_its_array_have_the_same_people(runtime, images, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), images[0])
    assert runtime(tmp_path / 'a.png').describe() == runtime(images[0]).describe()


SCRIPT = """
import json, sys

class Absent:
    def find_spec(self, name, *_):
        if name.split('.')[0] in sys.argv[3].split(','):
            raise ImportError(f'{name} is not installed')

sys.meta_path.insert(0, Absent())
from kdc_mm_runtime import Runtime

print(json.dumps(Runtime(sys.argv[1], threads=1)(sys.argv[2]).describe()))
print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))
"""


def test_the_runtime_needs_neither_pytorch_nor_mmpose(exported, runtime, images, tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), images[0])
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(exported), str(tmp_path / 'a.png'), ','.join(ABSENT)],
        cwd=tmp_path, env=dict(PYTHONPATH=str(ROOT)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    people, modules = map(json.loads, done.stdout.splitlines())
    for person, expected in zip(people, runtime(images[0]).describe(), strict=True):
        np.testing.assert_allclose(person['keypoints'], expected['keypoints'], atol=1e-4)
        assert person['mask'] == expected['mask']
    assert not set(ABSENT) & set(modules)


@pytest.mark.parametrize('image, message', [
    (np.zeros((5, 5), np.uint8), r'BGR .* \(5, 5\) uint8'),
    (np.zeros((5, 5, 3)), 'float64'),
    (np.zeros((0, 5, 3), np.uint8), r'\(0, 5, 3\)'),
])
def test_arrays_that_are_no_images_are_refused(runtime, image, message):
    with pytest.raises(ValueError, match=message):
        runtime(image)


def test_files_that_are_no_images_are_named(runtime, tmp_path):
    (tmp_path / 'text.jpg').write_text('no image')
    with pytest.raises(OSError, match='text.jpg cannot be read as an image'):
        runtime(tmp_path / 'text.jpg')
    with pytest.raises(OSError, match='absent.jpg does not exist'):
        runtime('absent.jpg')


@pytest.fixture
def folder(exported, tmp_path):
    """A copy of the exported folder, to be spoilt."""
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.mark.parametrize('name', ['model.onnx', 'codec.json'])
def test_a_file_that_is_missing_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f'holds no {name}.*export_onnx'):
        Runtime(folder)


def test_files_that_are_damaged_are_named_in_one_line(folder):
    (folder / 'model.onnx').write_bytes(b'no graph')
    with pytest.raises(ValueError, match='model.onnx cannot be run') as error:
        Runtime(folder)
    assert '\n' not in str(error.value)
    (folder / 'codec.json').write_text('{')
    with pytest.raises(ValueError, match='codec.json is no codec .* Export it again'):
        Runtime(folder)


def change(folder, **settings):
    content = json.loads((folder / 'codec.json').read_text())
    content['decoder'].update(settings)
    (folder / 'codec.json').write_text(json.dumps(content))


def test_settings_of_decoding_can_be_changed_in_codec_json(folder, images):
    assert Runtime(folder, threads=1)(images[0]).scores.min() > 0
    change(folder, heatmap_threshold=0.9999)  # nobody has a keypoint, masks alone show people
    assert not Runtime(folder, threads=1)(images[0]).scores.any()
    change(folder, keypoint_threshold=7)
    with pytest.raises(ValueError, match='codec.json.*keypoint_threshold must lie in'):
        Runtime(folder)
    change(folder, keypoint_treshold=0.2)
    with pytest.raises(ValueError, match='codec.json.*keypoint_treshold'):
        Runtime(folder)


def test_a_later_format_is_refused(folder):
    content = dict(json.loads((folder / 'codec.json').read_text()), format=99)
    (folder / 'codec.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='has format 99'):
        Runtime(folder)
