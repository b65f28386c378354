"""The inferencer's predictions: those of the test pipeline, with masks, in batches."""
import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmpose.apis import Pose2DInferencer
from mmpose.registry import DATASETS
from pycocotools import mask as coco_mask

from kdc_mm.apis import PoseSegInferencer
from kdc_mm.engine import CheckpointError
from tests.conftest import person

CONFIGS = sorted(str(file) for file in Path('configs').rglob('*.py')
                 if not {'_base_', 'deploy'} & set(file.parts))
SHAPES = [(60, 80), (120, 50), (97, 97)]


def noise(height, width, seed=0):
    """A BGR image of soft blobs."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def files(write_coco):
    """Data set arguments, and its three images of different sizes."""
    data = write_coco([(noise(h, w, seed), [person(5, 5, 20, 30)])
                       for seed, (h, w) in enumerate(SHAPES)])
    return data, [f'{data["data_prefix"]["img"]}/{number}.png' for number in (1, 2, 3)]


@pytest.fixture
def expected(inferencer, small_cfg, files):
    """Instances of the three images by way of the data set and ``test_step``."""
    settings = small_cfg.test_dataloader.dataset
    dataset = DATASETS.build(
        dict(type=settings.type, test_mode=True, pipeline=settings.pipeline, **files[0]))
    with torch.no_grad():
        return [inferencer.model.test_step(pseudo_collate([dataset[i]]))[0].pred_instances
                for i in range(3)]


@pytest.mark.parametrize('batch_size', [1, 2])
def test_predictions_are_those_of_the_test_pipeline(inferencer, files, expected, batch_size):
    batches = list(inferencer(files[1], batch_size=batch_size))
    assert [len(batch['predictions']) for batch in batches] == {1: [1, 1, 1], 2: [2, 1]}[batch_size]
    images = [people for batch in batches for people in batch['predictions']]
    assert all(len(people) > 0 for people in images)
    for people, instances, shape in zip(images, expected, SHAPES):
        np.testing.assert_allclose(
            [one['keypoints'] for one in people], instances.keypoints, atol=1e-4)
        for key, values in dict(keypoint_scores=instances.keypoint_scores,
                                bbox_score=instances.bbox_scores,
                                mask_score=instances.mask_scores).items():
            np.testing.assert_allclose([one[key] for one in people], values, atol=1e-4)
        masks = coco_mask.decode([one['mask'] for one in people])
        assert masks.shape == (*shape, len(people)) and masks.any()
        np.testing.assert_array_equal(masks, coco_mask.decode(list(instances.masks)))


def test_arrays_and_files_give_the_same(inferencer, files):
    [from_files] = inferencer(files[1], batch_size=3)
    [from_arrays] = inferencer([cv2.imread(file) for file in files[1]], batch_size=3)
    assert from_files['predictions'] == from_arrays['predictions']


def test_files_of_predictions_and_pictures_are_written_as_by_mmpose(inferencer, files, tmp_path):
    folder = Path(files[1][0]).parent
    (folder / 'notes').write_text('no image, and no ending')
    out = tmp_path / 'out'
    [batch] = inferencer(folder, batch_size=3, out_dir=str(out), return_vis=True)
    for number, people, picture in zip((1, 2, 3), batch['predictions'], batch['visualization']):
        assert json.loads((out / f'predictions/{number}.json').read_text()) == json.loads(
            json.dumps(people))
        assert cv2.imread(str(out / f'visualizations/{number}.png')).shape == picture.shape


def test_samples_are_handed_on_as_they_are(inferencer, files, expected):
    [batch] = inferencer(files[1][0], return_datasamples=True)
    np.testing.assert_allclose(
        batch['predictions'][0].pred_instances.keypoints, expected[0].keypoints, atol=1e-4)


def test_mmposes_own_inferencer_takes_the_config_and_gives_the_same_poses(
        inferencer, small_cfg, files):
    theirs = Pose2DInferencer(small_cfg, device='cpu')
    theirs.model = inferencer.model
    [expected], [got] = theirs(files[1][0]), inferencer(files[1][0])
    np.testing.assert_allclose([one['keypoints'] for one in got['predictions'][0]],
                               [one['keypoints'] for one in expected['predictions'][0]], atol=1e-4)


@pytest.mark.parametrize('config', CONFIGS)
def test_every_config_says_that_it_is_of_a_bottom_up_network(config):
    assert Config.fromfile(config, import_custom_modules=False).data_mode == 'bottomup'


def test_a_mix_of_data_sets_loads_images_too(inferencer, small_cfg, files):
    cfg = copy.deepcopy(small_cfg)
    load, *others = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset = ConfigDict(
        datasets=[dict(pipeline=[load])], pipeline=others)
    pipeline = inferencer._init_pipeline(cfg)
    assert [type(step) for step in pipeline.transforms] == [
        type(step) for step in inferencer.pipeline.transforms]


def test_a_file_that_is_no_checkpoint_is_refused_by_name(small_cfg, tmp_path):
    (tmp_path / 'weights.pth').write_text('hello')
    with pytest.raises(CheckpointError, match='weights.pth is no PyTorch checkpoint'):
        PoseSegInferencer(small_cfg, str(tmp_path / 'weights.pth'), 'cpu')


def test_an_image_that_cannot_be_read_is_named(inferencer, tmp_path):
    (tmp_path / 'text.png').write_text('hello')
    with pytest.raises(OSError, match='text.png cannot be read as an image'):
        inferencer.load_image(str(tmp_path / 'text.png'))
