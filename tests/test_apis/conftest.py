import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from kdc_mm.apis import PoseSegInferencer

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
    """An untrained network whose maps are strong enough for people to be found on any image."""
    torch.manual_seed(0)
    inferencer = PoseSegInferencer(copy.deepcopy(small_cfg), device='cpu')
    head = inferencer.model.head
    for part in (head.pose_head, head.seg_head):
        nn.init.normal_(part.out.weight, std=0.1)
        nn.init.zeros_(part.out.bias)
    return inferencer


@pytest.fixture(scope='session')
def tool():
    """The module of tools/infer.py."""
    spec = importlib.util.spec_from_file_location('infer_tool', ROOT / 'tools/infer.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
