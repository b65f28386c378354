"""Evaluate the networks of a board, measure their speed side by side, and write the leaderboard.

A board (configs/boards/*.yml, docs/benchmarks.md) names networks, with or without weights, and data
sets. What cannot be measured is said before work starts and stands in the table. Finished
evaluations are kept in DIR/finished.json: the same command goes on where it was interrupted, and
repeats only what has changed since.
"""
import argparse
import contextlib
import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import torch
from mmengine.utils import ProgressBar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401
from kdc_mm.benchmarks.board.board import Board, BoardDataset, BoardError, read_board  # noqa: E402
from kdc_mm.benchmarks.board.evaluate import (  # noqa: E402
    Candidate,
    check_datasets,
    evaluate,
    fingerprint,
    speed_fingerprint,
)
from kdc_mm.benchmarks.board.report import Row, write_reports  # noqa: E402
from kdc_mm.benchmarks.network.named_configs import ConfigError  # noqa: E402
from kdc_mm.benchmarks.network.speed import (  # noqa: E402
    Contestant,
    flushed_denormals,
    measure_against_persons,
    measure_speed,
    warm_up,
)
from kdc_mm.benchmarks.yaml_files import file_name  # noqa: E402
from kdc_mm.engine.whole_files import WholeFilesBackend  # noqa: E402

INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('board', metavar='BOARD.yml')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR',
                        help='folder for leaderboard.md, .json and .html, and for logs')
    return parser.parse_args(argv)


class Finished:
    """Results by name and fingerprint of what they were measured on, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.results: Dict[str, Dict] = {}
        if file.is_file():
            self.results = json.loads(file.read_text())

    def get(self, name: str, print_of_it: str):
        """The result, or ``None`` if there is none or something has changed since."""
        kept = self.results.get(name)
        return kept['result'] if kept and kept['fingerprint'] == print_of_it else None

    def keep(self, name: str, print_of_it: str, result) -> None:
        """Write it down; an interruption leaves the file as it was before or as it is after."""
        self.results[name] = dict(fingerprint=print_of_it, result=result)
        WholeFilesBackend().put_text(json.dumps(self.results, indent=1) + '\n', self.file)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def quiet(log):
    """Send what libraries print to a file."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(log):
        warnings.simplefilter('ignore')
        yield


