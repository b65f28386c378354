"""Studies: what is equal for all entries, what is kept of runs, and what the tables say of them."""
import copy
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from mmcv.ops import DeformConv2d
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import KEYPOINT_CODECS, MODELS, TRANSFORMS
from mmpose.structures import PoseDataSample

from kdc_mm.benchmarks.network.named_configs import build_model
from kdc_mm.benchmarks.study import bench, parts, record  # noqa: F401
from kdc_mm.benchmarks.study.configs import (
    CHOICE,
    FINAL,
    Run,
    check_model,
    data_of,
    make_data,
    run_config,
    settings_of,
)
from kdc_mm.benchmarks.study.deform_conv import SampledDeformConv2d
from kdc_mm.benchmarks.study.pictures import chosen_indices, surest
from kdc_mm.benchmarks.study.results import (
    Origin,
    chosen_learning_rate,
    collect,
    result_of,
    write_result,
)
from kdc_mm.benchmarks.study.run_folder import FolderLock
from kdc_mm.benchmarks.study.study import StudyError, read_study
from kdc_mm.benchmarks.study.watch import Watch
from kdc_mm.synth_crowd import make_synth_crowd
from kdc_mm.visualization.ablations import draw_ablations

from ..conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / 'configs/studies').glob('*.yml'))
NOWHERE = Path('/splits')
CROWD = dict(preset='easy', train=6, val=2, size=96)
HEADS = ('kdc', 'kdc_poses', 'associative_embedding', 'dekr', 'cid', 'mask_rcnn')


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    """SynthCrowd with 6 images to train on and 2 to judge on, 96 px."""
    folder = tmp_path_factory.mktemp('study') / 'crowd'
    make_synth_crowd(folder, CROWD['preset'], CROWD['train'], CROWD['val'], size=CROWD['size'],
                     workers=1, progress=False)
    return folder


@pytest.fixture
def write(tmp_path, crowd):
    """Function that writes a study of 48 samples on the crowd, and returns its path."""

    def write_study(name='small', entries=None, **settings):
        entries = entries or [dict(name=head, head=head, learning_rates=[1e-3, 2e-3, 4e-3])
                              for head in ('kdc', 'dekr')]
        content = dict(
            title='Small', config='configs/demo/kdc_rn18_synthcrowd.py', input_size=97,
            data=dict(root=str(crowd), synth_crowd=CROWD, held_out=2), samples=48, batch=2,
            validations=2, entries=entries)
        path = tmp_path / f'{name}.yml'
        path.write_text(yaml.safe_dump({**content, **settings}))
        return path

    return write_study


@pytest.fixture(scope='module')
def all_heads(tmp_path_factory, crowd):
    """A study of every head, and the config of each head's run."""
    path = tmp_path_factory.mktemp('heads') / 'heads.yml'
    path.write_text(yaml.safe_dump(dict(
        config='configs/demo/kdc_rn18_synthcrowd.py', input_size=97,
        data=dict(root=str(crowd), synth_crowd=CROWD), samples=48, batch=2,
        entries=[dict(name=head, head=head, learning_rates=[1e-3]) for head in HEADS])))
    study = read_study(path)
    return {head: run_config(study, Run(head, FINAL, 0, 1e-3), NOWHERE) for head in HEADS}


