"""Run ablations, go on where a run stopped, and draw the paper's figures from the results.

    python tools/analysis_tools/run_ablation.py configs/ablations/radius-*.py
    python tools/analysis_tools/run_ablation.py configs/ablations/sigma-*.py --checkpoint C.pth

Each config is an entry. Those of the σ change decoding only and test one checkpoint; the others are
trained (from their last checkpoint on, where a run was interrupted) and then tested. Finished
entries stay in OUT/results.json and are not run again; OUT/NAME/log.txt is what an entry printed.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

import mmengine
import numpy as np
from mmengine.config import Config
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))  # the kdc_mm beside this file

from kdc_mm.codecs.skeleton import build_skeleton  # noqa: E402
from kdc_mm.engine import CheckpointError, check_checkpoint  # noqa: E402
from kdc_mm.visualization.ablations import FIGURES, draw_ablations  # noqa: E402

STUDIES = [study for studies, _ in FIGURES.values() for study in studies]


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', type=Path, help='files of configs/ablations')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/ablations'),
        help='folder for results and figures. Defaults to work_dirs/ablations')
    parser.add_argument('--checkpoint', help='what the entries that change decoding only test')
    parser.add_argument('--gpus', type=int, default=1, help='processes to train with')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
        help='settings that override every config')
    return parser.parse_args(argv)


def decoding_only(study: str) -> bool:
    """Whether the entries of a study share their network."""
    return study.startswith('sigma')


def check_entries(configs: List[Path], checkpoint: Optional[str]) -> Dict[str, dict]:
    """``ablation`` of each config by the entry's name.

    Raises:
        ValueError: for a config that is no ablation, and for what cannot run without a checkpoint.
    """
    entries = {}
    for path in configs:
        ablation = Config.fromfile(path).get('ablation')
        if ablation is None or ablation.get('study') not in STUDIES:
            raise ValueError(f'{path} is no ablation: it needs ablation = dict(study=..., '
                             f'setting=...) with a study of {STUDIES}.')
        if decoding_only(ablation.study) and checkpoint is None:
            raise ValueError(f'{path} changes decoding only and is tested with weights of its '
                             'base: name them with --checkpoint.')
        entries[path.stem] = dict(ablation, config=str(path))
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    return entries


def run_entry(entry: dict, folder: Path, args: argparse.Namespace) -> dict:
    """Train an entry if it needs that, and test it.

    Returns:
        dict: ``metrics`` as logged, and ``keypoint_scores``: the mean confidence of each keypoint
        where it was found.

    Raises:
        subprocess.CalledProcessError: if training or testing ends with an error.
    """
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'log.txt').open('a') as log:

        def call(*command):
            subprocess.run(command, stdout=log, stderr=log, check=True)

        checkpoint = args.checkpoint
        if not decoding_only(entry['study']):
            start = [sys.executable, 'tools/train.py', entry['config']] if args.gpus == 1 else [
                'bash', 'tools/dist_train.sh', entry['config'], str(args.gpus)]
            start[1] = str(REPOSITORY / start[1])
            call(*start, '--work-dir', folder, '--resume', *options)
            checkpoint = (folder / 'last_checkpoint').read_text().strip()
        call(sys.executable, REPOSITORY / 'tools/test.py', entry['config'], checkpoint,
             '--work-dir', folder, '--out', folder / 'metrics.json',
             '--dump', folder / 'predictions.pkl', *options)
    return dict(
        metrics=json.loads((folder / 'metrics.json').read_text()),
        keypoint_scores=mean_keypoint_scores(
            mmengine.load(folder / 'predictions.pkl'), Config.fromfile(entry['config']).codec))


def mean_keypoint_scores(predictions: List[dict], codec: dict) -> Dict[str, float]:
    """Mean confidence of each keypoint over the persons of whom it was found; 0 where never."""
    names = build_skeleton(codec['metainfo'], codec.get('limbs')).names
    scores = np.concatenate([np.zeros((0, len(names)))] + [
        np.asarray(sample['pred_instances']['keypoint_scores']) for sample in predictions])
    found = (scores > 0).sum(0)
    return dict(zip(names, (scores.sum(0) / found.clip(min=1)).tolist()))


class Results:
    """Finished entries in a file.

    Args:
        path (Path): JSON file, which need not exist.
        given (dict): What entries depend on beside their config; those of other values are run
            again.
    """

    def __init__(self, path: Path, given: dict) -> None:
        self.path, self.given = path, given
        self.entries = json.loads(path.read_text()) if path.is_file() else {}

    def has(self, name: str) -> bool:
        return self.entries.get(name, {}).get('given') == self.given

    def add(self, name: str, entry: dict) -> None:
        """Keep an entry; the file is never half written."""
        self.entries[name] = dict(entry, given=self.given)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix('.tmp')
        draft.write_text(json.dumps(self.entries, indent=1))
        os.replace(draft, self.path)


def table_of(entries: Dict[str, dict]) -> Table:
    """Keypoint and mask AP of each entry."""
    table = Table('entry', 'keypoints AP', 'masks AP')
    for name, entry in entries.items():
        shown = [
            next((f'{value:.3f}' for key, value in entry['metrics'].items()
                  if key.split('/')[-1] == metric), '-') for metric in ('AP', 'segm_mAP')
        ]
        table.add_row(name, *shown)
    return table


def main(argv=None) -> int:
    args = parse_args(argv)
    console = Console(stderr=True, highlight=False)
    try:
        entries = check_entries(args.configs, args.checkpoint)
    except (ValueError, FileNotFoundError, CheckpointError) as error:
        console.print(f'error: {error}', markup=False, soft_wrap=True)
        return 1
    results = Results(args.out / 'results.json',
                      dict(checkpoint=args.checkpoint, cfg_options=args.cfg_options))
    failed = []
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('', total=len(entries))
        for name, entry in entries.items():
            progress.update(task, description=name)
            if not results.has(name):
                try:
                    results.add(name, {**entry, **run_entry(entry, args.out / name, args)})
                except subprocess.CalledProcessError:
                    failed.append(name)
                    console.print(f'{name} failed: {args.out / name / "log.txt"}', markup=False)
            progress.advance(task)
    finished = {name: results.entries[name] for name in entries if results.has(name)}
    if finished:
        Console(highlight=False).print(table_of(finished))
        for picture in draw_ablations(list(finished.values()), args.out):
            print(picture)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
