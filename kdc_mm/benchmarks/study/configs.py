"""The config of each run of a study: what all runs share, a head, a learning rate and a seed."""
import copy
import functools
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config

from kdc_mm.config_types import evaluators_of, type_name
from kdc_mm.engine.cfg_options import keys_read, merge_options, refusals
from kdc_mm.engine.whole_files import WholeFilesBackend
from kdc_mm.models.heads.field_head import FieldHead
from kdc_mm.models.heads.settings import check_test_cfg
from kdc_mm.synth_crowd import make_synth_crowd
from kdc_mm.synth_crowd.make import RENDERER_VERSION

from ..digest import digest_of
from ..network.named_configs import ConfigError, build_model, config_as_read
from ..yaml_files import file_name
from .heads import HEADS
from .study import Study, StudyData, StudyEntry, StudyError, read_study

#: Share of the iterations that the learning rate rises in.
_WARM_UP = 0.03
#: How many checkpoints a run writes: one that is killed loses a fortieth of its iterations.
_CHECKPOINTS = 40

#: Parts of a run's name: what it is for.
CHOICE, FINAL = 'choice', 'final'


class Run(NamedTuple):
    """One training of an entry, or one test if the entry decodes another's network.

    Attributes:
        entry (str): Name of the entry.
        part (str): ``'choice'`` of a learning rate, on a share of the samples and judged on images
            held apart, or ``'final'``.
        seed (int): Of weights, order and augmentation.
        learning_rate (float | None): ``None`` is the config's own.
    """
    entry: str
    part: str
    seed: int
    learning_rate: Optional[float]

    @property
    def name(self) -> str:
        """Of its folder and its file of results."""
        rate = '' if self.learning_rate is None else f'-lr{self.learning_rate:g}'
        return f'{file_name(self.entry)}-{self.part}{rate}-seed{self.seed}'


def make_data(study: Study, splits: Path) -> None:
    """Make a study's SynthCrowd where it is missing, and split its training annotations.

    Args:
        study (Study): The study.
        splits (Path): Folder for the annotations of the two parts.

    Raises:
        StudyError: The data are not there and cannot be made.
    """
    data = study.data
    if data is None:
        return
    if data.synth_crowd is not None:
        settings = dict(data.synth_crowd)
        try:
            make_synth_crowd(
                data.root, settings.pop('preset'), settings.pop('train'), settings.pop('val'),
                **settings)
        except (FileExistsError, KeyError, TypeError, ValueError) as error:
            raise StudyError(f'{study.name}: data.synth_crowd: {error}') from error
    for name in ('train_ann', 'val_ann'):
        path = Path(data.root, getattr(data, name))
        if not path.is_file():
            raise StudyError(f'{study.name}: there is no annotation file {path}; --data-root says '
                             'where the data are.')
    if data.held_out:
        _split(data, splits)


def _split(data: StudyData, splits: Path) -> None:
    """Write the annotations of the training images that are held apart, and of the others."""
    source = Path(data.root, data.train_ann)
    content = json.loads(source.read_text())
    images = content['images']
    if not 0 < data.held_out < len(images):
        raise StudyError(f'held_out must be less than the {len(images)} images of {source}.')
    splits.mkdir(parents=True, exist_ok=True)
    parts = (images[:-data.held_out], images[-data.held_out:])
    for path, kept in zip(_split_files(splits), parts):
        ids = {image['id'] for image in kept}
        annotations = [ann for ann in content['annotations'] if ann['image_id'] in ids]
        WholeFilesBackend().put_text(
            json.dumps(dict(content, images=kept, annotations=annotations)), path)


def _split_files(splits: Path) -> Tuple[Path, Path]:
    """Annotations of the images to train on and to judge on when a learning rate is chosen."""
    splits = splits.resolve()
    return splits / 'choice_train.json', splits / 'choice_held_out.json'


def run_config(study: Study, run: Run, splits: Path, work_dir: Optional[Path] = None) -> Config:
    """The whole config of a run, which tools/train.py takes as any other.

    Args:
        study (Study): The study.
        run (Run): The run.
        splits (Path): Folder of the annotations that :func:`make_data` has split.
        work_dir (Path, optional): Folder of its log and checkpoints.

    Raises:
        StudyError: Study and config do not fit together.
        ConfigError: The study's config cannot be read.
        SystemExit: Nothing would read one of the overrides.
    """
    entry = study.entry(run.entry)
    cfg = config_as_read(study.config)
    _merge(cfg, study.options, study.name)
    if study.input_size is not None:
        _resize_input(cfg._cfg_dict, study.input_size)
    if study.data is not None:
        _use_data(cfg, study.data, run.part, splits)
    _set_schedule(cfg, study, run)
    try:
        HEADS[entry.head].put(cfg)
    except ValueError as error:
        raise StudyError(f'{study.name}: {error}') from error
    except (AttributeError, IndexError, KeyError, StopIteration) as error:
        raise StudyError(
            f'{study.name}: {study.config} cannot have the head {entry.head!r}, which takes a KDC '
            f'network with an FPN, whose poses are evaluated ({str(error) or "a part is lacking"}).'
        ) from error
    _merge(cfg, entry.options, f'{study.name}: entry {entry.name!r}')
    _set_runtime(cfg, run, work_dir)
    _check_kept(cfg, entry, run, study.name)
    merge_options(cfg, copy.deepcopy(study.overrides))
    for key in set(cfg) - keys_read(cfg) - {'custom_imports'}:
        cfg.pop(key)  # variables of the config's file, whose values have been changed since
    return cfg


