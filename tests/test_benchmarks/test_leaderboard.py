"""tools/leaderboard.py: what is measured, said, kept and written."""
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from kdc_mm.benchmarks.board.board import BoardEntry
from kdc_mm.benchmarks.board.evaluate import Candidate, TellHook, figures_of
from kdc_mm.benchmarks.board.report import Row, tables_of
from kdc_mm.benchmarks.network.named_configs import build_model, load_config
from kdc_mm.engine import CheckpointError
from kdc_mm.engine.checkpoint import resolve_checkpoint

from ..conftest import load_tool, person
from ..test_end_to_end.tiny import tiny_config

ROOT = Path(__file__).resolve().parents[2]
BODY = 'mmpose::body_2d_keypoint/'


@pytest.fixture
def tool():
    return load_tool('leaderboard')


@pytest.fixture
def data(write_coco, tmp_path):
    """Three images of 97 px with a person, as a board's settings of a data set."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (97, 97, 3), np.uint8) for _ in range(3)]
    people = [person(5, 2, 86, 93)]
    write_coco([(image, people) for image in images])
    return dict(data_root=str(tmp_path), ann_file='person_keypoints.json', data_prefix=dict(img=''))


@pytest.fixture
def network(tmp_path, data):
    """A config of a tiny network, and weights that see one person without keypoints, who fills the
    image."""
    cfg = tiny_config('demo/kdc_rn18_synthcrowd.py', tmp_path, tmp_path / 'run')
    file = tmp_path / 'tiny.py'
    cfg.dump(file)
    torch.manual_seed(0)
    model = build_model('tiny', cfg)
    with torch.no_grad():
        model.head.pose_head.out.weight.zero_()
        model.head.pose_head.out.bias[:17] = -20
        model.head.seg_head.out.weight.zero_()
        model.head.seg_head.out.bias.copy_(torch.tensor([3., 0., 0., 4.]))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'tiny.pth')
    return dict(config=str(file), checkpoint=str(tmp_path / 'tiny.pth'))


@pytest.fixture
def write(tmp_path, data, network):
    """Function that writes a board of the tiny network and of ``others``, with ``settings``."""

    def write_board(others=(), tasks=('keypoints', 'segm'), **settings):
        content = dict(
            title='Tiny', datasets=[dict(name='val', tasks=list(tasks), dataset=data)],
            entries=[dict(name='KDC', framework='RN-18', **network), *others], **settings)
        file = tmp_path / 'board.yml'
        file.write_text(yaml.safe_dump(content))
        return [str(file), '--out', str(tmp_path / 'out')]

    return write_board


def results(tmp_path):
    content = json.loads((tmp_path / 'out/leaderboard.json').read_text())
    return {entry['name']: entry for entry in content['entries']}


def test_figures_are_those_of_the_configs_own_evaluators(tool, write, network, data, tmp_path):
    assert tool.main(write()) == 0
    measured = results(tmp_path)['KDC']['measured']['val']
    cfg = load_config(network['config'])
    cfg.test_dataloader.dataset.update(data)
    for metric in cfg.test_evaluator:
        metric.ann_file = f'{tmp_path}/{data["ann_file"]}'
    name = str(tmp_path).replace('/', '_')
    cfg.update(load_from=network['checkpoint'], work_dir=str(tmp_path / 'direct'),
               experiment_name=name, visualizer=dict(type='mmengine.Visualizer', name=name))
    assert measured == figures_of(Runner.from_cfg(cfg).test())
    assert measured['segm']['AP'] > 0  # a figure that could differ


def test_annotated_keypoints_are_told_and_only_masks_are_compared(tool, write, network, tmp_path):
    given = dict(name='given', keypoints='annotated', **network)
    pose_only = dict(name='poses', keypoints='annotated', config=f'{BODY}dekr/coco/'
                     'dekr_hrnet-w32_8xb10-140e_coco-512x512.py')
    assert tool.main(write([given, pose_only])) == 1
    found = results(tmp_path)
    assert found['given']['keypoints'] == 'annotated' and found['KDC']['keypoints'] == 'own'
    assert found['given']['measured']['val'].keys() == {'segm'}
    assert found['given']['measured']['val']['segm']['AP'] > 0
    assert 'no masks around annotated keypoints' in found['poses']['absent']['val']
    table = (tmp_path / 'out/leaderboard.md').read_text()
    assert '| given (annotated keypoints) |' in table and '| KDC |' in table


def test_scores_become_percentages_and_those_without_persons_are_left_out():
    assert figures_of({'pose/AP': .5, 'pose/AP (M)': -1., 'pose/AP(H)': .25, 'coco/AR': 1.,
                       'coco/segm_mAP_50': .125}) == dict(
                           keypoints=dict(AP=50, APH=25), segm=dict(AP50=12.5))


def test_what_cannot_be_measured_is_said_and_the_rest_is(tool, write, network, tmp_path, capsys):
    foreign = tmp_path / 'foreign.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(3))), foreign)
    wide = tmp_path / 'wide.pth'
    weights = torch.load(network['checkpoint'])['state_dict']
    torch.save(dict(state_dict={name: torch.cat([weight, weight]) if weight.ndim == 4 else weight
                                for name, weight in weights.items()}), wide)
    config = network['config']
    code = tool.main(write([
        dict(name='unknown', config='configs/kdc_rn10_coco.py', checkpoint='a.pth'),
        dict(name='foreign', config=config, checkpoint=str(foreign)),
        dict(name='wide', config=config, checkpoint=str(wide)),
        dict(name='gone', config=config, checkpoint=str(tmp_path / 'gone.pth')),
        dict(name='untrained', config=config),
        dict(name='crowd', config=f'{BODY}dekr/crowdpose/'
             'dekr_hrnet-w32_8xb10-300e_crowdpose-512x512.py'),
        dict(name='quoted', published=dict(val=dict(keypoints=61.5))),
        dict(name='paper', claimed=dict(val=dict(segm=47.6))),
    ]))
    assert code == 1
    found = results(tmp_path)
    absent = {name: entry['absent'].get('val') for name, entry in found.items()}
    assert absent['KDC'] is None and found['KDC']['measured']['val']['segm']['AP'] > 0
    assert 'There is no config configs/kdc_rn10_coco.py' in absent['unknown']
    assert 'foreign.pth is of another architecture' in absent['foreign']
    assert re.search(r'wide.pth is of another architecture .*: \d+ of \d+ weights', absent['wide'])
    assert 'gone.pth does not exist' in absent['gone']
    assert absent['untrained'] == absent['crowd'] == 'no checkpoint'
    assert absent['quoted'] == absent['paper'] == 'no config: figures of others only'
    said = capsys.readouterr().err
    assert said.index('foreign: ') < said.index('[1/1] KDC on val')  # before work starts
    text = (tmp_path / 'out/leaderboard.md').read_text()
    for name, reason in absent.items():
        assert reason is None or any(name in line and f'{reason.rstrip(".")}.' in line
                                     for line in text.splitlines()), name
    assert '..\n' not in text


def test_a_network_of_other_keypoints_is_not_evaluated(tool, write, data, tmp_path):
    candidate = Candidate(BoardEntry('crowd', config=str(ROOT / 'configs/kdc_rn152_crowdpose.py')))
    candidate.entry = BoardEntry('crowd', config='c.py', checkpoint='c.pth')
    dataset = tool.read_board(write()[0]).datasets[0]
    assert re.search('predicts 14 keypoints, and .* has 17', candidate.why_not(dataset))


def test_measured_published_and_claimed_figures_have_columns_of_their_own(tool, write, tmp_path):
    quoted = dict(name='quoted', published=dict(val=dict(keypoints=dict(AP=61.5, AP50=80))))
    paper = dict(name='a | b <i>', claimed=dict(val=dict(keypoints=70.1)))
    board = tool.read_board(write([quoted, paper])[0])
    rows = [Row(entry, {}, None, {}) for entry in board.entries]
    rows[0] = rows[0]._replace(measured=dict(val=dict(keypoints=dict(AP=12.34))))
    tables = tables_of(board, rows)
    overview = tables['Overview']
    assert overview.groups == [('', 2), ('val, keypoints: AP', 3)]
    assert overview.headings[2:] == ['measured here', 'published', "paper's claim"]
    assert [row[2:] for row in overview.rows] == [
        [(12.34, 1), None, None], [None, (61.5, 1), None], [None, None, (70.1, 1)]]
    assert "val, masks: no figure is measured here or published or paper's claim." in overview.below
    details = tables['val: keypoints']
    assert details.groups[1:] == [('measured here', 1), ('published', 2), ("paper's claim", 1)]
    tool.write_reports(tmp_path / 'out', board, rows, None, {})
    markdown = (tmp_path / 'out/leaderboard.md').read_text()
    assert '| KDC | RN-18 | 12.3 | – | – |' in markdown and r'| a \| b <i> |' in markdown
    page = (tmp_path / 'out/leaderboard.html').read_text()
    assert 'a | b &lt;i&gt;' in page and 'data-value="61.5"' in page
    assert 'No plot' in page


def test_the_page_needs_no_other_file_and_holds_table_script_and_plots(tool, write, tmp_path):
    speed = dict(rounds=1, people=1, persons=[1, 2], input_size=[97, 97])
    quoted = dict(name='quoted', published=dict(val=dict(keypoints=61.5)))
    assert tool.main(write([quoted], speed=speed)) == 0
    page = (tmp_path / 'out/leaderboard.html').read_text()
    links = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(link.startswith('#') for link in links)
    assert page.count('<svg') == page.count('</svg>') == 3  # AP of keypoints, of masks, and cost
    assert '<script>' in page and 'aria-sort' in page
    entry = results(tmp_path)['KDC']
    assert entry['speed']['fps'] > 0 and entry['absent'] == {}
    assert results(tmp_path)['quoted']['absent']['speed'] == 'no config'
    cost = json.loads((tmp_path / 'out/leaderboard.json').read_text())['cost_against_persons']
    assert cost['persons'] == [1, 2] and len(cost['total_ms']['KDC']) == 2
    assert tool.main(write([quoted], speed=speed)) == 0
    assert results(tmp_path)['KDC'] == entry  # nothing is measured twice


def test_finished_evaluations_are_kept_until_something_changes(
        tool, write, network, tmp_path, monkeypatch, capsys):
    tool.main(write())
    first = results(tmp_path)
    monkeypatch.setattr(tool, 'evaluate', lambda *_: pytest.fail('evaluated again'))
    assert tool.main(write()) == 0
    assert results(tmp_path) == first
    assert 'kept from an earlier run' in capsys.readouterr().err
    weights = torch.load(network['checkpoint'])
    weights['note'] = 'another file'
    torch.save(weights, network['checkpoint'])
    monkeypatch.setattr(tool, 'evaluate', lambda *_: dict(keypoints=dict(AP=7.)))
    tool.main(write())
    assert results(tmp_path)['KDC']['measured']['val'] == dict(keypoints=dict(AP=7.))


def test_an_interrupted_evaluation_is_said_and_the_finished_ones_are_kept(
        tool, write, network, tmp_path, monkeypatch, capsys):
    arguments = write([dict(name='second', **network), dict(name='third', **network)])
    done = []

    def interrupted(candidate, *_):
        done.append(candidate.entry.name)
        if len(done) == 2:
            raise KeyboardInterrupt
        return dict(keypoints=dict(AP=1.))

    monkeypatch.setattr(tool, 'evaluate', interrupted)
    assert tool.main(arguments) == tool.INTERRUPTED
    assert 'Interrupted. 1 results are kept' in capsys.readouterr().err
    found = results(tmp_path)
    assert found['KDC']['measured'] and not found['second']['measured']
    assert found['second']['absent']['val'] == 'the evaluation was interrupted'
    assert tool.main(arguments) == 0
    assert done == ['KDC', 'second', 'second', 'third']
    assert all(entry['measured'] for entry in results(tmp_path).values())


def test_an_evaluation_that_fails_has_its_line_and_is_tried_again(
        tool, write, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError('The image is 96x97\nand more')

    with monkeypatch.context() as patch:
        patch.setattr(tool, 'evaluate', fail)
        assert tool.main(write()) == 1
    assert results(tmp_path)['KDC']['absent']['val'] == 'ValueError: The image is 96x97'
    monkeypatch.setattr(tool, 'evaluate', lambda *_: dict(keypoints=dict(AP=1.)))
    assert tool.main(write()) == 0


@pytest.mark.parametrize('found', [
    dict(keypoints=np.full((1, 17, 2), np.nan)), dict(bboxes=torch.tensor([[0., 0., np.inf, 1.]]))])
def test_positions_that_are_no_numbers_are_not_scored(found):
    """COCO's evaluation takes a NaN for a match."""
    sample = SimpleNamespace(pred_instances=InstanceData(**found), img_path='7.jpg')
    with pytest.raises(FloatingPointError, match='not finite on 7.jpg'):
        TellHook(lambda *_: None).after_test_iter(None, 0, outputs=[sample])


