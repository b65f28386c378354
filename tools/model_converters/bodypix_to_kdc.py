"""Turn BodyPix 2.0, a TensorFlow.js model, into a checkpoint of a config in configs/bodypix.

    python tools/model_converters/bodypix_to_kdc.py FOLDER OUT.pth [--stride 8] [--config CONFIG]

FOLDER holds a JSON file, such as model-stride16.json, and the files of weights that it names;
docs/bodypix.md says where Google publishes them.
"""
import argparse
import sys
from pathlib import Path
from typing import List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

import torch  # noqa: E402
from mmengine import Config  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmpose.registry import MODELS  # noqa: E402

import kdc_mm  # noqa: E402, F401
from kdc_mm.engine.faults import config_or_end  # noqa: E402
from kdc_mm.models.converters.bodypix import (  # noqa: E402
    backbone_config,
    constant_log_bandwidth,
    converted_outputs,
    fit_log_bandwidth,
    load_backbone,
    load_heads,
    photo_features,
    read_bodypix,
)
from kdc_mm.models.converters.tfjs import ConversionError  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = dict(
    mobilenet_v1_075='configs/bodypix/kdc_mobilenet-075_coco-401.py',
    resnet_v1_50='configs/bodypix/kdc_resnet50_coco-513.py')

#: The bandwidth is fitted to so many photos at most; a few hundred weights need no more.
PHOTOS = 300
IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png')


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', type=Path, help='folder of the JSON file and its weights')
    parser.add_argument('out', type=Path, help='checkpoint to write')
    parser.add_argument(
        '--stride', default='16',
        help='output stride, for model-strideN.json, or the name of the JSON file. Defaults to 16.')
    parser.add_argument(
        '--config',
        help='config to load the weights into, by default the one of configs/bodypix: backbone '
        'and heads are to be its, or the heads have coarse_channels; the rest stays fresh')
    parser.add_argument(
        '--fit-bandwidth', type=Path, metavar='FOLDER',
        help='photos with people, to which the bandwidth is fitted; it is constant without')
    return parser.parse_args(argv)


def convert(file: Path, photos: Path, out: Path, config: Optional[str] = None) -> None:
    network = read_bodypix(file)
    backbone = backbone_config(network)
    name = config or CONFIGS[backbone['architecture']]
    cfg = Config.fromfile(config_or_end(name) if config else ROOT / name)
    stride = backbone['output_stride']
    options = {
        'model.backbone.output_stride': stride,
        'model.head.decoder.heatmap_stride': stride,
        'model.head.decoder.mask_stride': stride
    } if config is None and stride != cfg.model.backbone.output_stride else {}
    cfg.merge_from_dict(options)
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    load_backbone(model.backbone, network)
    if photos is None:
        log_bandwidth = constant_log_bandwidth(converted_outputs(model.head)[0].in_channels)
    else:
        log_bandwidth, error = fit_log_bandwidth(
            photo_features(model, cfg.val_pipeline, find_photos(photos)), network.maps)
        print(f'bandwidth: ln σ fitted, off by {error:.2f} (root mean square)')
    load_heads(model.head, network.maps, log_bandwidth)
    checkpoint = dict(meta=dict(converted_from=file.name), state_dict=model.state_dict())
    out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, out)
    print(f'{out}: weights of {name}')
    if options:
        print('with --cfg-options ' + ' '.join(f'{key}={value}' for key, value in options.items()))


def find_photos(folder: Path) -> List[Path]:
    """The first PHOTOS images of a folder.

    Raises:
        ConversionError: if there is none.
    """
    photos = sorted(path for path in folder.glob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
    if not photos:
        raise ConversionError(f'{folder} holds no images ({", ".join(IMAGE_SUFFIXES)}).')
    return photos[:PHOTOS]


def main(argv=None) -> None:
    args = parse_args(argv)
    init_default_scope('mmpose')
    MMLogger.get_instance('bodypix_to_kdc', log_level='WARNING')  # not each fresh weight
    name = f'model-stride{args.stride}.json' if args.stride.isdigit() else args.stride
    try:
        convert(args.folder / name, args.fit_bandwidth, args.out, args.config)
    except ConversionError as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main()
