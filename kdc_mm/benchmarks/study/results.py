"""Results of runs: one small file each, which can be carried to another machine."""
import json
import platform
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

import torch

from kdc_mm.engine.whole_files import WholeFilesBackend
from kdc_mm.version import __version__

from .configs import CHOICE, FINAL, Run, data_of, settings_of
from .study import Study, StudyEntry

#: Keys of a file of results.
_KEYS = ('study', 'entry', 'part', 'seed', 'learning_rate', 'settings', 'data', 'curve',
         'cpu_seconds', 'parameters', 'machine')


class Collected(NamedTuple):
    """``results`` by run, and ``ignored``: a line for each file that is not of this study."""
    results: Dict[Run, Dict]
    ignored: List[str]


class Origin(NamedTuple):
    """What a run is begun with: hashes of ``settings`` and ``data`` (None where unknown)."""
    settings: str
    data: Optional[str]


def result_of(study: Study, run: Run, origin: Origin, progress: Dict, threads: int) -> Dict:
    """What is kept of a finished run: figures only.

    Args:
        study (Study): The study.
        run (Run): The run.
        origin (Origin): Of its beginning: files may have been changed since.
        progress (dict): What :class:`~.record.StudyRecordHook` has written.
        threads (int): It was trained with.
    """
    return dict(
        study=study.name, **run._asdict(), **origin._asdict(), curve=progress['curve'],
        cpu_seconds=progress['cpu_seconds'], parameters=progress['parameters'],
        machine=machine_words(threads))


def failed_result(study: Study, run: Run, origin: Origin, reason: str, progress: Dict,
                  threads: int) -> Dict:
    """What is kept of a run whose loss or weights did not stay finite: its costs, no figure."""
    costs = dict(dict(cpu_seconds=0., parameters=0), **progress)
    return dict(result_of(study, run, origin, dict(costs, curve=[]), threads), diverged=reason)


def machine_words(threads: int) -> str:
    """The machine and the versions, for the reader of the tables."""
    model = platform.machine()
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        model = next((line.split(':')[1].strip() for line in lines
                      if line.startswith('model name')), model)
    except OSError:
        pass
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else model
    return (f'{device}, {threads} thread{"s" if threads > 1 else ""}, torch {torch.__version__}, '
            f'kdc_mm {__version__}')


def write_result(path: Path, result: Dict) -> None:
    """Write a file of results; it is never half written."""
    WholeFilesBackend().put_text(json.dumps(result, indent=1) + '\n', path)


def collect(study: Study, folders: Iterable[Path],
            settings: Optional[Dict[Tuple[str, str], str]] = None) -> Collected:
    """Results of a study from folders, or from what they have in ``results``; the first of a run
    counts.

    Results of other settings than the study's own are left out, as are those of other data, where
    the study's data are at hand to tell.

    Args:
        study (Study): The study.
        folders (iterable[Path]): The folders.
        settings (dict, optional): Hashes of the study's settings, by entry and part, which are
            computed when they are missing: one for all calls saves time.
    """
    settings = {} if settings is None else settings
    results: Dict[Run, Dict] = {}
    ignored: List[str] = []
    data = data_of(study)
    names = [entry.name for entry in study.entries]
    for path in (path for folder in folders for path in _files(Path(folder))):
        try:
            result = json.loads(path.read_text())
            run = Run(*(result[name] for name in Run._fields))
            missing = [key for key in _KEYS if key not in result]
        except (KeyError, TypeError, ValueError):
            ignored.append(f'{path} is no result of a run.')
            continue
        if missing:
            ignored.append(f'{path} lacks {", ".join(missing)}.')
        elif result['study'] != study.name or run.entry not in names:
            ignored.append(f'{path} is of {result["study"]}, {run.entry}, not of this study.')
        elif result['settings'] != known_settings(study, run, settings):
            ignored.append(f'{path} was run with other settings than the study has now.')
        elif None not in (data, result['data']) and result['data'] != data:
            ignored.append(f'{path} was run on other data.')
        elif run in results:
            if result['curve'] != results[run]['curve']:
                ignored.append(f'{path} is a second run of {run.name}.')
        else:
            results[run] = result
    return Collected(results, ignored)


def known_settings(study: Study, run: Run, known: Dict[Tuple[str, str], str]) -> str:
    """:func:`.configs.settings_of`, from those ``known`` by entry and part or computed once and
    put there."""
    key = (run.entry, run.part)
    if key not in known:
        known[key] = settings_of(study, run)
    return known[key]


def _files(folder: Path) -> List[Path]:
    inside = folder / 'results'
    return sorted((inside if inside.is_dir() else folder).glob('*.json'))


def figure(result: Dict, task: str, name: str = 'AP') -> float:
    """A figure at the end of a run, in percent; 0 of one that diverged."""
    curve = result['curve']
    return curve[-1]['figures'].get(task, {}).get(name, 0.) if curve else 0.


def shown_entry(study: Study, entry: StudyEntry) -> StudyEntry:
    """The entry whose results an entry has: of one that decodes another's network and changes
    nothing, that other's."""
    changes_nothing = entry.decodes is not None and not entry.options
    return study.entry(entry.decodes) if changes_nothing else entry


def choice_runs(study: Study, entry: StudyEntry) -> List[Run]:
    """The runs that choose the learning rate of an entry, or of that whose figures it has: none
    where there is no choice."""
    entry = shown_entry(study, entry)
    if len(entry.learning_rates) < 2:
        return []
    return [Run(entry.name, CHOICE, study.seeds[0], rate) for rate in entry.learning_rates]


def chosen_learning_rate(study: Study, entry: StudyEntry,
                         results: Dict[Run, Dict]) -> Optional[float]:
    """The learning rate of an entry's final runs: that of the best AP on the images held apart,
    of the entry's first task; of equals the lower.

    Raises:
        LookupError: A run that it takes is not finished.
    """
    entry = shown_entry(study, entry)
    if not entry.learning_rates:
        return None
    runs = choice_runs(study, entry)
    if not runs:
        return entry.learning_rates[0]
    lacking = [run.name for run in runs if run not in results]
    if lacking:
        raise LookupError(', '.join(lacking))
    best = max(runs, key=lambda run: (figure(results[run], entry.tasks[0]), -run.learning_rate))
    return best.learning_rate


def final_runs(study: Study, entry: StudyEntry, results: Dict[Run, Dict]) -> List[Run]:
    """An entry's runs, one per seed; those of the entry whose figures it has. A given checkpoint
    is decoded once.

    Raises:
        LookupError: Its learning rate is not chosen yet.
    """
    entry = shown_entry(study, entry)
    rate = chosen_learning_rate(study, entry, results)
    once = entry.decodes is not None and study.checkpoint is not None
    return [Run(entry.name, FINAL, seed, rate) for seed in study.seeds[:1 if once else None]]
