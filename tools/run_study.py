"""Train networks alike and compare them: run what a study lacks, and write its tables.

    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --list
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --limit-minutes 50
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --only KDC --seed 0
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --print-config KDC
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --tables \\
        --results OTHER/results

A study (configs/studies/*.yml, docs/evidence.md) fixes what its entries share. Each run is
tools/train.py on a config that DIR/runs/RUN/config.py keeps. The same command goes on where it was
stopped: finished runs are DIR/results/RUN.json, a broken one goes on from its last checkpoint, and
several of these commands on one DIR share the work. Files of results can be carried to another
machine and named there with --results; the tables need nothing else.
"""
import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, TextIO, Tuple

from mmengine.config import DictAction
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401
from kdc_mm.benchmarks.board.evaluate import resolve_checkpoint  # noqa: E402
from kdc_mm.benchmarks.network.named_configs import ConfigError  # noqa: E402
from kdc_mm.benchmarks.study.configs import (  # noqa: E402
    CHOICE,
    FINAL,
    Run,
    changes_of,
    make_data,
    run_config,
)
from kdc_mm.benchmarks.study.pictures import draw_study  # noqa: E402
from kdc_mm.benchmarks.study.record import PROGRESS  # noqa: E402
from kdc_mm.benchmarks.study.report import draw_groups, write_study  # noqa: E402
from kdc_mm.benchmarks.study.results import (  # noqa: E402
    Collected,
    Origin,
    choice_runs,
    collect,
    failed_result,
    final_runs,
    result_of,
    shown_entry,
    write_result,
)
from kdc_mm.benchmarks.study.study import Study, StudyEntry, StudyError, read_study  # noqa: E402
from kdc_mm.engine import CheckpointError, check_checkpoint  # noqa: E402

LOCK = 'lock'
#: What a run's settings and data were, beside its checkpoints.
ORIGIN = 'origin.json'
INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended
#: What LossGuardHook says of a run that nothing can mend but a lower learning rate.
DIVERGED = 'Training stopped:'
#: Seconds between two looks at what other processes have left.
WAIT_S = 3
#: Seconds between two lines where there is no terminal.
LINE_S = 60


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('study', metavar='STUDY.yml')
    add('--out', type=Path, metavar='DIR',
        help='folder for runs, results and tables (default: work_dirs/studies/STUDY)')
    add('--only', nargs='+', default=[], metavar='ENTRY', help='entries, or groups of entries')
    add('--seed', nargs='+', type=int, default=[], metavar='N', help='final runs of these seeds')
    add('--limit-minutes', type=float, metavar='M', help='stop after this time; go on later')
    add('--results', nargs='+', type=Path, default=[], metavar='DIR',
        help='folders with results of other machines')
    add('--tables', action='store_true', help='write the tables of what there is and end')
    add('--pictures', type=int, default=0, metavar='N',
        help='draw what the finished entries find on N held-out images')
    add('--data-root', metavar='DIR', help="folder of the data, in place of the study's")
    add('--threads', type=int, default=1, help='CPU threads of each run (default: 1)')
    add('--gpus', type=int, default=1, help='processes to train with (default: 1)')
    add('--checkpoint', help='what the entries of decoding alone test, in place of a trained entry')
    add('--list', action='store_true', help='show the entries and what there is of each, and end')
    add('--print-config', metavar='ENTRY', help="print the whole config of an entry's run and end")
    add('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
        help="settings that override the study's and those of every entry; results count as those "
             'of another study')
    return parser.parse_args(argv)


