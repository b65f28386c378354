"""Run the paper's ablations, go on where a run stopped, and draw its figures from the results.

    python tools/analysis_tools/run_ablation.py --list
    python tools/analysis_tools/run_ablation.py --print-config radius-16
    python tools/analysis_tools/run_ablation.py radius mask-centroid-static
    python tools/analysis_tools/run_ablation.py sigma-instance --checkpoint C.pth

Names are entries or whole studies of configs/ablations.py. Entries of decoding alone test one
checkpoint; the others are trained (from their last checkpoint on, where a run was interrupted) and
then tested. Finished entries stay in OUT/results.json and are not run again; OUT/NAME/log.txt is
what an entry printed.
"""
import argparse
import difflib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

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
from kdc_mm.engine.cfg_options import keys_read  # noqa: E402
from kdc_mm.visualization.ablations import draw_ablations  # noqa: E402

CONFIGS = REPOSITORY / 'configs'


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'names', nargs='*', metavar='NAME', help='entries (radius-16) or whole studies (radius)')
    parser.add_argument('--list', action='store_true', help='show all entries and end')
    parser.add_argument(
        '--print-config', action='store_true', help="print each entry's whole config and end")
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/ablations'),
        help='folder for results and figures. Defaults to work_dirs/ablations')
    parser.add_argument('--checkpoint', help='what the entries of decoding alone test')
    parser.add_argument('--gpus', type=int, default=1, help='processes to train with')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
        help='settings that override those of every entry')
    args = parser.parse_args(argv)
    if not args.names and not args.list:
        parser.error('name entries or studies; --list shows them')
    return args


class Ablation(NamedTuple):
    """One setting of a study, as configs/ablations.py has it.

    Attributes:
        study (str): Such as ``radius``.
        setting (str | int | float): Such as 16.
        config (Path): The config that it changes.
        options (dict): What it changes there: dotted key → value.
        shown_in (str): Figure or table of the paper.
        decoding_only (bool): Whether the entries of the study share their network.
    """
    study: str
    setting: object
    config: Path
    options: dict
    shown_in: str
    decoding_only: bool


def read_ablations() -> Dict[str, Ablation]:
    """All entries by name, such as ``radius-16``."""
    table = runpy.run_path(str(CONFIGS / 'ablations.py'))
    return {
        f'{name}-{setting}': Ablation(
            name, setting, CONFIGS / table['BASE'], options, study['shown_in'],
            study.get('decoding_only', False))
        for name, study in table['STUDIES'].items()
        for setting, options in study['settings'].items()
    }


def choose(names: List[str]) -> Dict[str, Ablation]:
    """The entries that these names of entries and studies mean.

    Raises:
        ValueError: for a name that is neither.
    """
    ablations = read_ablations()
    chosen = {}
    for name in names:
        meant = {key: one for key, one in ablations.items() if name in (key, one.study)}
        if not meant:
            known = dict.fromkeys([one.study for one in ablations.values()] + list(ablations))
            close = difflib.get_close_matches(name, known) or ['--list']
            raise ValueError(f'{name} is no ablation; see {", ".join(close)}.')
        chosen.update(meant)
    return chosen


def check_checkpoint_of(ablations: Dict[str, Ablation], checkpoint: Optional[str]) -> None:
    """
    Raises:
        ValueError: for entries that cannot run without a checkpoint.
        CheckpointError: for one that cannot be used.
    """
    if checkpoint is not None:
        check_checkpoint(checkpoint)
        return
    for name, ablation in ablations.items():
        if ablation.decoding_only:
            raise ValueError(f'{name} changes decoding only and is tested with weights of '
                             f'{ablation.config.name}: name them with --checkpoint.')


def print_config(name: str, ablation: Ablation) -> None:
    """The whole config of an entry, below a comment of what it changes.

    Variables of the config that nothing reads are left out: they would name the values of before.
    """
    cfg = Config.fromfile(ablation.config)
    for key in set(cfg) - keys_read(cfg) - {'custom_imports'}:
        cfg.pop(key)
    cfg.merge_from_dict(ablation.options)
    print(f'# {name} ({ablation.shown_in}): {ablation.config.name} {changes_of(ablation)}')
    print(cfg.pretty_text)