def check_model(study: Study, entry: StudyEntry, cfg: Config) -> None:
    """Make sure that a run's network can be built, without making its weights where that can be.

    Raises:
        ConfigError: It cannot, as where a setting is misspelt.
    """
    name = f'{study.name}, entry {entry.name!r}'
    try:
        with torch.device('meta'):
            model = build_model(name, cfg)
    except ConfigError:  # some constructors, as Swin's, compute with their numbers
        model = build_model(name, cfg)
    if isinstance(getattr(model, 'head', None), FieldHead):
        try:
            check_test_cfg(cfg.model.get('test_cfg') or {}, name)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def _merge(cfg: Config, options: Dict[str, Any], place: str) -> None:
    """Merge a study's or an entry's options into a config.

    Raises:
        StudyError: Nothing would read one of them, or it has no place in the config.
    """
    refused = refusals(cfg, map(str, options))
    if refused:
        raise StudyError(f'{place}: options: {refused[0]}')
    try:
        cfg.merge_from_dict(copy.deepcopy(options))
    except (AttributeError, KeyError, IndexError, TypeError, AssertionError) as error:
        raise StudyError(f'{place}: options have no place in the config: {error}') from error


def _check_kept(cfg: Config, entry: StudyEntry, run: Run, study_name: str) -> None:
    """Make sure that an entry's options, and its learning rate, are what its run has: not what is
    set after them (seed, hooks, folder, test set). Custom hooks have others beside them.

    Raises:
        StudyError: They are not.
    """
    if run.learning_rate not in (None, cfg.optim_wrapper.optimizer.lr):
        raise StudyError(f'{study_name}: entry {entry.name!r} has learning_rates, and options that '
                         'set another: one of the two.')
    for key, value in entry.options.items():
        if key.split('.')[0] == 'custom_hooks':
            continue
        for part in reversed(key.split('.')):
            value = {part: value}
        if not _holds(cfg._cfg_dict, value):
            raise StudyError(f'{study_name}: entry {entry.name!r} sets {key}, which studies set '
                             'themselves, alike for all entries.')


def _holds(node: Any, value: Any) -> bool:
    """Whether a part of a config has a value merged into it: of dicts, the keys of the value, which
    are places where the part is a list."""
    if isinstance(value, dict) and isinstance(node, list):
        return all(_holds(node[int(place)], one) for place, one in value.items())
    if isinstance(value, dict) and isinstance(node, dict):
        return all(_holds(node.get(key), one) for key, one in value.items() if key != '_delete_')
    if isinstance(value, (list, tuple)) and isinstance(node, (list, tuple)):
        return list(value) == list(node)
    return node == value


def _resize_input(node, side: int) -> None:
    """Set ``input_size`` wherever a config names it."""
    if isinstance(node, dict):
        if 'input_size' in node:
            node['input_size'] = (side, side)
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            _resize_input(child, side)


def _use_data(cfg: Config, data: StudyData, part: str, splits: Path) -> None:
    """Train and validate on a study's data; the choice of a learning rate on training images."""
    train, val = (data.train_ann, data.train_images), (data.val_ann, data.val_images)
    if part == CHOICE:
        train, val = ((str(file), data.train_images) for file in _split_files(splits))
    for name, (ann_file, images) in dict(train=train, val=val).items():
        cfg[f'{name}_dataloader'].dataset.update(
            data_root=data.root, ann_file=ann_file, data_prefix=dict(img=images))
    for metric in evaluators_of(cfg, 'val'):
        metric.ann_file = str(Path(data.root, val[0]))