def loader_of(cfg):
    """The images that a run trains on, in batches."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return Runner.build_dataloader(cfg.train_dataloader, seed=cfg.randomness.seed)


def progress_of(aps, task='keypoints', cpu_seconds=60., run_ms=20.):
    """What a run notes of itself that had these APs at equal distances."""
    curve = [dict(iteration=number, samples=2 * number, cpu_seconds=cpu_seconds * number,
                  run_ms=run_ms, figures={task: dict(AP=ap, AP50=ap + 5)},
                  keypoint_scores=[0.5] * 17)
             for number, ap in enumerate(aps, 1)]
    return dict(curve=curve, cpu_seconds=cpu_seconds * len(aps), parameters=3_000_000,
                finished=True, iteration=len(aps), max_iters=len(aps))


def keep(folder, study, run, *aps, **costs):
    """A file of results of a run; its path."""
    path = folder / f'{run.name}.json'
    origin = Origin(settings_of(study, run), data_of(study))
    write_result(path, result_of(study, run, origin, progress_of(aps, **costs), threads=1))
    return path


# What is equal


def test_every_head_sees_the_same_images_in_the_same_order(all_heads):
    orders = {}
    for head, cfg in all_heads.items():
        batches = iter(loader_of(cfg))
        orders[head] = [sample.img_id for _ in range(5)
                        for sample in next(batches)['data_samples']]
    assert len(set(orders['kdc'][:6])) == 6 and orders['kdc'][:6] != sorted(orders['kdc'][:6])
    assert all(order == orders['kdc'] for order in orders.values())


def test_every_head_has_the_same_augmentation_at_inputs_that_differ_by_a_pixel(all_heads):
    def augmentation(cfg):
        steps = [dict(step, type=step['type'].split('.')[-1])
                 for step in cfg.train_dataloader.dataset.pipeline]
        targets = ('GenerateTarget', 'BottomupGetPersonMasks')
        end = next(i for i, step in enumerate(steps) if step['type'] in targets)
        sizes = [step.pop('input_size') for step in steps[:end] if 'input_size' in step]
        return steps[:end], sizes

    steps, sizes = augmentation(all_heads['kdc'])
    assert [step['type'] for step in steps] == ['LoadImage8Bit', 'BottomupRandomAffine']
    assert sizes == [(97, 97)]
    for head, cfg in all_heads.items():
        others, sizes = augmentation(cfg)
        assert others == steps and sizes[0] in ((97, 97), (96, 96)), head


def test_every_head_has_the_same_optimiser_schedule_and_number_of_samples(all_heads):
    for cfg in all_heads.values():
        for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'randomness'):
            assert cfg[key] == all_heads['kdc'][key]
        assert cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size == 48
        assert cfg.train_dataloader.num_workers == cfg.val_dataloader.num_workers == 0


def test_every_head_has_the_same_backbone_and_neck(all_heads):
    def sizes(model):
        return [[tuple(weight.shape) for weight in part.parameters()]
                for part in (model.backbone, model.neck)]

    models = {head: build_model(head, cfg) for head, cfg in all_heads.items()}
    expected = sizes(models['kdc'])
    assert all(sizes(model) == expected for model in models.values())
    names = {head: type(getattr(model, 'head', model)).__name__ for head, model in models.items()}
    assert names == dict(
        kdc='KDCHead', kdc_poses='KDCPoseHead', associative_embedding='AssociativeEmbeddingHead',
        dekr='SampledDEKRHead', cid='XavierCIDHead', mask_rcnn='MixedMaskRCNN')


def test_kdc_on_the_merged_pyramid_is_the_network_of_its_config(all_heads):
    merged = build_model('merged', all_heads['kdc'])
    plain_cfg = Config.fromfile(ROOT / 'configs/demo/kdc_rn18_synthcrowd.py')
    plain_cfg.model.head.decoder.input_size = (97, 97)
    plain = build_model('plain', plain_cfg)
    plain.load_state_dict(merged.state_dict())
    image = torch.randn(1, 3, 97, 97)
    with torch.no_grad():
        expected, found = plain(image, None), merged(image, None)
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


def test_peers_have_the_losses_and_codecs_of_their_own_configs(all_heads):
    heads = {name: cfg.model.head for name, cfg in all_heads.items() if 'head' in cfg.model}
    assert heads['cid'].decoupled_heatmap_loss == dict(type='FocalHeatmapLoss', loss_weight=4.)
    assert heads['dekr'].rescore_cfg is None and heads['dekr'].decoder.sigma == (2, 1)
    # weights beside a mean of squares follow the area of the maps: 128 × 128 cells in the configs
    assert heads['dekr'].displacement_loss.loss_weight == pytest.approx(0.002 * (128 / 24)**2)
    assert heads['associative_embedding'].tag_loss.loss_weight == pytest.approx(
        0.001 * (128 / 25)**2)
    scoring = {name: cfg.val_evaluator[0] for name, cfg in all_heads.items()}
    assert scoring['cid'].nms_thr == 0.8 and scoring['cid'].score_mode == 'keypoint'
    assert scoring['mask_rcnn'].type == 'mmpose.DetectedPersonSegMetric'


@pytest.mark.parametrize('head, tolerance_px', [
    ('associative_embedding', 0.1), ('dekr', 0.1), ('cid', 0.3)])
def test_peers_decode_keypoints_to_where_they_encode_them(all_heads, head, tolerance_px):
    cfg = all_heads[head]
    codec = KEYPOINT_CODECS.build(cfg.model.head.decoder)
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        keypoints = rng.uniform(16, 80, (1, 17, 2)).astype(np.float32)
        encoded = codec.encode(keypoints, np.ones((1, 17), np.float32))
        errors.append(decoded(head, codec, encoded) - keypoints[0])
    assert np.abs(np.mean(errors, axis=(0, 1))).max() < tolerance_px
    assert np.abs(errors).mean() < 1.2


def decoded(head, codec, encoded):
    """Keypoints (17, 2) of one person from perfect maps, with what the head adds."""
    if head == 'dekr':
        keypoints, _ = codec.decode(torch.as_tensor(encoded['heatmaps']),
                                    torch.as_tensor(encoded['displacements']))
        return keypoints[0].numpy()
    if head == 'cid':
        heatmaps = encoded['instance_heatmaps'].reshape(1, 17, 24, 24)
        return codec.decode(heatmaps, np.ones((1, 1)))[0][0] + 2  # CIDHead's half cell
    heatmaps = torch.as_tensor(encoded['heatmaps'])[None].clamp(min=1e-6)
    return codec.batch_decode(heatmaps, torch.zeros_like(heatmaps))[0][0][0]


def test_cid_tells_the_keypoints_of_a_person_apart_within_a_hundred_iterations(all_heads):
    settings = dict(all_heads['cid'].model.head, in_channels=32)
    codec = KEYPOINT_CODECS.build(settings['decoder'])
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(8, 88, (2, 17, 2)).astype(np.float32)
    np.random.seed(0)
    encoded = codec.encode(keypoints, np.ones((2, 17), np.float32))
    targets = {name: torch.as_tensor(value) for name, value in encoded.items()}
    sample = PoseDataSample(
        gt_fields=PixelData(heatmaps=targets['heatmaps'],
                            instance_heatmaps=targets['instance_heatmaps']),
        gt_instance_labels=InstanceData(instance_coords=targets['instance_coords'],
                                        keypoint_weights=targets['keypoint_weights']))
    aims = targets['instance_heatmaps'].flatten(1).argmax(1)
    found = {}
    for kind in ('CIDHead', 'XavierCIDHead'):
        torch.manual_seed(0)
        head = MODELS.build(dict(settings, type=kind))
        head.init_weights()
        features = torch.randn(1, 32, 24, 24)
        optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)
        for _ in range(100):
            losses = head.loss([features], [sample])
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
        roots = targets['instance_coords'].long()
        persons = head.iia_module._sample_feats(features, roots)
        maps = head.gfd_module(features, persons, roots, torch.zeros(len(roots), dtype=torch.long))
        found[kind] = (maps.reshape(34, -1).argmax(1) == aims).float().mean().item()
    assert found['XavierCIDHead'] > 0.8
    assert found['CIDHead'] < 0.3, 'MMPose starts it otherwise now: XavierCIDHead can go'


def test_cids_heatmaps_stay_below_one_in_bfloat16(all_heads):
    head = build_model('cid', all_heads['cid']).head
    sure = torch.full((1, 17, 4, 4), 30., dtype=torch.bfloat16)
    for module in (head.iia_module, head.gfd_module):
        assert module.sigmoid(sure).max().item() == pytest.approx(1 - 1e-4, abs=1e-6)


def test_deformable_convolutions_by_sampling_are_those_of_mmcv():
    torch.manual_seed(0)
    conv = DeformConv2d(6, 6, 3, padding=1, groups=3, deform_groups=3, bias=False)
    x, offset = torch.randn(2, 6, 7, 9), 2 * torch.randn(2, 54, 7, 9)
    offset[0, ::2] = offset[0, ::2].round()  # on cells, where slopes jump, and outside
    gradients = []
    for kind in (DeformConv2d, SampledDeformConv2d):
        conv.__class__ = kind
        inputs = [x.clone().requires_grad_(), offset.clone().requires_grad_()]
        output = conv(*inputs)
        gradients.append([output, *torch.autograd.grad(
            (output * output.detach()).sum(), [*inputs, conv.weight])])
    for expected, found in zip(*gradients):
        assert torch.allclose(found, expected, atol=1e-4)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert torch.equal(conv(x, offset), output)


def test_a_detector_learns_the_masks_that_kdc_learns():
    owner = np.zeros((40, 50), np.uint8)
    owner[5:20, 10:15] = 1
    owner[8:30, 20:32] = 3
    owner[0, 0:9] = 4  # a pixel high: no box to learn
    owner[30:40, 40:50] = 255
    packed = TRANSFORMS.build(dict(type='PackPersonInstances'))(dict(
        img=np.zeros((40, 50, 3), np.uint8), img_id=7, img_path='7.png', ori_shape=(80, 100),
        mask_owner=owner))
    sample = packed['data_samples']
    assert packed['inputs'].shape == (3, 40, 50) and sample.img_id == 7
    assert sample.gt_instances.bboxes.tolist() == [[10, 5, 15, 20], [20, 8, 32, 30]]
    assert sample.gt_instances.labels.tolist() == [0, 0]
    assert np.array_equal(sample.gt_instances.masks.masks, [owner == 1, owner == 3])
    assert sample.ignored_instances.bboxes.tolist() == [[40, 30, 50, 40]]


def test_a_detector_pools_the_same_features_in_bfloat16_with_channels_last(all_heads):
    cfg = all_heads['mask_rcnn']
    batch = next(iter(loader_of(cfg)))
    boxes = torch.tensor([[0, 8., 8., 60., 90.], [1, 20., 4., 90., 50.]])
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        detector = MODELS.build(cfg.model)
    detector.init_weights()

    def pooled():
        data = detector.data_preprocessor(copy.deepcopy(batch), True)
        assert torch.isfinite(detector(**data, mode='loss')['loss_mask'])
        features = detector.extract_feat(data['inputs'])
        return detector.roi_head.bbox_roi_extractor(features[:4], boxes)

    detector.train()
    expected = pooled()
    detector.to(memory_format=torch.channels_last)
    with torch.autocast('cpu', torch.bfloat16):
        found = pooled()
    assert (found - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_images_whose_people_have_no_mask_are_ignored_as_a_whole():
    packed = TRANSFORMS.build(dict(type='PackPersonInstances'))(dict(
        img=np.zeros((40, 50, 3), np.uint8), img_id=7, img_path='7.png', ori_shape=(40, 50)))
    assert len(packed['data_samples'].gt_instances) == 0
    assert packed['data_samples'].ignored_instances.bboxes.tolist() == [[0, 0, 50, 40]]


@pytest.mark.parametrize('levels, channels', [('sum', 6), ('concat', 12)])
def test_a_pyramid_becomes_one_map_of_its_first_level(levels, channels):
    settings = dict(in_channels=[4, 8], out_channels=6, num_outs=2)
    neck = MODELS.build(dict(type='MergedFPN', levels=levels,
                             upsample_cfg=dict(mode='bilinear', align_corners=True), **settings))
    inputs = (torch.randn(1, 4, 9, 9), torch.randn(1, 8, 5, 5))
    merged, = neck(inputs)
    assert merged.shape == (1, channels, 9, 9)
    fine, coarse = super(type(neck), neck).forward(inputs)
    cells = (slice(None), slice(None), slice(None, None, 2), slice(None, None, 2))
    expected = fine[cells] + coarse if levels == 'sum' else torch.cat([fine[cells], coarse], 1)
    assert torch.allclose(merged[cells], expected, atol=1e-6)


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_repository_expand_into_configs(path):
    study = read_study(path)
    for entry in study.entries:
        rate = entry.learning_rates[0] if entry.learning_rates else None
        cfg = run_config(study, Run(entry.name, FINAL, 0, rate), NOWHERE)
        Compose([])
        for key, value in entry.options.items():
            node = cfg
            for part in key.split('.'):
                node = node[part]
            assert node == value, (entry.name, key)
        if study.samples:
            assert cfg.train_cfg.max_iters == study.samples // study.batch


def test_the_papers_ablation_is_that_of_its_config():
    study = read_study(ROOT / 'configs/studies/paper_ablations.yml')
    cfg = run_config(study, Run('outputs-paper', FINAL, 0, None), NOWHERE)
    assert cfg.model == Config.fromfile(ROOT / 'configs/kdc_rn152-paper_coco.py').model
    base = Config.fromfile(ROOT / 'configs/kdc_rn152_coco.py')
    cfg = run_config(study, Run('radius-16', FINAL, 0, None), NOWHERE)
    assert cfg.model.head.decoder == dict(base.model.head.decoder, radius=16)
    for key in ('optim_wrapper', 'train_dataloader', 'val_dataloader', 'train_cfg'):
        assert cfg[key] == base[key]


def test_what_changes_decoding_only_fits_the_weights_that_it_decodes():
    study = read_study(ROOT / 'configs/studies/paper_ablations.yml')
    decoding = [entry for entry in study.entries if entry.decodes and entry.options]
    assert len(decoding) == 19

    def head_of(name):
        cfg = run_config(study, Run(name, FINAL, 0, None), NOWHERE)
        return MODELS.build(dict(cfg.model.head, in_channels=1))

    weights = head_of('all').state_dict()
    for name in ('sigma-high-variance-0.1', 'sigma-low-variance-0.1', 'sigma-instance-0.1'):
        head_of(name).load_state_dict(weights)


# What is said of studies that cannot be run


@pytest.mark.parametrize('settings, words', [
    (dict(epochs=3), "'epochs' is not known; known are"),
    (dict(entries=[dict(name='a', head='openpose')]), "there is no head 'openpose'; there are"),
    (dict(entries=[dict(name='a'), dict(name='a')]), "two entries have the name 'a'"),
    (dict(entries=[dict(name='R = 1'), dict(name='R + 1')]), "as files are called,.* 'R___1'"),
    (dict(entries=[dict(name='a', group='b'), dict(name='b')]), "'b' has the name of a group"),
    (dict(entries=[dict(name=20)]), 'entry 20: name must be a text, got 20'),
    (dict(entries=[dict(name='a', decodes='a')]), "decodes 'a', which is not trained itself"),
    (dict(entries=[dict(name='a'), dict(name='b', decodes='a', learning_rates=[1.])]),
     'it has no learning_rates'),
    (dict(entries=[dict(name='a', head='cid'), dict(name='b', decodes='a', head='kdc')]),
     'whose head is cid'),
    (dict(entries=[dict(name='a', learning_rates=[1e-3, 1e-3])]), 'two learning rates'),
    (dict(entries=[dict(name='a', options=3)]), 'options must be settings, got 3'),
    (dict(seeds=0), 'seeds must be a list of whole numbers, got 0'),
    (dict(choice_share='half'), "choice_share must be a number, got 'half'"),
    (dict(samples=0), 'samples, batch and validations must be at least 1'),
    (dict(overrides={}), "'overrides' is not known"),
    (dict(data=dict(root='a', synth_crowd='easy')), 'synth_crowd must be settings'),
    (dict(entries=[dict(name='a', decodes='b')]), "decodes 'b', which is no entry"),
    (dict(entries=[dict(name='a', learning_rates=['fast'])]), 'must be a list of positive'),
    (dict(samples=None), 'choosing one needs samples'),
    (dict(data=dict(held_out=3)), 'data needs root'),
])
def test_a_study_that_cannot_be_read_is_refused_by_name(write, settings, words):
    with pytest.raises(StudyError, match=words):
        read_study(write(**settings))


@pytest.mark.parametrize('options, words', [
    ({'modle.head.decoder.radius': 9}, 'nothing reads modle.head.decoder.radius; set model'),
    ({'codec.radius': 9}, 'nothing reads codec.radius; set model.head.decoder.radius'),
    ({'custom_hooks.99.type': 'Hook'}, 'options have no place in the config'),
    ({'model.data_preprocessor.mean.0': 1.}, 'options have no place in the config'),
    ({1: 2}, 'nothing reads 1'),
])
def test_options_that_would_change_nothing_are_refused(write, options, words):
    """A network under another name than what it is would be a figure of nothing."""
    kdc = Run('kdc', FINAL, 0, 1e-3)
    with pytest.raises(StudyError, match=f'small: {words}|small: options: {words}'):
        run_config(read_study(write(options=options)), kdc, NOWHERE)
    path = write(entries=[dict(name='kdc', head='kdc', options=options)])
    with pytest.raises(StudyError, match=f"entry 'kdc': (options: )?{words}"):
        run_config(read_study(path), kdc, NOWHERE)


@pytest.mark.parametrize('options', [
    {'randomness.seed': 7}, {'test_dataloader.batch_size': 4},
    {'default_hooks.logger.interval': 1}])
def test_entries_cannot_set_what_studies_set(write, options):
    path = write(entries=[dict(name='kdc', head='kdc', options=options)])
    with pytest.raises(StudyError, match=f"'kdc' sets {next(iter(options))}, which studies set"):
        run_config(read_study(path), Run('kdc', FINAL, 0, 1e-3), NOWHERE)


@pytest.mark.parametrize('options', [
    {'custom_hooks': [dict(type='SyncBuffersHook')]},
    {'train_dataloader.dataset.pipeline': {'0': dict(color_type='color')}},
    {'model.backbone.init_cfg': None},
    {'optim_wrapper': dict(_delete_=True, type='OptimWrapper',
                           optimizer=dict(type='SGD', lr=1e-3))}])
def test_entries_may_change_their_own_network_and_training(write, options):
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[1e-3], options=options)])
    assert run_config(read_study(path), Run('kdc', FINAL, 0, 1e-3), NOWHERE)


@pytest.mark.parametrize('options', [
    {'optim_wrapper.optimizer.lr': 1e-3},  # the first of the rates to choose from
    {'randomness.seed': 0}])  # the first seed
def test_every_run_is_looked_at_before_one_is_started(tool, started, write, tmp_path, options):
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[1e-3, 2e-3],
                               options=options)])
    with pytest.raises(SystemExit, match="entry 'kdc' "):
        tool.main([str(path), '--out', str(tmp_path / 'out')])
    assert not started


def test_files_of_rates_that_an_entry_no_longer_has_say_nothing_of_its_settings(write, tmp_path):
    path = write(entries=[dict(name='kdc', head='kdc')])
    study = read_study(path)
    keep(tmp_path, study, Run('kdc', FINAL, 0, None), 50.)
    kept = json.loads((tmp_path / 'kdc-final-seed0.json').read_text())
    (tmp_path / 'a.json').write_text(json.dumps(dict(kept, learning_rate=1e-3, settings='other')))
    results, ignored = collect(study, [tmp_path])
    assert list(results) == [Run('kdc', FINAL, 0, None)] and len(ignored) == 1


def test_networks_that_compute_while_they_are_built_are_no_fault(write):
    study = read_study(write(entries=[dict(name='swin', learning_rates=[1e-3])], input_size=None))
    study = dataclasses.replace(study, config=str(ROOT / 'configs/mix/kdc_swin-t-fpn_coco.py'))
    cfg = run_config(study, Run('swin', FINAL, 0, 1e-3), NOWHERE)
    check_model(study, study.entry('swin'), cfg)


def test_a_run_imports_what_its_config_imports(write, tmp_path):
    study = read_study(write())
    config = Config.fromfile(ROOT / study.config)
    config.custom_imports.imports = 'json.tool'
    config.dump(tmp_path / 'own.py')
    cfg = run_config(dataclasses.replace(study, config=str(tmp_path / 'own.py')),
                     Run('kdc', FINAL, 0, 1e-3), NOWHERE)
    assert {'json.tool', 'kdc_mm'} <= set(cfg.custom_imports.imports)


def test_a_learning_rate_is_set_in_one_place(write):
    options = {'optim_wrapper.optimizer.lr': 0.1}
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[1e-3], options=options)])
    with pytest.raises(StudyError, match='learning_rates, and options that set another'):
        run_config(read_study(path), Run('kdc', FINAL, 0, 1e-3), NOWHERE)


def test_a_learning_rate_of_the_config_counts_among_the_settings(write):
    run = Run('kdc', FINAL, 0, None)
    hashes = {settings_of(read_study(write(
        entries=[dict(name='kdc', head='kdc', options={'optim_wrapper.optimizer.lr': rate})])), run)
        for rate in (0.002, 0.1)}
    assert len(hashes) == 2


@pytest.mark.parametrize('head', HEADS)
def test_types_may_have_a_scope(write, tmp_path, head):
    study = read_study(write(entries=[dict(name='one', head=head)]))
    config = Config.fromfile(ROOT / study.config)
    for part in (*config.val_evaluator, *config.custom_hooks,
                 *config.train_dataloader.dataset.pipeline):
        part.type = f'mmpose.{part.type}'
    config.dump(tmp_path / 'scoped.py')
    plain, scoped = (run_config(one, Run('one', FINAL, 0, None), NOWHERE) for one in (
        study, dataclasses.replace(study, config=str(tmp_path / 'scoped.py'))))
    assert len(scoped.val_evaluator) == len(plain.val_evaluator) > 0
    assert len(scoped.custom_hooks) == len(plain.custom_hooks)
    steps = [[step.type.rpartition('.')[2] for step in cfg.train_dataloader.dataset.pipeline]
             for cfg in (plain, scoped)]
    assert steps[0] == steps[1]


def test_a_config_without_what_a_head_stands_on_is_refused(write, tmp_path):
    study = read_study(write())
    config = Config.fromfile(ROOT / study.config)
    del config.model['neck']
    config.dump(tmp_path / 'bare.py')
    with pytest.raises(StudyError, match="bare.py cannot have the head 'kdc'"):
        run_config(dataclasses.replace(study, config=str(tmp_path / 'bare.py')),
                   Run('kdc', FINAL, 0, 1e-3), NOWHERE)


def test_inputs_that_the_heads_cannot_share_are_refused(write):
    study = read_study(write(input_size=100))
    with pytest.raises(StudyError, match='square inputs of 32·n [+] 1 pixels'):
        run_config(study, Run('dekr', FINAL, 0, 1e-3), NOWHERE)


# What may be chosen


def test_learning_rates_are_chosen_on_training_images_held_apart(write, tmp_path):
    study = read_study(write())
    make_data(study, tmp_path / 'data')
    cfg = run_config(study, Run('dekr', CHOICE, 0, 4e-3), tmp_path / 'data')
    images = {}
    for part in ('train', 'val'):
        dataset = cfg[f'{part}_dataloader'].dataset
        content = json.loads(Path(dataset.ann_file).read_text())
        images[part] = {image['id'] for image in content['images']}
        assert {ann['image_id'] for ann in content['annotations']} == images[part]
        assert dataset.data_prefix.img == 'train2017/'
    assert images == dict(train={1, 2, 3, 4}, val={5, 6})
    assert cfg.val_evaluator[0].ann_file == cfg.val_dataloader.dataset.ann_file
    assert cfg.train_cfg.max_iters == 6  # a quarter of 24
    assert cfg.optim_wrapper.optimizer.lr == 4e-3
    final = run_config(study, Run('dekr', FINAL, 0, 4e-3), tmp_path / 'data')
    assert final.train_dataloader.dataset.ann_file == (
        'annotations/person_keypoints_train2017.json')
    assert final.train_cfg.max_iters == 24


def test_the_best_learning_rate_is_chosen_and_of_equals_the_lower(write, tmp_path):
    study = read_study(write())
    entry = study.entry('kdc')
    for rate, ap in ((1e-3, 30.), (2e-3, 50.), (4e-3, 50.)):
        keep(tmp_path, study, Run('kdc', CHOICE, 0, rate), ap)
    results = collect(study, [tmp_path]).results
    assert chosen_learning_rate(study, entry, results) == 2e-3
    lacking = {run: result for run, result in results.items() if run.learning_rate != 4e-3}
    with pytest.raises(LookupError, match='kdc-choice-lr0.004-seed0'):
        chosen_learning_rate(study, entry, lacking)


# What is kept


def test_settings_are_the_same_on_every_machine_and_change_with_what_changes_figures(
        write, tmp_path):
    study = read_study(write())
    moved = read_study(write('moved', data=dict(
        root=str(tmp_path / 'elsewhere'), synth_crowd=CROWD, held_out=2)))
    run = Run('kdc', FINAL, 0, 1e-3)
    assert settings_of(study, run) == settings_of(moved, run)
    assert settings_of(study, run) == settings_of(study, run._replace(seed=1, learning_rate=.1))
    assert data_of(study) == data_of(moved)
    others = [
        settings_of(study, run._replace(entry='dekr')),
        settings_of(study, run._replace(part=CHOICE)),
        settings_of(read_study(write(samples=64)), run),
        settings_of(read_study(write(options={'model.head.decoder.radius': 5})), run)]
    assert len({settings_of(study, run), *others}) == 5
    other_data = read_study(write(data=dict(
        root=str(tmp_path), synth_crowd=dict(CROWD, train=7), held_out=2)))
    assert data_of(other_data) != data_of(study)
    # images held apart count where a learning rate is chosen
    other_images = read_study(write(data=dict(
        root=str(tmp_path), synth_crowd=CROWD, held_out=3)))
    assert settings_of(other_images, run) == settings_of(study, run)
    choice = run._replace(part=CHOICE)
    assert settings_of(other_images, choice) != settings_of(study, choice)


def test_what_is_decoded_or_gone_on_from_counts_as_a_setting(write, crowd, tmp_path):
    def decoding(rate=1e-3, **options):
        return dict(seeds=[0], entries=[
            dict(name='kdc', head='kdc', learning_rates=[rate], options=options),
            dict(name='wide', decodes='kdc', options={'model.head.decoder.radius': 9})])

    decodes = Run('wide', FINAL, 0, None)
    static = {'model.head.seg_head.centroid': 'static'}
    weights = []
    for name in ('one.pth', 'two.pth'):
        (tmp_path / name).write_text(name)
        weights.append(dataclasses.replace(
            read_study(write(**decoding())), checkpoint=str(tmp_path / name)))
    hashes = [settings_of(study, decodes) for study in (
        read_study(write(**decoding())), read_study(write(**decoding(rate=2e-3))),
        read_study(write(**decoding(**static))), *weights)]
    assert len({*hashes}) == 5

    run = Run('kdc', FINAL, 0, 1e-3)
    hashes = []
    for rate, train in ((1e-3, 6), (2e-3, 6), (1e-3, 7)):
        data = dict(root=str(crowd), synth_crowd=dict(CROWD, train=train))
        first = write(name='first', data=data, **decoding(rate))
        hashes.append(settings_of(read_study(write(start=str(first), **decoding())), run))
    assert len({*hashes}) == 3


def test_options_of_the_command_line_come_last_and_count_as_settings(write):
    study = read_study(write(options={'optim_wrapper.type': 'OptimWrapper'}, entries=[
        dict(name='AE', head='associative_embedding', learning_rates=[1e-3],
             options={'model.head.decoder.sigma': 3})]))
    run = Run('AE', FINAL, 0, 1e-3)
    for key, value in (('model.head.tag_loss.loss_weight', 0.5), ('model.head.decoder.sigma', 1),
                       ('optim_wrapper.optimizer.lr', 0.1), ('train_cfg.max_iters', 3),
                       ('train_dataloader.batch_size', 1)):
        changed = dataclasses.replace(study, overrides={key: value})
        node = run_config(changed, run, NOWHERE)
        for part in key.split('.'):
            node = node[part]
        assert node == value, key
        assert settings_of(changed, run) != settings_of(study, run), key


def test_results_of_other_machines_are_merged_and_those_of_other_studies_left_out(
        write, tmp_path):
    study = read_study(write())
    here, there = tmp_path / 'here/results', tmp_path / 'there'
    keep(here, study, Run('kdc', FINAL, 0, 2e-3), 40., 60.)
    keep(there, study, Run('kdc', FINAL, 1, 2e-3), 50., 62.)
    keep(there, study, Run('kdc', FINAL, 0, 2e-3), 10., 11.)  # second runs do not count
    keep(there, read_study(write('other')), Run('dekr', FINAL, 0, 2e-3), 20.)
    keep(there, read_study(write(samples=96)), Run('dekr', FINAL, 1, 2e-3), 20.)
    (there / 'notes.json').write_text('{"words": 1}')
    found = collect(read_study(write()), [here.parent, there])
    assert {run.name: result['curve'][-1]['figures']['keypoints']['AP']
            for run, result in found.results.items()} == {
                'kdc-final-lr0.002-seed0': 60., 'kdc-final-lr0.002-seed1': 62.}
    words = ' '.join(found.ignored)
    assert len(found.ignored) == 4
    for one in ('no result of a run', 'other settings than the study has now', 'is of other',
                'is a second run of kdc-final-lr0.002-seed0'):
        assert one in words


def test_results_hold_figures_alone(write, tmp_path):
    study = read_study(write())
    path = keep(tmp_path, study, Run('kdc', FINAL, 0, 2e-3), 40., 60.)
    assert path.stat().st_size < 4000
    kept = json.loads(path.read_text())
    assert kept['learning_rate'] == 2e-3 and kept['seed'] == 0 and kept['cpu_seconds'] == 120
    assert [point['samples'] for point in kept['curve']] == [2, 4]
    assert 'torch' in kept['machine'] and str(tmp_path) not in path.read_text()


@pytest.fixture(scope='module')
def broken_run(tmp_path_factory, all_heads):
    """Progress of a run of 8 iterations that was killed after the fifth, and after going on."""
    cfg = all_heads['kdc'].copy()
    work_dir = tmp_path_factory.mktemp('broken')
    cfg.work_dir = str(work_dir)
    cfg.experiment_name = 'broken-run'
    cfg.train_cfg.update(max_iters=8, val_interval=4)
    cfg.default_hooks.checkpoint.interval = 4
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    runner = Runner.from_cfg(cfg)

    class Killed(Exception):
        pass

    train_step = runner.model.train_step

    def killed_in_the_sixth(*args, **kwargs):
        if runner.iter == 5:
            raise Killed
        return train_step(*args, **kwargs)

    runner.model.train_step = killed_in_the_sixth
    try:
        with pytest.raises(Killed):
            runner.train()
        before = json.loads((work_dir / 'progress.json').read_text())
        cfg.update(resume=True, experiment_name='resumed-run')
        Runner.from_cfg(cfg).train()
    finally:
        torch.set_num_threads(threads)
    return before, json.loads((work_dir / 'progress.json').read_text())


def test_a_broken_run_goes_on_with_the_whole_curve_and_its_costs(broken_run):
    before, after = broken_run
    assert not before['finished'] and after['finished']
    assert [point['iteration'] for point in before['curve']] == [4]
    assert [point['iteration'] for point in after['curve']] == [4, 8]
    assert [point['samples'] for point in after['curve']] == [8, 16]
    # the checkpoint of the fourth iteration stands before its validation, which is done again
    assert after['curve'][0]['figures'] == before['curve'][0]['figures']
    assert after['curve'][0]['cpu_seconds'] == before['curve'][0]['cpu_seconds']
    assert 0 < after['curve'][0]['cpu_seconds'] < after['curve'][1]['cpu_seconds']
    assert after['curve'][1]['run_ms'] > 0
    assert set(after['curve'][1]['figures']) == {'keypoints', 'segm'}


@pytest.mark.parametrize('done, kept', [(0, 0), (4, 1)], ids=['starts', 'goes on'])
def test_a_run_that_starts_from_anothers_weights_has_no_curve_of_it(done, kept):
    hook = record.StudyRecordHook()
    hook.after_load_checkpoint(None, dict(study=dict(cpu_seconds=9., curve=[dict(iteration=4)])))
    hook.before_train(SimpleNamespace(iter=done))
    assert len(hook.curve) == kept and hook.cpu_seconds == 9. * kept


@pytest.mark.parametrize('epoch, noted, lacks', [
    (4, 6, True), (4, 8, False), (3, 4, False), (2, 0, True), (1, 0, False)])
def test_a_loop_of_epochs_lacks_the_validation_that_it_was_killed_in(epoch, noted, lacks):
    loop = object.__new__(EpochBasedTrainLoop)
    loop.val_begin, loop.val_interval = 1, 2
    runner = SimpleNamespace(train_loop=loop, val_loop=loop, iter=2 * epoch, epoch=epoch,
                             max_iters=8, max_epochs=4)
    hook = record.StudyRecordHook()
    hook.curve = [dict(iteration=noted)] if noted else []
    assert hook._lacks_validation(runner) is lacks


def test_the_confidence_of_keypoints_is_that_of_the_persons_of_whom_they_were_found():
    scores = record.mean_keypoint_scores([
        np.array([[0.8, 0.], [0.4, 0.]]), np.zeros((0, 2)), np.array([[0., 0.]])])
    assert scores == [pytest.approx(0.6), 0.]
    assert record.mean_keypoint_scores([]) == []


# The tool


@pytest.fixture
def tool():
    return load_tool('run_study')


@pytest.fixture
def started(tool, monkeypatch):
    """Names of the runs that the tool starts, which only pretend to train: their AP is what the
    list's ``aps`` has for their name, or 50; those in ``fails`` end with these last words."""
    class Started(list):
        aps, fails, commands = {}, {}, []

    runs = Started()

    class Pretended:
        def __init__(self, command, stdout, stderr, env, pass_fds, start_new_session):
            folder = Path(command[command.index('--work-dir') + 1])
            name = folder.name
            runs.append(name)
            runs.commands.append(command)
            assert env['OMP_NUM_THREADS'] == '1'
            self.returncode = 0
            if name in runs.fails:
                stdout.write(f'{runs.fails[name]}\n'.encode())
                (folder / 'progress.json').write_text(
                    json.dumps(dict(progress_of([]), cpu_seconds=60., finished=False)))
                self.returncode = 1
                return
            (folder / 'last_checkpoint').write_text(str(folder / 'iter_24.pth'))
            (folder / 'iter_24.pth').write_text('weights')
            ap = runs.aps.get(name, 50.)
            (folder / 'progress.json').write_text(json.dumps(progress_of([ap / 2, ap])))

        def poll(self):
            return self.returncode

        def wait(self):
            pass

    class Subprocess:
        Popen = Pretended

    runs.commands = []
    monkeypatch.setattr(bench, 'subprocess', Subprocess)
    return runs


