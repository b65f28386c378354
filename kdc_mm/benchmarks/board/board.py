"""A board: which networks are compared on which data sets, and what was said of them before.

docs/benchmarks.md describes the file.
"""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Optional, Sequence, Tuple

from ..yaml_files import read_settings, refuse_twice, refuse_unknown, settings_of_type

#: What is evaluated on a data set, and the figures that count, in the order of tables. Figures are
#: percentages.
METRICS = dict(
    keypoints=('AP', 'AP50', 'AP75', 'APM', 'APL', 'APE', 'APH'),
    segm=('AP', 'AP50', 'AP75', 'APS', 'APM', 'APL'))
TASKS = tuple(METRICS)
#: Kinds of keypoint evaluation, as MMPose's CocoMetric calls them.
IOU_TYPES = ('keypoints', 'keypoints_crowd')
#: Which keypoints an entry's masks lie around.
KEYPOINTS = ('own', 'annotated')

#: Data set → task → figure → percentage.
Figures = Dict[str, Dict[str, Dict[str, float]]]


class BoardError(ValueError):
    """A board cannot be worked on; the message names the place and says what to do."""


@dataclass(frozen=True)
class BoardDataset:
    """A data set of a board.

    Attributes:
        name (str): What tables call it.
        tasks (tuple[str]): 'keypoints', 'segm' or both.
        dataset (dict | None): Settings that replace those of each entry's test data set:
            ``data_root``, ``ann_file``, ``data_prefix``. Without it nothing is evaluated, and the
            board holds what others said.
        iou_type (str): 'keypoints', or 'keypoints_crowd' for AP by crowding.
    """
    name: str
    tasks: Tuple[str, ...]
    dataset: Optional[Dict] = None
    iou_type: str = 'keypoints'

    @property
    def ann_file(self) -> Path:
        return Path(self.dataset.get('data_root', ''), self.dataset['ann_file'])

    @property
    def image_folder(self) -> Path:
        prefix = self.dataset.get('data_prefix') or {}
        return Path(self.dataset.get('data_root', ''), prefix.get('img', ''))


