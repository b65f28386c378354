"""Train, validate, save, resume, with the repository's configs on tiny images."""
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from ..conftest import load_tool
from .tiny import Recorder, build, tiny_config

DEMO, PAPER = 'demo/kdc_rn18_synthcrowd.py', 'kdc_rn152_coco.py'


def schedule_of(config):
    """Four iterations, saved after the second: by iterations in the demo's config, by epochs of two
    batches of four in the paper's. The learning rate changes in every one."""
    if config == DEMO:
        return dict(
            train_cfg__max_iters=4, train_cfg__val_interval=4,
            default_hooks__checkpoint__interval=2)
    decay = dict(type='LinearLR', start_factor=1., end_factor=0.1, begin=0, end=4, by_epoch=False)
    return dict(
        train_cfg__max_epochs=2, train_cfg__val_interval=2, default_hooks__checkpoint__interval=1,
        train_dataloader__batch_size=4, param_scheduler=[decay],
        optim_wrapper__optimizer__lr=1e-3)


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    """Several sum in an order of their own, and Adam makes a step of what rounding leaves of a
    gradient that vanishes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope='module', params=[DEMO, PAPER])
def run(request, synth, tmp_path_factory):
    """A whole run of four iterations: its config's name, its runner and what was noted of it."""
    work_dir = tmp_path_factory.mktemp('run')
    recorder = Recorder()
    runner = build(
        tiny_config(request.param, synth, work_dir, **schedule_of(request.param)), recorder)
    runner.train()
    return request.param, runner, recorder


def test_a_run_sums_its_losses_and_logs_both_metrics(run):
    _, runner, recorder = run
    assert runner.iter == 4 and len(recorder.losses) == 4
    for parts in recorder.losses:
        total = sum(value for name, value in parts.items() if name != 'loss')
        assert parts['loss'] == pytest.approx(total, rel=1e-5)
    assert {'val/coco/AP', 'val/coco/segm_mAP'} <= runner.message_hub.log_scalars.keys()


def test_a_run_saves_its_last_and_its_best_checkpoint(run):
    _, runner, _ = run
    saved = {path.name for path in Path(runner.work_dir).glob('*.pth')}
    assert len([name for name in saved if name.startswith('best_coco_AP')]) == 1
    assert len([name for name in saved if not name.startswith('best')]) == 2
    last = Path((Path(runner.work_dir) / 'last_checkpoint').read_text())
    weights = torch.load(last)['state_dict']
    for name, weight in runner.model.state_dict().items():
        assert torch.equal(weights[name], weight), name


def test_a_resumed_run_goes_on_as_if_it_had_not_been_interrupted(run, synth, tmp_path):
    config, whole, noted = run
    middle = Path(whole.work_dir) / ('iter_2.pth' if config == DEMO else 'epoch_1.pth')
    recorder = Recorder()
    resumed = build(
        tiny_config(config, synth, tmp_path, resume=True, load_from=str(middle),
                    **schedule_of(config)), recorder)
    resumed.train()
    assert (recorder.start['epoch'], recorder.start['iter']) == (0 if config == DEMO else 1, 2)
    saved = torch.load(middle)['optimizer']['state']
    state = recorder.start['optimizer']['state']
    assert state.keys() == saved.keys() and len(saved) > 20
    for index, moments in saved.items():
        assert torch.equal(state[index]['exp_avg'], moments['exp_avg'])
        assert torch.equal(state[index]['exp_avg_sq'], moments['exp_avg_sq'])
        assert state[index]['step'] == moments['step'] == 2
    assert recorder.rates == noted.rates[2:] and len(set(noted.rates)) == 4
    assert recorder.images == noted.images[2:]
    for parts, before in zip(recorder.losses, noted.losses[2:], strict=True):
        assert parts == pytest.approx(before, rel=1e-5)
    assert resumed.iter == whole.iter == 4
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_lowers_every_loss_and_raises_both_ap_on_four_images(synth, tmp_path):
    """The images of validation, which are four, learnt by heart."""
    recorder = Recorder()
    runner = build(
        tiny_config(
            DEMO, synth, tmp_path, train_cfg__max_iters=60, train_cfg__val_interval=20,
            train_dataloader__batch_size=4, train_dataloader__dataset=dict(
                ann_file='annotations/person_keypoints_val2017.json',
                data_prefix=dict(img='val2017/')),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=10),
                dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=60,
                     eta_min_ratio=0.02)
            ],
            optim_wrapper__optimizer__lr=6e-3,
            model__head__decoder=dict(radius=8, mask_stride=2),
            model__head__pose_head__feat_channels=32, model__head__seg_head__feat_channels=32),
        recorder)
    runner.train()
    first, last = recorder.losses[0], recorder.losses[-1]
    assert all(last[name] < 0.7 * first[name] for name in first), (first, last)
    for name, gain in (('coco/AP', 0.3), ('coco/segm_mAP', 0.1)):
        early, *_, late = runner.message_hub.log_scalars[f'val/{name}'].data[0]
        assert late > early + gain, name