def test_learning_rates_are_chosen_first_and_then_every_seed_is_run(tool, started, write,
                                                                   tmp_path):
    started.aps = {'kdc-choice-lr0.004-seed0': 70., 'dekr-choice-lr0.001-seed0': 70.}
    arguments = [str(write()), '--out', str(tmp_path / 'out')]
    assert tool.main(arguments) == 0
    choices = [f'{entry}-choice-lr{rate}-seed0' for entry in ('kdc', 'dekr')
               for rate in ('0.001', '0.002', '0.004')]
    finals = ['kdc-final-lr0.004-seed0', 'dekr-final-lr0.001-seed0', 'kdc-final-lr0.004-seed1',
              'dekr-final-lr0.001-seed1']
    assert started == choices + finals
    assert {path.stem for path in (tmp_path / 'out/results').iterdir()} == {*choices, *finals}
    command = started.commands[-1]
    assert Path(command[1]).name == 'train.py' and '--resume' not in command
    assert Config.fromfile(command[2]).optim_wrapper.optimizer.lr == 1e-3
    # weights of choices have done their work, those of final runs stay
    assert {path.parent.name for path in (tmp_path / 'out/runs').rglob('*.pth')} == {*finals}
    started.clear()
    assert tool.main(arguments) == 0 and not started


