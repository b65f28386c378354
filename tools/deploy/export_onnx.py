"""Export a network to a folder that runs without PyTorch: model.onnx and codec.json.

    python tools/deploy/export_onnx.py CONFIG CHECKPOINT OUT

`kdc_mm_runtime` finds people with it; docs/deployment.md says how.
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from kdc_mm.apis import PoseSegInferencer  # noqa: E402
from kdc_mm.deploy import ExportError, export_onnx  # noqa: E402
from kdc_mm.engine.faults import FAULTS, end  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint of this config')
    add('out', type=Path, help='folder to write')
    add('--flip-test', action=argparse.BooleanOptionalAction, default=None,
        help='look at the mirrored image too (default: as the config says). Twice the time')
    return parser


def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    try:
        if not Path(args.config).is_file():
            raise OSError(f'The config {args.config} does not exist.')
        inferencer = PoseSegInferencer(args.config, args.checkpoint, 'cpu')
        difference = export_onnx(inferencer, args.out, args.flip_test)
    except (ExportError, *FAULTS) as error:
        end(error)
    size = (args.out / 'model.onnx').stat().st_size / 1e6
    print(f'{args.out}: model.onnx ({size:.1f} MB) and codec.json; maps differ from those of '
          f'PyTorch by {difference:.1e} at most')


if __name__ == '__main__':
    main()
