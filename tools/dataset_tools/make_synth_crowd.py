"""Make the built-in SynthCrowd data set: rendered people in COCO's layout."""
import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from kdc_mm.synth_crowd import PRESETS, make_synth_crowd  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('out', help='folder to write: train2017/, val2017/ and annotations/')
    parser.add_argument('--preset', default='easy',
                        help=f'how crowded: {", ".join(PRESETS)} (default: easy)')
    parser.add_argument('--train', type=int, default=2000, help='pictures to train on')
    parser.add_argument('--val', type=int, default=200, help='pictures to validate on')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--size', type=int, default=256, help='side of the pictures, px')
    parser.add_argument('--workers', type=int,
                        help='processes (default: all cores); the result does not depend on it')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace a SynthCrowd data set made with other arguments')
    return parser.parse_args()


def print_statistics(made):
    table = Table(title=f'SynthCrowd {made["arguments"]["preset"]}')
    for column in ('split', 'images', 'persons', 'persons per image', 'mean nearest-neighbour IoU',
                   'occluded keypoints'):
        table.add_column(column, justify='left' if column == 'split' else 'right')
    for split, found in made['splits'].items():
        table.add_row(split, str(found['images']), str(found['persons']),
                      f'{found["persons_per_image"]:.2f}', f'{found["crowding"]:.3f}',
                      f'{found["occluded_share"]:.1%}')
    Console().print(table)


def main():
    args = parse_args()
    try:
        made = make_synth_crowd(args.out, args.preset, args.train, args.val, seed=args.seed,
                                size=args.size, workers=args.workers, overwrite=args.overwrite)
    except (ValueError, FileExistsError) as error:
        sys.exit(f'error: {error}')
    print_statistics(made)
    print(f'{args.out} was there already, made with the same arguments'
          if made['reused'] else f'written to {args.out}')


if __name__ == '__main__':
    main()