class Bench:
    """The work on one study.

    Args:
        study (Study): The study.
        args (argparse.Namespace): The command line.
    """

    def __init__(self, study: Study, args: argparse.Namespace) -> None:
        self.study, self.args = study, args
        self.out: Path = args.out
        self.splits = self.out / 'data'
        self.entries = study.entries_named(args.only) if args.only else list(study.entries)
        self.deadline = (time.monotonic() + 60 * args.limit_minutes
                         if args.limit_minutes is not None else None)
        self.settings: Dict[Tuple[str, str], str] = {}  # hashes, by entry and part
        self.pace: Dict[str, float] = {}  # seconds per iteration, by entry
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def check(self) -> None:
        """Make every config before anything is trained.

        Raises:
            StudyError: Study and config do not fit together.
            ConfigError: The study's config cannot be read.
        """
        results = self.collected().results
        for entry in self.entries:
            run_config(self.study, self.first_run(entry, results), self.splits)

    def first_run(self, entry: StudyEntry, results: Dict[Run, Dict]) -> Run:
        """An entry's first final run, with the first of its learning rates until one is chosen."""
        entry = shown_entry(self.study, entry)
        try:
            return final_runs(self.study, entry, results)[0]
        except LookupError:
            return Run(entry.name, FINAL, self.study.seeds[0], entry.learning_rates[0])

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def collected(self) -> Collected:
        return collect(self.study, [self.out / 'results', *self.args.results], self.settings)

    def lacking(self, results: Dict[Run, Dict]) -> List[Run]:
        """What is to be run: the choices of all entries first, then seed by seed."""
        choices, finals = [], []
        for entry in self.entries:
            choices += [run for run in choice_runs(self.study, entry) if run not in results]
            try:
                finals += [run for run in final_runs(self.study, entry, results)
                           if run not in results and
                           (not self.args.seed or run.seed in self.args.seed)]
            except LookupError:
                pass
        # entries that change nothing have the runs of another
        return list(dict.fromkeys(choices + sorted(finals, key=lambda run: run.seed)))

    def unplanned(self, results: Dict[Run, Dict]) -> int:
        """Final runs whose learning rate is not chosen yet."""
        seeds = [seed for seed in self.study.seeds if not self.args.seed or seed in self.args.seed]
        trained = {shown_entry(self.study, entry).name for entry in self.entries}
        return len(seeds) * sum(
            any(run not in results for run in choice_runs(self.study, self.study.entry(name)))
            for name in trained)

    def work(self) -> int:
        """Run what there is to run; 1 if a run failed."""
        failed: List[Run] = []
        waiting = False
        while True:
            results = self.collected().results
            left = [run for run in self.lacking(results) if run not in failed]
            if not left or self.is_late():
                break
            if self.do_one(left, results, failed):
                waiting = False
                continue
            if not waiting:
                self.say(f'Other processes are at {", ".join(run.name for run in left)}: waiting '
                         'for what they leave')
            waiting = True
            time.sleep(WAIT_S)
        return int(bool(failed))

    def do_one(self, left: List[Run], results: Dict[Run, Dict], failed: List[Run]) -> bool:
        """Do the first run that no other process is at; whether there was one."""
        for run in left:
            if self.waits(run, left, results):
                continue
            lock = lock_of(self.folder(run))
            with lock as locked:
                if locked:
                    # it may have been finished since
                    if run not in self.collected().results and not self.do(
                            run, left, self.unplanned(results), lock.file):
                        failed.append(run)
                    return True
        return False

    def waits(self, run: Run, left: List[Run], results: Dict[Run, Dict]) -> bool:
        """Whether the network that a run decodes is still to come, from here or elsewhere."""
        entry = self.study.entry(run.entry)
        if entry.decodes is None or self.study.checkpoint is not None:
            return False
        base = self.study.entry(entry.decodes)
        try:
            runs = [one for one in final_runs(self.study, base, results) if one.seed == run.seed]
        except LookupError:
            runs = choice_runs(self.study, base)
        return any(one not in results and (one in left or self.is_busy(one)) for one in runs)

    def is_busy(self, run: Run) -> bool:
        """Whether another process is at a run."""
        with lock_of(self.folder(run)) as locked:
            return not locked

    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def folder(self, run: Run) -> Path:
        return self.out / 'runs' / run.name

    def do(self, run: Run, left: List[Run], unplanned: int, lock: TextIO) -> bool:
        """Do a run, or a part of it where the time is up; whether that went well.

        The process that trains holds the lock as well, should this one be killed.
        """
        folder = self.folder(run)
        entry = self.study.entry(run.entry)
        self.put_aside_what_differs(run, folder)
        try:
            command = self.command(run, entry, folder)
        except LookupError as error:
            self.say(f'{run.name}: {error}')
            return False
        with (folder / 'log.txt').open('ab') as log:
            start = log.tell()
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment(),
                                       pass_fds=[lock.fileno()], start_new_session=True)
            try:
                self.watch(process, run, left, unplanned)
            finally:
                if process.poll() is None:  # and what it has started: one process for each GPU
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
        progress = read_progress(folder)
        if process.returncode == 0 and progress.get('finished'):
            self.keep(run, result_of(self.study, run, read_origin(folder), progress,
                                     self.args.threads))
            return True
        if self.is_late():
            self.say(f'{run.name}: stopped at iteration {progress.get("iteration", 0)}; the same '
                     'command goes on from its last checkpoint')
            return True
        return self.explain(run, (folder / 'log.txt').read_bytes()[start:].decode(errors='replace'))

    def put_aside_what_differs(self, run: Run, folder: Path) -> None:
        """Keep a run of other settings or data, and its result, apart: this one must neither go on
        from it nor take its place."""
        now = Origin.of(self.study, run)
        result = self.result_file(run)
        if read_origin(folder) != now and (read_progress(folder) or result.is_file()):
            aside = Path(tempfile.mkdtemp(prefix='before-', dir=folder))
            for path in folder.iterdir():
                if path.name != LOCK and not path.name.startswith('before-'):
                    path.rename(aside / path.name)
            if result.is_file():
                result.rename(aside / 'result.json')
            self.say(f'{run.name}: begun with other settings or data than the study has now; it '
                     f'starts anew, and what was there lies in {aside}')
        (folder / ORIGIN).write_text(json.dumps(now))

    def result_file(self, run: Run) -> Path:
        return self.out / 'results' / f'{run.name}.json'

    def command(self, run: Run, entry: StudyEntry, folder: Path) -> List[str]:
        """What trains, or tests a network of another entry.

        Raises:
            LookupError: A network that it needs is not there.
        """
        cfg = run_config(self.study, run, self.splits, folder)
        config = str(folder / 'config.py')
        if entry.decodes is not None:
            cfg.dump(config)
            return [sys.executable, str(REPOSITORY / 'tools/test.py'), config,
                    self.checkpoint_of(entry, run), '--work-dir', str(folder)]
        goes_on = self.study.start is None or (folder / 'last_checkpoint').is_file()
        if not goes_on:
            cfg.load_from = self.first_weights(run)
        cfg.dump(config)
        launch = [sys.executable, str(REPOSITORY / 'tools/train.py'), config]
        if self.args.gpus > 1:
            launch = ['bash', str(REPOSITORY / 'tools/dist_train.sh'), config, str(self.args.gpus)]
        return [*launch, *(['--resume'] if goes_on else []), '--work-dir', str(folder)]

    def first_weights(self, run: Run) -> str:
        """What an entry of the study that this one goes on from has learnt.

        Raises:
            LookupError: It is not there.
        """
        before = read_study(self.study.start)
        out = self.out.parent / before.name
        results = collect(before, [out / 'results']).results
        try:
            return trained(before, before.entry(run.entry), run.seed, out, results)[1]
        except LookupError:
            raise LookupError(f'goes on from {run.entry!r} of {before.name}, seed {run.seed}, '
                              f'which is not in {out}: run {self.study.start} before, with --out '
                              f'{out}.') from None

    def checkpoint_of(self, entry: StudyEntry, run: Run) -> str:
        if self.study.checkpoint is not None:
            return self.study.checkpoint
        base, results = self.study.entry(entry.decodes), self.collected().results
        try:
            return trained(self.study, base, run.seed, self.out, results)[1]
        except LookupError:
            raise LookupError(f'changes decoding only and is tested with weights of '
                              f'{entry.decodes!r}, seed {run.seed}, which are not here: train it, '
                              'or name others with --checkpoint.') from None

    def environment(self) -> Dict[str, str]:
        threads = str(self.args.threads)
        return dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)

    def watch(self, process: subprocess.Popen, run: Run, left: List[Run], unplanned: int) -> None:
        """Show how far a run is until it ends or the time is up."""
        folder, started, said = self.folder(run), time.monotonic(), 0.
        first: Optional[int] = None
        columns = (SpinnerColumn(), TextColumn('{task.description}'), BarColumn(),
                   TextColumn('{task.completed}/{task.total}'), TimeElapsedColumn(),
                   TextColumn('{task.fields[state]}'))
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(run.name, total=None, state='')
            while process.poll() is None and not self.is_late():
                time.sleep(0.5)
                progress = read_progress(folder)
                if not progress:
                    continue
                done, total = progress['iteration'], progress['max_iters']
                first = done if first is None else first
                if done > first:
                    self.pace[run.entry] = (time.monotonic() - started) / (done - first)
                state = self.state(run, progress, left, unplanned)
                bar.update(task, completed=done, total=total, state=state)
                if not self.console.is_terminal and time.monotonic() > said + LINE_S:
                    said = time.monotonic()
                    self.say(f'{run.name} {done}/{total}  {state}')

    def state(self, run: Run, progress: Dict, left: List[Run], unplanned: int) -> str:
        """The last figures, and how long it may take to the end of all."""
        words = []
        if progress['curve']:
            figures = progress['curve'][-1]['figures']
            words += [f'{task} AP {found["AP"]:.1f}' for task, found in figures.items()
                      if 'AP' in found]
        pace = self.pace.get(run.entry)
        if pace is None:
            return '  '.join(words)
        minutes = pace * (progress['max_iters'] - progress['iteration']) / 60
        usual = sum(self.pace.values()) / len(self.pace)
        for one in left:
            if one != run:
                minutes += self.pace.get(one.entry, usual) * self.iterations(one) / 60
        minutes += unplanned * usual * (self.study.iterations() or 0) / 60
        return '  '.join([*words, f'{minutes:.0f} min left'])

    def iterations(self, run: Run) -> int:
        if self.study.entry(run.entry).decodes is not None:
            return 0  # a test takes as long as a few of them
        share = self.study.choice_share if run.part == CHOICE else 1.
        return self.study.iterations(share) or 0

    def keep(self, run: Run, result: Dict) -> None:
        """Write a run's result; the weights of a choice have done their work."""
        write_result(self.result_file(run), result)
        if run.part == CHOICE:
            for path in [*self.folder(run).glob('*.pth'), self.folder(run) / 'last_checkpoint']:
                path.unlink(missing_ok=True)
        figures = result['curve'][-1]['figures'] if result['curve'] else {}
        shown = '  '.join(f'{task} AP {found["AP"]:.1f}' for task, found in figures.items()
                          if 'AP' in found)
        self.say(f'{run.name}: {shown or "diverged"}, {result["cpu_seconds"] / 60:.1f} min of '
                 'processor time')

    def explain(self, run: Run, log: str) -> bool:
        """Say why a run ended; one that diverged is a result."""
        lines = [line for line in log.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if DIVERGED in line), None)
        if reason is not None:
            self.keep(run, failed_result(self.study, run, read_origin(self.folder(run)), reason,
                                         self.args.threads))
            return True
        self.say(f'{run.name} failed: {lines[-1] if lines else "no word"}; '
                 f'more in {self.folder(run) / "log.txt"}')
        return False

    def write(self) -> None:
        """Write the tables and figures of what there is."""
        collected = self.collected()
        for line in collected.ignored:
            self.say(f'left out: {line}')
        self.out.mkdir(parents=True, exist_ok=True)
        write_study(self.out, self.study, collected)
        names = ['leaderboard.html', 'leaderboard.md', 'leaderboard.json']
        names += [path.name for path in draw_groups(self.out, self.study, collected)]
        if self.args.pictures:
            names += self.draw(collected)
        self.say('Look at ' + ', '.join(str(self.out / name) for name in names))

    def draw(self, collected: Collected) -> List[str]:
        """Draw what the entries find of which there are weights here; the picture's name."""
        configs, checkpoints = {}, {}
        for entry in self.entries:
            for seed in self.study.seeds if entry.decodes is None else ():
                try:
                    run, weights = trained(self.study, entry, seed, self.out, collected.results)
                except LookupError:
                    continue
                configs[entry.name] = run_config(self.study, run, self.splits)
                checkpoints[entry.name] = weights
                break
        if not any('keypoints' in self.study.entry(name).tasks for name in configs):
            self.say('Nothing to draw: no finished run that finds keypoints has its weights here')
            return []
        draw_study(configs, checkpoints, self.out / 'pictures.jpg', self.args.pictures)
        return ['pictures.jpg']

    def list(self) -> None:
        """The entries, what they change, and what there is of them."""
        results = self.collected().results
        for entry in self.entries:
            runs = [run for run in results if run.entry == entry.name]
            finals = sorted(run.seed for run in runs if run.part == FINAL)
            done = f'seeds {", ".join(map(str, finals))} finished' if finals else ''
            decoding = '(decoding only)' if entry.decodes else ''
            print(f'{entry.name:24} {entry.shown_in:8} {entry.head} {changes_of(entry)} '
                  f'{decoding} {done}'.rstrip())

    def print_config(self, name: str) -> None:
        """The whole config of an entry's first final run, below a comment of what it changes."""
        entry = self.study.entry(name)
        run = self.first_run(entry, self.collected().results)
        cfg = run_config(self.study, run, self.splits)
        where = f' ({entry.shown_in})' if entry.shown_in else ''
        print(f'# {entry.name}{where}: {Path(self.study.config).name} {changes_of(entry)}')
        print(cfg.pretty_text)


