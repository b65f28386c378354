"""Two processes through tools/dist_*.sh, joined by gloo on the CPU, against one."""
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
from mmengine.config import Config

from kdc_mm.benchmarks.network.named_configs import build_model
from kdc_mm.engine.cpu_processes import join_processes_on_cpu

from ..conftest import person
from ..test_end_to_end.tiny import ROOT, tiny_config

pytestmark = pytest.mark.timeout(1800)
slow = pytest.mark.slow
VAL_IMAGES = 5


def write_data(folder):
    """Images of 97 px with one or two persons as plain boxes: 8 to train on, 5 to validate on."""
    rng = np.random.default_rng(0)
    for part, count in (('train', 8), ('val', VAL_IMAGES)):
        (folder / f'{part}2017').mkdir(parents=True)
        content = dict(images=[], annotations=[], categories=[dict(id=1, name='person')])
        for image_id in range(1, count + 1):
            image = rng.integers(0, 120, (97, 97, 3), np.uint8)
            for _ in range(1 + image_id % 2):  # the processes' batches hold different numbers
                w, h = rng.integers(60, 90, 2).tolist()
                x, y = (rng.integers(0, 97 - side) for side in (w, h))
                image[y:y + h, x:x + w] = rng.integers(120, 255, 3)
                content['annotations'].append(
                    dict(person(int(x), int(y), w, h), image_id=image_id,
                         id=len(content['annotations']) + 1))
            name = f'{image_id}.png'
            cv2.imwrite(str(folder / f'{part}2017' / name), image)
            content['images'].append(dict(id=image_id, file_name=name, height=97, width=97))
        (folder / 'annotations').mkdir(exist_ok=True)
        (folder / f'annotations/person_keypoints_{part}2017.json').write_text(json.dumps(content))


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    """Folder with data, ``config.py`` and ``start.pth``: a tiny network that sees one person in
    each image from the start, so that there are figures to compare.

    Statistics of batch norms are frozen, since each process would have its own. Plain SGD: Adam
    divides by gradients that differ by rounding alone.
    """
    folder = tmp_path_factory.mktemp('processes')
    write_data(folder)
    groups = dict(type='GN', num_groups=4)
    cfg = tiny_config(
        'kdc_rn152_coco.py', folder, folder / 'run', train_cfg__max_epochs=2,
        train_cfg__val_interval=2, default_hooks__checkpoint__interval=1,
        model__backbone__norm_eval=True, model__head__pose_head__norm_cfg=groups,
        model__head__seg_head__norm_cfg=groups, load_from=str(folder / 'start.pth'),
        train_dataloader__sampler__shuffle=False)
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-3, momentum=0.9))
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    model = build_model('tiny', cfg)
    with torch.no_grad():
        for head, bias in ((model.head.pose_head, -6.), (model.head.seg_head, 3.)):
            torch.nn.init.normal_(head.out.weight, std=1e-3)
            head.out.bias.zero_()
            head.out.bias[:1 if bias > 0 else 17] = bias
        model.head.seg_head.out.bias[3] = 4
    torch.save(dict(state_dict=model.state_dict()), folder / 'start.pth')
    return folder


