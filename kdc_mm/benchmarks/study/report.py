"""A study's results as a leaderboard: means over seeds and their spread, curves, costs."""
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Tuple

import numpy as np

from kdc_mm.codecs.skeleton import build_skeleton
from kdc_mm.visualization.ablations import draw_ablations

from ..board.board import TASKS, Board, BoardDataset, BoardEntry, Figures
from ..board.plots import accuracy_along
from ..board.report import TASK_NAMES, Addition, Row, Table, write_reports
from ..network.named_configs import load_config
from .configs import FINAL, Run
from .results import Collected, choice_runs, chosen_learning_rate, figure, shown_entry
from .study import Study, StudyEntry

#: Of these the curves of a plot go along: key of a point → label and what it is divided by.
_ALONG = dict(
    samples=('images seen in training', 1),
    cpu_seconds=('processor time of training [min]', 60))


def write_study(out: Path, study: Study, collected: Collected) -> None:
    """Write ``leaderboard.md``, ``.json`` and ``.html`` of what there is.

    Args:
        out (Path): Folder.
        study (Study): The study.
        collected (Collected): Its results.
    """
    results = collected.results
    name = study.title
    tasks = tasks_of(study)
    board = Board(
        title=study.title,
        datasets=(BoardDataset(name, tasks), ),
        entries=tuple(BoardEntry(one.name, framework=one.shown_in, group=one.kind)
                      for one in study.entries),
        notes=study.notes)
    finals = {entry.name: final_results(study, entry, results) for entry in study.entries}
    rows = [_row(entry, board_entry, name, finals[entry.name])
            for entry, board_entry in zip(study.entries, board.entries)]
    addition = Addition(
        tables={'Training': training_table(study, finals, results),
                **_choice_tables(study, results)},
        plots=[accuracy_along(f'{TASK_NAMES[task]}: AP along training', label, curves)
               for task in tasks for key, (label, unit) in _ALONG.items()
               if (curves := curves_of(finals, task, key, unit))],
        content=dict(study=study.name, runs=list(results.values()), ignored=collected.ignored))
    write_reports(out, board, rows, None, {}, addition)


def tasks_of(study: Study) -> Tuple[str, ...]:
    """What the entries of a study are evaluated on."""
    return tuple(task for task in TASKS if any(task in one.tasks for one in study.entries))


def final_results(study: Study, entry: StudyEntry, results: Dict[Run, Dict]) -> List[Dict]:
    """An entry's finished runs, by seed; where the runs that choose its learning rate are not at
    hand, those of any."""
    entry = shown_entry(study, entry)
    found = [run for run in results if run.entry == entry.name and run.part == FINAL]
    try:
        rate = chosen_learning_rate(study, entry, results)
        found = [run for run in found if run.learning_rate == rate]
    except LookupError:
        pass
    return [results[run] for run in sorted(found, key=lambda run: run.seed)]


def _row(entry: StudyEntry, board_entry: BoardEntry, dataset: str, finals: List[Dict]) -> Row:
    if not finals:
        reason = 'no run is finished'
        return Row(board_entry, {}, None, {dataset: reason, 'speed': reason})
    measured, spread = mean_figures(finals)
    diverged = [str(one['seed']) for one in finals if not one['curve']]
    absent = {dataset: f'training diverged at seed {", ".join(diverged)}'} if diverged else {}
    run_ms = _mean(one['curve'][-1]['run_ms'] for one in finals if one['curve'])
    speed = None
    if run_ms:
        speed = dict(params_m=max(one['parameters'] for one in finals) / 1e6, total_ms=run_ms,
                     fps=1e3 / run_ms)
    return Row(board_entry, {dataset: measured}, speed, absent, {dataset: spread})


def mean_figures(finals: List[Dict]) -> Tuple[Dict, Dict]:
    """Means over seeds of the figures at the end, and half the distance from best to worst, of
    which one run has none: task → figure → percentage."""
    measured: Dict[str, Dict[str, float]] = {}
    spread: Figures = {}
    ends = [one['curve'][-1]['figures'] for one in finals if one['curve']]
    for task in ends[0] if ends else ():
        for name in ends[0][task]:
            values = [end[task][name] for end in ends if name in end.get(task, {})]
            measured.setdefault(task, {})[name] = float(np.mean(values))
            if len(values) > 1:
                spread.setdefault(task, {})[name] = float(np.ptp(values)) / 2
    return measured, spread


def curves_of(finals: Dict[str, List[Dict]], task: str, key: str, unit: float) -> Dict:
    """AP along training as :func:`~kdc_mm.benchmarks.board.plots.accuracy_along` draws it."""
    curves: Dict[str, List] = {}
    for name, results in finals.items():
        for result in results:
            points = [(point[key] / unit, point['figures'][task]['AP'])
                      for point in result['curve'] if task in point['figures'] and point[key]]
            if points:
                curves.setdefault(name, []).append(tuple(zip(*points)))
    return curves


