"""Every config of the repository: it loads, its model builds, and its parts fit together."""
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpose.registry import METRICS, MODELS

CONFIGS = sorted(
    str(file.relative_to('configs')) for file in Path('configs').rglob('*.py')
    if not {'_base_', 'deploy'} & set(file.parts))


#: Without KDC's own heads.
FOREIGN = ('mix/ae_kdc-rn50_coco-512x512.py', )


@pytest.fixture(params=[config for config in CONFIGS if config not in FOREIGN])
def cfg(request):
    return Config.fromfile(f'configs/{request.param}')


def test_the_model_gives_every_field_at_its_stride(cfg):
    """On PyTorch's meta device, which computes shapes alone, but Swin, which reads numbers."""
    cfg.model.backbone.init_cfg = None
    codec = cfg.codec
    width, height = codec.input_size
    with torch.no_grad(), torch.device(
            'cpu' if cfg.model.backbone.type == 'SwinTransformer' else 'meta'):
        model = MODELS.build(cfg.model).eval()
        fields = model(torch.zeros(1, 3, height, width), None, mode='tensor')
    num_keypoints = model.head.num_keypoints
    num_limbs = len(model.head.decoder.skeleton.edges)
    channels = dict(
        heatmaps=num_keypoints, key_centroids=2 * num_keypoints,
        person_centroids=2 * num_keypoints, limbs=2 * num_limbs, semantic=1, mask_centroids=2,
        log_bandwidth=1)
    for name, field in fields.items():
        of_masks = name in ('semantic', 'mask_centroids', 'log_bandwidth')
        stride = codec.mask_stride if of_masks else codec.heatmap_stride
        size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        assert field.shape == (1, channels[name], *size), name
    optional = dict(key_centroids='use_key_centroid', person_centroids='use_person_centroid',
                    limbs='use_limbs')
    expected = {name for name, setting in optional.items() if codec.get(setting, True)}
    assert fields.keys() & optional.keys() == expected and 'heatmaps' in fields


def test_pipelines_build_and_resize_to_the_size_that_the_head_decodes(cfg):
    assert cfg.codec == cfg.model.head.decoder
    for part in ('train', 'val', 'test'):
        steps = Compose(cfg[f'{part}_dataloader'].dataset.pipeline).transforms
        sizes = {tuple(step.input_size) for step in steps if hasattr(step, 'input_size')}
        assert sizes == {tuple(cfg.model.head.decoder.input_size)}


def test_validation_and_test_evaluate_the_file_that_they_predict(cfg):
    for part in ('val', 'test'):
        dataset = cfg[f'{part}_dataloader'].dataset
        predicted = {one.data_root + one.ann_file for one in dataset.get('datasets', [dataset])}
        assert {metric.ann_file for metric in evaluators(cfg, part)} == predicted


def test_the_best_checkpoint_is_that_of_the_keypoint_ap(cfg):
    pose_metric = next(one for one in evaluators(cfg, 'val') if one.type != 'PersonSegMetric')
    prefix = pose_metric.get('prefix', METRICS.get(pose_metric.type).default_prefix)
    assert cfg.default_hooks.checkpoint.save_best == f'{prefix}/AP'


def evaluators(cfg, part):
    """The metrics of validation or test as a list."""
    found = cfg[f'{part}_evaluator']
    return found if isinstance(found, list) else found.get('metrics', [found])


def test_everything_needed_is_imported_by_the_config_itself(cfg):
    assert cfg.custom_imports.imports == ['kdc_mm']
    assert cfg.default_scope == 'mmpose'