def test_a_picture_needs_a_network_that_finds_keypoints(tool, started, write, tmp_path, capsys):
    path = write(entries=[dict(name='detector', head='mask_rcnn', learning_rates=[1e-3])])
    assert tool.main([str(path), '--out', str(tmp_path / 'out'), '--pictures', '2']) == 0
    assert 'Nothing to draw' in capsys.readouterr().err
    assert not (tmp_path / 'out/pictures.jpg').exists()


def test_entries_and_seeds_can_be_run_apart(tool, started, write, tmp_path):
    arguments = [str(write()), '--out', str(tmp_path / 'out'), '--only', 'dekr', '--seed', '1']
    assert tool.main(arguments) == 0
    assert started[-1] == 'dekr-final-lr0.001-seed1' and len(started) == 4


def test_no_run_is_started_when_the_time_is_up(tool, started, write, tmp_path):
    out = tmp_path / 'out'
    assert tool.main([str(write()), '--out', str(out), '--limit-minutes', '0']) == 0
    assert not started
    table = (out / 'leaderboard.md').read_text()
    assert '| kdc | poses and masks, bottom-up | – | – | – | – | – |' in table
    assert 'not chosen yet: kdc-choice-lr0.001-seed0, kdc-choice-lr0.002-seed0' in table


def test_a_seed_that_diverged_is_in_no_mean_and_is_named(tool, started, write, tmp_path):
    started.fails = {'kdc-final-lr0.002-seed1': 'Training stopped: the loss is not finite.'}
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[2e-3])])
    assert tool.main([str(path), '--out', str(tmp_path / 'out')]) == 0
    table = (tmp_path / 'out/leaderboard.md').read_text()
    assert '| 0, 1 | 0.002 | 4 | 2.0 | 20.0 | 50.0 | – |' in table
    assert 'kdc: training diverged at seed 1, which no mean holds.' in table


