"""Runs of a second: the repository's configs on a dozen small images and a small network."""
import copy
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
SIZE = 97
SMALL = dict(feat_channels=16)
SMALL_AND_STEADY = dict(
    BottomupRandomAffine=dict(
        input_size=(SIZE, SIZE), shift_prob=0., scale_prob=0., rotate_prob=0.),
    RandomFlip=dict(prob=0.),
    BottomupResize=dict(input_size=(SIZE, SIZE)))


def tiny_config(name, data_root, work_dir, **settings):
    """A config of the repository, shrunk: inputs of 97 px, ResNet-18, batches of two, nothing
    random, no worker processes.

    Args:
        name (str): File name in configs/.
        data_root (Path): A data set with COCO's folders.
        work_dir (Path): Folder for the results.
        **settings: Dotted keys with ``__`` for the dots, which have the last word.
    """
    cfg = Config.fromfile(ROOT / 'configs' / name)
    stages = [64, 128, 256, 512]
    if 'base_channels' in cfg.model.backbone:
        stages = cfg.model.neck.in_channels
    cfg.merge_from_dict({
        'model.backbone.depth': 18,
        'model.backbone.init_cfg': None,
        'model.neck.in_channels': stages,
        'model.head': dict(pose_head=SMALL, seg_head=SMALL)
                      if cfg.model.head.type == 'KDCHead' else SMALL,
        'model.test_cfg.flip_test': False,
        'work_dir': str(work_dir),
        'experiment_name': str(work_dir).replace('/', '_'),
        'visualizer.name': str(work_dir).replace('/', '_'),
        'randomness': dict(seed=0),
        'default_hooks.logger.interval': 1,
    })
    cfg.model.head.decoder.update(input_size=(SIZE, SIZE), radius=6)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        for step in loader.dataset.pipeline:
            step.update(SMALL_AND_STEADY.get(step.type, {}))
        loader.dataset.data_root = f'{data_root}/'
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in settings.items()})
    metrics = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    for metric in metrics:
        metric.ann_file = f'{data_root}/{cfg.val_dataloader.dataset.ann_file}'
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    return cfg


class Recorder(Hook):
    """Notes what a run does: state before the first iteration, losses by name, learning rates,
    images."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.start, self.losses, self.rates, self.images = None, [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.start is None:
            optimizer = copy.deepcopy(runner.optim_wrapper.state_dict())
            self.start = dict(epoch=runner.epoch, iter=runner.iter, optimizer=optimizer)
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        self.images.append([sample.img_id for sample in data_batch['data_samples']])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: value.item() for name, value in outputs.items()})


def build(cfg, *hooks):
    """The runner of a config, with hooks that note or disturb what it does."""
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner
