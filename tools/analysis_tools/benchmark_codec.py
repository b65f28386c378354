"""What encoding and decoding cost, against the number of persons in the image.

PoseSeg (at 401x401) and MMPose's SPR with the NMS of DEKR and AssociativeEmbedding (both at
512x512) take turns in one process on the same random people, on one core. Their maps are those of
a perfect network. Times are medians: of the processor on a CPU, of the wall with `--device cuda`.
MMPose's two find 30 persons at most by their published settings; here as many as there are.
"""
import argparse
import json
import sys
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine import Config, ProgressBar
from mmengine.registry import init_default_scope
from mmpose.registry import KEYPOINT_CODECS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the kdc_mm beside this file

from kdc_mm.benchmarks.codec.bottomup_codecs import (  # noqa: E402
    AECodec,
    Crowd,
    PoseSegCodec,
    SPRCodec,
)
from kdc_mm.benchmarks.codec.random_crowds import make_crowd  # noqa: E402

PERSONS = (1, 5, 10, 20, 50, 100)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--out', type=Path, metavar='F.json', help='write the times, and a plot beside them')
    parser.add_argument(
        '--device', default='cpu', help='where the maps are: "cpu" (default) or "cuda"')
    parser.add_argument(
        '--persons', nargs='+', type=int, default=PERSONS, metavar='N', help='persons per image')
    parser.add_argument(
        '--rounds', type=int, default=9, help='images per number of persons. Defaults to 9.')
    return parser.parse_args()


class Stopwatch:
    """Times calls in ms: processor time, or wall time until a CUDA device is done."""

    def __init__(self, device: str) -> None:
        self.on_cuda = device.startswith('cuda')

    def _now(self) -> float:
        if not self.on_cuda:
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def __call__(self, call):
        start = self._now()
        result = call()
        return result, 1e3 * (self._now() - start)


def time_codec(codec, crowd: Crowd, stopwatch: Stopwatch, device: str) -> dict:
    """Times of one image by name."""
    encoded, encode_ms = stopwatch(lambda: codec.encode(crowd))
    maps = codec.perfect_maps(crowd, encoded)
    maps = {name: field.to(device) for name, field in maps.items()}
    _, decode_ms = stopwatch(lambda: codec.decode(maps))
    times = dict(encode_ms=encode_ms, decode_ms=decode_ms)
    if 'semantic' in maps:
        _, both_ms = stopwatch(lambda: codec.decode(maps, crowd.frame))
        times['mask_ms'] = both_ms - decode_ms
    return times


def default_codec() -> PoseSegCodec:
    """The codec of the main config."""
    return PoseSegCodec(
        KEYPOINT_CODECS.build(Config.fromfile(ROOT / 'configs/kdc_rn152_coco.py').codec))


def measure(persons, rounds: int, device: str) -> dict:
    """Median times of all codecs: name → times by name, one per entry of ``persons``."""
    most = max(30, *persons)
    poseseg = default_codec()
    codecs = [poseseg, SPRCodec(most), AECodec(poseseg.codec.skeleton.names, most)]
    stopwatch = Stopwatch(device)
    for codec in codecs:  # compilers run at the first call
        time_codec(codec, make_crowd(5, 0, codec.input_size), stopwatch, device)
    times = {}
    progress = ProgressBar(rounds * len(persons), file=sys.stderr)
    for seed in range(rounds):
        for column, count in enumerate(persons):
            for codec in codecs:
                crowd = make_crowd(count, seed, codec.input_size)
                for name, ms in time_codec(codec, crowd, stopwatch, device).items():
                    table = times.setdefault(codec.name, {})
                    table.setdefault(name, np.empty((rounds, len(persons))))[seed, column] = ms
            progress.update()
    return {
        codec: {name: np.median(table, axis=0).tolist() for name, table in tables.items()}
        for codec, tables in times.items()
    }


def encode_peak(codec: PoseSegCodec, num_persons: int) -> float:
    """Most memory that encoding holds at a time, in MB."""
    crowd = make_crowd(num_persons, 0, codec.input_size)
    tracemalloc.start()
    codec.encode(crowd)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def plot(report: dict, out: Path) -> None:
    """Draw cost against persons."""
    figure = Figure(figsize=(10, 4.5), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    encode_axes, decode_axes = figure.subplots(1, 2, sharey=True)
    looks = dict(poseseg=('PoseSeg', '#d62246'), spr=('SPR', '#1f6feb'), ae=('AE', '#3a9d5d'))
    for codec, (label, color) in looks.items():
        times = {name: np.array(ms) for name, ms in report[codec].items()}
        encode_axes.plot(report['persons'], times['encode_ms'], 'o-', color=color, label=label)
        decode_axes.plot(report['persons'], times['decode_ms'], 'o-', color=color, label=label)
        if 'mask_ms' in times:
            decode_axes.plot(report['persons'], times['decode_ms'] + times['mask_ms'], 'o--',
                             color=color, label=f'{label} with masks')
    for axes, title in ((encode_axes, 'encode'), (decode_axes, 'decode')):
        axes.set(title=title, xlabel='persons in the image', xscale='log', yscale='log')
        axes.set_xticks(report['persons'], [str(count) for count in report['persons']])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter('{x:g}')
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
        axes.legend(frameon=False)
    encode_axes.set_ylabel('ms per image')
    figure.savefig(out)


def print_report(report: dict) -> None:
    print('\n' + 'persons'.rjust(22) + ''.join(f'{count:9}' for count in report['persons']))
    for codec, tables in report.items():
        if codec == 'persons':
            continue
        for name, times in tables.items():
            print(f'{codec:>11} {name:>10}' + ''.join(f'{ms:9.2f}' for ms in times))


def main():
    args = parse_args()
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        sys.exit('error: torch finds no CUDA device here; leave --device out.')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    init_default_scope('mmpose')
    report = dict(persons=list(args.persons), **measure(args.persons, args.rounds, args.device))
    print_report(report)
    print(f'PoseSeg encodes 200 persons within {encode_peak(default_codec(), 200):.1f} MB')
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(report, indent=2) + '\n')
        plot(report, args.out.with_suffix('.png'))
        print(f'written to {args.out} and {args.out.with_suffix(".png")}')


if __name__ == '__main__':
    main()
