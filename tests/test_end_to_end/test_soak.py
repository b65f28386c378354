"""Thousands of steps and of decodes leave memory as it was."""
import gc
from pathlib import Path

import pytest
import torch

from tests.test_codecs.test_meaningless_maps import codec_of, maps_of
from tests.test_models.samples import codec_config, pack_two_people
from tests.test_models.test_heads import build, features, samples_of

PAGES = 4096 / 1e6


def resident_mb():
    """Memory of this process."""
    gc.collect()
    return int(Path('/proc/self/statm').read_text().split()[1]) * PAGES


def growth(call, times, warm_up):
    """Share by which memory grows from call ``warm_up`` to the last of ``times``."""
    for i in range(times):
        if i == warm_up:
            before = resident_mb()
        call(i)
    after = resident_mb()
    print(f'{times} times: {before:.0f} MB after {warm_up}, {after:.0f} MB at the end')
    return after / before - 1


@pytest.mark.slow
def test_two_thousand_training_steps_keep_memory_flat():
    head = build()
    optimizer = torch.optim.Adam(head.parameters())
    batch = samples_of(pack_two_people(codec_config()))

    def step(i):
        optimizer.zero_grad()
        sum(head.loss(features(1, seed=i), batch).values()).backward()
        optimizer.step()

    assert growth(step, 2000, warm_up=200) < 0.02


@pytest.mark.slow
def test_five_thousand_decodes_of_random_and_crowded_maps_keep_memory_flat():
    codec = codec_of(129)
    crowds = [maps_of(codec, count, seed) for seed, count in enumerate((1, 5, 20, 50))]

    def decode(i):
        maps, frame = crowds[i % len(crowds)]
        if i % 2:
            noise = torch.Generator().manual_seed(i)
            maps = {name: field + torch.randn(field.shape, generator=noise)
                    for name, field in maps.items()}
        codec.codec.batch_decode(maps, [frame])

    assert growth(decode, 5000, warm_up=500) < 0.02