def folders_to_make(study: Study) -> List[Path]:
    """What other studies of the same data must not make at the same time: a folder beside them."""
    data = study.data
    if data is None or data.synth_crowd is None or Path(data.root, data.val_ann).is_file():
        return []
    root = Path(data.root)
    return [root.with_name(f'.{root.name}-being-made')]


class lock_of:
    """A folder for one process at a time; entering says whether it is this one.

    Args:
        folder (Path): Is made.
        wait (bool): Until it is.
    """

    def __init__(self, folder: Path, wait: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file: TextIO = (folder / LOCK).open('w')
        self.how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB

    def __enter__(self) -> bool:
        try:
            fcntl.flock(self.file, self.how)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *error) -> None:
        self.file.close()


def trained(study: Study, entry: StudyEntry, seed: int, out: Path,
            results: Dict[Run, Dict]) -> Tuple[Run, str]:
    """An entry's finished run of a seed, and its weights.

    Raises:
        LookupError: It is not finished, or its weights are not there.
    """
    for run in final_runs(study, entry, results):
        if run.seed == seed and run in results:
            folder = out / 'runs' / run.name
            origin = read_origin(folder)
            if origin is None or origin.settings != results[run]['settings']:
                raise LookupError(f'{folder} has no weights of the settings that {study.name} has.')
            try:
                return run, resolve_checkpoint(str(folder))
            except CheckpointError as error:
                raise LookupError(str(error)) from error
    raise LookupError(f'{entry.name} is not trained with seed {seed} yet.')