def test_a_run_that_diverges_is_a_result_and_one_that_fails_is_tried_again(tool, started, write,
                                                                          tmp_path, capsys):
    diverged = 'kdc-choice-lr0.004-seed0'
    started.fails = {diverged: 'Training stopped: the loss is not finite (loss = nan).',
                     'dekr-choice-lr0.001-seed0': 'No space left on device.'}
    arguments = [str(write()), '--out', str(tmp_path / 'out')]
    assert tool.main(arguments) == 1
    assert 'dekr-choice-lr0.001-seed0 failed: No space left on device.' in capsys.readouterr().err
    kept = json.loads((tmp_path / f'out/results/{diverged}.json').read_text())
    assert kept['curve'] == [] and 'not finite' in kept['diverged']
    assert kept['cpu_seconds'] == 60.
    assert 'dekr-final-lr0.001-seed0' not in started and 'kdc-final-lr0.001-seed0' in started
    assert '0.004: diverged' in (tmp_path / 'out/leaderboard.md').read_text()
    started.fails = {}
    started.clear()
    assert tool.main(arguments) == 0
    assert diverged not in started and 'dekr-final-lr0.001-seed1' in started


def test_other_settings_have_another_folder_by_default(tool, started, write, tmp_path, monkeypatch):
    path = str(write(entries=[dict(name='kdc', head='kdc', learning_rates=[2e-3])], seeds=[0],
                     config=str(ROOT / 'configs/demo/kdc_rn18_synthcrowd.py')))
    monkeypatch.chdir(tmp_path)
    assert tool.main([path]) == 0
    for _ in range(2):
        assert tool.main([path, '--cfg-options', 'model.head.decoder.radius=9']) == 0
    assert len(started) == 2
    plain, changed = sorted(path.name for path in Path('work_dirs/studies').iterdir())
    assert plain == 'small' and changed.startswith('small-')