def changes_of(ablation: Ablation) -> str:
    """An entry's options on one line."""
    return ' '.join(as_arguments(ablation.options)) or 'as it is'


def as_arguments(options: dict) -> List[str]:
    """Options as ``--cfg-options`` takes them."""
    return [f'{key}={value}' for key, value in options.items()]


def list_ablations() -> None:
    """What there is to run, and what it changes."""
    for name, ablation in read_ablations().items():
        decoding = ' (decoding only)' if ablation.decoding_only else ''
        print(f'{name:24} {ablation.shown_in:8} {changes_of(ablation)}{decoding}')


def run_entry(ablation: Ablation, folder: Path, args: argparse.Namespace) -> dict:
    """Train an entry if it needs that, and test it.

    Returns:
        dict: ``metrics`` as logged, and ``keypoint_scores``: the mean confidence of each keypoint
        where it was found.

    Raises:
        subprocess.CalledProcessError: if training or testing ends with an error.
    """
    options = [*as_arguments(ablation.options), *args.cfg_options]
    options = ['--cfg-options', *options] if options else []
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'log.txt').open('a') as log:

        def call(*command):
            subprocess.run(command, stdout=log, stderr=log, check=True)

        checkpoint = args.checkpoint
        if not ablation.decoding_only:
            call(*train_command(ablation.config, args.gpus), '--work-dir', folder, '--resume',
                 *options)
            checkpoint = (folder / 'last_checkpoint').read_text().strip()
        call(sys.executable, REPOSITORY / 'tools/test.py', ablation.config, checkpoint,
             '--work-dir', folder, '--out', folder / 'metrics.json',
             '--dump', folder / 'predictions.pkl', *options)
    decoder = Config.fromfile(ablation.config).model.head.decoder
    return dict(
        metrics=json.loads((folder / 'metrics.json').read_text()),
        keypoint_scores=mean_keypoint_scores(
            mmengine.load(folder / 'predictions.pkl'), decoder))


def train_command(config: Path, gpus: int) -> list:
    """What starts training in one process, or in several."""
    if gpus == 1:
        return [sys.executable, REPOSITORY / 'tools/train.py', config]
    return ['bash', REPOSITORY / 'tools/dist_train.sh', config, str(gpus)]


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
        given (dict): What entries depend on beside their settings; those of other values are run
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
    if args.list:
        list_ablations()
        return 0
    try:
        ablations = choose(args.names)
        if args.print_config:
            for name, ablation in ablations.items():
                print_config(name, ablation)
            return 0
        check_checkpoint_of(ablations, args.checkpoint)
    except (ValueError, CheckpointError) as error:
        console.print(f'error: {error}', markup=False, soft_wrap=True)
        return 1
    return run_all(ablations, args, console)


def run_all(ablations: Dict[str, Ablation], args: argparse.Namespace, console: Console) -> int:
    """Run what is not finished, show and draw what is; 1 if something failed."""
    results = Results(args.out / 'results.json',
                      dict(checkpoint=args.checkpoint, cfg_options=args.cfg_options))
    failed = []
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('', total=len(ablations))
        for name, ablation in ablations.items():
            progress.update(task, description=name)
            if not results.has(name):
                try:
                    found = run_entry(ablation, args.out / name, args)
                    results.add(name, dict(
                        study=ablation.study, setting=ablation.setting,
                        config=str(ablation.config), **found))
                except subprocess.CalledProcessError:
                    failed.append(name)
                    console.print(f'{name} failed: {args.out / name / "log.txt"}', markup=False)
            progress.advance(task)
    finished = {name: results.entries[name] for name in ablations if results.has(name)}
    if finished:
        Console(highlight=False).print(table_of(finished))
        for picture in draw_ablations(list(finished.values()), args.out):
            print(picture)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
