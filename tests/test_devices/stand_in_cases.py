"""Losses, flip test and decoding on a device that is not the CPU: the same results, few waits."""
import copy
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from kdc_mm.engine import LossGuardHook
from tests.test_codecs.test_pose_seg import as_arrays, two_images
from tests.test_codecs.test_pose_seg import build as build_codec
from tests.test_models.samples import NOBODY, codec_config, pack, pack_two_people
from tests.test_models.test_heads import build, features, samples_of

# The stand-in itself


@pytest.mark.parametrize('mix', [
    lambda one, other: one + other,
    lambda one, other: torch.cat([one, other]),
    lambda one, other: one.index_copy_(0, torch.arange(3), one.clone()),
    lambda one, other: one[torch.arange(2)],
])
def test_tensors_of_two_devices_do_not_mix(device, mix):
    with pytest.raises(RuntimeError, match='the same device'):
        mix(torch.ones(3, 4, device=device), torch.ones(3, 4))


@pytest.mark.parametrize('convert', [lambda tensor: tensor.numpy(), np.asarray])
def test_a_tensor_of_the_device_becomes_no_array(device, convert):
    with pytest.raises(TypeError, match="can't convert stand_in:0"):
        convert(torch.ones(3, device=device))


@pytest.mark.parametrize('call, expected', [
    (lambda tensor: tensor.sum() * 2, []),
    (lambda tensor: tensor.cpu(), ['copy to the CPU']),
    (lambda tensor: tensor.sum().item(), ['item']),
    (lambda tensor: bool((tensor > 0).all()), ['item']),
    (lambda tensor: tensor.copy_(torch.ones(3, 4)), ['copy to the device']),
    (lambda tensor: tensor.copy_(torch.ones(3, 4), non_blocking=True), []),
    (lambda tensor: tensor[tensor > 0], ['aten::nonzero']),
    (lambda tensor: tensor.unique(), ['aten::_unique2']),
])
def test_what_a_gpus_host_waits_for_is_counted(device, waits, call, expected):
    tensor = torch.ones(3, 4, device=device)
    waits()
    call(tensor)
    assert waits() == expected


def test_a_network_has_the_cpus_outputs_gradients_and_statistics(device):
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(),
                            nn.ConvTranspose2d(4, 2, 2, 2))
    other = copy.deepcopy(network).to(device)
    image = torch.randn(2, 3, 9, 9)
    outputs, others = network(image), other(image.to(device))
    assert torch.equal(outputs, others.cpu())
    outputs.square().mean().backward()
    others.square().mean().backward()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad.cpu())
    torch.testing.assert_close(network[1].running_var, other[1].running_var.cpu())


# kdc_mm on it

BATCH = samples_of(pack_two_people(codec_config()), pack(codec_config(), NOBODY))


def on(device, fields):
    return {name: field.to(device) for name, field in fields.items()}


def test_the_losses_and_their_gradients_are_those_of_the_cpu(device):
    head = build()
    other = copy.deepcopy(head).to(device)
    losses = head.loss(features(2), BATCH)
    others = other.loss((features(2)[0].to(device), ), BATCH)
    assert losses.keys() == others.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(others[name].cpu(), loss)
    sum(losses.values()).backward()
    sum(others.values()).backward()
    for one, two in zip(head.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(two.grad.cpu(), one.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('flip_test', [False, True])
def test_a_head_predicts_what_it_predicts_on_the_cpu(device, flip_test):
    head = build().eval()
    head.pose_head.out.bias.data[:17] += 1
    images = [features(2), features(2, seed=1)] if flip_test else features(2)
    moved = [(image[0].to(device), ) if flip_test else image.to(device) for image in images]
    other = copy.deepcopy(head).to(device)
    with torch.no_grad():
        people = head.predict(images, BATCH, dict(flip_test=flip_test))
        others = other.predict(moved, BATCH, dict(flip_test=flip_test))
    for one, two in zip(people, others, strict=True):
        assert len(one) > 0
        np.testing.assert_allclose(one.keypoints, two.keypoints, atol=1e-3)
        np.testing.assert_allclose(one.keypoint_scores, two.keypoint_scores, atol=1e-5)
        assert [mask['counts'] for mask in one.masks] == [mask['counts'] for mask in two.masks]


@pytest.mark.parametrize('noise', [0., 1.])
@pytest.mark.parametrize('settings', [{}, dict(use_key_centroid=False), dict(offset_steps=2)])
def test_decoding_finds_the_people_that_it_finds_on_the_cpu(device, noise, settings):
    codec = build_codec(**settings)
    generator = torch.Generator().manual_seed(0)
    for maps, frame in zip(*two_images(codec)):
        maps = {name: field + noise * torch.randn(field.shape, generator=generator)
                for name, field in maps.items()}
        people, = codec.batch_decode(maps, [frame])
        others, = codec.batch_decode(on(device, maps), [frame])
        for one, two in zip(as_arrays(people), as_arrays(others), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-3)
        assert people.masks.rles == others.masks.rles


# How often the host waits

MOST_WAITS = dict(step=24, decode=12)


def told(name, waits):
    counted = ', '.join(f'{count} {what}' for what, count in Counter(waits).most_common())
    print(f'{name}: the host waits {len(waits)} times ({counted})')
    return len(waits)


def test_a_training_step_waits_for_the_device_a_bounded_number_of_times(device, waits):
    """With the guard of the loss; the step after the first, which fills caches."""
    head = build().to(device)
    optimizer = torch.optim.Adam(head.parameters(), foreach=True)
    for _ in range(2):
        feats = (features(2)[0].to(device), )
        waits()
        losses = head.loss(feats, BATCH)
        sum(losses.values()).backward()
        optimizer.step()
        LossGuardHook().after_train_iter(SimpleNamespace(model=head), 0, None, losses)
    assert told('a training step of 2 images', waits()) <= MOST_WAITS['step']


@pytest.mark.parametrize('num_images', [1, 4])
def test_decoding_waits_for_the_device_a_bounded_number_of_times(device, waits, num_images):
    """However many images and people there are."""
    codec = build_codec()
    singles, frames = two_images(codec)
    maps = {name: torch.cat([singles[i % 2][name] for i in range(num_images)])
            for name in singles[0]}
    moved = on(device, maps)
    waits()
    codec.batch_decode(moved, [frames[i % 2] for i in range(num_images)])
    assert told(f'decoding {num_images} images', waits()) <= MOST_WAITS['decode']
