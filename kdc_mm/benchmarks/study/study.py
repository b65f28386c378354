"""A study: what is equal for all its entries, and what each of them may choose.

docs/evidence.md describes the file.
"""
import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..yaml_files import file_name, read_settings, refuse_twice, settings_of_type
from .heads import HEADS

#: Files of a data set, as SynthCrowd and COCO call them.
_COCO_FILES = dict(
    train_ann='annotations/person_keypoints_train2017.json', train_images='train2017/',
    val_ann='annotations/person_keypoints_val2017.json', val_images='val2017/')


class StudyError(ValueError):
    """A study cannot be worked on; the message names the place and says what to do."""


@dataclass(frozen=True)
class StudyData:
    """What all entries train and are judged on.

    Attributes:
        root (str): Folder.
        synth_crowd (dict | None): ``preset``, ``train``, ``val``, and if wanted ``seed`` and
            ``size``: it is made there when it is missing.
        train_ann, train_images, val_ann, val_images (str): Files and folders below the root.
        held_out (int): Training images, the last ones, held apart to choose learning rates by.
    """
    root: str
    synth_crowd: Optional[Dict] = None
    train_ann: str = _COCO_FILES['train_ann']
    train_images: str = _COCO_FILES['train_images']
    val_ann: str = _COCO_FILES['val_ann']
    val_images: str = _COCO_FILES['val_images']
    held_out: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, 'root', f'{Path(self.root)}/')


@dataclass(frozen=True)
class StudyEntry:
    """A network of a study.

    Attributes:
        name (str): What tables call it.
        head (str): Of :data:`.heads.HEADS`.
        learning_rates (tuple[float]): One is taken as it is; of several the best is chosen.
        options (dict): What it changes in the study's config: dotted key → value.
        group (str): Entries of an ablation that are compared with each other, such as ``radius``.
        setting (str | int | float | None): Of this entry in its group, such as 16.
        shown_in (str): Figure or table of the paper.
        decodes (str | None): Name of the entry whose trained network it tests: nothing is trained,
            its options change decoding alone. Without options it has that entry's figures. Its
            head is that entry's.
    """
    name: str
    head: str = 'own'
    learning_rates: Tuple[float, ...] = ()
    options: Dict[str, Any] = field(default_factory=dict)
    group: str = ''
    setting: Any = None
    shown_in: str = ''
    decodes: Optional[str] = None

    @property
    def tasks(self) -> Tuple[str, ...]:
        """What it is evaluated on: 'keypoints', 'segm' or both."""
        return HEADS[self.head].tasks

    @property
    def kind(self) -> str:
        """Kind of method, for tables."""
        return self.group or HEADS[self.head].kind