@dataclass(frozen=True)
class BoardEntry:
    """A network of a board.

    Attributes:
        name (str): What tables call it.
        framework (str): Backbone or the like.
        group (str): Kind of method.
        config (str | None): File, ``mmpose::...`` or ``mmdet::...``; its speed is measured.
        checkpoint (str | None): File, URL, or a work dir for its last checkpoint; with a config, it
            is evaluated.
        datasets (tuple[str] | None): Names of the data sets to evaluate on; all by default.
        keypoints (str): 'own'; or 'annotated', the ground truth's, around which masks alone are
            evaluated, and which tables tell of the entry.
        published (dict): What its authors or its model zoo say: data set → task → figures.
        claimed (dict): What the paper of KDC says of KDC itself, not reproduced.
    """
    name: str
    framework: str = ''
    group: str = ''
    config: Optional[str] = None
    checkpoint: Optional[str] = None
    datasets: Optional[Tuple[str, ...]] = None
    keypoints: str = 'own'
    published: Figures = field(default_factory=dict)
    claimed: Figures = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name, and whether its keypoints are given."""
        return self.name if self.keypoints == 'own' else f'{self.name} (annotated keypoints)'


@dataclass(frozen=True)
class SpeedSettings:
    """How speed is measured, see :mod:`kdc_mm.benchmarks.network.speed`.

    ``persons`` are the numbers of persons of the plot of costs; tables hold those of the image with
    ``people`` of them.
    """
    device: str = 'cpu'
    batch: int = 1
    rounds: int = 9
    amp: bool = False
    people: int = 5
    persons: Tuple[int, ...] = (1, 5, 10, 20, 30)
    input_size: Optional[Tuple[int, int]] = None


@dataclass(frozen=True)
class Board:
    """What :func:`read_board` reads."""
    title: str
    datasets: Tuple[BoardDataset, ...]
    entries: Tuple[BoardEntry, ...]
    speed: Optional[SpeedSettings] = None
    notes: str = ''


def read_board(path) -> Board:
    """Read a board.

    Args:
        path (str | Path): YAML file.

    Raises:
        BoardError: It is missing, no YAML, or says something that boards do not know.
    """
    path = Path(path)
    content = read_settings(path, 'board', ('datasets', 'entries'), BoardError)
    content = settings_of_type(content, Board, str(path), BoardError, ('datasets', 'entries'))
    datasets = tuple(_dataset(one, path) for one in content['datasets'])
    names = [one.name for one in datasets]
    refuse_twice(names, 'data sets', str(path), BoardError)
    entries = tuple(_entry(one, datasets, path) for one in content['entries'])
    refuse_twice([one.name for one in entries], 'entries', str(path), BoardError)
    for entry in entries:
        _expect_known(entry.datasets or (), names, f'entry {entry.name!r}: data sets')
    if 'speed' in content:
        content['speed'] = _speed(content['speed'])
    return Board(**{'title': path.stem, **content, 'datasets': datasets, 'entries': entries})


def _dataset(content: Dict, path: Path) -> BoardDataset:
    place = f'{path}: data set {content.get("name")!r}'
    content = settings_of_type({'tasks': ['keypoints'], **content}, BoardDataset, place, BoardError,
                               ('name', 'tasks'))
    _expect_known(content['tasks'], TASKS, f'{place}: tasks')
    if 'ann_file' not in content.get('dataset', {'ann_file': ''}):
        raise BoardError(f'{place}: dataset needs an ann_file.')
    _expect_known((content.get('iou_type', 'keypoints'), ), IOU_TYPES, f'{place}: iou_type')
    return BoardDataset(**{**content, 'tasks': tuple(content['tasks'])})


def _entry(content: Dict, datasets: Sequence[BoardDataset], path: Path) -> BoardEntry:
    place = f'{path}: entry {content.get("name")!r}'
    settings = settings_of_type(content, BoardEntry, place, BoardError, ('name', ))
    for source in ('published', 'claimed'):
        settings[source] = _figures(settings.get(source, {}), datasets, f'{place}: {source}')
    _check_keypoints(settings, place)
    if settings.get('checkpoint') and not settings.get('config'):
        raise BoardError(f'{place} has a checkpoint and no config to load it with.')
    if 'datasets' in settings:
        settings['datasets'] = tuple(settings['datasets'])
    return BoardEntry(**settings)


def _check_keypoints(settings: Dict, place: str) -> None:
    _expect_known((settings.get('keypoints', 'own'), ), KEYPOINTS, f'{place}: keypoints')
    if settings.get('keypoints') == 'annotated' and any(
            'keypoints' in by_task for source in ('published', 'claimed')
            for by_task in settings[source].values()):
        raise BoardError(f'{place} has figures of keypoints, and keypoints: annotated, which '
                         'leaves its masks alone to be compared.')


def _figures(content: Dict, datasets: Sequence[BoardDataset], place: str) -> Figures:
    tasks_of = {one.name: one.tasks for one in datasets}
    _expect_known(content, tasks_of, f'{place}: data sets')
    figures: Figures = {}
    for dataset, by_task in content.items():
        if not isinstance(by_task, dict):
            raise BoardError(f'{place}: {dataset} needs figures by task: {{keypoints: ...}}.')
        _expect_known(by_task, tasks_of[dataset], f'{place}: tasks of {dataset}')
        for task, found in by_task.items():
            found = found if isinstance(found, dict) else dict(AP=found)
            _expect_known(found, METRICS[task], f'{place}: figures')
            for metric, value in found.items():
                if not isinstance(value, (int, float)) or not 0 <= value <= 100:
                    raise BoardError(f'{place}: {metric} on {dataset} must be a percentage, '
                                     f'got {value!r}.')
            figures.setdefault(dataset, {})[task] = dict(found)
    return figures


def _speed(content: Dict) -> SpeedSettings:
    settings = settings_of_type(content, SpeedSettings, 'speed', BoardError)
    for name in ('persons', 'input_size'):
        if name in settings:
            settings[name] = tuple(settings[name])
    speed = SpeedSettings(**settings)
    if min(speed.batch, speed.rounds, speed.people, *speed.persons) < 1:
        raise BoardError('speed: batch, rounds, people and persons must be at least 1.')
    return speed


def _expect_known(found, known, place: str) -> None:
    refuse_unknown(found, known, place, BoardError)
