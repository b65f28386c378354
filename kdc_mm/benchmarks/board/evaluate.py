"""Checks of a board before work starts, and the evaluation of one entry on one data set."""
import copy
import json
import os
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from kdc_mm.config_types import evaluators_of, type_name
from kdc_mm.datasets.annotations import AnnotationError, is_labelled, read_annotations
from kdc_mm.engine import CheckpointError, check_checkpoint
from kdc_mm.engine.checkpoint import check_fit, resolve_checkpoint

from ..digest import digest_of
from ..network.named_configs import ConfigError, build_model, load_config, scope_of
from ..network.speed import keypoint_metainfo, test_dataset
from .board import Board, BoardDataset, BoardEntry, BoardError, SpeedSettings

#: Name of a figure in MMPose's and mmdet's metrics → name on boards.
_NAMES = {
    'AP': 'AP', 'AP .5': 'AP50', 'AP .75': 'AP75', 'AP (M)': 'APM', 'AP (L)': 'APL',
    'AP(E)': 'APE', 'AP(M)': 'APM', 'AP(H)': 'APH'
}
_SEGM_NAMES = {
    'segm_mAP': 'AP', 'segm_mAP_50': 'AP50', 'segm_mAP_75': 'AP75', 'segm_mAP_s': 'APS',
    'segm_mAP_m': 'APM', 'segm_mAP_l': 'APL'
}


class Candidate:
    """An entry of a board with its config.

    Attributes:
        entry (BoardEntry): The entry.
        cfg (Config | None): Its config.
        problem (str): Why nothing of it can be measured, if so.
        checkpoint (str | None): The file to load.
        checkpoint_problem (str): Why it cannot be evaluated, if so.
        num_keypoints (int | None): Keypoints of a pose network.
        tasks (tuple[str]): What it can be evaluated on.
    """

    def __init__(self, entry: BoardEntry) -> None:
        self.entry = entry
        self.cfg: Optional[Config] = None
        self.problem = self.checkpoint_problem = ''
        self.checkpoint: Optional[str] = None
        self.num_keypoints: Optional[int] = None
        self.tasks: Tuple[str, ...] = ()
        if entry.config is None:
            return
        try:
            self._read_config()
        except ConfigError as error:
            self.problem = str(error)
            return
        if entry.checkpoint is not None:
            try:
                self.checkpoint = resolve_checkpoint(entry.checkpoint)
                check_checkpoint(self.checkpoint)
                check_fit(build_model(entry.config, self.cfg), self.checkpoint, entry.config)
            except (CheckpointError, ConfigError) as error:
                self.checkpoint_problem = str(error)

    def _read_config(self) -> None:
        self.cfg = load_config(self.entry.config)
        if scope_of(self.cfg) == 'mmdet':
            self.tasks = ('segm', )
            return
        try:
            self.num_keypoints = keypoint_metainfo(self.cfg)['num_keypoints']
        except (AttributeError, KeyError) as error:
            raise ConfigError(f'{self.entry.config} names no test data set with keypoints.'
                              ) from error
        evaluated = [type_name(one) for one in evaluators_of(self.cfg, 'test')]
        self.tasks = ('keypoints', 'segm') if 'PersonSegMetric' in evaluated else ('keypoints', )
        if self.entry.keypoints == 'annotated':
            if 'segm' not in self.tasks or type_name(self.cfg.model.head) != 'KDCHead':
                raise ConfigError(f'{self.entry.config} gives no masks around annotated keypoints, '
                                  'which a KDCHead with PersonSegMetric does: set keypoints: own.')
            self.tasks = ('segm', )

    def why_not(self, dataset: BoardDataset) -> str:
        """Why it is not evaluated on a data set; empty if it is."""
        if self.entry.config is None:
            return 'no config: figures of others only'
        if self.problem or self.checkpoint_problem:
            return self.problem or self.checkpoint_problem
        if self.entry.checkpoint is None:
            return 'no checkpoint'
        if self.entry.datasets is not None and dataset.name not in self.entry.datasets:
            return 'left out by the board'
        tasks = [task for task in dataset.tasks if task in self.tasks]
        if not tasks:
            return f'predicts {" and ".join(self.tasks)} only'
        if 'keypoints' in tasks:
            annotated = count_keypoints(dataset.ann_file)
            if annotated != self.num_keypoints:
                return (f'predicts {self.num_keypoints} keypoints, and {dataset.ann_file} has '
                        f'{annotated}')
        return ''