def test_a_config_that_is_edited_meanwhile_is_another_commands_matter(tool, started, write,
                                                                      tmp_path, monkeypatch):
    """What is running goes on as it began, and ends."""
    config = tmp_path / 'edited.py'
    Config.fromfile(ROOT / 'configs/demo/kdc_rn18_synthcrowd.py').dump(config)
    watched = Watch.follow

    def edit(*arguments):
        with config.open('a') as file:
            file.write('\nmodel["head"]["decoder"]["radius"] = 9\n')
        watched(*arguments)

    monkeypatch.setattr(Watch, 'follow', edit)
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[2e-3])], seeds=[0, 1],
                 config=str(config))
    assert tool.main([str(path), '--out', str(tmp_path / 'out')]) == 0
    assert started == ['kdc-final-lr0.002-seed0', 'kdc-final-lr0.002-seed1']
    radii = {Config.fromfile(command[2]).model.head.decoder.radius for command in started.commands}
    assert len(radii) == 1 and radii != {9}


def test_a_run_of_other_settings_is_put_aside_and_not_gone_on_with(tool, started, write, tmp_path,
                                                                   capsys):
    name = 'kdc-final-lr0.002-seed0'
    folder = tmp_path / 'out/runs' / name
    entries = [dict(name='kdc', head='kdc', learning_rates=[2e-3])]

    def run(**settings):
        arguments = [str(write(entries=entries, **settings)), '--out', str(tmp_path / 'out')]
        started.clear()
        assert tool.main([*arguments, '--seed', '0']) == 0
        return list(started)

    assert run() == [name] and run() == []
    (folder / 'iter_24.pth').write_text('of the first settings')
    assert run(options={'model.head.decoder.radius': 9}) == [name]
    assert f'{name}: begun with other settings' in capsys.readouterr().err
    assert (folder / 'iter_24.pth').read_text() == 'weights'
    [kept] = folder.glob('before-*/iter_24.pth')
    assert kept.read_text() == 'of the first settings'
    result = json.loads((kept.parent / 'result.json').read_text())
    assert result['settings'] == settings_of(read_study(write(entries=entries)),
                                             Run('kdc', FINAL, 0, 2e-3))
    write(entries=entries, options={'model.head.decoder.radius': 9})
    # what was broken off with the same settings stays, to be gone on with
    (tmp_path / f'out/results/{name}.json').unlink()
    assert run(options={'model.head.decoder.radius': 9}) == [name]
    assert len(list(folder.glob('before-*'))) == 1


