"""What a checkpoint of the heads holds: keys, shapes, and the settings that its outputs depend on."""
import pytest

from .test_heads import build

POSE = {
    'convs.0.conv.weight': (8, 6, 3, 3),
    'convs.0.bn.weight': (8, ),
    'convs.0.bn.bias': (8, ),
    'convs.0.bn.running_mean': (8, ),
    'convs.0.bn.running_var': (8, ),
    'convs.0.bn.num_batches_tracked': (),
    'out.weight': (161, 8, 1, 1),
    'out.bias': (161, ),
}
SEG = {
    'convs.0.conv.weight': (8, 6, 3, 3),
    'convs.0.bn.weight': (8, ),
    'convs.0.bn.bias': (8, ),
    'convs.0.bn.running_mean': (8, ),
    'convs.0.bn.running_var': (8, ),
    'convs.0.bn.num_batches_tracked': (),
    'fine_convs.0.conv.weight': (4, 8, 3, 3),
    'fine_convs.0.bn.weight': (4, ),
    'fine_convs.0.bn.bias': (4, ),
    'fine_convs.0.bn.running_mean': (4, ),
    'fine_convs.0.bn.running_var': (4, ),
    'fine_convs.0.bn.num_batches_tracked': (),
    'out.weight': (4, 4, 1, 1),
    'out.bias': (4, ),
}


def within(part, shapes):
    return {f'{part}.{key}': shape for key, shape in shapes.items()}


@pytest.mark.parametrize('kind, expected', [
    ('KDCPoseHead', POSE),
    ('KDCSegHead', SEG),
    ('KDCHead', {**within('pose_head', POSE), **within('seg_head', SEG)}),
])
def test_checkpoints_of_earlier_versions_fit(kind, expected):
    """Keys, shapes and order as the first version wrote them."""
    found = {key: tuple(value.shape) for key, value in build(kind).state_dict().items()}
    assert list(found.items()) == list(expected.items())