def check_datasets(board: Board) -> None:
    """Make sure that a board's data can be evaluated on, before anything is.

    Raises:
        BoardError: Files are missing, or lack what the tasks need. All such data sets are named.
    """
    problems = []
    for dataset in board.datasets:
        if dataset.dataset is None or not any(
                entry.checkpoint and (entry.datasets is None or dataset.name in entry.datasets)
                for entry in board.entries):
            continue
        if not dataset.ann_file.is_file():
            problems.append(f'{dataset.name}: there is no annotation file {dataset.ann_file}.')
        elif not dataset.image_folder.is_dir():
            problems.append(f'{dataset.name}: there is no image folder {dataset.image_folder}.')
        else:
            problems += _lacking_annotations(dataset)
    if problems:
        raise BoardError('\n'.join(problems))


def _lacking_annotations(dataset: BoardDataset) -> List[str]:
    try:
        content = read_annotations(str(dataset.ann_file)).content
    except AnnotationError as error:
        return [f'{dataset.name}: {problem}' for problem in error.problems]
    persons = content.get('annotations', [])
    problems = []
    if 'segm' in dataset.tasks and not any('segmentation' in ann for ann in persons):
        problems.append(
            f'{dataset.name}: segm is among its tasks, but no annotation in {dataset.ann_file} has '
            'a segmentation. Take segm out of its tasks.')
    if 'keypoints' in dataset.tasks and not any(map(is_labelled, persons)):
        problems.append(
            f'{dataset.name}: keypoints is among its tasks, but no annotation in '
            f'{dataset.ann_file} has keypoints. Take keypoints out of its tasks.')
    if dataset.iou_type == 'keypoints_crowd' and not all(
            'crowdIndex' in image for image in content['images']):
        problems.append(
            f'{dataset.name}: iou_type is keypoints_crowd, but images in {dataset.ann_file} have '
            'no `crowdIndex`. Use iou_type: keypoints.')
    return problems


def count_keypoints(ann_file: Path) -> int:
    """Keypoints per person in an annotation file in COCO's layout."""
    return next(np.size(ann['keypoints']) // 3
                for ann in read_annotations(str(ann_file)).content['annotations']
                if ann.get('keypoints'))


def in_cocos_form(candidate: Candidate, dataset: BoardDataset, work_dir: Path) -> str:
    """The annotation file, or a copy of what kdc_mm reads in it, where networks of others would
    read something else."""
    metainfo = {} if candidate.num_keypoints is None else keypoint_metainfo(candidate.cfg)
    content, changes = read_annotations(str(dataset.ann_file), metainfo)
    if not changes:
        return str(dataset.ann_file)
    copied = work_dir.resolve() / 'annotations.json'
    copied.parent.mkdir(parents=True, exist_ok=True)
    copied.write_text(json.dumps(content))
    return str(copied)


def evaluate(candidate: Candidate, dataset: BoardDataset, work_dir: Path,
             after_image: Callable[[int, int], None]) -> Dict[str, Dict[str, float]]:
    """Evaluate an entry on a data set, as tools/test.py would.

    Args:
        candidate (Candidate): The entry, with a checkpoint that fits.
        dataset (BoardDataset): The data set.
        work_dir (Path): Folder for the log.
        after_image (callable): Called with the batches done and the number of batches.

    Returns:
        dict: task → figure → percentage. Figures that the data cannot give (no person of that
        size) are left out.
    """
    runner = Runner.from_cfg(evaluation_config(candidate, dataset, work_dir))
    runner.register_hook(TellHook(after_image))
    scores = runner.test()
    return figures_of(scores)


def figures_of(scores: Dict[str, float]) -> Dict[str, Dict[str, float]]:
    """Scores of MMPose's and mmdet's metrics as a board's figures: task → figure → percentage."""
    figures: Dict[str, Dict[str, float]] = {}
    for name, value in scores.items():
        name = name.rpartition('/')[2]
        for task, names in (('keypoints', _NAMES), ('segm', _SEGM_NAMES)):
            if name in names and value >= 0:
                figures.setdefault(task, {})[names[name]] = 100 * float(value)
    return figures


