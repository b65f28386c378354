"""The necks that MMPose does not have."""
import torch
from mmpose.registry import MODELS


def test_the_fpn_leaves_its_last_input_as_it_came():
    settings = dict(in_channels=[4, 8], out_channels=6, num_outs=2)
    neck = MODELS.build(dict(type='FPNBesideInput', **settings))
    plain = MODELS.build(dict(type='FPN', **settings))
    plain.load_state_dict(neck.state_dict())
    inputs = (torch.randn(1, 4, 9, 9), torch.randn(1, 8, 5, 5))
    *outputs, last = neck(inputs)
    assert last is inputs[-1]
    assert all(a.equal(b) for a, b in zip(outputs, plain(inputs), strict=True))
