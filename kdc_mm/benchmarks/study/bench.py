"""The work on a study: which run comes next, the process that does it, and what is kept of it."""
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, TextIO, Tuple, Union

from rich.console import Console

from .configs import CHOICE, FINAL, Run, check_model, data_of, run_config
from .pictures import draw_study
from .report import draw_groups, write_study
from .results import (
    Collected,
    Origin,
    choice_runs,
    collect,
    failed_result,
    final_runs,
    known_settings,
    result_of,
    shown_entry,
    write_result,
)
from .run_folder import RunFolder, trained
from .study import Study, StudyEntry, read_study
from .watch import Watch, last_figures

#: What LossGuardHook says of a run that nothing can mend but a lower learning rate.
DIVERGED = 'Training stopped:'
#: Seconds between two looks at what other processes have left.
WAIT_S = 3


class Launch(NamedTuple):
    """How runs are started: the folder of train.py and test.py, CPU ``threads`` of a run, and
    ``gpus``, processes to train with."""
    tools: Path
    threads: int = 1
    gpus: int = 1


class Bench:
    """The work on one study.

    Args:
        study (Study): The study.
        out (Path): Folder for runs, results and tables.
        launch (Launch): How runs are started.
        only (sequence[str]): Entries, or groups of entries; of none all are done.
        seeds (sequence[int]): Of final runs; of none all are done.
        elsewhere (sequence[Path]): Folders with results of other machines.
        limit_minutes (float, optional): Time after which work stops.

    Raises:
        StudyError: There is no such entry.
    """

    def __init__(self, study: Study, out: Path, launch: Launch, only: Sequence[str] = (),
                 seeds: Sequence[int] = (), elsewhere: Sequence[Path] = (),
                 limit_minutes: Optional[float] = None) -> None:
        self.study, self.out, self.launch = study, out, launch
        self.splits = out / 'data'
        self.entries = study.entries_named(only) if only else list(study.entries)
        self.seeds = [seed for seed in study.seeds if not seeds or seed in seeds]
        self.elsewhere = list(elsewhere)
        self.deadline = None if limit_minutes is None else time.monotonic() + 60 * limit_minutes
        self.settings: Dict[Tuple[str, str], str] = {}  # hashes, by entry and part
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.watch = Watch(study, self.console)

    def check(self) -> None:
        """Make every config and build its network before anything is trained.

        Raises:
            StudyError: Study and config do not fit together.
            ConfigError: The study's config cannot be read, or a network cannot be built.
        """
        results = self.collected().results
        for entry in self.entries:
            first = self.first_run(entry, results)
            runs = [*choice_runs(self.study, entry),
                    *(first._replace(seed=seed) for seed in self.study.seeds)]
            configs = [run_config(self.study, run, self.splits, self.folder(run).path)
                       for run in runs]
            check_model(self.study, entry, configs[0])  # all have the same network

    def first_run(self, entry: StudyEntry, results: Dict[Run, Dict]) -> Run:
        """An entry's first final run, with the first of its learning rates until one is chosen."""
        shown = shown_entry(self.study, entry)
        try:
            return final_runs(self.study, shown, results)[0]
        except LookupError:
            return Run(shown.name, FINAL, self.study.seeds[0], shown.learning_rates[0])

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def collected(self) -> Collected:
        return collect(self.study, [self.out / 'results', *self.elsewhere], self.settings)

    def folder(self, run: Run) -> RunFolder:
        return RunFolder(self.out, run)

    # Which run comes next

    def lacking(self, results: Dict[Run, Dict]) -> List[Run]:
        """What is to be run: the choices of all entries first, then seed by seed."""
        choices, finals = [], []
        for entry in self.entries:
            choices += [run for run in choice_runs(self.study, entry) if run not in results]
            try:
                finals += [run for run in final_runs(self.study, entry, results)
                           if run not in results and run.seed in self.seeds]
            except LookupError:
                pass
        # entries that change nothing have the runs of another
        return list(dict.fromkeys(choices + sorted(finals, key=lambda run: run.seed)))

    def unplanned(self, results: Dict[Run, Dict]) -> int:
        """Final runs whose learning rate is not chosen yet."""
        shown = {shown_entry(self.study, entry).name for entry in self.entries}
        return len(self.seeds) * sum(
            any(run not in results for run in choice_runs(self.study, self.study.entry(name)))
            for name in shown)

    def work(self) -> int:
        """Run what there is to run; 1 if a run failed."""
        failed: List[Run] = []
        waiting = False
        while True:
            results = self.collected().results
            left = [run for run in self.lacking(results) if run not in failed]
            if not left or self.is_late():
                break
            if self.do_first_free(left, results, failed):
                waiting = False
                continue
            if not waiting:
                self.say(f'Other processes are at {", ".join(run.name for run in left)}: waiting '
                         'for what they leave')
            waiting = True
            time.sleep(WAIT_S)
        return int(bool(failed))

    def do_first_free(self, left: List[Run], results: Dict[Run, Dict], failed: List[Run]) -> bool:
        """Do the first run that no other process is at; whether there was one."""
        for run in left:
            if self.waits(run, left, results):
                continue
            lock = self.folder(run).lock()
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
        return any(one not in results and (one in left or self.folder(one).is_busy())
                   for one in runs)

    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    # The process that does it

    def do(self, run: Run, left: List[Run], unplanned: int, lock: TextIO) -> bool:
        """Do a run, or a part of it where the time is up; whether that went well.

        The process that trains holds the lock as well, should this one be killed.
        """
        folder = self.folder(run)
        aside = folder.begin(self.origin(run))
        if aside is not None:
            self.say(f'{run.name}: begun with other settings or data than the study has now; it '
                     f'starts anew, and what was there lies in {aside}')
        try:
            command = self.command(run, folder)
        except LookupError as error:
            self.say(f'{run.name}: {error}')
            return False
        with folder.log.open('ab') as log:
            start = log.tell()
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment(),
                                       pass_fds=[lock.fileno()], start_new_session=True)
            try:
                self.watch.follow(process, run, folder, left, unplanned, self.is_late)
            finally:
                is_stopped = process.poll() is None
                if is_stopped:  # and what it has started: one process for each GPU
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait()
        progress = folder.progress()
        if process.returncode == 0 and progress.get('finished'):
            self.keep(run, result_of(self.study, run, folder.origin(), progress,
                                     self.launch.threads))
            return True
        if is_stopped:
            self.say(f'{run.name}: stopped at iteration {progress.get("iteration", 0)}; the same '
                     'command goes on from its last checkpoint')
            return True
        return self.conclude(run, folder.log.read_bytes()[start:].decode(errors='replace'))

    def origin(self, run: Run) -> Origin:
        """What a run begins with: the settings that results are compared with, whatever became of
        the files since."""
        return Origin(known_settings(self.study, run, self.settings), data_of(self.study))

    def command(self, run: Run, folder: RunFolder) -> List[str]:
        """What trains, or tests a network of another entry.

        Raises:
            LookupError: A network that it needs is not there.
        """
        entry = self.study.entry(run.entry)
        cfg = run_config(self.study, run, self.splits, folder.path)
        if entry.decodes is not None:
            cfg.dump(folder.config)
            return [sys.executable, str(self.launch.tools / 'test.py'), str(folder.config),
                    self.checkpoint_of(entry, run), '--work-dir', str(folder.path)]
        goes_on = folder.has_checkpoint()
        if not goes_on and self.study.start is not None:
            cfg.load_from = self.first_weights(run)
        cfg.dump(folder.config)
        launch = [sys.executable, str(self.launch.tools / 'train.py'), str(folder.config)]
        if self.launch.gpus > 1:
            launch = ['bash', str(self.launch.tools / 'dist_train.sh'), str(folder.config),
                      str(self.launch.gpus)]
        return [*launch, *(['--resume'] if goes_on else []), '--work-dir', str(folder.path)]

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
        """The network that an entry decodes.

        Raises:
            LookupError: It is not there.
        """
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
        """Variables of the process that does a run."""
        threads = str(self.launch.threads)
        variables = dict(os.environ, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
        if self.launch.gpus > 1:  # several of these commands may train on one machine
            variables.setdefault('PORT', str(_free_port()))
        return variables

    # What is kept of it

    def keep(self, run: Run, result: Dict) -> None:
        """Write a run's result; the weights of a choice have done their work."""
        folder = self.folder(run)
        write_result(folder.result, result)
        if run.part == CHOICE:
            folder.remove_weights()
        self.say(f'{run.name}: {last_figures(result["curve"]) or "diverged"}, '
                 f'{result["cpu_seconds"] / 60:.1f} min of processor time')

    def conclude(self, run: Run, log: str) -> bool:
        """Say why a run ended before its time; one that diverged is a result."""
        folder = self.folder(run)
        lines = [line for line in log.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if DIVERGED in line), None)
        if reason is not None:
            self.keep(run, failed_result(self.study, run, folder.origin(), reason,
                                         folder.progress(), self.launch.threads))
            return True
        self.say(f'{run.name} failed: {lines[-1] if lines else "no word"}; more in {folder.log}')
        return False

    def write(self, pictures: Union[int, Sequence[str]] = 0) -> None:
        """Write the tables and figures of what there is, and draw what the finished entries find on
        so many held-out images, or on those of these names."""
        collected = self.collected()
        for line in collected.ignored:
            self.say(f'left out: {line}')
        self.out.mkdir(parents=True, exist_ok=True)
        write_study(self.out, self.study, collected)
        names = ['leaderboard.html', 'leaderboard.md', 'leaderboard.json']
        names += [path.name for path in draw_groups(self.out, self.study, collected)]
        if pictures:
            names += self.draw(collected, pictures)
        self.say('Look at ' + ', '.join(str(self.out / name) for name in names))

    def draw(self, collected: Collected, images: Union[int, Sequence[str]]) -> List[str]:
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
        draw_study(configs, checkpoints, self.out / 'pictures.jpg', images)
        return ['pictures.jpg']


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]