class TellHook(Hook):
    """Says how far a test is, and refuses positions that are no numbers: COCO's evaluation takes
    a NaN for a match."""

    def __init__(self, tell: Callable[[int, int], None]) -> None:
        self.tell = tell

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            found = sample.pred_instances
            positions = found.get('keypoints', found.get('bboxes'))
            if not torch.as_tensor(positions).isfinite().all():
                raise FloatingPointError(
                    f'predicts positions that are not finite on {sample.img_path}')
        self.tell(batch_idx + 1, len(runner.test_dataloader))


def evaluation_config(candidate: Candidate, dataset: BoardDataset, work_dir: Path) -> Config:
    """The entry's config, cut down to testing on a data set.

    Its pipeline, flip test and way of scoring stay; averaged weights (EMA) are what checkpoints
    hold as their weights, so that no hook is needed for them.
    """
    cfg = copy.deepcopy(candidate.cfg)
    tested = test_dataset(cfg)
    if 'dataset' in tested or 'datasets' in tested:
        raise ConfigError(f'{candidate.entry.config} tests on several data sets; boards need one.')
    ann_file = in_cocos_form(candidate, dataset, work_dir)
    tested.update(dataset.dataset)
    if ann_file != str(dataset.ann_file):
        tested.ann_file = ann_file
    if candidate.entry.keypoints == 'annotated':
        cfg.merge_from_dict({'model.test_cfg.keypoints': 'annotated'})
    tasks = [task for task in dataset.tasks if task in candidate.tasks]
    metrics = []
    if 'keypoints' in tasks:
        own = next((one for one in evaluators_of(cfg, 'test')
                    if type_name(one) in ('CocoMetric', 'PersonPoseMetric')),
                   dict(nms_mode='none', score_mode='bbox'))
        metrics.append(dict(own, type='PersonPoseMetric', ann_file=ann_file,
                            iou_type=dataset.iou_type, use_area=True, prefix='pose'))
    if scope_of(cfg) == 'mmdet':
        tested.metainfo = dict(classes=('person', ))
        tested.pipeline = [step for step in tested.pipeline if type_name(step) != 'LoadAnnotations']
        metrics.append(dict(type='mmpose.DetectedPersonSegMetric', ann_file=ann_file))
    elif 'segm' in tasks:
        metrics.append(dict(type='PersonSegMetric', ann_file=ann_file))
    for part in ('train', 'val'):
        for name in (f'{part}_cfg', f'{part}_dataloader', f'{part}_evaluator'):
            cfg[name] = None
    cfg.update(
        test_evaluator=metrics,
        test_cfg=dict(),
        optim_wrapper=None,
        param_scheduler=None,
        custom_hooks=[],
        default_hooks=dict(checkpoint=None),
        visualizer=dict(type='mmengine.Visualizer', vis_backends=[]),
        default_scope=scope_of(cfg),
        launcher='none',
        resume=False,
        load_from=candidate.checkpoint,
        work_dir=str(work_dir),
        experiment_name=f'{work_dir}'.replace('/', '_'))
    return cfg


def fingerprint(candidate: Candidate, dataset: BoardDataset) -> str:
    """Changes with whatever can change the figures: config, checkpoint, keypoints, data set."""
    return digest_of([
        candidate.cfg.to_dict(), candidate.entry.keypoints, _state_of(candidate.checkpoint),
        dataset.dataset, dataset.iou_type, dataset.tasks, _state_of(dataset.ann_file)
    ])


def _state_of(path) -> List:
    if not os.path.exists(path):
        return [str(path)]  # a URL
    stat = os.stat(path)
    return [str(path), stat.st_size, stat.st_mtime]


def speed_fingerprint(candidates: List[Candidate], speed: SpeedSettings) -> str:
    """Changes with whatever can change the speed of networks side by side."""
    networks = [[candidate.cfg.to_dict(), candidate.entry.name,
                 _state_of(candidate.checkpoint) if candidate.checkpoint else None]
                for candidate in candidates]
    return digest_of([*networks, vars(speed)])