@dataclass(frozen=True)
class Study:
    """What :func:`read_study` reads.

    Attributes:
        name (str): The file's.
        title, notes (str): For the reader of the tables.
        config (str): The config of a KDC network, whose data set, augmentation, backbone, neck,
            optimiser and schedule all entries have.
        options (dict): Changes to it, for all entries.
        start (str | None): File of a study whose networks of the same names and seeds these go on
            from. By default they start as their configs say.
        input_size (int | None): Side of the square input, in place of the config's.
        data (StudyData | None): Data in place of the config's.
        samples (int | None): Images that each run sees in training, repetitions counted; by default
            the schedule of the config is kept.
        batch (int): Images per iteration.
        validations (int): How often a run is evaluated at most, at equal distances and at its end.
        choice_share (float): Share of the samples that runs see which choose a learning rate.
        seeds (tuple[int]): One run each.
        entries (tuple[StudyEntry]): The networks.
        overrides (dict): Changes to every entry's config after all others: a command line's, no
            setting of the file.
        checkpoint (str | None): What the entries of decoding alone test, in place of a trained
            entry; a command line's as well.
    """
    name: str
    title: str
    config: str
    entries: Tuple[StudyEntry, ...]
    notes: str = ''
    options: Dict[str, Any] = field(default_factory=dict)
    start: Optional[str] = None
    input_size: Optional[int] = None
    data: Optional[StudyData] = None
    samples: Optional[int] = None
    batch: int = 8
    validations: int = 5
    choice_share: float = 0.25
    seeds: Tuple[int, ...] = (0, 1)
    overrides: Dict[str, Any] = field(default_factory=dict)
    checkpoint: Optional[str] = None

    def entry(self, name: str) -> StudyEntry:
        """
        Raises:
            StudyError: There is no such entry.
        """
        for one in self.entries:
            if one.name == name:
                return one
        raise self._unknown(name)

    def entries_named(self, names: Sequence[str]) -> List[StudyEntry]:
        """The entries that names of entries, or of groups, mean.

        Raises:
            StudyError: A name is neither.
        """
        chosen: Dict[str, StudyEntry] = {}
        for name in names:
            meant = [one for one in self.entries if name in (one.name, one.group)]
            if not meant:
                raise self._unknown(name)
            chosen.update((one.name, one) for one in meant)
        return list(chosen.values())

    def _unknown(self, name: str) -> StudyError:
        known = dict.fromkeys([one.group for one in self.entries if one.group] +
                              [one.name for one in self.entries])
        close = difflib.get_close_matches(name, known) or known
        return StudyError(f'{self.name} has no entry {name!r}; see {", ".join(close)}.')

    def iterations(self, share: float = 1.) -> Optional[int]:
        """Iterations of a run that sees this share of the samples."""
        return None if self.samples is None else max(int(self.samples * share) // self.batch, 1)


def read_study(path) -> Study:
    """Read a study.

    Args:
        path (str | Path): YAML file.

    Raises:
        StudyError: It is missing, no YAML, or says something that studies do not know.
    """
    return _read_study(Path(path), ())


def _read_study(path: Path, followers: Tuple[Path, ...]) -> Study:
    """Read a study that others go on from: their files."""
    content = read_settings(path, 'study', ('config', 'entries'), StudyError)
    content = settings_of_type(content, Study, str(path), StudyError, ('config', 'entries'),
                               internal=('name', 'overrides', 'checkpoint'))
    content['entries'] = _entries(content['entries'], path)
    if 'data' in content:
        data = settings_of_type(content['data'], StudyData, f'{path}: data', StudyError, ('root', ))
        content['data'] = StudyData(**data)
    content['seeds'] = tuple(content.get('seeds', (0, 1)))
    study = Study(**{'title': path.stem, **content, 'name': path.stem})
    _check_study(study, path)
    if study.start is not None:
        _check_start(study, path, (*followers, path.resolve()))
    return study


def _entries(contents: List, path: Path) -> Tuple[StudyEntry, ...]:
    entries = [_entry(one, path) for one in contents]
    refuse_twice([entry.name for entry in entries], 'entries', str(path), StudyError)
    by_name = {entry.name: entry for entry in entries}
    for number, (entry, content) in enumerate(zip(entries, contents)):
        if entry.decodes is None:
            continue
        place, base = f'{path}: entry {entry.name!r}', by_name.get(entry.decodes)
        if base is None:
            raise StudyError(f'{place} decodes {entry.decodes!r}, which is no entry.')
        if base.decodes is not None:
            raise StudyError(f'{place} decodes {base.name!r}, which is not trained itself: '
                             'name the entry that is.')
        if entry.learning_rates:
            raise StudyError(f'{place} decodes {base.name!r} and is not trained: it has no '
                             'learning_rates.')
        if content.get('head', base.head) != base.head:
            raise StudyError(f'{place} decodes {base.name!r}, whose head is {base.head}.')
        entries[number] = replace(entry, head=base.head)
    return tuple(entries)


def _entry(content: Any, path: Path) -> StudyEntry:
    place = f'{path}: entry {content.get("name") if isinstance(content, dict) else content!r}'
    if isinstance(content, dict) and 'learning_rates' in content:
        content = dict(content, learning_rates=_rates(content['learning_rates'], place))
    content = settings_of_type(content, StudyEntry, place, StudyError, ('name', ))
    if content.get('head', 'own') not in HEADS:
        raise StudyError(f'{place}: there is no head {content["head"]!r}; there are '
                         f'{", ".join(HEADS)}.')
    return StudyEntry(**content)


def _rates(found: Any, place: str) -> Tuple[float, ...]:
    """Learning rates; YAML takes 5e-4 for a text."""
    try:
        rates = tuple(float(rate) for rate in found)
    except (TypeError, ValueError):
        rates = (-1., )
    if not all(rate > 0 for rate in rates):
        raise StudyError(f'{place}: learning_rates must be a list of positive numbers, got '
                         f'{found}.')
    refuse_twice([f'{rate:g}' for rate in rates], 'learning rates', place, StudyError)
    return rates


def _check_study(study: Study, path: Path) -> None:
    refuse_twice([file_name(entry.name) for entry in study.entries],
                 'entries, as files are called,', str(path), StudyError)
    for entry in study.entries:
        if entry.name in {one.group for one in study.entries if one != entry}:
            raise StudyError(f'{path}: entry {entry.name!r} has the name of a group of others.')
    if not 0 < study.choice_share <= 1:
        raise StudyError(f'{path}: choice_share must lie in (0, 1], got {study.choice_share}.')
    counts = [study.batch, study.validations, len(study.seeds)]
    counts += [] if study.samples is None else [study.samples]
    if min(counts) < 1:
        raise StudyError(f'{path}: samples, batch and validations must be at least 1, and there '
                         'must be a seed.')
    for entry in study.entries:
        if len(entry.learning_rates) > 1 and (study.samples is None or study.data is None or
                                              not study.data.held_out):
            raise StudyError(f'{path}: entry {entry.name!r} has several learning rates; choosing '
                             'one needs samples, and data with held_out images.')


def _check_start(study: Study, path: Path, followers: Tuple[Path, ...]) -> None:
    """Make sure that a study has somebody to go on from."""
    start = Path(study.start)
    if start.resolve() in followers:
        raise StudyError(f'{path}: {start} goes on from this study itself.')
    trained = {entry.name for entry in study.entries if entry.decodes is None}
    lacking = trained - {entry.name for entry in _read_study(start, followers).entries}
    if lacking:
        raise StudyError(f'{path}: {start} has no entry {sorted(lacking)[0]!r} to go on from.')