def _set_schedule(cfg: Config, study: Study, run: Run) -> None:
    """Learning rate, number of iterations, batches; the same course for every entry."""
    if run.learning_rate is not None:
        cfg.optim_wrapper.optimizer.lr = run.learning_rate
    iterations = study.iterations(study.choice_share if run.part == CHOICE else 1.)
    if iterations is None:
        return
    # images are loaded in the process that trains, whose processor time is counted
    for part in ('train', 'val'):
        cfg[f'{part}_dataloader'].update(num_workers=0, persistent_workers=False)
    cfg.val_dataloader.batch_size = 1  # DEKR and CID predict no more at once
    cfg.train_dataloader.batch_size = study.batch
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    validations = 1 if run.part == CHOICE else study.validations
    cfg.train_cfg = dict(
        by_epoch=False, max_iters=iterations, val_interval=-(-iterations // validations))
    warm_up = max(round(_WARM_UP * iterations), 1)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=warm_up),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=iterations,
             T_max=max(iterations - warm_up, 1), eta_min_ratio=0.01)]
    cfg.log_processor = dict(by_epoch=False)
    cfg.default_hooks.checkpoint.update(
        by_epoch=False, interval=max(iterations // _CHECKPOINTS, 1))


def _set_runtime(cfg: Config, run: Run, work_dir: Optional[Path]) -> None:
    """Seed, hooks and folder. Nothing is chosen by what validation says."""
    checkpoint = dict(cfg.default_hooks.checkpoint, type='mmpose.WholeCheckpointHook',
                      max_keep_ckpts=1)
    for key in ('save_best', 'rule'):
        checkpoint.pop(key, None)
    cfg.default_hooks = dict(
        timer=dict(type='IterTimerHook'),
        logger=dict(type='LoggerHook', interval=50),
        param_scheduler=dict(type='ParamSchedulerHook'),
        checkpoint=checkpoint,
        sampler_seed=dict(type='DistSamplerSeedHook'))
    own = [hook for hook in cfg.get('custom_hooks', [])
           if type_name(hook) not in _REPLACED_HOOKS]
    cfg.custom_hooks = [
        *own,
        dict(type='mmpose.ChannelsLastHook'),
        dict(type='mmpose.LossGuardHook'),
        dict(type='mmpose.SkippedSamplesHook'),
        dict(type='mmpose.StudyRecordHook')]
    imports = cfg.get('custom_imports', {}).get('imports', [])
    imports = [imports] if isinstance(imports, str) else imports
    cfg.custom_imports = dict(imports=list(dict.fromkeys([*imports, *_IMPORTS])),
                              allow_failed_imports=False)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    drawing = cfg.get('visualizer') or dict(type='mmengine.Visualizer')
    cfg.visualizer = dict(drawing, vis_backends=[], name=run.name)
    cfg.randomness = dict(seed=run.seed)
    cfg.experiment_name = run.name
    if work_dir is not None:
        cfg.work_dir = str(work_dir)


#: What registers the parts of studies.
_IMPORTS = ('kdc_mm', 'kdc_mm.benchmarks.study.parts', 'kdc_mm.benchmarks.study.record')
_REPLACED_HOOKS = ('ChannelsLastHook', 'LossGuardHook', 'SkippedSamplesHook')


def settings_of(study: Study, run: Run) -> str:
    """A hash of all settings that can change a run's figures, but for its seed and learning rate.

    That is its config, the images held apart where a learning rate is chosen, the network that it
    decodes, and the data and settings of the study that it goes on from. Folders do not count: it
    is the same on every machine.
    """
    entry = study.entry(run.entry)
    if not entry.learning_rates:  # the config's own counts, whatever a file of results has
        run = run._replace(learning_rate=None)
    cfg = run_config(study, run, Path('/splits')).to_dict()
    for key in ('randomness', 'experiment_name', 'visualizer', 'custom_imports'):
        cfg.pop(key, None)
    is_chosen = entry.learning_rates or entry.decodes is not None
    if is_chosen and not any(
            key.startswith('optim_wrapper.optimizer') for key in study.overrides):
        cfg['optim_wrapper']['optimizer'].pop('lr')
    parts = [_without(study.data.root, cfg) if study.data is not None else cfg]
    if run.part == CHOICE:
        parts.append(study.data.held_out)
    if entry.decodes is not None:
        parts.append(_weights_of(study.checkpoint) if study.checkpoint is not None else
                     _origin(study, run._replace(entry=entry.decodes)))
    elif study.start is not None:
        before = read_study(study.start)
        made = before.data is not None and before.data.synth_crowd is not None
        parts.append([_origin(before, run), data_of(before) if made else None])
    return digest_of(parts)


def _origin(study: Study, run: Run) -> List:
    """What decides the weights that other runs begin with."""
    return [settings_of(study, run._replace(part=FINAL)), study.entry(run.entry).learning_rates]


def _without(folder: str, node):
    """A config without a folder in its texts."""
    if isinstance(node, dict):
        return {key: _without(folder, value) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_without(folder, value) for value in node]
    return node.replace(folder, '') if isinstance(node, str) else node


@functools.lru_cache(maxsize=8)
def _weights_of(checkpoint: str) -> str:
    """A hash of a file of weights."""
    return hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()


def data_of(study: Study) -> Optional[str]:
    """A hash of what the data are, wherever they lie; ``None`` where they are not at hand."""
    data = study.data
    if data is None:
        return None
    if data.synth_crowd is not None:
        return digest_of([data.synth_crowd, RENDERER_VERSION])
    files = [Path(data.root, name) for name in (data.train_ann, data.val_ann)]
    if not all(file.is_file() for file in files):
        return None
    return _digest_files(*((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


@functools.lru_cache(maxsize=8)
def _digest_files(*versions: Tuple[Path, int, int]) -> str:
    """A hash of files, each with its size in bytes and the ns of its last change: read once each
    time that they change."""
    texts = '\0'.join(path.read_text() for path, *_ in versions)
    return hashlib.sha256(texts.encode()).hexdigest()[:16]


def changes_of(entry: StudyEntry) -> str:
    """An entry's options on one line."""
    return ' '.join(f'{key}={value}' for key, value in entry.options.items()) or 'as it is'

