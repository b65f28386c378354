"""Say before training what is missing or broken in the data of a config, and what there is.

Annotation files are read as training and evaluation read them: warnings say what of a file is taken
for something else than it says. Ends with status 1 if something would stop or spoil a run.

`--fix OUT.json` writes what was read as a file in COCO's own form, without images that are missing
or cannot be read, and with image sizes from the images where the file lacks them. Where several
annotation files of the config need it, the name of the data set stands before `.json`.
"""
import argparse
import sys
import warnings
from pathlib import Path
from typing import List

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine import Config, DictAction
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401
from kdc_mm.datasets.check import SplitCheck, check_config, write_fixed  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import config_or_end  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data.png'),
        help='picture of the histograms to write. Defaults to data.png')
    parser.add_argument(
        '--fix', type=Path, metavar='OUT.json', help='write a copy of the annotations, see above')
    parser.add_argument(
        '--no-read', action='store_true', help='look for the images without decoding them')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    return parser.parse_args()


def table_of(checks: List[SplitCheck]) -> Table:
    """Numbers of images and persons, a column per data set."""
    table = Table('')
    for check in checks:
        table.add_column(check.name, justify='right')
    for name in checks[0].counts:
        table.add_row(name, *(f'{check.counts[name]:,}' for check in checks))
    table.add_row('persons per image', *(f'{check.persons.mean():.2f}' for check in checks))
    table.add_row('persons that another overlaps (IoU > 0.1)', *(
        f'{(check.overlap > 0.1).mean():.0%}' if len(check.overlap) else '-' for check in checks))
    return table


def draw_histograms(checks: List[SplitCheck], out: Path) -> None:
    """Persons per image, and how much of each person's box its neighbour covers."""
    figure = Figure(figsize=(11, 4), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    edges = np.arange(0, min(max(check.persons.max() for check in checks), 30) + 2) - 0.5
    for check in checks:
        persons = check.persons.clip(max=30)
        left.hist(persons, edges, density=True, histtype='step', lw=1.8, label=check.name)
        if len(check.overlap):
            weights = np.full(len(check.overlap), 1 / len(check.overlap))
            right.hist(check.overlap, np.linspace(0, 1, 21), weights=weights, histtype='step',
                       lw=1.8, label=check.name)
    left.set(title='persons', xlabel='persons per image (30: or more)', ylabel='share of images')
    right.set(title='crowding', xlabel="IoU with the nearest neighbour's box",
              ylabel='share of persons')
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def fix(checks: List[SplitCheck], out: Path, console: Console) -> None:
    """Write a copy of each annotation file that needs one."""
    odd = {check.ann_file: check for check in checks
           if check.reading is not None and (check.reading.changes or check.unusable)}
    if not odd:
        console.print("Nothing to fix: what can be read is in COCO's form.")
    for check in odd.values():
        name = check.name.replace(' ', '_')
        path = out if len(odd) == 1 else out.with_name(f'{out.stem}_{name}{out.suffix}')
        for line in write_fixed(check, path):
            console.print(f'fixed: {line}', markup=False)
        console.print(f'{check.ann_file} is written to {path}', markup=False)


def main() -> int:
    args = parse_args()
    if args.fix is not None and args.fix.exists():
        sys.exit(f'error: {args.fix} is there already: name a new file.')
    warnings.filterwarnings('ignore', message='The metainfo config file')
    cfg = Config.fromfile(config_or_end(args.config))
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmpose'))
    console, progress_console = Console(highlight=False, soft_wrap=True), Console(stderr=True)

    def progress(check, jobs):
        return track(jobs, f'images of {check.name}', check.counts['images'],
                     console=progress_console)

    checks = check_config(cfg, not args.no_read, progress, fill_sizes=args.fix is not None)
    counted = [check for check in checks if check.counts]
    if counted:
        for check in counted:
            console.print(f'{check.name}: {check.ann_file}', markup=False)
        console.print(table_of(counted))
        draw_histograms(counted, args.out)
        console.print(f'histograms: {args.out}', markup=False)
    for check in checks:
        for kind, style in (('error', 'bold red'), ('warning', 'yellow')):
            for text in getattr(check, f'{kind}s'):
                console.print(f'{kind} ({check.name}): {text}', style=style, markup=False)
    if args.fix is not None:
        fix(checks, args.fix, console)
    if any(check.errors for check in checks):
        return 1
    console.print('The data are complete.')
    return 0


if __name__ == '__main__':
    sys.exit(main())
