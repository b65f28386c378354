"""Compile the kernels of decoding ahead: ``python -m kdc_mm.compile_kernels``."""
import time
from pathlib import Path

import numpy as np
from mmengine.registry import init_default_scope

from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec
from kdc_mm.benchmarks.codec.random_crowds import make_crowd
from kdc_mm.codecs import PoseSeg
from kdc_mm_runtime.rle import encode_runs, mask_area


def compile_kernels() -> float:
    """Compile what is not yet, by decoding a small crowd; the seconds of a decode after that."""
    for use_key_centroid in (False, True):
        codec = PoseSegCodec(PoseSeg((129, 129), radius=12, use_key_centroid=use_key_centroid))
        crowd = make_crowd(3, 0, codec.input_size)
        maps = codec.perfect_maps(crowd, codec.encode(crowd))
        for _ in range(2):
            start = time.perf_counter()
            codec.decode(maps, crowd.frame)
            seconds = time.perf_counter() - start
    mask_area(encode_runs(np.array([1]), np.array([1]), 2, 2))  # masks are read in evaluation alone
    return seconds


def main() -> None:
    init_default_scope('mmpose')
    start = time.perf_counter()
    seconds = compile_kernels()
    print(f'The kernels of {Path(__file__).parent} are there after '
          f'{time.perf_counter() - start:.0f} s; a small decode takes {1e3 * seconds:.0f} ms.')


if __name__ == '__main__':
    main()