def drop(key):
    def change(content):
        for ann in content['annotations']:
            ann.pop(key)
    return change


@pytest.mark.parametrize('change, settings, message', [
    (drop('segmentation'), {}, 'val: segm is among its tasks, but no annotation in .* has a segm'),
    (drop('keypoints'), {}, 'val: keypoints is among its tasks'),
    (None, dict(data_root='nowhere'), 'val: there is no annotation file nowhere/'),
    (None, dict(data_prefix=dict(img='nowhere')), 'val: there is no image folder .*nowhere'),
])
def test_data_that_cannot_be_evaluated_on_end_the_work_before_it_starts(
        tool, write, data, tmp_path, change, settings, message):
    file = tmp_path / data['ann_file']
    if change is not None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
    data.update(settings)
    with pytest.raises(SystemExit, match=f'^error: {message}'):
        tool.main(write())
    assert not (tmp_path / 'out').exists()


def test_a_work_dir_stands_for_its_last_checkpoint(tool, write, network, tmp_path):
    moved = tmp_path / 'moved'
    moved.mkdir()
    entry = dict(name='moved', config=network['config'], checkpoint=str(moved))
    tool.main(write([entry]))
    assert 'holds no last_checkpoint' in results(tmp_path)['moved']['absent']['val']
    Path(network['checkpoint']).rename(moved / 'iter_4.pth')
    (moved / 'last_checkpoint').write_text('/elsewhere/iter_4.pth')
    tool.main(write([entry]))
    assert results(tmp_path)['moved']['measured']['val']['segm']['AP'] > 0


