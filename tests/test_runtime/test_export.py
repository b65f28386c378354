"""What can be exported and what cannot, INT8, and the AP of an exported network."""
import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.evaluator import Evaluator
from mmpose.registry import MODELS

import kdc_mm.deploy.export as export
from kdc_mm.apis import PoseSegInferencer
from kdc_mm.deploy import ExportError, export_onnx
from kdc_mm.deploy.evaluate import evaluate_runtime, unresized_images
from kdc_mm.deploy.quantise import quantise
from kdc_mm_runtime import Runtime
from kdc_mm_runtime.people import People
from tests.conftest import person
from tests.test_apis.test_inferencer import noise

from .conftest import need_packages


def stand_in(cfg):
    """What export reads of an inferencer, of a config whose weights do not matter."""
    model = MODELS.build(cfg.model).eval()
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    return SimpleNamespace(model=model, pipeline=pipeline, cfg=cfg)


@pytest.fixture
def cfg(small_cfg):
    return copy.deepcopy(small_cfg)


def test_poses_without_masks_and_with_the_flip_test_have_the_maps_of_pytorch(
        cfg, tmp_path, monkeypatch):
    need_packages()
    cfg.model.head.update(type='KDCPoseHead', **cfg.model.head.pop('pose_head'))
    cfg.model.head.pop('seg_head')
    cfg.model.test_cfg.flip_test = True
    torch.manual_seed(0)
    inferencer = PoseSegInferencer(cfg, device='cpu')
    head = inferencer.model.head
    torch.nn.init.normal_(head.out.weight, std=0.1)  # a fresh one's are 0
    assert export_onnx(inferencer, tmp_path) < 1e-4
    runtime, image, seen = Runtime(tmp_path, threads=1), noise(60, 80), {}
    found = runtime(image)
    assert len(found.scores) > 0 and found.rles is None and found.mask_scores is None
    assert 'mask' not in found.describe()[0]

    def batch_decode(fields, frames, poses):
        seen.update(head.decoder.host_maps(fields))
        return [People.none(17)]

    monkeypatch.setattr(head.decoder, 'batch_decode', batch_decode)
    inferencer.predict([image])
    maps = runtime.run(runtime.prepare(image)[0][None])
    assert maps.keys() == seen.keys()
    for name, expected in seen.items():
        np.testing.assert_allclose(maps[name], expected, rtol=1e-4, atol=1e-3, err_msg=name)


def test_a_head_that_finds_nobody_by_itself_is_refused(cfg, tmp_path):
    need_packages()
    cfg.model.head.update(type='KDCSegHead', **cfg.model.head.pop('seg_head'))
    cfg.model.head.pop('pose_head')
    with pytest.raises(ExportError, match='KDCSegHead finds no people by itself'):
        export_onnx(stand_in(cfg), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_decoding_that_needs_pytorch_is_refused(cfg, tmp_path):
    need_packages()
    cfg.model.head.decoder.use_key_centroid = False
    with pytest.raises(ExportError, match='use_key_centroid=False'):
        export_onnx(stand_in(cfg), tmp_path)


@pytest.mark.parametrize('change', [
    dict(resize_mode='expand'), dict(use_udp=True), dict(aug_scales=[0.5]),
    dict(input_size=(65, 65))])
def test_another_resize_than_the_runtimes_is_refused(cfg, tmp_path, change):
    need_packages()
    cfg.test_dataloader.dataset.pipeline[1].update(change)
    with pytest.raises(ExportError, match=r'BottomupResize .* \(97, 97\) px'):
        export_onnx(stand_in(cfg), tmp_path)


def test_packages_that_are_missing_are_named(inferencer, tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'PACKAGES', ('numpy', 'no_such_package'))
    with pytest.raises(ExportError, match='needs no_such_package: pip install'):
        export_onnx(inferencer, tmp_path)


@pytest.mark.parametrize('difference', [1.1e-4, float('nan')])
def test_a_graph_that_gives_other_maps_is_not_kept(inferencer, exported, tmp_path, monkeypatch,
                                                   difference):
    graph = (exported / 'model.onnx').read_bytes()
    monkeypatch.setattr(export, 'export_graph', lambda _, __, file: file.write_bytes(graph))
    monkeypatch.setattr(export, 'largest_difference',
                        lambda *_: dict(heatmaps=1e-7, limbs=difference))
    with pytest.raises(ExportError, match='other maps than PyTorch: limbs differ by'):
        export_onnx(inferencer, tmp_path)
    assert not (tmp_path / 'model.onnx').exists()


def test_the_graph_is_compared_with_pytorch_on_all_maps(inferencer, exported):
    network = export.DeployedNetwork(inferencer.model, flip_test=False)
    difference = export.largest_difference(network, Runtime(exported))
    assert difference.keys() == {'heatmaps', 'key_centroids', 'person_centroids', 'limbs',
                                 'mask_maps'}
    assert 0 < max(difference.values()) < 1e-5
    bias = inferencer.model.head.seg_head.out.bias
    with torch.no_grad():
        bias.add_(1.)
        try:
            changed = export.largest_difference(network, Runtime(exported))
        finally:
            bias.sub_(1.)
    assert max(changed, key=changed.get) == 'mask_maps' and changed['mask_maps'] > 1e-2


@pytest.fixture
def photos(write_coco):
    """A data set of three images, and their files."""
    data = write_coco([(noise(60 + 9 * seed, 80, seed), [person(5, 5, 20, 30)])
                       for seed in range(3)])
    return data, [f'{data["data_prefix"]["img"]}/{number}.png' for number in (1, 2, 3)]


def test_with_8_bits_people_are_nearly_where_they_were(exported, photos, tmp_path):
    onnx = pytest.importorskip('onnx')
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    quantise(tmp_path, photos[1])
    graph = onnx.load(str(tmp_path / 'model.onnx')).graph
    convolutions = [node for node in graph.node if node.op_type == 'Conv']
    in_floats = [node.input[1] for node in convolutions if 'DequantizeLinear' not in node.input[1]
                 and 'quantized' not in node.input[1].lower()]
    assert len(convolutions) > 20
    assert sorted(name.split('.')[-3] for name in in_floats) == ['pose_head', 'seg_head']
    before, after = Runtime(exported)(photos[1][0]), Runtime(tmp_path)(photos[1][0])
    distance = np.linalg.norm(after.keypoints - before.keypoints, axis=2)
    assert 0 < np.median(distance) < 1


def test_ap_is_that_of_the_inferencers_people(inferencer, exported, photos, cfg):
    data, files = photos
    cfg.test_dataloader.dataset.update(data_root='', **data)
    for metric in cfg.test_evaluator:
        metric.ann_file = data['ann_file']
    seen = []
    figures = evaluate_runtime(Runtime(exported), cfg, lambda: seen.append(1))
    assert len(seen) == 3
    dataset, evaluator = unresized_images(cfg), Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    for index, sample in enumerate(inferencer.predict(files)):
        labelled = dataset[index]['data_samples']
        labelled.pred_instances = sample.pred_instances
        evaluator.process([labelled])
    assert {'coco/AP', 'coco/segm_mAP'} <= figures.keys()
    assert figures == pytest.approx(evaluator.evaluate(3), abs=1e-4)