class Leaderboard:
    """The work on one board.

    Args:
        board (Board): The board.
        out (Path): Folder for all results.
    """

    def __init__(self, board: Board, out: Path) -> None:
        self.board = board
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        self.finished = Finished(out / 'finished.json')
        self.log = open(out / 'leaderboard.log', 'a', buffering=1)
        with quiet(self.log):
            self.candidates = [Candidate(entry) for entry in board.entries]
        self.rows = [Row(entry, {}, None, {}) for entry in board.entries]
        self.persons: Optional[Dict] = None
        self.broken = False

    def plan(self) -> List[Tuple[int, BoardDataset]]:
        """Evaluations to do, as number of the entry and data set. What is not done is noted."""
        todo = []
        for number, (candidate, row) in enumerate(zip(self.candidates, self.rows)):
            if candidate.problem or candidate.checkpoint_problem:
                self.broken = True
                say(f'{candidate.entry.name}: {candidate.problem or candidate.checkpoint_problem}')
            if self.board.speed is not None and candidate.cfg is None:
                row.absent['speed'] = candidate.problem or 'no config'
            for dataset in self.board.datasets:
                reason = ('the board names no data' if dataset.dataset is None else
                          candidate.why_not(dataset))
                if reason:
                    row.absent[dataset.name] = reason
                else:
                    todo.append((number, dataset))
        return todo

    def evaluate_all(self) -> None:
        """Evaluate what is to be, each result kept as soon as it is there."""
        todo = self.plan()
        for done, (number, dataset) in enumerate(todo, 1):
            candidate, row = self.candidates[number], self.rows[number]
            name = f'{candidate.entry.name} on {dataset.name}'
            print_of_it = fingerprint(candidate, dataset)
            figures = self.finished.get(name, print_of_it)
            if figures is None:
                row.absent[dataset.name] = 'the evaluation was interrupted'
                say(f'[{done}/{len(todo)}] {name}')
                try:
                    figures = self.evaluate_one(candidate, dataset)
                except Exception as error:  # networks of others fail in any way
                    row.absent[dataset.name] = f'{type(error).__name__}: {first_line(error)}'
                    self.broken = True
                    traceback.print_exc(file=self.log)
                    say(f'\n{name}: {row.absent[dataset.name]}; more in {self.log.name}')
                    continue
                self.finished.keep(name, print_of_it, figures)
                row.absent.pop(dataset.name)
            else:
                say(f'[{done}/{len(todo)}] {name}: kept from an earlier run')
            row.measured[dataset.name] = figures

    def evaluate_one(self, candidate: Candidate, dataset: BoardDataset) -> Dict:
        work_dir = self.out / 'runs' / file_name(f'{candidate.entry.name} {dataset.name}')
        bar: List[ProgressBar] = []

        def after_batch(done: int, total: int) -> None:
            if not bar:
                bar.append(ProgressBar(total, file=sys.stderr))
            bar[0].update()

        with quiet(self.log):
            figures = evaluate(candidate, dataset, work_dir, after_batch)
        say('')
        return figures

    def measure_speed(self) -> None:
        """Measure all that can run, side by side in this process."""
        speed = self.board.speed
        numbers = [i for i, candidate in enumerate(self.candidates) if candidate.cfg is not None]
        if speed is None or not numbers:
            return
        print_of_it = speed_fingerprint([self.candidates[i] for i in numbers], speed)
        result = self.finished.get('speed', print_of_it)
        if result is None:
            for i in numbers:
                self.rows[i].absent['speed'] = 'the measurement was interrupted'
            say(f'Speed of {len(numbers)} networks on {speed.device}')
            with quiet(self.log), flushed_denormals():
                result = self.run_contest(numbers)
            say('')
            self.finished.keep('speed', print_of_it, result)
        for i in numbers:
            name = self.board.entries[i].name
            self.rows[i].absent.pop('speed', None)
            if name in result['problems']:
                self.rows[i].absent['speed'] = result['problems'][name]
                self.broken = True
            else:
                self.rows[i] = self.rows[i]._replace(speed=result['speed'][name])
        self.persons = result['persons']

    def run_contest(self, numbers: List[int]) -> Dict:
        """``speed`` by entry, ``problems`` by entry, and ``persons`` for the plot of costs."""
        speed = self.board.speed
        contestants, problems = {}, {}
        for i in numbers:
            entry, candidate = self.board.entries[i], self.candidates[i]
            # weights that do not fit leave an entry's speed as it is
            weights = None if candidate.checkpoint_problem else candidate.checkpoint
            try:
                contestant = Contestant(entry.config, candidate.cfg, speed.device, speed.batch,
                                        speed.input_size, weights)
                warm_up([contestant], [contestant.people(speed.people)], speed.amp)
                contestants[entry.name] = contestant
            except ConfigError as error:
                problems[entry.name] = str(error)
                say(f'{entry.name}: {error}')
        running = list(contestants.values())
        if not running:
            return dict(speed={}, problems=problems, persons=None)
        runs = len(running) * speed.rounds * (1 + len(speed.persons))
        bar = ProgressBar(runs, file=sys.stderr)
        results = measure_speed(running, speed.rounds, speed.amp, speed.people, bar.update)
        totals = measure_against_persons(running, speed.persons, speed.rounds, speed.amp,
                                         bar.update)
        return dict(
            speed=dict(zip(contestants, results)),
            problems=problems,
            persons=dict(persons=list(speed.persons), total_ms=dict(zip(contestants, totals))))

    def write(self) -> None:
        """Write what there is."""
        speed = self.board.speed
        settings: Dict = {}
        if speed is not None and any(row.speed for row in self.rows):
            size = 'x'.join(map(str, speed.input_size)) if speed.input_size else (
                "each config's own")
            settings = dict(
                device=speed.device, batch=speed.batch, rounds=speed.rounds,
                precision='AMP' if speed.amp else 'fp32', persons=speed.people, input=size,
                threads=torch.get_num_threads(), torch=torch.__version__)
        write_reports(self.out, self.board, self.rows, self.persons, settings)
        say(f'Look at {self.out / "leaderboard.html"}, .md and .json')


def first_line(error: BaseException) -> str:
    return (str(error).strip() or '(no message)').splitlines()[0]


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        board = read_board(args.board)
        check_datasets(board)
        if board.speed and board.speed.device.startswith('cuda') and not torch.cuda.is_available():
            raise BoardError('speed: torch finds no CUDA device here; set device: cpu.')
    except BoardError as error:
        sys.exit(f'error: {error}')
    work = Leaderboard(board, args.out)
    try:
        work.evaluate_all()
        work.measure_speed()
    except KeyboardInterrupt:
        work.write()
        say(f'Interrupted. {len(work.finished.results)} results are kept in {work.finished.file}; '
            'the same command goes on from there.')
        return INTERRUPTED
    work.write()
    return int(work.broken)


if __name__ == '__main__':
    sys.exit(main())
