"""Train networks alike and compare them: run what a study lacks, and write its tables.

    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --list
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --limit-minutes 50
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --only KDC --seed 0
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --print-config KDC
    python tools/run_study.py configs/studies/rendered_easy.yml --out DIR --tables \\
        --results OTHER/results

A study (configs/studies/*.yml, docs/evidence.md) fixes what its entries share. Each run is
tools/train.py on a config that DIR/runs/RUN/config.py keeps. The same command goes on where it was
stopped: finished runs are DIR/results/RUN.json, a broken one goes on from its last checkpoint, and
several of these commands on one DIR share the work. Files of results can be carried to another
machine and named there with --results; the tables need nothing else.
"""
import argparse
import contextlib
import dataclasses
import signal
import sys
from pathlib import Path
from typing import List, Union

from mmengine.config import DictAction

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401
from kdc_mm.benchmarks.digest import digest_of  # noqa: E402
from kdc_mm.benchmarks.study.bench import Bench, Launch  # noqa: E402
from kdc_mm.benchmarks.study.configs import (  # noqa: E402
    FINAL,
    changes_of,
    make_data,
    run_config,
)
from kdc_mm.benchmarks.study.run_folder import FolderLock  # noqa: E402
from kdc_mm.benchmarks.study.study import Study, StudyError, read_study  # noqa: E402
from kdc_mm.engine import check_checkpoint  # noqa: E402
from kdc_mm.engine.faults import FAULTS  # noqa: E402

#: Errors whose message is enough.
ERRORS = (StudyError, *FAULTS)
INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('study', metavar='STUDY.yml')
    add('--out', type=Path, metavar='DIR',
        help='folder for runs, results and tables (default: work_dirs/studies/STUDY, or beside '
             'it one for these --cfg-options, --checkpoint and --gpus)')
    add('--only', nargs='+', default=[], metavar='ENTRY', help='entries, or groups of entries')
    add('--seed', nargs='+', type=int, default=[], metavar='N', help='final runs of these seeds')
    add('--limit-minutes', type=float, metavar='M', help='stop after this time; go on later')
    add('--results', nargs='+', type=Path, default=[], metavar='DIR',
        help='folders with results of other machines')
    add('--tables', action='store_true', help='write the tables of what there is and end')
    add('--pictures', nargs='+', default=['0'], metavar=('N', 'IMAGE'),
        help='draw what the finished entries find on N held-out images, or on those of these names')
    add('--data-root', metavar='DIR', help="folder of the data, in place of the study's")
    add('--threads', type=int, default=1, help='CPU threads of each run (default: 1)')
    add('--gpus', type=int, default=1, help='processes to train with (default: 1)')
    add('--checkpoint', help='what the entries of decoding alone test, in place of a trained entry')
    add('--list', action='store_true', help='show the entries and what there is of each, and end')
    add('--print-config', metavar='ENTRY', help="print the whole config of an entry's run and end")
    add('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
        help="settings that override the study's and those of every entry; results count as those "
             'of another study')
    return parser.parse_args(argv)


def adapted(study: Study, args: argparse.Namespace) -> Study:
    """The study with the command line's data, checkpoint and options."""
    unknown = sorted({*args.seed} - {*study.seeds})
    if unknown:
        raise StudyError(f'{study.name} has no seed {unknown[0]}; its seeds are '
                         f'{", ".join(map(str, study.seeds))}.')
    if args.checkpoint is not None and '://' in args.checkpoint:
        raise StudyError(f'--checkpoint: {args.checkpoint} is no file; fetch it and name that.')
    missing = [str(folder) for folder in args.results if not folder.is_dir()]
    if missing:
        raise StudyError(f'--results: there is no folder {missing[0]}.')
    if args.data_root is not None:
        if study.data is None:
            raise StudyError(f'{study.name} takes its data from its config: --cfg-options says '
                             'where they are.')
        study = dataclasses.replace(
            study, data=dataclasses.replace(study.data, root=args.data_root))
    overrides = dict(args.cfg_options)
    if args.gpus > 1 and study.samples is not None:
        if study.batch % args.gpus:
            raise StudyError(f'--gpus: {study.batch} images of an iteration cannot be shared '
                             f'equally by {args.gpus} processes.')
        overrides['train_dataloader.batch_size'] = study.batch // args.gpus
    return dataclasses.replace(study, overrides=overrides, checkpoint=args.checkpoint)


