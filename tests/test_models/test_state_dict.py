"""What a checkpoint of the heads holds: keys, shapes, and the settings that its outputs depend on."""
import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import load_checkpoint, save_checkpoint, weights_to_cpu

from .samples import codec_config, pack_two_people
from .test_heads import SMALL, build, features, samples_of

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


# Settings that a checkpoint remembers

SAMPLE = samples_of(pack_two_people(codec_config()))


def saved(head, path):
    """A head's checkpoint, as MMEngine writes it."""
    save_checkpoint(dict(state_dict=weights_to_cpu(head.state_dict())), str(path))
    return str(path)


def with_changes(kind, changes):
    """A head with other settings of its codec or its units."""
    units = ('limb_unit', 'person_centroid_unit', 'mask_unit')
    codec = codec_config(**{k: v for k, v in changes.items() if k not in units})
    parts = dict(pose_head=SMALL, seg_head=SMALL) if kind == 'KDCHead' else {}
    for name, value in changes.items():
        if name in units and kind == 'KDCHead':
            part = 'seg_head' if name == 'mask_unit' else 'pose_head'
            parts[part] = dict(parts[part], **{name: value})
        elif name in units:
            parts[name] = value
    return build(kind, codec, **parts)


@pytest.mark.parametrize('kind, changes, words', [
    ('KDCHead', dict(radius=16), 'radius = 12.0, and is now to predict with 16.0'),
    ('KDCPoseHead', dict(radius=16), 'radius = 12.0, and is now to predict with 16.0'),
    ('KDCSegHead', dict(radius=16), 'radius = 12.0, and is now to predict with 16.0'),
    ('KDCHead', dict(heatmap_stride=8), 'heatmap_stride = 4, and is now to predict with 8'),
    ('KDCHead', dict(mask_stride=4), 'mask_stride = 2, and is now to predict with 4'),
    ('KDCHead', dict(limb_unit=40, person_centroid_unit=64),
     'limb_unit = 64.0, and is now to predict with 40.0'),
    ('KDCHead', dict(mask_unit=40), 'mask_unit = 64.0, and is now to predict with 40.0'),
    ('KDCHead', dict(use_key_centroid=False),
     'use_key_centroid = True, and is now to predict with False'),
    ('KDCHead', dict(limbs=[(k, k + 1) for k in range(16)]),
     r"limbs = .*, and is now to predict with \[\['nose', 'left_eye'\]"),
])
def test_predicting_under_other_settings_than_those_of_training_names_both(
        tmp_path, kind, changes, words):
    path = saved(build(kind), tmp_path / 'weights.pth')
    head = with_changes(kind, changes).eval()
    load_checkpoint(head, path, map_location='cpu')
    with pytest.raises(ValueError, match=f'{kind}: the checkpoint was trained with {words}'):
        head.predict(features(), SAMPLE)


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead', 'KDCSegHead'])
def test_decoding_may_change_and_so_may_settings_before_a_training(tmp_path, kind):
    path = saved(build(kind), tmp_path / 'weights.pth')
    head = build(kind, codec_config(heatmap_threshold=0.3, sigma_instance=0.5)).eval()
    load_checkpoint(head, path, map_location='cpu')
    head.predict(features(), SAMPLE)

    head = build(kind, codec_config(radius=16))
    load_checkpoint(head, path, map_location='cpu')
    head.loss(features(), SAMPLE)
    head.eval().predict(features(), SAMPLE)
    again = build(kind).eval()
    load_checkpoint(again, saved(head, tmp_path / 'again.pth'), map_location='cpu')
    with pytest.raises(ValueError, match='radius = 16.0, and is now to predict with 12.0'):
        again.predict(features(), SAMPLE)


def test_a_checkpoint_that_remembers_no_settings_is_taken_as_it_is(tmp_path):
    weights = dict(build().state_dict())
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    head = build(codec=codec_config(radius=16)).eval()
    load_checkpoint(head, str(tmp_path / 'weights.pth'), map_location='cpu')
    head.predict(features(), SAMPLE)


def test_settings_survive_averaged_weights_and_the_safe_loader(tmp_path):
    """As EMAHook writes them: the averages are swapped into the state that is saved."""
    model = torch.nn.Module()
    model.head = build()
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    checkpoint = dict(state_dict=weights_to_cpu(model.state_dict()),
                      ema_state_dict=weights_to_cpu(average.state_dict()))
    hook = EMAHook()
    hook._swap_ema_state_dict(checkpoint)
    torch.save(checkpoint, tmp_path / 'weights.pth')
    loaded = torch.load(tmp_path / 'weights.pth', weights_only=True)
    assert loaded['state_dict']._metadata['head']['output_settings']['radius'] == 12

    other = torch.nn.Module()
    other.head = build(codec=codec_config(radius=16)).eval()
    load_checkpoint(other, str(tmp_path / 'weights.pth'), map_location='cpu')
    with pytest.raises(ValueError, match='radius = 12.0, and is now to predict with 16.0'):
        other.head.predict(features(), SAMPLE)
