"""What networks cost, side by side: parameters, GMACs, forward, decode, FPS, memory (fig. 6).

Configs are files, or mmpose::... and mmdet::... for those of the installed packages. All take turns
in one process, and times are medians. Time runs from the input tensor to the persons in a 640x480
image: forward is the network, decode all that follows it. There is no flip test, and nothing is
fetched: the weights are random, unless a checkpoint is named.

Random weights show nobody to the decoder, or noise. So each network is run in full, and its output
then replaced by what a perfect network would put out for the same random people (--persons).
docs/benchmarks.md says what that means for each kind of head.
"""
import argparse
import json
import sys
from pathlib import Path

import torch
from mmengine.utils import ProgressBar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401
from kdc_mm.benchmarks.network.named_configs import ConfigError, load_config  # noqa: E402
from kdc_mm.benchmarks.network.onnx_speed import OnnxContestant  # noqa: E402
from kdc_mm.benchmarks.network.speed import (  # noqa: E402
    PERSONS,
    Contestant,
    flushed_denormals,
    measure_speed,
)
from kdc_mm.deploy import ExportError  # noqa: E402

COLUMNS = dict(params_m='params [M]', gmacs='GMACs', forward_ms='forward [ms]',
               decode_ms='decode [ms]', total_ms='total [ms]', fps='FPS', peak_mem_mb='memory [MB]')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='file, mmpose::... or mmdet::...')
    add('--input-size', nargs=2, type=int, metavar=('W', 'H'),
        help="for all, rounded up to what a network takes (default: each config's own)")
    add('--batch', type=int, default=1, help='images per pass. Defaults to 1.')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--backend', choices=('pytorch', 'onnxruntime'), default='pytorch',
        help='what computes the forward pass. Defaults to pytorch. onnxruntime: bottom-up pose '
        'networks on the CPU')
    add('--amp', action='store_true', help='float16 on a GPU, bfloat16 on a CPU')
    add('--persons', type=int, default=PERSONS, metavar='N',
        help=f'persons in each image. Defaults to {PERSONS}.')
    add('--rounds', type=int, default=15, help='passes of each network. Defaults to 15.')
    add('--threads', type=int, help="threads of a CPU (default: PyTorch's)")
    add('--out', type=Path, metavar='F.json', help='write the results')
    return parser.parse_args(argv)


def markdown(results) -> str:
    """The results as a table."""
    lines = ['| config | ' + ' | '.join(COLUMNS.values()) + ' |',
             '| --- |' + ' --- |' * len(COLUMNS)]
    for result in results:
        cells = ' | '.join('' if result[name] is None else f'{result[name]:.1f}'
                           for name in COLUMNS)
        lines.append(f'| {result["config"]} | {cells} |')
    return '\n'.join(lines)


def main(argv=None) -> None:
    args = parse_args(argv)
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        sys.exit('error: torch finds no CUDA device here; leave --device out.')
    for flag in ('batch', 'persons', 'rounds'):
        if getattr(args, flag) < 1:
            sys.exit(f'error: --{flag} must be at least 1, got {getattr(args, flag)}.')
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    try:
        loaded = [(name, load_config(name)) for name in args.configs]
        kind = OnnxContestant if args.backend == 'onnxruntime' else Contestant
        contestants = [
            kind(name, cfg, args.device, args.batch, args.input_size)
            for name, cfg in loaded
        ]
        progress = ProgressBar(args.rounds * len(contestants), file=sys.stderr)
        with flushed_denormals():
            results = measure_speed(
                contestants, args.rounds, args.amp, args.persons, progress.update)
    except (ConfigError, ExportError) as error:
        sys.exit(f'error: {error}')
    print('\n' + markdown(results))
    if args.out is not None:
        settings = dict(
            backend=args.backend, device=args.device, batch=args.batch, amp=args.amp,
            persons=args.persons, rounds=args.rounds, threads=torch.get_num_threads(),
            torch=torch.__version__,
            input_sizes=[list(one.input_size) for one in contestants])
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(
            json.dumps(dict(results=results, settings=settings), indent=2) + '\n')
        print(f'\nwritten to {args.out}')


if __name__ == '__main__':
    main()
