"""codec.json holds all that decoding depends on."""
import inspect

import numpy as np
import pytest

from kdc_mm.codecs import PoseSeg
from kdc_mm_runtime.codec_file import Codec, read_codec, write_codec
from kdc_mm_runtime.decoder import Decoder

CODECS = [
    dict(),
    dict(metainfo='configs/_base_/datasets/crowdpose.py', heatmap_stride=8, radius=40.,
         heatmap_threshold=0.2, keypoint_threshold=0.3, person_threshold=0.04, mask_threshold=0.6,
         vote_radius=11., merge_radius=5., tolerance=dict(limb_px=3.), max_votes=99, max_persons=7,
         refine=dict(replace_margin=None, second_choice=None, unposed_area=9.)),
    dict(use_limbs=False),
    dict(use_limbs=False, use_person_centroid=False),
    dict(limbs=[(k, k + 1) for k in range(16)]),
]


@pytest.mark.parametrize('settings', CODECS)
def test_a_codec_comes_back_with_all_its_settings(tmp_path, settings):
    codec = PoseSeg((401, 257), **settings)
    write_codec(tmp_path / 'codec.json', Codec(codec, (1., 2., 3.)), dict(config='some'))
    decoder, pad_value = read_codec(tmp_path / 'codec.json')
    assert pad_value == (1., 2., 3.) and type(decoder) is Decoder
    assert decoder.settings == codec.settings
    for name in ('vote_settings', 'group_settings', 'refinement', 'full_disk_weight',
                 'input_size', 'groups_by_embedding'):
        assert getattr(decoder, name) == getattr(codec, name), name
    for graph, expected in ((decoder.limb_graph, codec.limb_graph),
                            (decoder.skeleton.graph, codec.skeleton.graph)):
        for part, other in zip(graph, expected):
            np.testing.assert_array_equal(part, other)
    assert decoder.skeleton.names == codec.skeleton.names
    assert decoder.skeleton.flip_indices == codec.skeleton.flip_indices
    assert decoder.skeleton.oks_sigmas == codec.skeleton.oks_sigmas


def test_no_argument_of_the_decoder_is_left_out_of_its_settings():
    arguments = set(inspect.signature(Decoder).parameters) - {'skeleton'}
    assert PoseSeg((401, 401)).settings.keys() == arguments


def test_a_setting_that_is_set_is_said(tmp_path):
    said = PoseSeg((401, 257), **CODECS[1]).settings
    for name, value in CODECS[1].items():
        if name not in ('metainfo', 'refine'):
            assert said[name] == value
    assert said['refine'] == dict(CODECS[1]['refine'], join_by_centroid=True)
