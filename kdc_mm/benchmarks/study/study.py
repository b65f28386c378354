"""A study: what is equal for all its entries, and what each of them may choose.

docs/evidence.md describes the file.
"""
import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..yaml_files import read_settings
from .heads import HEADS, KINDS, TASKS

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
            its options change decoding alone. Without options it has that entry's figures.
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
        return TASKS[self.head]

    @property
    def kind(self) -> str:
        """Kind of method, for tables."""
        return self.group or KINDS[self.head]


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
        validations (int): How often a run is evaluated, at equal distances.
        choice_share (float): Share of the samples that runs see which choose a learning rate.
        seeds (tuple[int]): One run each.
        entries (tuple[StudyEntry]): The networks.
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

    def entry(self, name: str) -> StudyEntry:
        """
        Raises:
            StudyError: There is no such entry.
        """
        return self.entries_named([name])[0]

    def entries_named(self, names: Sequence[str]) -> List[StudyEntry]:
        """The entries that names of entries, or of groups, mean.

        Raises:
            StudyError: A name is neither.
        """
        chosen: Dict[str, StudyEntry] = {}
        for name in names:
            meant = [one for one in self.entries if name in (one.name, one.group)]
            if not meant:
                known = dict.fromkeys([one.group for one in self.entries if one.group] +
                                      [one.name for one in self.entries])
                close = difflib.get_close_matches(name, known) or known
                raise StudyError(f'{self.name} has no entry {name!r}; see {", ".join(close)}.')
            chosen.update((one.name, one) for one in meant)
        return list(chosen.values())

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
    path = Path(path)
    content = read_settings(path, 'study', ('config', 'entries'), StudyError)
    content = dict(dict(title=path.stem), **content, name=path.stem)
    _check_keys(content, Study, str(path), needed=('config', 'entries'))
    if not isinstance(content['entries'], list) or not content['entries']:
        raise StudyError(f'{path}: entries must be a list of settings, each with a name.')
    content['entries'] = tuple(_entry(one, path) for one in content['entries'])
    if content.get('data') is not None:
        _check_keys(content['data'], StudyData, f'{path}: data', needed=('root', ))
        content['data'] = StudyData(**content['data'])
    content['seeds'] = tuple(content.get('seeds', (0, 1)))
    study = Study(**content)
    _check_study(study, path)
    return study


def _entry(content: Dict, path: Path) -> StudyEntry:
    place = f'{path}: entry {content.get("name") if isinstance(content, dict) else content!r}'
    _check_keys(content, StudyEntry, place, needed=('name', ))
    if content.get('head', 'own') not in HEADS:
        raise StudyError(f'{place}: there is no head {content["head"]!r}; there are '
                         f'{", ".join(HEADS)}.')
    rates = content.get('learning_rates', ())
    try:
        rates = tuple(float(rate) for rate in rates)
    except (TypeError, ValueError):
        rates = (-1., )
    if not all(rate > 0 for rate in rates):
        raise StudyError(f'{place}: learning_rates must be a list of positive numbers, got '
                         f'{content["learning_rates"]}.')
    return StudyEntry(**{**content, 'learning_rates': rates})


def _check_study(study: Study, path: Path) -> None:
    names = [entry.name for entry in study.entries]
    if study.start is not None:
        trained = {entry.name for entry in study.entries if entry.decodes is None}
        lacking = trained - {entry.name for entry in read_study(study.start).entries}
        if lacking:
            raise StudyError(f'{path}: {study.start} has no entry {sorted(lacking)[0]!r} to go on '
                             'from.')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StudyError(f'{path}: two entries have the name {twice[0]!r}.')
    if not 0 < study.choice_share <= 1:
        raise StudyError(f'{path}: choice_share must lie in (0, 1], got {study.choice_share}.')
    counts = (study.batch, study.validations, study.samples or 1, len(study.seeds))
    if not all(isinstance(count, int) and count > 0 for count in counts):
        raise StudyError(f'{path}: samples, batch and validations must be whole numbers of at '
                         'least 1, and there must be a seed.')
    for entry in study.entries:
        if entry.decodes is not None and entry.decodes not in names:
            raise StudyError(f'{path}: entry {entry.name!r} decodes {entry.decodes!r}, which is no '
                             'entry.')
        if len(entry.learning_rates) > 1 and (study.samples is None or study.data is None or
                                              not study.data.held_out):
            raise StudyError(f'{path}: entry {entry.name!r} has several learning rates; choosing '
                             'one needs samples, and data with held_out images.')


def _check_keys(content: Any, kind: type, place: str, needed: Sequence[str]) -> None:
    known = kind.__dataclass_fields__
    if not isinstance(content, dict):
        raise StudyError(f'{place} must be settings with {", ".join(needed)}, got {content!r}.')
    unknown = [key for key in content if key not in known]
    if unknown:
        raise StudyError(f'{place}: {", ".join(map(repr, unknown))} is not known; known are '
                         f'{", ".join(known)}.')
    missing = [key for key in needed if not content.get(key)]
    if missing:
        raise StudyError(f'{place} needs {" and ".join(missing)}.')