def read_progress(folder: Path) -> Dict:
    """What a run has noted of itself; empty before it has."""
    try:
        return json.loads((folder / PROGRESS).read_text())
    except (OSError, ValueError):
        return {}


def read_origin(folder: Path) -> Optional[Origin]:
    """What a run was begun with; ``None`` where none was."""
    try:
        return Origin(*json.loads((folder / ORIGIN).read_text()))
    except (OSError, ValueError):
        return None


def adapted(study: Study, args: argparse.Namespace) -> Study:
    """The study with the command line's data, checkpoint and options."""
    unknown = sorted({*args.seed} - {*study.seeds})
    if unknown:
        raise StudyError(f'{study.name} has no seed {unknown[0]}; its seeds are '
                         f'{", ".join(map(str, study.seeds))}.')
    missing = [str(folder) for folder in args.results if not folder.is_dir()]
    if missing:
        raise StudyError(f'--results: there is no folder {missing[0]}.')
    if args.data_root is not None:
        if study.data is None:
            raise StudyError(f'{study.name} takes its data from its config: --cfg-options says '
                             'where they are.')
        study = dataclasses.replace(
            study, data=dataclasses.replace(study.data, root=args.data_root))
    overrides = dict(args.cfg_options)
    if args.gpus > 1 and study.samples is not None:
        if study.batch % args.gpus:
            raise StudyError(f'--gpus: {study.batch} images of an iteration cannot be shared '
                             f'equally by {args.gpus} processes.')
        overrides['train_dataloader.batch_size'] = study.batch // args.gpus
    return dataclasses.replace(study, overrides=overrides, checkpoint=args.checkpoint)


def interrupt(*signal_and_frame) -> None:
    """End as Ctrl-C does: what trains is ended, and the tables are written."""
    raise KeyboardInterrupt


def main(argv=None) -> int:
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        study = read_study(args.study)
        if args.out is None:
            args.out = Path('work_dirs/studies', study.name)
        if args.checkpoint is not None:
            check_checkpoint(args.checkpoint)
        study = adapted(study, args)
        bench = Bench(study, args)
        if args.list:
            bench.list()
            return 0
        if args.print_config:
            bench.print_config(args.print_config)
            return 0
        if not args.tables:
            bench.check()
            with contextlib.ExitStack() as locks:
                for folder in (bench.splits, *folders_to_make(study)):
                    locks.enter_context(lock_of(folder, wait=True))
                make_data(study, bench.splits)
    except (StudyError, ConfigError, CheckpointError) as error:
        sys.exit(f'error: {error}')
    status = 0
    try:
        if not args.tables:
            status = bench.work()
    except KeyboardInterrupt:
        bench.say('Interrupted; the same command goes on from the last checkpoint.')
        status = INTERRUPTED
    bench.write()
    return status


if __name__ == '__main__':
    sys.exit(main())
