"""``--cfg-options`` that nothing reads, and the keys that are named in their place."""
import pytest
from mmengine.config import Config

from kdc_mm.engine.cfg_options import merge_options, unread_options

PIPELINE = 'dataloader.dataset.pipeline'


def working(config, key):
    """What is named in place of a key; None where it is read."""
    return unread_options(Config.fromfile(f'configs/{config}.py'), [key]).get(key)


@pytest.mark.parametrize('config, key, expected', [
    ('kdc_rn152_coco', 'codec.radius', ['model.head.decoder.radius']),
    ('kdc_rn152_coco', 'codec.mask_threshold', ['model.head.decoder.mask_threshold']),
    ('kdc_rn152_coco', 'codec.input_size', [
        'model.head.decoder.input_size', f'train_{PIPELINE}.1.input_size',
        f'val_{PIPELINE}.1.input_size', f'test_{PIPELINE}.1.input_size']),
    ('kdc_rn152_coco', 'data_root', [
        'train_dataloader.dataset.data_root', 'val_dataloader.dataset.data_root',
        'test_dataloader.dataset.data_root', 'val_evaluator.0.ann_file',
        'val_evaluator.1.ann_file', 'test_evaluator.0.ann_file', 'test_evaluator.1.ann_file']),
    ('kdc_rn152_coco', 'train_pipeline.1.rotate_prob', [f'train_{PIPELINE}.1.rotate_prob']),
    ('kdc_rn152_coco', 'val_pipeline.1.size_factor', [
        f'val_{PIPELINE}.1.size_factor', f'test_{PIPELINE}.1.size_factor']),
    ('kdc_rn152_coco', 'dataset_type', [
        'train_dataloader.dataset.type', 'val_dataloader.dataset.type',
        'test_dataloader.dataset.type']),
    ('kdc_rn152_crowdpose', 'dataset.data_root', [
        'train_dataloader.dataset.data_root', 'val_dataloader.dataset.data_root',
        'test_dataloader.dataset.data_root']),
    ('kdc_rn152_crowdpose', 'data_root', [
        'train_dataloader.dataset.data_root', 'val_dataloader.dataset.data_root',
        'test_dataloader.dataset.data_root', 'val_evaluator.ann_file',
        'test_evaluator.ann_file']),
    ('kdc_rn152_8xb16-140e_coco', 'max_epochs', ['train_cfg.max_epochs']),
    ('mix/kdc_hrnet-w32_coco-512x512', 'codec.radius', ['model.head.decoder.radius']),
    ('mix/ae_kdc-rn50_coco-512x512', 'codec.sigma', [
        f'train_{PIPELINE}.3.encoder.sigma', 'model.head.decoder.sigma']),
])
def test_a_variables_place_in_what_is_read_is_named(config, key, expected):
    assert sorted(working(config, key)) == sorted(expected)


@pytest.mark.parametrize('key, expected', [
    ('radius', ['model.head.decoder.radius']),
    ('head.decoder.radius', ['model.head.decoder.radius']),
    ('modle.backbone.depth', ['model.backbone.depth']),
    ('optim_wraper.optimizer.lr', ['optim_wrapper.optimizer.lr']),
    ('nonsense', []),
    ('custom_imports.imports', []),
])
def test_a_key_that_no_config_has_gets_the_one_that_ends_like_it_or_is_spelt_like_it(
        key, expected):
    assert working('kdc_rn152_coco', key) == expected


@pytest.mark.parametrize('key', [
    'model.head.decoder.radius', 'train_dataloader.batch_size', 'randomness.seed', 'sync_bn',
    'find_unused_parameters', 'model_wrapper_cfg.type', 'experiment_name', 'work_dir',
    'load_from', 'default_hooks.checkpoint.interval', 'env_cfg.cudnn_benchmark'])
def test_what_a_runner_reads_is_let_through_whether_the_config_has_it_or_not(key):
    assert working('kdc_rn152_coco', key) is None


def test_a_strategy_is_read_by_the_runner_that_has_one():
    assert working('kdc_rn152_fsdp_coco', 'strategy.state_dict_cfg') is None
    assert working('kdc_rn152_coco', 'strategy.state_dict_cfg') == []


def test_merging_changes_what_is_read_or_nothing_at_all():
    cfg = Config.fromfile('configs/kdc_rn152_coco.py')
    merge_options(cfg, {'model.head.decoder.radius': 40, 'optim_wrapper.optimizer.lr': 1e-4})
    assert cfg.model.head.decoder.radius == 40 and cfg.optim_wrapper.optimizer.lr == 1e-4
    with pytest.raises(SystemExit) as refusal:
        merge_options(cfg, {'model.head.decoder.radius': 8, 'codec.radius': 8, 'nonsense': 1})
    assert str(refusal.value).splitlines() == [
        '--cfg-options: nothing reads codec.radius; set model.head.decoder.radius instead.',
        '--cfg-options: nothing reads nonsense.',
    ]
    assert cfg.model.head.decoder.radius == 40
