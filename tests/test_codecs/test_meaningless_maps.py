"""Maps that mean nothing: nobody or somebody, in bounded time, and never a crash."""
import time

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec
from kdc_mm.benchmarks.codec.random_crowds import make_crowd
from kdc_mm.codecs import PoseSeg

NAN, INF = float('nan'), float('inf')


def codec_of(size):
    return PoseSegCodec(PoseSeg((size, size), radius=32 * size // 401))


def maps_of(codec, num_persons, seed=0):
    """Perfect maps of a crowd, and where its image lies."""
    crowd = make_crowd(num_persons, seed, codec.input_size)
    return codec.perfect_maps(crowd, codec.encode(crowd)), crowd.frame


def decode(codec, maps, frame):
    return codec.codec.batch_decode(maps, [frame])[0]


def spoilt(maps, name, value, share, seed=0):
    """Maps of which one has a value in a share of its cells."""
    field = maps[name].clone()
    chosen = torch.rand(field.shape, generator=torch.Generator().manual_seed(seed)) < share
    field[chosen] = value
    return {**maps, name: field}


def assert_sensible(people):
    poses = people.poses
    assert len(poses.scores) == len(people.scores) == len(people.masks.rles)
    for part in (poses.keypoints, poses.scores, people.scores):
        assert np.isfinite(part).all()


FIELDS = ['heatmaps', 'key_centroids', 'person_centroids', 'limbs', 'semantic', 'mask_centroids',
          'log_bandwidth']


@pytest.mark.parametrize('share', [0.1, 1.])
@pytest.mark.parametrize('value', [NAN, INF, -INF, 1e30])
@pytest.mark.parametrize('name', FIELDS)
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_numbers_that_are_none_in_one_map_leave_sensible_people(name, value, share):
    codec = codec_of(129)
    maps, frame = maps_of(codec, 3)
    assert_sensible(decode(codec, spoilt(maps, name, value, share), frame))


@pytest.mark.parametrize('share', [0.02, 0.3])
def test_cells_whose_heat_is_no_number_do_not_vote(share):
    """Each would have been written behind the memory of those that do."""
    codec = codec_of(129).codec
    maps, _ = maps_of(codec_of(129), 3)
    votes = codec.vote(codec.pose_maps(maps)._replace(heatmaps=spoilt(
        dict(heatmaps=maps['heatmaps'].sigmoid()), 'heatmaps', NAN, share)['heatmaps']))
    assert len(votes.heat) and np.isfinite(votes.heat).all()


@pytest.mark.parametrize('value', [NAN, INF, -INF])
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_maps_of_one_number_that_is_none_show_no_pose(value):
    codec = codec_of(129)
    maps, frame = maps_of(codec, 3)
    people = decode(
        codec, {name: torch.full_like(field, value) for name, field in maps.items()}, frame)
    assert not people.poses.detected.any()
    assert_sensible(people)


def test_no_images_give_no_results():
    codec = codec_of(129)
    maps, _ = maps_of(codec, 3)
    assert codec.codec.batch_decode({name: field[:0] for name, field in maps.items()}, []) == []


POSE_MAPS, MASK_MAPS = FIELDS[:4], FIELDS[4:]


@pytest.mark.parametrize('names', [FIELDS, POSE_MAPS, MASK_MAPS, ['limbs'], ['log_bandwidth']])
@pytest.mark.parametrize('height, width', [(0, 0), (0, 5), (5, 0)])
def test_maps_without_a_cell_are_refused_in_one_line(names, height, width):
    codec = codec_of(129)
    maps, frame = maps_of(codec, 3)
    maps.update({name: maps[name][..., :height, :width] for name in names})
    with pytest.raises(ValueError, match='of a cell at least, got') as refusal:
        decode(codec, maps, frame)
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('name', FIELDS)
def test_maps_of_another_size_than_their_kind_are_refused(name):
    codec = codec_of(129)
    maps, frame = maps_of(codec, 3)
    with pytest.raises(ValueError, match=f'must have one size .*{name} \\(.*, 9\\)'):
        decode(codec, {**maps, name: maps[name][..., :9]}, frame)


def test_maps_of_one_cell_show_nobody():
    codec = codec_of(129)
    maps, frame = maps_of(codec, 3)
    people = decode(codec, {name: field[..., :1, :1] for name, field in maps.items()}, frame)
    assert len(people.scores) == 0


@pytest.mark.parametrize('size', [(0, 0), (0, 7), (7, 0)])
def test_an_image_without_pixels_has_empty_masks(size):
    codec = codec_of(129)
    maps, frame = maps_of(codec, 3)
    people = decode(codec, maps, frame._replace(size=size))
    assert len(people.masks.rles) == 3
    assert not any(coco_mask.area(rle) for rle in people.masks.rles)


#: Kind that may take 15 times: poses of 200 persons take a third of that, and pixels that lead out
#: of the input, where broad persons have no tiles that tell them apart, ask all of them.
ANYWHERE = 'MaskCentroids anywhere, σ e^5'


def specks(maps, share, generator):
    """A share of the cells is hot."""
    return torch.where(torch.rand(maps['heatmaps'].shape, generator=generator) < share, 9., -9.)


def nonsense(maps, crowd, seed=0):
    """Maps by kind; ``maps`` and those of a ``crowd`` mean something."""
    generator = torch.Generator().manual_seed(seed)
    noise = {name: 5 * torch.randn(field.shape, generator=generator) for name, field in
             maps.items()}
    hot = torch.full_like(maps['heatmaps'], 9.)
    full = {
        f'all {value:g}': {name: torch.full_like(field, value) for name, field in maps.items()}
        for value in (9., NAN, INF, -INF, 1e30)
    }
    still = {name: torch.zeros_like(field) for name, field in maps.items()}
    still.update(heatmaps=hot, semantic=torch.full_like(maps['semantic'], 9.))
    wide = {name: 80 * field for name, field in noise.items()}
    vectors = ('person_centroids', 'limbs')
    full.update({
        f'specks {share:g}': {**noise, 'heatmaps': specks(maps, share, generator)}
        for share in (0.01, 0.02, 0.05)
    })
    full.update({
        f'MaskCentroids anywhere, σ e^{ln_sigma}': {
            **crowd, 'mask_centroids': wide['mask_centroids'],
            'log_bandwidth': torch.full_like(maps['log_bandwidth'], ln_sigma)}
        for ln_sigma in (1, 5)
    })
    return {'noise': noise, 'all hot': {**maps, 'heatmaps': hot},
            'hot noise': {**noise, 'heatmaps': hot},
            'all hot, all vectors 0': still,
            'all hot, each cell its own person': {
                **still, **{name: wide[name] for name in vectors}},
            **full, 'wide noise': wide}


class Stopwatch:
    """Least processor time in seconds of some decodes of maps, in turn with those of 5 persons."""

    def __init__(self):
        self.codec = codec_of(401)
        self.maps, self.frame = maps_of(self.codec, 5)
        decode(self.codec, self.maps, self.frame)  # which compiles

    def seconds_of(self, maps):
        start = time.process_time()
        decode(self.codec, maps, self.frame)
        return time.process_time() - start

    def ratio_of(self, maps):
        spent, normal = zip(*((self.seconds_of(maps), self.seconds_of(self.maps))
                              for _ in range(_ROUNDS)))
        return min(spent) / min(normal), min(spent)


#: Decodes of one kind of maps, of which the fastest counts.
_ROUNDS = 7


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_nonsense_takes_no_more_than_ten_times_five_persons():
    """At 401 px on one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        stopwatch = Stopwatch()
        crowd, _ = maps_of(stopwatch.codec, 200)
        ratios = {}
        for kind, maps in nonsense(stopwatch.maps, crowd).items():
            ratios[kind], seconds = stopwatch.ratio_of(maps)
            print(f'{kind}: {1e3 * seconds:.1f} ms, {ratios[kind]:.1f} times 5 persons')
    finally:
        torch.set_num_threads(threads)
    anywhere = ratios.pop(ANYWHERE)
    assert max(ratios.values()) <= 10, ratios
    assert anywhere <= 15
