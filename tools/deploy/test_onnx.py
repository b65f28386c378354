"""Test an exported network: its AP on the data and by the metrics of a config, as tools/test.py.

    python tools/deploy/test_onnx.py FOLDER CONFIG
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from mmengine.config import Config, DictAction  # noqa: E402
from mmengine.utils import ProgressBar  # noqa: E402

import kdc_mm  # noqa: E402, F401
from kdc_mm.deploy.evaluate import evaluate_runtime  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import FAULTS, config_or_end, end  # noqa: E402
from kdc_mm_runtime import Runtime  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('folder', type=Path, help='what tools/deploy/export_onnx.py has written')
    add('config', help='config whose test data and metrics are taken')
    add('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
        help='changes to the config')
    add('--threads', type=int, help='of onnxruntime (default: all cores)')
    add('--out', type=Path, help='JSON file for the figures')
    return parser


def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    cfg = Config.fromfile(config_or_end(args.config))
    try:
        merge_options(cfg, args.cfg_options)
        runtime = Runtime(args.folder, args.threads)
        progress = ProgressBar(file=sys.stderr)
        figures = evaluate_runtime(runtime, cfg, progress.update)
    except (ValueError, ImportError, *FAULTS) as error:
        end(error)
    print()
    for name, value in figures.items():
        print(f'{name}: {value:.4f}')
    if args.out is not None:
        args.out.write_text(json.dumps(figures, indent=2) + '\n')


if __name__ == '__main__':
    main()
