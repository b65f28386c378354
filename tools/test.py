"""Test a pose model. The flags are those of MMPose's own tools/test.py."""
import argparse
import os
import sys
from pathlib import Path

import mmengine
from mmengine.config import Config, DictAction
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the kdc_mm beside this file

from kdc_mm.config_types import type_name  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.checkpoint import check_checkpoint, check_fit  # noqa: E402
from kdc_mm.engine.cpu_processes import join_processes_on_cpu  # noqa: E402
from kdc_mm.engine.faults import FAULTS, check_work_dir, config_or_end, end  # noqa: E402
from kdc_mm.engine.hooks.input_size_hook import check_size_first  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Test a pose model')
    add = parser.add_argument
    add('config', help='config file, or the name of one of kdc_mm')
    add('checkpoint', help='checkpoint file')
    add('--work-dir', help='folder for results (default: work_dirs/CONFIG_NAME)')
    add('--out', help='file for the metrics (.json, .yaml or .pkl)')
    add('--dump', type=str, help='file for the predictions (.pkl), to evaluate them later')
    add('--cfg-options', nargs='+', action=DictAction, default={},
        help='settings that override the config: key=value, with nested keys as a.b.0.c and lists '
        'as key="[a,b]" (quoted, without spaces)')
    add('--show-dir', help='folder for pictures of the results')
    add('--show', action='store_true', help='show the results in a window')
    add('--interval', type=int, default=1, help='show every n-th sample')
    add('--wait-time', type=float, default=1, help='seconds for which a window stays')
    add('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
        help='what started the processes of a distributed run')
    add('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    add('--badcase', action='store_true',
        help='keep the samples that do worst, by the badcase hook of the config')
    return parser


def merge_arguments(cfg: Config, args: argparse.Namespace) -> Config:
    """The config with the command line's settings in it; ``--cfg-options`` has the last word."""
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    if args.show_dir is not None or (args.show and not args.badcase):
        hook = switch_on(cfg, 'visualization', 'PoseVisualizationHook', args)
        hook.update(show=args.show and not args.badcase, out_dir=args.show_dir)
    if args.badcase:
        hook = switch_on(cfg, 'badcase', 'BadCaseAnalysisHook', args)
        hook.show = args.show
        by_loss = hook.get('metric_type', 'loss') == 'loss'
        hook.setdefault('metric', cfg.model.head.loss if by_loss else cfg.test_evaluator)
    if args.dump is not None:
        dump_predictions(cfg, args.dump)
    merge_options(cfg, args.cfg_options)
    return cfg


def switch_on(cfg: Config, name: str, kind: str, args: argparse.Namespace) -> dict:
    """Enable a hook that the config holds switched off; returns its settings."""
    if name not in cfg.default_hooks:
        sys.exit(f"This needs a hook in the config: default_hooks.{name} = dict(type='{kind}')")
    hook = cfg.default_hooks[name]
    hook.update(enable=True, interval=args.interval)
    if args.show:
        hook.wait_time = args.wait_time
    return hook


def dump_predictions(cfg: Config, file: str) -> None:
    """Add a metric that writes all predictions to a pickle file."""
    if not file.endswith(('.pkl', '.pickle')):
        sys.exit(f'--dump writes a pickle file: name it .pkl, not {file}')
    dump = dict(type='DumpResults', out_file_path=file)
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, dict):
        cfg.test_evaluator = [*evaluators, dump]
    elif 'datasets' not in evaluators:
        cfg.test_evaluator = [evaluators, dump]
    elif type_name(evaluators) == 'MixedDatasetEvaluator':
        cfg.test_evaluator = dict(
            evaluators, metrics=[*evaluators.metrics, dump], datasets=[*evaluators.datasets, None])
    else:
        sys.exit(f'--dump works with MixedDatasetEvaluator, not with {type_name(evaluators)}: '
                 'MMPose gives each metric of it the samples of one data set.')


class SaveMetricsHook(Hook):
    """Writes the metrics of a test run to a file.

    Args:
        file: Its ending chooses the format.
    """

    priority = 'LOWEST'

    def __init__(self, file: str):
        self.file = file

    def after_test_epoch(self, runner, metrics=None) -> None:
        mmengine.dump(metrics, self.file)


def test(cfg: Config, args: argparse.Namespace) -> None:
    """Build the runner and test."""
    check_checkpoint(cfg.load_from)
    check_work_dir(cfg.work_dir)
    join_processes_on_cpu(cfg)
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    check_fit(model, cfg.load_from, args.config)
    check_size_first(runner)
    if args.out:
        runner.register_hook(SaveMetricsHook(args.out))
    runner.test()


def main() -> None:
    args = build_parser().parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    args.config = config_or_end(args.config)
    cfg = merge_arguments(Config.fromfile(args.config), args)
    try:
        test(cfg, args)
    except FAULTS as error:
        end(error)


if __name__ == '__main__':
    main()
