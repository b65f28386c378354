"""Export a network to a folder that runs without PyTorch: model.onnx and codec.json.

    python tools/deploy/export_onnx.py CONFIG CHECKPOINT OUT

`kdc_mm_runtime` finds people with it; docs/deployment.md says how.
"""
import argparse
import sys
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from mmengine.config import Config, DictAction  # noqa: E402

from kdc_mm.apis import PoseSegInferencer  # noqa: E402
from kdc_mm.apis.sources import image_files  # noqa: E402
from kdc_mm.deploy import ExportError, export_onnx  # noqa: E402
from kdc_mm.engine.cfg_options import merge_options  # noqa: E402
from kdc_mm.engine.faults import FAULTS, config_or_end, end  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('config', help='config file, or the name of one of kdc_mm')
    add('checkpoint', help='checkpoint of this config')
    add('out', type=Path, help='folder to write')
    add('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE',
        help='changes to the config')
    add('--flip-test', action=argparse.BooleanOptionalAction, default=None,
        help='look at the mirrored image too (default: as the config says). Twice the time')
    add('--int8', type=Path, metavar='IMAGES',
        help='weights and activations of 8 bits, calibrated on a folder of photos')
    return parser


def photos_of(folder: Path) -> List[str]:
    """The images of a folder.

    Raises:
        OSError: There is none.
    """
    photos = image_files(folder)
    if not photos:
        raise OSError(f'The folder {folder} holds no image to calibrate on.')
    return photos


def main(argv=None) -> None:
    args = build_parser().parse_args(argv)
    cfg = Config.fromfile(config_or_end(args.config))
    try:
        merge_options(cfg, args.cfg_options)
        inferencer = PoseSegInferencer(cfg, args.checkpoint, 'cpu')
        photos = photos_of(args.int8) if args.int8 else None
        difference = export_onnx(inferencer, args.out, args.flip_test, photos)
    except (ExportError, *FAULTS) as error:
        end(error)
    size = (args.out / 'model.onnx').stat().st_size / 1e6
    print(f'{args.out}: model.onnx ({size:.1f} MB) and codec.json; maps differ from those of '
          f"PyTorch by {difference:.1e} at most{', before they had 8 bits' if photos else ''}")


if __name__ == '__main__':
    main()
