"""The whole path on built-in data: make SynthCrowd, train for minutes, evaluate, draw."""
import argparse
import contextlib
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Dict, Optional

# OpenMP threads wait awake for microseconds, which saves half of a step, and no longer, which would
# take the cores from the data loader.
os.environ.setdefault('GOMP_SPINCOUNT', '3000')

import mmcv  # noqa: E402
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.hooks import Hook, ParamSchedulerHook  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.runner import IterBasedTrainLoop, Runner  # noqa: E402
from mmpose.registry import HOOKS, LOOPS  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the kdc_mm beside this file

from kdc_mm.engine import CheckpointError, check_checkpoint, cpu_has_bfloat16  # noqa: E402
from kdc_mm.synth_crowd import make_synth_crowd  # noqa: E402
from kdc_mm.synth_crowd.make import MANIFEST, RENDERER_VERSION  # noqa: E402
from kdc_mm.visualization import picture_grid, plot_curves  # noqa: E402
from kdc_mm.visualization.rows import (  # noqa: E402
    TITLES,
    from_few_to_many_people,
    picture_row,
    predict,
)

# mmengine and the COCO tools print to standard output, which goes to a file while they run.
console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

METRICS = {
    'coco/AP': 'keypoints_AP',
    'coco/AP .5': 'keypoints_AP50',
    'coco/segm_mAP': 'segm_AP',
    'coco/segm_mAP_50': 'segm_AP50'
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--config', type=Path, default=REPOSITORY / 'configs/demo/kdc_rn18_synthcrowd.py')
    add('--work-dir', type=Path, default=Path('work_dirs/demo'), help='folder for all results')
    add('--data-dir', type=Path, default=Path('data/synthcrowd/easy'),
        help='folder of the SynthCrowd data; made when it is not there')
    add('--train', type=int, default=6000, help='images to train on')
    add('--val', type=int, default=200, help='images to evaluate on')
    add('--minutes', type=float, default=10, help='time to train')
    add('--checkpoint', help='evaluate and draw this instead of training')
    add('--pictures', type=int, default=7, help='rows of the picture grid')
    return parser.parse_args(argv)


@LOOPS.register_module()
class TimedTrainLoop(IterBasedTrainLoop):
    """Trains for a given time, on machines of any speed, and ends its schedule in it.

    The config's ``max_iters`` and ``val_interval`` become positions on a schedule that elapsed
    time moves along; how many iterations are done meanwhile is up to the machine. There is no
    validation at the end, so that evaluation can be told from training.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): Training data.
        minutes (float): Time from the first iteration to the end of the last.
        max_iters (int): Length of the schedule.
        val_interval (int): Schedule positions between validations.
    """

    def __init__(self, runner, dataloader, minutes: float, max_iters: int,
                 val_interval: int) -> None:
        super().__init__(runner, dataloader, max_iters, val_interval=val_interval)
        self.schedule_length = max_iters
        self.seconds = 60 * minutes
        self.position = 0
        self._start = None

    @property
    def elapsed(self) -> float:
        """Seconds since training began."""
        return time.perf_counter() - self._start

    def run(self):
        """Train until the time is up."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._start = time.perf_counter()
        next_validation = self.val_interval
        while self._iter < self._max_iters and not self.stop_training:
            self._plan_end()
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self.position = min(
                int(self.elapsed / self.seconds * self.schedule_length), self.schedule_length)
            if next_validation <= self.position < self.schedule_length:
                next_validation = self.position // self.val_interval * self.val_interval
                next_validation += self.val_interval
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _plan_end(self) -> None:
        """Estimate the number of iterations, exact before the last one: hooks act on it."""
        if self._iter > 0:
            pace = self.elapsed / self._iter
            self._max_iters = self._iter + max(int((self.seconds - self.elapsed) / pace), 1)


@HOOKS.register_module()
class TimedParamSchedulerHook(ParamSchedulerHook):
    """Steps the schedulers to the position of a :class:`TimedTrainLoop`."""

    def __init__(self) -> None:
        self.steps = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        while self.steps < runner.train_loop.position:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            self.steps += 1


@HOOKS.register_module()
class ProgressHook(Hook):
    """Says on the terminal how training goes.

    Args:
        interval (float): Seconds between two lines.
    """

    def __init__(self, interval: float = 20) -> None:
        self.interval = interval
        self.said = 0.

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        loop = runner.train_loop
        if runner.iter > 0 and loop.elapsed < self.said + self.interval:
            return
        self.said = loop.elapsed
        loss = runner.message_hub.get_scalar('train/loss').mean(50)
        lr = runner.optim_wrapper.get_lr()['lr'][0]
        console.print(f'  {clock(loop.elapsed)} of {clock(loop.seconds)}   iteration '
                      f'{runner.iter + 1:4d}   loss {loss:6.3f}   learning rate {lr:.1e}')

    def after_val_epoch(self, runner, metrics: Optional[Dict[str, float]] = None) -> None:
        console.print(f'  [bold]keypoint AP {metrics["coco/AP"]:.3f}   '
                      f'mask AP {metrics["coco/segm_mAP"]:.3f}[/]')

    after_test_epoch = after_val_epoch


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds."""
    return f'{int(seconds) // 60}:{int(seconds) % 60:02d}'


def demo_config(args) -> Config:
    """The config with the demo's data, folders and time limit."""
    cfg = Config.fromfile(args.config)
    cfg.work_dir = str(args.work_dir)
    cfg.experiment_name = 'demo'
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'].dataset.data_root = f'{args.data_dir}/'
    annotations = str(args.data_dir / 'annotations/person_keypoints_val2017.json')
    for metric in (*cfg.val_evaluator, *cfg.test_evaluator):
        metric.ann_file = annotations
    cfg.train_cfg = dict(
        type='TimedTrainLoop',
        minutes=args.minutes,
        max_iters=cfg.train_cfg.max_iters,
        val_interval=cfg.train_cfg.val_interval)
    cfg.default_hooks.param_scheduler = dict(type='TimedParamSchedulerHook')
    cfg.custom_hooks = [
        *cfg.get('custom_hooks', []), dict(type='ChannelsLastHook'), dict(type='ProgressHook')]
    if cpu_has_bfloat16() and not torch.cuda.is_available():
        cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
    cfg.load_from = args.checkpoint
    return cfg


@contextlib.contextmanager
def quiet(log_file: Path):
    """Send what libraries print to a file, and their log with it."""
    logger = MMLogger.get_instance('demo', log_file=str(log_file), log_level='INFO')
    logger.handlers[0].setLevel('ERROR')
    warnings.simplefilter('ignore')
    with log_file.open('a') as log, contextlib.redirect_stdout(log):
        yield


def is_outdated(args) -> bool:
    """Whether the folder holds this very data set, but drawn by an earlier renderer."""
    manifest = args.data_dir / MANIFEST
    if not manifest.is_file():
        return False
    made = json.loads(manifest.read_text())['arguments']
    wanted = dict(preset='easy', num_train=args.train, num_val=args.val, seed=0)
    return made['version'] != RENDERER_VERSION and wanted.items() <= made.items()


def make_data(args) -> None:
    console.print(f'[bold]Data[/]  SynthCrowd easy, {args.train} images to train on, '
                  f'{args.val} held out, in {args.data_dir}')
    try:
        make_synth_crowd(
            args.data_dir, 'easy', args.train, args.val, seed=0, overwrite=is_outdated(args))
    except (FileExistsError, ValueError) as error:
        sys.exit(f'{error}\nChoose another folder with --data-dir, or other --train and --val.')


def train(runner: Runner, args) -> float:
    """Train, and return the minutes that it took."""
    console.print(f'[bold]Training[/]  {args.config.stem}, {args.minutes:g} minutes, on '
                  f'{len(os.sched_getaffinity(0))} CPU cores; log: {args.work_dir / "demo.log"}')
    runner.train()
    return runner.train_loop.elapsed / 60


def main(argv=None):
    args = parse_args(argv)
    if args.checkpoint is not None:
        try:
            check_checkpoint(args.checkpoint)
        except CheckpointError as error:
            sys.exit(str(error))
    make_data(args)
    args.work_dir.mkdir(parents=True, exist_ok=True)
    with quiet(args.work_dir / 'demo.log'):
        runner = Runner.from_cfg(demo_config(args))
        minutes = 0. if args.checkpoint else train(runner, args)
        console.print(f'[bold]Evaluation[/]  {args.val} held-out images')
        # A validation is a point of the curves; without training there are none.
        found = runner.test() if args.checkpoint else runner.val()
        dataset = (runner.test_loop if args.checkpoint else runner.val_loop).dataloader.dataset
        links = dataset.metainfo['skeleton_links']
        rows = [
            picture_row(predict(runner.model, dataset, index), links)
            for index in from_few_to_many_people(dataset, args.pictures)
        ]
    metrics = {name: round(float(found[key]), 4) for key, name in METRICS.items()}
    metrics.update(
        train_minutes=round(minutes, 2),
        iterations=0 if args.checkpoint else runner.iter,
        images=len(dataset),
        persons=sum(len(dataset.get_data_info(i)['raw_ann_info'] or [])
                    for i in range(len(dataset))))
    (args.work_dir / 'metrics.json').write_text(json.dumps(metrics, indent=1) + '\n')
    written = ['metrics.json', 'pictures.png']
    mmcv.imwrite(picture_grid(rows, TITLES)[..., ::-1], str(args.work_dir / 'pictures.png'))
    if not args.checkpoint:
        scalars = Path(runner.work_dir) / runner.timestamp / 'vis_data/scalars.json'
        plot_curves(scalars, args.work_dir / 'curves.png')
        written.append('curves.png')

    table = Table('', 'AP', 'AP at .50')
    for name in ('keypoints', 'segm'):
        table.add_row(dict(keypoints='keypoints', segm='masks')[name],
                      *(f'{metrics[name + kind]:.3f}' for kind in ('_AP', '_AP50')))
    console.print(table)
    console.print(f'{metrics["persons"]} persons on {metrics["images"]} images, '
                  f'{minutes:.1f} minutes of training')
    console.print('Look at ' + ', '.join(str(args.work_dir / name) for name in written))


if __name__ == '__main__':
    main()