def test_a_study_goes_on_from_what_another_has_trained(tool, started, write, tmp_path, capsys):
    entries = [dict(name='kdc', head='kdc', learning_rates=[2e-3])]
    first = write(name='first', entries=entries, seeds=[0])
    second = write(name='second', entries=entries, seeds=[0], start=str(first), input_size=129)
    out = ['--out', str(tmp_path / 'studies/second')]
    name = 'kdc-final-lr0.002-seed0'
    assert tool.main([str(second), *out]) == 1 and not started
    assert f"{name}: goes on from 'kdc' of first, seed 0, which is not" in capsys.readouterr().err

    assert tool.main([str(first), '--out', str(tmp_path / 'studies/first')]) == 0
    assert tool.main([str(second), *out]) == 0
    assert not any('--resume' in command for command in started.commands)
    assert Config.fromfile(started.commands[0][2]).load_from is None
    load_from = Config.fromfile(started.commands[1][2]).load_from
    assert load_from == str(tmp_path / 'studies/first/runs' / name / 'iter_24.pth')
    # broken off, it goes on from its own
    (tmp_path / f'studies/second/results/{name}.json').unlink()
    assert tool.main([str(second), *out]) == 0
    assert '--resume' in started.commands[2]
    assert Config.fromfile(started.commands[2][2]).load_from is None
    # what decodes its networks otherwise has nothing there to go on from
    second = write(name='second', seeds=[0], start=str(first), input_size=129, entries=[
        *entries, dict(name='wide', decodes='kdc', options={'model.head.decoder.radius': 9})])
    assert tool.main([str(second), *out]) == 0
    assert started.commands[3][1].endswith('test.py')
    assert started.commands[3][3] == str(tmp_path / 'studies/second/runs' / name / 'iter_24.pth')
    # other settings of the first are other settings of the second
    changed = write(name='first', entries=entries, seeds=[0], options={
        'model.head.decoder.radius': 9})
    assert changed == first and tool.main([str(second), *out, '--tables']) == 0
    assert 'was run with other settings' in capsys.readouterr().err


def test_a_study_does_not_go_on_from_itself(write):
    path = write(name='first')
    with pytest.raises(StudyError, match='goes on from this study itself'):
        read_study(write(name='first', start=str(path)))
    write(name='first', start=str(write(name='second')))
    with pytest.raises(StudyError, match='goes on from this study itself'):
        read_study(write(name='second', start=str(path)))


def test_a_study_goes_on_from_entries_that_there_are(write):
    first = write(name='first')
    with pytest.raises(StudyError, match="has no entry 'cid' to go on from"):
        read_study(write(start=str(first), entries=[dict(name='cid', head='cid')]))


def wait_with(monkeypatch, sleep):
    """Have the bench call this function when it begins to wait for other processes."""
    monkeypatch.setattr(bench, 'time', SimpleNamespace(sleep=sleep, monotonic=time.monotonic))


def test_a_run_of_another_process_is_left_to_it(tool, started, write, tmp_path, capsys,
                                                monkeypatch):
    def ctrl_c(seconds):
        raise KeyboardInterrupt

    wait_with(monkeypatch, ctrl_c)
    folder = tmp_path / 'out/runs/dekr-choice-lr0.002-seed0'
    with FolderLock(folder) as locked:
        assert locked
        arguments = [str(write()), '--out', str(tmp_path / 'out'), '--only', 'dekr']
        assert tool.main(arguments) == tool.INTERRUPTED
    assert started == ['dekr-choice-lr0.001-seed0', 'dekr-choice-lr0.004-seed0']
    assert 'Other processes are at dekr-choice-lr0.002-seed0' in capsys.readouterr().err


def test_a_network_that_another_process_trains_is_waited_for(tool, started, write, tmp_path,
                                                             monkeypatch):
    def finished_elsewhere(seconds):
        lock.__exit__()
        study = read_study(path)
        keep(tmp_path / 'out/results', study, base, 50.)
        (folder / 'origin.json').write_text(json.dumps([settings_of(study, base), data_of(study)]))
        (folder / 'last_checkpoint').write_text(str(folder / 'iter_1.pth'))
        (folder / 'iter_1.pth').write_text('weights')

    wait_with(monkeypatch, finished_elsewhere)
    path = write(seeds=[0], entries=[
        dict(name='wide', decodes='all', options={'model.head.decoder.radius': 9}),
        dict(name='all', learning_rates=[2e-3])])
    base = Run('all', FINAL, 0, 2e-3)
    folder = tmp_path / 'out/runs' / base.name
    lock = FolderLock(folder)
    assert lock.__enter__()
    assert tool.main([str(path), '--out', str(tmp_path / 'out')]) == 0
    assert started == ['wide-final-seed0']


def test_what_a_run_has_started_ends_with_it(tool, write, tmp_path, monkeypatch):
    """As the processes of several GPUs do."""
    child = tmp_path / 'child'

    def interrupted(self, process, *_):
        while not child.is_file() or not child.read_text().strip():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.Bench, 'command', lambda *_: [
        'bash', '-c', f'sleep 600 & echo $! > {child}; wait'])
    monkeypatch.setattr(Watch, 'follow', interrupted)
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[1e-3])])
    assert tool.main([str(path), '--out', str(tmp_path / 'out')]) == tool.INTERRUPTED
    state = Path('/proc', child.read_text().strip(), 'stat')
    deadline = time.monotonic() + 60
    while state.is_file() and state.read_text().split()[2] != 'Z':
        assert time.monotonic() < deadline, 'it still runs'
        time.sleep(0.05)


def test_tables_show_means_spreads_and_costs(tool, write, tmp_path):
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[2e-3]),
                          dict(name='dekr', head='dekr', learning_rates=[1e-3])])
    study = read_study(path)
    there = tmp_path / 'there'
    keep(there, study, Run('kdc', FINAL, 0, 2e-3), 40., 60., cpu_seconds=60., run_ms=20.)
    keep(there, study, Run('kdc', FINAL, 1, 2e-3), 44., 63., cpu_seconds=66., run_ms=30.)
    keep(there, study, Run('dekr', FINAL, 0, 1e-3), 30., 55., cpu_seconds=90., run_ms=100.)
    out = tmp_path / 'out'
    assert tool.main([str(path), '--out', str(out), '--tables', '--results', str(there)]) == 0
    table = (out / 'leaderboard.md').read_text()
    assert '| kdc | 3.0 | 25.0 | 40.0 | 61.5 ± 1.5 |' in table
    assert '| dekr | 3.0 | 100.0 | 10.0 | 55.0 |' in table
    assert ('| kdc | poses and masks, bottom-up | 0, 1 | 0.002 | 4 | 2.1 ± 0.1 | 25.0 ± 5.0 |'
            in table)
    content = json.loads((out / 'leaderboard.json').read_text())
    entry, other = content['entries']
    assert entry['measured']['Small']['keypoints']['AP'] == 61.5
    assert entry['spread']['Small']['keypoints']['AP'] == 1.5 and 'spread' in other
    assert len(content['runs']) == 3
    page = (out / 'leaderboard.html').read_text()
    assert page.count('<svg') == 3
    assert 'images seen in training' in page and 'processor time of training' in page


