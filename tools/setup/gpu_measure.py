"""One measurement of gpu_check.py in a process of its own; prints one line of JSON at the end."""
import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Dict, List

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import KEYPOINT_CODECS, MODELS
from pycocotools import mask as coco_mask

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the kdc_mm beside this file

from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec  # noqa: E402
from kdc_mm.benchmarks.codec.random_crowds import make_crowd  # noqa: E402
from kdc_mm.benchmarks.network.named_configs import ConfigError, load_config  # noqa: E402
from kdc_mm.benchmarks.network.speed import Contestant, measure_speed  # noqa: E402
from kdc_mm.synth_crowd import make_synth_crowd  # noqa: E402

BODY = 'mmpose::body_2d_keypoint'
NETWORKS = {
    'RN-101': str(ROOT / 'configs/kdc_rn101_coco.py'),
    'RN-152': str(ROOT / 'configs/kdc_rn152_coco.py'),
    'AE': f'{BODY}/associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py',
    'CID': f'{BODY}/cid/coco/cid_hrnet-w32_8xb20-140e_coco-512x512.py',
    'RTMO': f'{BODY}/rtmo/coco/rtmo-l_16xb16-600e_coco-640x640.py',
}


def decode_parity(device: str, rounds: int) -> Dict:
    """Largest difference between decoding on the device and on the CPU, over random crowds."""
    codec = PoseSegCodec(
        KEYPOINT_CODECS.build(Config.fromfile(NETWORKS['RN-101']).codec))
    keypoints_px, scores, masks_iou = [0.], [0.], [1.]
    for seed in range(rounds):
        crowd = make_crowd(1 + seed % 20, seed, codec.input_size)
        maps = codec.perfect_maps(crowd, codec.encode(crowd))
        moved = {name: field.to(device) for name, field in maps.items()}
        here, there = (codec.codec.batch_decode(one, [crowd.frame])[0] for one in (maps, moved))
        if len(here.scores) != len(there.scores):
            raise SystemExit(f'crowd {seed}: {len(here.scores)} persons on the CPU, '
                             f'{len(there.scores)} on {device}')
        keypoints_px.append(abs(here.poses.keypoints - there.poses.keypoints).max(initial=0))
        scores.append(abs(here.scores - there.scores).max(initial=0))
        masks_iou += [coco_mask.iou([one], [other], [0])[0, 0]
                      for one, other in zip(here.masks.rles, there.masks.rles)
                      if coco_mask.area(one) + coco_mask.area(other)]
    return dict(crowds=rounds, keypoints_px=float(max(keypoints_px)), scores=float(max(scores)),
                masks_iou=float(min(masks_iou)))


def speed(device: str, rounds: int, size: int) -> Dict:
    """FPS of all networks at one input size, in fp32 and AMP, one image and eight at a time.

    The size is rounded up for a network that asks for it.
    """
    found = dict(size=size, rounds=rounds)
    for batch in (1, 8):
        contestants = [Contestant(name, load_config(config), device, batch, (size, size))
                       for name, config in NETWORKS.items()]
        for amp in (False, True):
            key = f'batch {batch}, {"AMP" if amp else "fp32"}'
            found[key] = speed_side_by_side(contestants, rounds, amp)
    return found


def speed_side_by_side(contestants: List[Contestant], rounds: int, amp: bool) -> Dict:
    """Figures by network; where one does not run it says so, and the others go on without it."""
    try:
        return {result.pop('config'): result
                for result in measure_speed(contestants, rounds, amp)}
    except ConfigError as error:
        fails = [one for one in contestants if str(error).startswith(f'{one.name} ')]
        if not fails:
            raise
        others = [one for one in contestants if one not in fails]
        return {**speed_side_by_side(others, rounds, amp), fails[0].name: dict(error=str(error))}


def training_step(device: str, rounds: int, config: str, data: Path) -> Dict:
    """Times of a config on built-in data: its loader alone, a step, both together."""
    make_synth_crowd(data, 'easy', 64, 8, seed=0, progress=False)
    cfg = Config.fromfile(config)
    cfg.train_dataloader.dataset.data_root = f'{data}/'
    cfg.model.backbone.init_cfg = None
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    model = MODELS.build(cfg.model).to(device).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)

    def timed(call, times=rounds) -> float:
        spent = []
        for _ in range(times + 1):  # the first fills caches
            start = time.perf_counter()
            call()
            finish(device)
            spent.append(time.perf_counter() - start)
        return 1e3 * float(np.median(spent[1:]))

    batches = endless(loader)
    batch = next(batches)
    return dict(
        batch_size=loader.batch_size, workers=loader.num_workers,
        loader_ms=timed(lambda: next(batches)),
        step_ms=timed(lambda: model.train_step(batch, optimizer)),
        step_with_loader_ms=timed(lambda: model.train_step(next(batches), optimizer)),
        waits=host_waits(lambda: model.train_step(batch, optimizer), device))


def endless(loader):
    """Batch after batch, epoch after epoch."""
    while True:
        yield from loader


def finish(device: str) -> None:
    """Wait for the device."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def host_waits(call, device: str):
    """How often the host waits for a CUDA device in a call, as PyTorch's debug mode sees it."""
    if not device.startswith('cuda'):
        return None
    with warnings.catch_warnings(record=True) as waits:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        call()
        torch.cuda.set_sync_debug_mode('default')
    return sum('synchronizing' in str(one.message) for one in waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('what', choices=['parity', 'speed', 'step'])
    add('--device', required=True)
    add('--rounds', type=int, required=True, help='crowds, passes or steps')
    add('--size', type=int, default=401, help='input side for speed. Defaults to 401.')
    add('--config', default=NETWORKS['RN-101'], help='what step trains. Defaults to RN-101.')
    add('--data', type=Path, help='folder for the data of step')
    args = parser.parse_args()
    init_default_scope('mmpose')
    import kdc_mm  # noqa: F401
    measure, *more = dict(
        parity=(decode_parity, ), speed=(speed, args.size),
        step=(training_step, args.config, args.data))[args.what]
    print(json.dumps(measure(args.device, args.rounds, *more)))


if __name__ == '__main__':
    main()
