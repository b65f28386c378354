"""tools/analysis_tools/codec_rules.py and the rules that it changes."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.benchmarks.codec.random_crowds import STANDING, draw_masks
from kdc_mm.benchmarks.codec.rules import DEFAULTS, RULES, Rule, changed_codec
from kdc_mm.codecs import PoseSeg
from kdc_mm_runtime import group
from kdc_mm_runtime.people import ImageFrame
from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/kdc_rn152_coco.py')
SETTINGS = dict(type='PoseSeg', input_size=(97, 97), radius=12)
#: Two people of 80 px side by side.
PEOPLE = STANDING * 80 + np.array([[[25, 48]], [[70, 48]]])


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/codec_rules')


@pytest.fixture(autouse=True)
def torch_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def two_people(tmp_path):
    """Annotation file of one image of 97x97 with two people, in COCO's layout."""
    annotations = []
    for number, points in enumerate(PEOPLE, 1):
        low, high = points.min(0) - 2, points.max(0) + 2
        (x, y), (width, height) = low.tolist(), (high - low).tolist()
        annotations.append(
            dict(id=number, image_id=5, category_id=1, iscrowd=0, num_keypoints=17,
                 bbox=[x, y, width, height], area=width * height,
                 keypoints=np.c_[points, np.full(17, 2)].ravel().tolist(),
                 segmentation=[[x, y, x + width, y, x + width, y + height, x, y + height]]))
    path = tmp_path / 'two.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=5, file_name='5.jpg', width=97, height=97)], annotations=annotations,
        categories=[dict(id=1, name='person')])))
    return path


@pytest.mark.parametrize('rule', RULES, ids=lambda rule: f'{rule.name} {rule.change}')
def test_people_are_decoded_under_every_rule_and_nothing_stays_changed(rule):
    codec = PoseSeg((97, 97), radius=12)
    owner = draw_masks(PEOPLE, np.array([80., 80.]), (97, 97))
    maps = perfect_maps(codec, codec.encode(PEOPLE, np.ones((2, 17)), owner))
    frame = ImageFrame((97, 97), (1., 1.), (0., 0.))
    steps, oks = group._KEY_CENTROID_STEPS, group.expected_oks
    with changed_codec(SETTINGS, rule) as changed:
        people = changed.batch_decode(maps, [frame])[0]
    assert len(people.masks.rles) == len(people.scores) >= 2
    assert (group._KEY_CENTROID_STEPS, group.expected_oks) == (steps, oks)


def test_a_rule_changes_settings_inside_others_and_constants_of_modules():
    rule = Rule(
        'two', '', constants={'group._KEY_CENTROID_STEPS': 7},
        settings={'refine.second_choice': 0.5, 'vote_radius': lambda codec: codec.radius})
    before = dict(SETTINGS, refine=dict(unposed_area=9.))
    with changed_codec(before, rule) as codec:
        assert (codec.refinement.second_choice, codec.refinement.unposed_area) == (0.5, 9.)
        assert codec.vote_settings.vote_radius == 12 and group._KEY_CENTROID_STEPS == 7
    with changed_codec(before, DEFAULTS) as codec:
        assert codec.refinement.second_choice == 0.05 and codec.vote_settings.vote_radius == 8
    assert before == dict(SETTINGS, refine=dict(unposed_area=9.))


def test_perfect_maps_are_measured_and_set_side_by_side(tool, two_people, tmp_path, monkeypatch,
                                                        capsys):
    out = tmp_path / 'report.json'
    monkeypatch.setattr(sys, 'argv', [
        'tool', 'measure', CONFIG, '--ann-file', str(two_people), '--name', 'perfect', '--out',
        str(out), '--rules', 'unposed_area', 'occluders', '--cfg-options',
        'model.head.decoder.input_size=(97,97)', 'model.head.decoder.radius=12'])
    tool.main()
    report = json.loads(out.read_text())
    assert (report['name'], report['images']) == ('perfect', 1)
    defaults, *rows = report['rows']
    assert {row['rule'] for row in rows} == {'refine.unposed_area',
                                             'embeddings on occluders do not count'}
    assert defaults['keypoints'] == pytest.approx(1) and defaults['masks'] > 0.9
    rows[0].update(keypoints=0.75, masks=defaults['masks'] + 0.002)
    out.write_text(json.dumps(report))
    capsys.readouterr()
    monkeypatch.setattr(sys, 'argv', ['tool', 'table', str(out), str(out)])
    tool.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '| rule | changed to | perfect | perfect |'
    assert lines[2].startswith(f'| defaults |  | 1.000 / {defaults["masks"]:.3f} |')
    assert lines[3] == '| refine.unposed_area | None | -0.250 / +0.002 | -0.250 / +0.002 |'


def test_what_is_measured_stays_when_the_tool_is_stopped(tool, two_people, tmp_path, monkeypatch):
    out = tmp_path / 'made/report.json'

    def stop(codec, store, truth, real=tool.score, calls=[]):
        calls.append(codec)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(codec, store, truth)

    monkeypatch.setattr(tool, 'score', stop)
    monkeypatch.setattr(sys, 'argv', [
        'tool', 'measure', CONFIG, '--ann-file', str(two_people), '--out', str(out), '--rules',
        'unposed_area', '--cfg-options', 'model.head.decoder.input_size=(97,97)',
        'model.head.decoder.radius=12'])
    with pytest.raises(KeyboardInterrupt):
        tool.main()
    assert [row['rule'] for row in json.loads(out.read_text())['rows']] == [
        'defaults', 'refine.unposed_area']


@pytest.mark.parametrize('arguments, message', [
    (['--rules', 'ghosts', '--ann-file', 'F.json'], "No rule is named 'ghosts'"),
    ([], 'Give either a checkpoint, or --ann-file'),
    (['--ann-file', 'nowhere.json'], "There is no annotation file 'nowhere.json'"),
])
def test_bad_input_is_one_clear_error(tool, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, 'argv', [
        'tool', 'measure', CONFIG, *arguments, '--out', str(tmp_path / 'out.json')])
    with pytest.raises(SystemExit, match=message):
        tool.main()