def test_entries_of_decoding_alone_test_what_another_has_trained(tool, started, write, tmp_path,
                                                                capsys):
    path = write(seeds=[0], entries=[
        dict(name='all', learning_rates=[2e-3]),
        dict(name='radius-12', group='radius', setting=12, decodes='all'),
        dict(name='sigma-0.1', group='sigma-instance', setting=0.1, decodes='all',
             options={'model.head.decoder.sigma_instance': 0.1})])
    out = tmp_path / 'out'
    assert tool.main([str(path), '--out', str(out), '--only', 'sigma-0.1']) == 1
    assert "weights of 'all', seed 0, which are not here: train it" in capsys.readouterr().err
    assert tool.main([str(path), '--out', str(out)]) == 0
    assert started == ['all-final-lr0.002-seed0', 'sigma-0.1-final-seed0']
    command = started.commands[-1]
    assert Path(command[1]).name == 'test.py'
    assert command[3] == str(out / 'runs/all-final-lr0.002-seed0/iter_24.pth')
    # weights that are now of other settings are nobody's
    origin = out / 'runs/all-final-lr0.002-seed0/origin.json'
    origin.write_text(origin.read_text().replace('["', '["other'))
    (out / 'results/sigma-0.1-final-seed0.json').rename(tmp_path / 'kept.json')
    assert tool.main([str(path), '--out', str(out)]) == 1 and len(started) == 2
    assert 'which are not here: train it' in capsys.readouterr().err
    (tmp_path / 'kept.json').rename(out / 'results/sigma-0.1-final-seed0.json')
    assert tool.main([str(path), '--out', str(out), '--tables']) == 0
    content = json.loads((out / 'leaderboard.json').read_text())
    shown = [entry['measured']['Small']['keypoints']['AP'] for entry in content['entries']]
    assert shown == [50., 50., 50.]
    assert cv2.imread(str(out / 'fig10_instance_sigma.png')) is not None
    assert cv2.imread(str(out / 'fig7_radius.png')) is not None


def test_every_figure_of_the_paper_is_drawn_from_its_groups(tmp_path):
    study = read_study(ROOT / 'configs/studies/paper_ablations.yml')
    entries = [
        dict(group=entry.group, setting=entry.setting,
             figures=dict(keypoints=dict(AP=50.), segm=dict(AP=40.)),
             keypoint_scores=dict(nose=0.7, left_eye=0.6, right_eye=0.5))
        for entry in study.entries if entry.group]
    pictures = draw_ablations(entries, tmp_path)
    assert [path.stem for path in pictures] == [
        'table7_key_centroid', 'fig7_radius', 'fig8_mask_centroid', 'fig9_point_sigma',
        'fig10_instance_sigma']
    assert all(cv2.imread(str(path)) is not None for path in pictures)


def test_all_entries_are_listed_with_what_they_change(tool, tmp_path, capsys):
    path = str(ROOT / 'configs/studies/paper_ablations.yml')
    assert tool.main([path, '--out', str(tmp_path), '--list', '--only', 'sigma-instance']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        f'sigma-instance-{value}' for value in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert 'fig. 10' in lines[0] and 'sigma_instance=0.1 (decoding only)' in lines[0]


def test_a_printed_config_is_that_of_the_run(tool, write, tmp_path, capsys):
    path = write()
    assert tool.main([str(path), '--out', str(tmp_path), '--print-config', 'dekr']) == 0
    (tmp_path / 'printed.py').write_text(capsys.readouterr().out)
    printed = Config.fromfile(tmp_path / 'printed.py')
    expected = run_config(read_study(path), Run('dekr', FINAL, 0, 1e-3), tmp_path / 'data')
    assert printed.model == expected.model
    assert printed.train_dataloader == expected.train_dataloader


@pytest.mark.parametrize('arguments, words', [
    (['--only', 'kcd'], "has no entry 'kcd'; see kdc"),
    (['--checkpoint', 'no.pth'], 'no.pth'),
    (['--checkpoint', 'https://example.com/no.pth'], 'is no file; fetch it'),
    (['--seed', '7'], 'has no seed 7; its seeds are 0, 1'),
    (['--results', 'nowhere'], 'there is no folder nowhere'),
    (['--gpus', '3'], '2 images of an iteration cannot be shared equally by 3'),
    (['--cfg-options', 'optim_wraper.type=OptimWrapper'], 'nothing reads optim_wraper.type'),
    (['--cfg-options', 'model.head.decoder.radus=9'], "entry 'kdc' cannot be built.*no radus"),
    (['--cfg-options', 'model.test_cfg.flip_tst=1'], "'flip_tst', which nobody reads"),
])
def test_what_cannot_run_is_named_before_anything_starts(tool, started, write, tmp_path,
                                                         arguments, words):
    with pytest.raises(SystemExit, match=words):
        tool.main([str(write()), '--out', str(tmp_path / 'out'), *arguments])
    assert not started


@pytest.mark.slow
def test_a_study_of_two_heads_is_run_from_images_to_tables(write, tmp_path):
    path = write(entries=[dict(name='kdc', head='kdc', learning_rates=[2e-3]),
                          dict(name='Mask R-CNN', head='mask_rcnn', learning_rates=[1e-3])],
                 samples=8, seeds=[0])
    subprocess.run([sys.executable, str(ROOT / 'tools/run_study.py'), str(path), '--out',
                    str(tmp_path / 'out'), '--pictures', '2'], check=True)
    content = json.loads((tmp_path / 'out/leaderboard.json').read_text())
    assert [set(entry['measured']['Small']) for entry in content['entries']] == [
        {'keypoints', 'segm'}, {'segm'}]
    # image, annotations and two networks beside each other, two images below one another
    assert cv2.imread(str(tmp_path / 'out/pictures.jpg')).shape[:2] == (
        32 + 2 * 320 + 3 * 8, 4 * 328 + 8)


class _Photos(list):
    def get_data_info(self, index):
        return dict(img_path=f'photos/{self[index]}.jpg', raw_ann_info=[{}] * len(self[index]))


@pytest.mark.parametrize('words, indices', [
    (['2'], [1, 0]), (['0'], []), (['aaa.jpg'], [0]), (['bb.jpg', 'aaa.jpg'], [2, 0])])
def test_images_are_drawn_by_their_number_or_their_names(tool, words, indices):
    assert chosen_indices(_Photos(['aaa', 'a', 'bb']), tool.number_or_names(words)) == indices


def test_an_image_to_draw_that_is_not_there_is_named():
    with pytest.raises(StudyError, match='named cc.jpg; the first is aaa.jpg'):
        chosen_indices(_Photos(['aaa', 'a', 'bb']), ['a.jpg', 'cc.jpg'])


@pytest.mark.parametrize('scores', [
    dict(bbox_scores=np.array([0.2, 0.9, 0.5]), keypoint_scores=np.ones((3, 17))),
    dict(scores=torch.tensor([0.2, 0.9, 0.5])),
    dict(keypoint_scores=np.array([[0.1, 0.3], [0.8, 1.], [0.5, 0.5]])),
])
def test_the_surest_people_are_drawn(scores):
    people = InstanceData(**scores, number=np.array([0, 1, 2]))
    assert surest(people, 2).number.tolist() == [1, 2]
    assert surest(people, 9).number.tolist() == [1, 2, 0]
    assert len(surest(people[people.number < 0], 2)) == 0