def test_a_copied_work_dir_stands_for_its_own_checkpoint(tmp_path):
    first, copy = tmp_path / 'first', tmp_path / 'copy'
    for folder in (first, copy):
        folder.mkdir()
        (folder / 'iter_4.pth').write_text('weights')
        (folder / 'last_checkpoint').write_text(str(first / 'iter_4.pth'))
    assert resolve_checkpoint(str(copy)) == str(copy / 'iter_4.pth')
    (copy / 'iter_4.pth').unlink()
    assert resolve_checkpoint(str(copy)) == str(first / 'iter_4.pth')
    (first / 'iter_4.pth').unlink()
    with pytest.raises(CheckpointError, match='iter_4.pth, which is not there'):
        resolve_checkpoint(str(copy))


@pytest.mark.slow
@pytest.mark.parametrize('config, task', [
    (f'{BODY}associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py', 'keypoints'),
    (f'{BODY}dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py', 'keypoints'),
    (f'{BODY}cid/coco/cid_hrnet-w32_8xb20-140e_coco-512x512.py', 'keypoints'),
    (f'{BODY}rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py', 'keypoints'),
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'segm'),
], ids=lambda text: text.rpartition('/')[2].partition('_')[0])
def test_networks_of_mmpose_and_mmdet_are_entries(tool, data_root, tmp_path, config, task):
    """On photographs, with random weights."""
    torch.manual_seed(0)
    cfg = load_config(config)
    cfg.model.backbone.init_cfg = None
    model = build_model(config, cfg)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')
    board = dict(
        datasets=[dict(name='COCO', tasks=['keypoints', 'segm'], dataset=dict(
            data_root=str(data_root / 'mm-samples/coco'), ann_file='test_coco.json',
            data_prefix=dict(img='')))],
        entries=[dict(name='other', config=config, checkpoint=str(tmp_path / 'random.pth'))])
    (tmp_path / 'board.yml').write_text(yaml.safe_dump(board))
    assert tool.main([str(tmp_path / 'board.yml'), '--out', str(tmp_path / 'out')]) == 0
    measured = results(tmp_path)['other']['measured']['COCO']
    assert list(measured) == [task] and 0 <= measured[task]['AP'] < 5