def command(name, *arguments):
    """Command and environment of a script in tools/, alone on a port."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ, 'PORT': port, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '',
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    }
    environment.pop('LOCAL_RANK', None)
    shell = [sys.executable] if name.endswith('.py') else ['bash']
    return [*shell, str(ROOT / 'tools' / name), *map(str, arguments)], environment


def run(name, *arguments):
    """Run a script to its end; its output if it fails."""
    arguments, environment = command(name, *arguments)
    done = subprocess.run(arguments, env=environment, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def logged(work_dir):
    file = max(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for line in file.read_text().splitlines()]


def metrics_of(lines):
    (metrics, ) = [{name: value for name, value in line.items() if name.startswith('coco/')}
                   for line in lines if 'coco/AP' in line]
    return metrics


@pytest.fixture(scope='module')
def runs(start):
    """Work dirs of the same training by one process and by two: the same images in each step."""
    config = start / 'config.py'
    one, two = start / 'one', start / 'two'
    run('train.py', config, '--work-dir', one, '--cfg-options', 'train_dataloader.batch_size=4')
    run('dist_train.sh', config, '2', '--work-dir', two, '--cfg-options',
        'train_dataloader.batch_size=2')
    return one, two


@slow
def test_two_processes_end_where_one_ends_on_the_same_global_batch(runs, start):
    one, two = (metrics_of(logged(folder)) for folder in runs)
    assert one['coco/segm_mAP'] > 0.01  # figures that could differ
    assert two == pytest.approx(one, abs=1e-4)
    before, one, two = (torch.load(file)['state_dict'] for file in (
        start / 'start.pth', *(folder / 'epoch_2.pth' for folder in runs)))
    moved = max((one[name] - before[name]).abs().max() for name in before)
    assert moved > 1e-3
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-6, rtol=1e-5)


@slow
def test_two_processes_test_as_one_the_odd_image_included(runs, start, tmp_path):
    assert VAL_IMAGES % 2
    found = []
    for name, processes in (('test.py', []), ('dist_test.sh', ['2'])):
        out = tmp_path / f'{name}.json'
        run(name, start / 'config.py', runs[0] / 'epoch_2.pth', *processes, '--work-dir', tmp_path,
            '--out', out)
        found.append(json.loads(out.read_text()))
    assert found[0] == found[1] and found[0]['coco/segm_mAP'] > 0.01


@slow
def test_shards_end_where_one_process_ends(runs, start, tmp_path):
    """The strategy of configs/kdc_rn152_fsdp_coco.py, with smaller shards."""
    fsdp = Config.fromfile(ROOT / 'configs/kdc_rn152_fsdp_coco.py')
    cfg = Config.fromfile(start / 'config.py')
    for name in ('runner_type', 'strategy', 'custom_hooks'):
        cfg[name] = fsdp[name]
    cfg.strategy.model_wrapper.auto_wrap_policy.min_num_params = int(1e6)
    cfg.val_dataloader.sampler = fsdp.val_dataloader.sampler
    cfg.dump(tmp_path / 'fsdp.py')
    work_dir = tmp_path / 'run'
    run('dist_train.sh', tmp_path / 'fsdp.py', '2', '--work-dir', work_dir, '--cfg-options',
        'train_dataloader.batch_size=2')
    assert metrics_of(logged(work_dir)) == pytest.approx(metrics_of(logged(runs[0])), abs=1e-4)
    one, shards = (torch.load(folder / 'epoch_2.pth')['state_dict']
                   for folder in (runs[0], work_dir))
    assert one.keys() == shards.keys()
    for name in one:
        torch.testing.assert_close(shards[name], one[name], atol=1e-6, rtol=1e-5)


def wait_for(condition, seconds):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, 'it did not happen'
        time.sleep(0.1)


@slow
def test_a_killed_process_ends_the_others_and_the_run_resumes(start, tmp_path):
    work_dir = tmp_path / 'killed'
    options = ['--work-dir', work_dir, '--no-validate', '--cfg-options']
    arguments, environment = command(
        'dist_train.sh', start / 'config.py', '2', *options, 'train_cfg.max_epochs=100000')
    log = tmp_path / 'log'
    with log.open('w') as file:
        script = subprocess.Popen(arguments, env=environment, cwd=ROOT, stdout=file, stderr=file)
    try:
        wait_for(lambda: (work_dir / 'epoch_2.pth').exists() or script.poll() is not None, 600)
        workers = [process for process in psutil.Process(script.pid).children(recursive=True)
                   if any(part.endswith('train.py') for part in process.cmdline())
                   and 'RANK' in process.environ()]
        ranks = [process for process in workers if '-m' not in process.cmdline()]
        assert len(ranks) == 2
        next(one for one in ranks if one.environ()['RANK'] == '1').kill()
        assert script.wait(120) != 0
        wait_for(lambda: not any(one.is_running() for one in ranks), 60)
    finally:
        for process in psutil.Process().children(recursive=True):
            if process.pid == script.pid:
                process.kill()
    text = log.read_text()
    assert 'SIGKILL' in text
    assert 'the same command with --resume goes on from there' in text
    last = (work_dir / 'last_checkpoint').read_text()
    epoch = torch.load(last)['meta']['epoch']
    run('dist_train.sh', start / 'config.py', '2', '--resume', *options,
        f'train_cfg.max_epochs={epoch + 1}')
    steps = [line['step'] for line in logged(work_dir) if 'loss' in line]
    assert steps == [4 * epoch + i for i in (1, 2, 3, 4)] or steps == [
        2 * epoch + 1, 2 * epoch + 2]
    assert (work_dir / f'epoch_{epoch + 1}.pth').exists()


@pytest.mark.parametrize('launcher, has_gpu', [('none', False), ('slurm', False),
                                               ('pytorch', True)])
def test_single_processes_and_gpus_are_left_to_mmengine(launcher, has_gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)
    cfg = Config(dict(launcher=launcher))
    join_processes_on_cpu(cfg)
    assert 'model_wrapper_cfg' not in cfg and not torch.distributed.is_initialized()
