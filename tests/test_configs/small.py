"""Runs of two iterations: the repository's configs, as they are but for small inputs and data."""
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

TRAIN_FILE = 'annotations/person_keypoints_train2017.json'
VAL_FILE = 'annotations/person_keypoints_val2017.json'


def small_config(name, work_dir, size=(97, 97), **settings):
    """A config with inputs of ``size`` [w, h], two iterations of two images and a validation.

    Nothing is downloaded, no worker process started, and mixed precision, which wants a GPU, is
    off.

    Args:
        name (str): File in configs/.
        work_dir (Path): Folder for the results.
        size (tuple): Input size.
        **settings: Dotted keys with ``__`` for the dots, which have the last word.
    """
    cfg = Config.fromfile(f'configs/{name}')
    cfg.model.backbone.init_cfg = None
    resize_input(cfg, size)
    cfg.optim_wrapper.type = 'OptimWrapper'
    cfg.optim_wrapper.pop('loss_scale', None)
    cfg.merge_from_dict({
        'work_dir': str(work_dir),
        'experiment_name': str(work_dir).replace('/', '_'),
        'visualizer.name': str(work_dir).replace('/', '_'),
        'randomness': dict(seed=0),
        'train_cfg.max_epochs': 1,
        'train_cfg.val_interval': 1,
        'default_hooks.logger.interval': 1,
    })
    cfg.param_scheduler = []
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in settings.items()})
    return cfg


def resize_input(cfg, size):
    """Change the input size wherever a config names it; PoseSeg's disks shrink with it."""
    def resize(node):
        if 'heatmap_size' in node:  # MMPose's codecs name both
            node['heatmap_size'] = tuple(
                new * heat // old for new, heat, old in zip(
                    size, node['heatmap_size'], node['input_size']))
        if 'input_size' in node:
            node['input_size'] = size

    visit(cfg._cfg_dict, resize)
    if cfg.model.head.decoder.type == 'PoseSeg':
        cfg.model.head.decoder.radius = 8


def visit(node, change):
    """Call a function with every dict of a config."""
    if isinstance(node, dict):
        change(node)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            visit(value, change)


def use_data(cfg, folder, train_file=TRAIN_FILE, val_file=VAL_FILE, train_images='train2017/',
             val_images='val2017/'):
    """Point all parts of a config at a folder: four images to train on, two to validate."""
    files = dict(
        train=(train_file, train_images, 4), val=(val_file, val_images, 2),
        test=(val_file, val_images, 2))
    for part, (file, images, number) in files.items():
        cfg[f'{part}_dataloader'].dataset.update(
            data_root=f'{folder}/', ann_file=file, data_prefix=dict(img=images), indices=number)
    for part in ('val', 'test'):
        found = cfg[f'{part}_evaluator']
        for metric in found if isinstance(found, list) else [found]:
            metric.ann_file = f'{folder}/{val_file}'
    return cfg


def check_losses(noted):
    """Two iterations, each of whose losses are numbers that add up."""
    assert len(noted) == 2
    for line in noted:
        parts = [value for name, value in line.items() if name.startswith('loss_')]
        assert math.isfinite(line['loss']) and line['loss'] == pytest.approx(sum(parts), rel=1e-5)


class Losses(Hook):
    """Notes the losses of each iteration."""

    def __init__(self):
        self.noted = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.noted.append({name: value.item() for name, value in outputs.items()})


def run(cfg):
    """Train and validate; the losses of each iteration, the metrics, and the runner."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        runner = Runner.from_cfg(cfg)
        losses = Losses()
        runner.register_hook(losses)
        runner.train()
    finally:
        torch.set_num_threads(threads)
    metrics = {
        name[4:]: scalar.current() for name, scalar in runner.message_hub.log_scalars.items()
        if name.startswith('val/') and '/time' not in name and 'data_time' not in name
    }
    return losses.noted, metrics, runner
