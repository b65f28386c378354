"""Train a pose model. The flags are those of MMPose's own tools/train.py."""
import argparse
import logging
import os
import sys
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the kdc_mm beside this file

from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.checkpoint import (  # noqa: E402
    check_checkpoint,
    check_fit,
    checkpoint_to_start_from,
    pretrained_weights,
)
from kdc_mm.engine.cpu_processes import join_processes_on_cpu  # noqa: E402
from kdc_mm.engine.faults import FAULTS, check_work_dir, config_or_end, end  # noqa: E402
from kdc_mm.engine.hooks.input_size_hook import check_size_first  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Train a pose model')
    add = parser.add_argument
    add('config', help='config file, or the name of one of kdc_mm')
    add('--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    add('--resume', nargs='?', const='auto',
        help='go on from this checkpoint; without a name, from the last one in the work dir')
    add('--amp', action='store_true', help='train with automatic mixed precision')
    add('--no-validate', action='store_true', help='do not evaluate while training')
    add('--auto-scale-lr', action='store_true',
        help='scale the learning rate by the actual over the base batch size')
    add('--show-dir', help='folder for pictures of validation results')
    add('--show', action='store_true', help='show validation results in a window')
    add('--interval', type=int, default=1, help='show every n-th sample')
    add('--wait-time', type=float, default=1, help='seconds for which a window stays')
    add('--cfg-options', nargs='+', action=DictAction,
        help='settings that override the config: key=value, with nested keys as a.b.0.c and lists '
        'as key="[a,b]" (quoted, without spaces)')
    add('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
        help='what started the processes of a distributed run')
    add('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    return parser


def merge_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """The config with the command line's settings in it; ``--cfg-options`` has the last word."""
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        use_amp(cfg)
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume
    if args.auto_scale_lr:
        cfg.auto_scale_lr.enable = True
    if args.show or args.show_dir is not None:
        show_results(cfg, args)
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    return cfg


def use_amp(cfg: Config) -> None:
    """Turn the optimizer wrapper into the one for mixed precision.

    That is mmengine's, with a dynamic loss scale, or without a GPU bfloat16 on the CPU.
    """
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    name = wrapper if isinstance(wrapper, str) else wrapper.__name__
    if name not in ('OptimWrapper', 'AmpOptimWrapper'):
        sys.exit(f'--amp replaces an OptimWrapper; this config has a {name}')
    if get_device() == 'cpu':
        cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)
        return
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def show_results(cfg: Config, args: argparse.Namespace) -> None:
    """Switch the visualization hook on, as ``--show`` and ``--show-dir`` ask."""
    if 'visualization' not in cfg.default_hooks:
        sys.exit('--show and --show-dir need a hook in the config: '
                 "default_hooks.visualization = dict(type='PoseVisualizationHook')")
    cfg.default_hooks.visualization.update(
        enable=True, show=args.show, out_dir=args.show_dir, interval=args.interval)
    if args.show:
        cfg.default_hooks.visualization.wait_time = args.wait_time


def choose_start(cfg: Config) -> None:
    """Check the weights that training starts from, and name those to go on from in the config."""
    start, problems = checkpoint_to_start_from(cfg)
    for problem in problems:
        print(f'warning: {problem}', file=sys.stderr)
    if problems:
        print(f'Going on from {start}.', file=sys.stderr)
    cfg.load_from = start
    for source in pretrained_weights(cfg.get('model')):
        check_checkpoint(source)


def train(cfg: Config, config: str) -> None:
    """Build the runner and train.

    Args:
        cfg (Config): The merged config.
        config (str): Its name.
    """
    check_work_dir(cfg.work_dir)
    choose_start(cfg)
    join_processes_on_cpu(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if cfg.load_from is not None and isinstance(runner.model, nn.Module):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        check_fit(model, cfg.load_from, config, partly=not cfg.get('resume'))
    check_size_first(runner)
    runner.train()


def main() -> None:
    args = build_parser().parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    logging.raiseExceptions = False  # a full disk is told once, not with every line of the log
    args.config = config_or_end(args.config)
    cfg = merge_arguments(Config.fromfile(args.config), args)
    if 'preprocess_cfg' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.preprocess_cfg)
    try:
        train(cfg, args.config)
    except FAULTS as error:
        end(error, cfg.work_dir)


if __name__ == '__main__':
    main()