def test_an_untrained_network_is_evaluated_to_nothing(synth, tmp_path):
    metrics = build(tiny_config(DEMO, synth, tmp_path)).test()
    assert metrics['coco/AP'] == 0
    assert metrics['coco/segm_mAP'] < 0.05


@pytest.mark.parametrize('config', [DEMO, PAPER])
def test_a_whole_data_set_without_detections_has_an_ap_of_0(synth, tmp_path, config):
    runner = build(tiny_config(config, synth, tmp_path))
    with torch.no_grad():
        runner.model.head.seg_head.out.bias[0] = -20
        runner.model.head.pose_head.out.bias[:17] = -20
    metrics = runner.test()
    assert metrics['coco/AP'] == metrics['coco/segm_mAP'] == 0


def test_amp_trains_in_bfloat16_on_a_cpu_with_finite_weights(synth, tmp_path):
    train = load_tool('train')
    cfg = tiny_config(DEMO, synth, tmp_path, train_cfg__max_iters=3, train_cfg__val_interval=3)
    args = train.build_parser().parse_args(
        [DEMO, '--amp', '--work-dir', str(tmp_path), '--no-validate'])
    cfg = train.merge_arguments(cfg, args)
    if not torch.cuda.is_available():
        assert cfg.optim_wrapper.type == 'CpuAmpOptimWrapper'
    seen, recorder = [], Recorder()
    runner = build(cfg, recorder)

    def note(module, inputs, output):
        if module.training:  # and not in the look at the input size
            seen.append(output.dtype)

    runner.model.backbone.conv1.register_forward_hook(note)
    runner.train()
    assert set(seen) <= {torch.bfloat16, torch.float16} and len(seen) == 3
    full = Recorder()
    build(tiny_config(DEMO, synth, tmp_path / 'full', train_cfg__max_iters=1), full).train()
    assert recorder.losses[0] == pytest.approx(full.losses[0], rel=0.03)
    assert all(weight.isfinite().all() for weight in runner.model.parameters())


class BreaksAt(Hook):
    """Spoils a weight before an iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            runner.model.head.pose_head.out.bias.data[0] = float('nan')


def test_a_loss_that_becomes_nan_stops_the_papers_config_with_what_is_needed_to_look(
        synth, tmp_path):
    recorder = Recorder()
    runner = build(
        tiny_config(PAPER, synth, tmp_path, train_cfg__max_epochs=3, train_cfg__val_interval=3,
                    default_hooks__checkpoint__interval=1), BreaksAt(5), recorder)
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    message = str(error.value)
    assert 'epoch 2, iteration 6' in message and 'loss_heatmap = nan' in message
    for image in recorder.images[5]:
        assert f'{image} ({synth}/train2017/{image:012d}.jpg)' in message
    saved = sorted(path.name for path in tmp_path.glob('*.pth'))
    assert saved == ['epoch_1.pth'] and 'epoch_1.pth' in message
    weights = torch.load(tmp_path / 'epoch_1.pth')['state_dict']
    assert all(weight.isfinite().all() for weight in weights.values())


def test_a_missing_annotation_file_says_where_coco_belongs_and_how_to_get_it(
        tmp_path, monkeypatch):
    config = Path('configs', PAPER).resolve()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', os.environ.get('LOCAL_RANK', '0'))
    monkeypatch.setattr(sys, 'argv', [
        'train.py', str(config), '--cfg-options', 'model.backbone.depth=18',
        'model.backbone.init_cfg=None', 'model.neck.in_channels=[64,128,256,512]'
    ])
    with pytest.raises(SystemExit) as error:
        load_tool('train').main()
    message = error.value.code
    assert 'data/coco/annotations/person_keypoints_train2017.json' in message
    assert 'COCO 2017 belongs into data/coco' in message
    assert 'http://images.cocodataset.org/annotations/annotations_trainval2017.zip' in message


def test_the_test_tool_evaluates_what_training_saved(run, synth, tmp_path, monkeypatch):
    config, runner, _ = run
    checkpoint = (Path(runner.work_dir) / 'last_checkpoint').read_text()
    cfg = tiny_config(config, synth, tmp_path)
    cfg.dump(tmp_path / 'config.py')
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', [
        'test.py', str(tmp_path / 'config.py'), checkpoint, '--work-dir', str(tmp_path), '--out',
        str(tmp_path / 'metrics.json')
    ])
    load_tool('test').main()
    scalars = runner.message_hub.log_scalars
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    for name in ('coco/AP', 'coco/segm_mAP'):
        assert metrics[name] == pytest.approx(scalars[f'val/{name}'].current(), abs=1e-6)