def default_out(study: Study) -> Path:
    """Where a study's work lies if nothing else is said; with other settings it lies beside it."""
    changes = [study.overrides, study.checkpoint]
    if not any(changes):
        return Path('work_dirs/studies', study.name)
    return Path('work_dirs/studies', f'{study.name}-{digest_of(changes)[:8]}')


def number_or_names(words: List[str]) -> Union[int, List[str]]:
    """What --pictures is given: how many images to draw, or which."""
    return int(words[0]) if len(words) == 1 and words[0].isdigit() else words


def show_entries(bench: Bench) -> None:
    """The entries, what they change, and what there is of them."""
    results = bench.collected().results
    for entry in bench.entries:
        finals = sorted(run.seed for run in results
                        if run.entry == entry.name and run.part == FINAL)
        done = f'seeds {", ".join(map(str, finals))} finished' if finals else ''
        decoding = '(decoding only)' if entry.decodes else ''
        print(f'{entry.name:24} {entry.shown_in:8} {entry.head} {changes_of(entry)} '
              f'{decoding} {done}'.rstrip())


def print_config(bench: Bench, name: str) -> None:
    """The whole config of an entry's first final run, below a comment of what it changes."""
    study = bench.study
    entry = study.entry(name)
    cfg = run_config(study, bench.first_run(entry, bench.collected().results), bench.splits)
    where = f' ({entry.shown_in})' if entry.shown_in else ''
    print(f'# {entry.name}{where}: {Path(study.config).name} {changes_of(entry)}')
    print(cfg.pretty_text)


def folders_to_make(study: Study) -> List[Path]:
    """What other studies of the same data must not make at the same time: a folder beside them."""
    data = study.data
    if data is None or data.synth_crowd is None or Path(data.root, data.val_ann).is_file():
        return []
    root = Path(data.root)
    return [root.with_name(f'.{root.name}-being-made')]


def prepare(bench: Bench) -> None:
    """Check everything and make the data, before anything is trained."""
    bench.check()
    with contextlib.ExitStack() as locks:
        for folder in (bench.splits, *folders_to_make(bench.study)):
            locks.enter_context(FolderLock(folder, wait=True))
        make_data(bench.study, bench.splits)


def interrupt(*signal_and_frame) -> None:
    """End as Ctrl-C does: what trains is ended, and the tables are written."""
    raise KeyboardInterrupt


def run(args: argparse.Namespace) -> int:
    """Do what the command line asks; the exit status."""
    study = read_study(args.study)
    study = adapted(study, args)
    if args.checkpoint is not None:
        check_checkpoint(args.checkpoint)
    bench = Bench(study, args.out or default_out(study),
                  Launch(REPOSITORY / 'tools', args.threads, args.gpus), args.only, args.seed,
                  args.results, args.limit_minutes)
    if args.list:
        show_entries(bench)
        return 0
    if args.print_config:
        print_config(bench, args.print_config)
        return 0
    status = 0
    if not args.tables:
        prepare(bench)
        try:
            status = bench.work()
        except KeyboardInterrupt:
            bench.say('Interrupted; the same command goes on from the last checkpoint.')
            status = INTERRUPTED
        except ERRORS as error:
            bench.say(f'error: {error}')
            status = 1
    bench.write(number_or_names(args.pictures))
    return status


def main(argv=None) -> int:
    args = parse_args(argv)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        return run(args)
    except ERRORS as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:  # before or after the work
        sys.stderr.write('Interrupted.\n')
        return INTERRUPTED


if __name__ == '__main__':
    sys.exit(main())
