import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from kdc_mm.apis import PoseSegInferencer
from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec
from kdc_mm.benchmarks.codec.random_crowds import make_crowd
from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def small_cfg():
    """The demo's config at 97 px, whose files are found from any folder."""
    cfg = Config.fromfile(ROOT / 'configs/demo/kdc_rn18_synthcrowd.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.head.decoder.input_size = (97, 97)
    cfg.test_dataloader.dataset.pipeline[1].input_size = (97, 97)
    return cfg


@pytest.fixture(scope='session')
def inferencer(small_cfg):
    """An untrained network whose maps are added, damped, to the perfect ones of two people: each
    image gives them with small errors of its own."""
    torch.manual_seed(0)
    inferencer = PoseSegInferencer(copy.deepcopy(small_cfg), device='cpu')
    head = inferencer.model.head
    codec = PoseSegCodec(head.decoder)
    crowd = make_crowd(2, 0, codec.input_size)
    maps = codec.perfect_maps(crowd, codec.encode(crowd))
    forward = head.forward
    head.forward = lambda feats: {
        name: maps[name] + 0.5 * torch.tanh(field) for name, field in forward(feats).items()}
    return inferencer


@pytest.fixture(scope='session')
def tool():
    """The module of tools/infer.py."""
    return load_tool('infer')
