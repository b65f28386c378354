"""mmdeploy: from a network to an ONNX file, and from its fields to poses and masks."""
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from pycocotools import mask as coco_mask

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from tests.test_configs.small import resize_input
from tests.test_models.samples import outlines, two_people

for package in ('mmdeploy', 'onnx', 'onnxruntime'):
    pytest.importorskip(package, reason=f'needs {package}, see docs/mmdeploy.md')

DEPLOY = 'configs/deploy/kdc_onnxruntime.py'
SIZE = 97


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """The task of a small random BodyPix network, the network, its ONNX file and a photo."""
    from mmdeploy.apis import build_task_processor, torch2onnx
    from mmdeploy.utils import load_config
    folder = tmp_path_factory.mktemp('mmdeploy')
    cfg = Config.fromfile('configs/bodypix/kdc_mobilenet-075_coco-401.py')
    resize_input(cfg, (SIZE, SIZE))
    cfg.visualizer.name = 'mmdeploy'
    deploy_cfg, model_cfg = load_config(DEPLOY, cfg)
    scope = DefaultScope.get_current_instance()
    try:
        task = build_task_processor(model_cfg, deploy_cfg, 'cpu')
        network = task.build_pytorch_model()
        torch.save(dict(state_dict=network.state_dict()), folder / 'random.pth')
        photo = np.random.default_rng(0).integers(0, 256, (70, 120, 3), dtype=np.uint8)
        torch2onnx(photo, str(folder), 'end2end.onnx', deploy_cfg, model_cfg,
                   str(folder / 'random.pth'), 'cpu')
        yield task, network, folder / 'end2end.onnx', photo
    finally:
        DefaultScope._instance_dict.pop('BaseTask', None)
        assert DefaultScope.get_current_instance() is scope


@pytest.fixture(scope='module')
def backend(exported):
    task, _, file, _ = exported
    return task.build_backend_model([str(file)], task.update_data_preprocessor)


def test_the_onnx_file_computes_all_seven_fields_of_the_network(exported, backend):
    _, network, _, _ = exported
    images = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        expected = network(images, None, mode='tensor')
    found = backend.wrapper(dict(input=images))
    assert list(found) == list(expected) and len(found) == 7
    for name, field in expected.items():
        torch.testing.assert_close(found[name], field, rtol=1e-4, atol=1e-3, msg=name)


def test_the_backend_ends_with_poses_and_masks_in_the_original_image(exported, backend):
    task, network, _, photo = exported
    codec = network.head.decoder
    maps = perfect_maps(codec, codec.encode(*two_people(SIZE), outlines(two_people(SIZE), SIZE)))
    backend.wrapper.forward = lambda inputs: maps
    network.head.forward = lambda feats: maps
    data, _ = task.create_input(photo)
    [found] = backend.test_step(data)
    data, _ = task.create_input(photo)
    [expected] = network.test_step(data)
    found, expected = found.pred_instances, expected.pred_instances
    assert found.keypoints.shape == (2, 17, 2)
    assert set(found.keys()) == set(expected.keys())
    for name in found.keys():
        np.testing.assert_array_equal(found[name], expected[name])
    masks = coco_mask.decode(found.masks)
    assert masks.shape == (70, 120, 2) and (masks.sum((0, 1)) > 100).all()


def test_the_picture_has_skeletons_and_masks(exported, backend, tmp_path):
    import mmcv
    task, network, _, photo = exported
    codec = network.head.decoder
    maps = perfect_maps(codec, codec.encode(*two_people(SIZE), outlines(two_people(SIZE), SIZE)))
    backend.wrapper.forward = lambda inputs: maps
    data, _ = task.create_input(photo)
    [found] = backend.test_step(data)
    grey = np.full_like(photo, 128)
    task.visualize(grey, found, str(tmp_path / 'out.png'))
    picture = mmcv.imread(str(tmp_path / 'out.png'))
    masks = coco_mask.decode(found.pred_instances.masks).any(2).astype(np.uint8)
    masks = mmcv.imresize(masks, picture.shape[1::-1], interpolation='nearest') > 0
    coloured = (np.ptp(picture.astype(int), axis=2) > 10)
    assert coloured[masks].mean() > 0.9 and coloured[~masks].mean() < 0.2