def training_table(study: Study, finals: Dict[str, List[Dict]], results: Dict[Run, Dict]) -> Table:
    """What each entry was trained with, what it cost, and what it reached."""
    tasks = tasks_of(study)
    headings = ['model', 'kind', 'seeds', 'learning rate', 'images seen', 'CPU to train [min]',
                'CPU to run [ms per image]', *(f'{TASK_NAMES[task]} AP' for task in tasks)]
    rows, below = [], []
    for entry in study.entries:
        found = finals[entry.name]
        finished = [one for one in found if one['curve']]
        rates = sorted({f'{one["learning_rate"]:g}' for one in found if one['learning_rate']})
        minutes = [one['cpu_seconds'] / 60 for one in finished]
        run_ms = [one['curve'][-1]['run_ms'] for one in finished]
        images = [one['curve'][-1]['samples'] for one in finished]
        rows.append([
            entry.name, entry.kind,
            ', '.join(str(one['seed']) for one in found) or None, ', '.join(rates) or None,
            (max(images), 0) if images else None, _cell(minutes, 1), _cell(run_ms, 1),
            *(_cell([figure(one, task) for one in finished
                     if task in one['curve'][-1]['figures']], 1) for task in tasks)])
        below += [f'{entry.name}: training diverged at seed {one["seed"]}, which no mean holds.'
                  for one in found if not one['curve']]
        try:
            chosen_learning_rate(study, entry, results)
        except LookupError as lacking:
            below.append(f'{entry.name}: its learning rate is not chosen yet: {lacking}.')
    below += [f'Machine: {words}.' for words in dict.fromkeys(
        one['machine'] for found in finals.values() for one in found)]
    return Table(headings, [('', len(headings))], rows, below)


def _choice_tables(study: Study, results: Dict[Run, Dict]) -> Dict[str, Table]:
    """AP on the images held apart by learning rate, and the one that was taken."""
    rows, edges, width = [], [], 0
    for entry in study.entries:
        runs = choice_runs(study, entry)
        if not any(run in results for run in runs):
            continue
        try:
            chosen = chosen_learning_rate(study, entry, results)
        except LookupError:
            chosen = None
        cells = [_choice(run, results.get(run), entry, run.learning_rate == chosen)
                 for run in runs]
        if chosen in (min(entry.learning_rates), max(entry.learning_rates)):
            edges.append(entry.name)
        width = max(width, len(cells))
        rows.append([entry.name, TASK_NAMES[entry.tasks[0]], *cells])
    if not rows:
        return {}
    rows = [row + [None] * (2 + width - len(row)) for row in rows]
    headings = ['model', 'compared by'] + ['learning rate: AP'] * width
    share = f'{100 * study.choice_share:g} %'
    below = [f'Runs that saw {share} of the images, judged on training images held apart. The best '
             'is what the runs above were trained with.']
    if edges:
        below.append(f'{", ".join(edges)}: the best is the lowest or the highest that was tried; '
                     'others beyond it may be better.')
    return {'Choice of learning rates': Table(headings, [('', len(headings))], rows, below)}


def _choice(run: Run, result: Optional[Dict], entry: StudyEntry, chosen: bool) -> Optional[str]:
    if result is None:
        return None
    value = f'{figure(result, entry.tasks[0]):.1f}' if result['curve'] else 'diverged'
    text = f'{run.learning_rate:g}: {value}'
    return f'{text}, taken' if chosen else text


def draw_groups(out: Path, study: Study, collected: Collected) -> List[Path]:
    """The paper's figures of an ablation, of the groups of which there are results; the pictures.
    """
    entries = []
    for entry in study.entries:
        finals = [one for one in final_results(study, entry, collected.results) if one['curve']]
        if entry.group and finals:
            scores = [one['curve'][-1]['keypoint_scores'] for one in finals]
            scores = np.mean([one for one in scores if one] or [()], axis=0)
            entries.append(dict(
                group=entry.group, setting=entry.setting, figures=mean_figures(finals)[0],
                keypoint_scores=dict(zip(_keypoint_names(study), scores.tolist()))))
    return draw_ablations(entries, out)


def _keypoint_names(study: Study) -> List[str]:
    codec = load_config(study.config).model.head.decoder
    return list(build_skeleton(codec.metainfo, codec.get('limbs')).names)


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return float(np.mean(values)) if values else 0.


def _cell(values: List[float], decimals: int) -> Optional[tuple]:
    """Mean and spread as a cell of a table."""
    if not values:
        return None
    spread = (float(np.ptp(values)) / 2, ) if len(values) > 1 else ()
    return (float(np.mean(values)), decimals, *spread)
