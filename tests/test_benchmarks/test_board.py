"""The files that name what is compared."""
from pathlib import Path

import pytest
import yaml

from kdc_mm.benchmarks.board.board import BoardError, read_board
from kdc_mm.benchmarks.network.named_configs import find_config
from kdc_mm.benchmarks.study.configs import FINAL, Run
from kdc_mm.benchmarks.study.study import read_study

ROOT = Path(__file__).resolve().parents[2]
STUDIES = 'work_dirs/studies/'
BOARDS = sorted(ROOT.glob('configs/boards/*.yml'))
SMALL = dict(
    datasets=[dict(name='val', tasks=['keypoints', 'segm'], dataset=dict(ann_file='a.json'))],
    entries=[dict(name='one', config='a.py', published=dict(val=dict(keypoints=50.5)))])


@pytest.fixture
def write(tmp_path):
    """Function that writes :data:`SMALL`, changed by a function, and returns the file."""

    def write_board(change=lambda content: None):
        content = yaml.safe_load(yaml.safe_dump(SMALL))
        change(content)
        file = tmp_path / 'board.yml'
        file.write_text(yaml.safe_dump(content))
        return file

    return write_board


def test_a_single_figure_is_the_ap(write):
    board = read_board(write())
    assert board.entries[0].published == dict(val=dict(keypoints=dict(AP=50.5)))
    assert board.title == 'board' and board.speed is None


@pytest.mark.parametrize('change, message', [
    (lambda board: board.update(speeds={}), "'speeds' is not known; known are title"),
    (lambda board: board.pop('entries'), 'board.yml needs entries'),
    (lambda board: board['entries'].append({}), 'entry None needs name'),
    (lambda board: board['entries'].append(3), 'entries must be a list of settings'),
    (lambda board: board['entries'][0].update(published=60), "'one': published must be settings"),
    (lambda board: board.update(notes=5), 'notes must be a text, got 5'),
    (lambda board: board.update(speed=dict(persons=[1.5])), 'persons must be a list of whole'),
    (lambda board: board['entries'].append(board['entries'][0]), "entries have the name 'one'"),
    (lambda board: board['entries'][0].update(weights='a.pth'), "entry 'one': 'weights' is not"),
    (lambda board: board['entries'][0].update(config=None, checkpoint='a.pth'), 'no config'),
    (lambda board: board['entries'][0].update(datasets=['test']), "'test' is not known"),
    (lambda board: board['entries'][0].update(published=dict(test=dict(keypoints=1))),
     "published: data sets: 'test' is not known; known are val"),
    (lambda board: board['entries'][0].update(claimed=dict(val=dict(boxes=1))), "'boxes' is not"),
    (lambda board: board['entries'][0].update(claimed=dict(val=dict(segm=dict(APE=1)))),
     "'APE' is not known"),
    (lambda board: board['entries'][0].update(claimed=dict(val=dict(segm=476))), 'percentage'),
    (lambda board: board['datasets'][0].update(tasks=['pose']), "tasks: 'pose' is not known"),
    (lambda board: board['datasets'][0].update(dataset=dict(data_root='a')), 'needs an ann_file'),
    (lambda board: board['datasets'][0].update(iou_type='crowd'), "iou_type: 'crowd' is not"),
    (lambda board: board['entries'][0].update(keypoints='given'), "keypoints: 'given' is not"),
    (lambda board: board['entries'][0].update(keypoints='annotated'), 'masks alone'),
    (lambda board: board.update(speed=dict(rounds=0)), 'must be at least 1'),
    (lambda board: board.update(speed=dict(gpu=1)), "speed: 'gpu' is not known"),
])
def test_what_boards_do_not_know_is_named(write, change, message):
    with pytest.raises(BoardError, match=message) as error:
        read_board(write(change))
    assert '\n' not in str(error.value)


def test_a_file_that_is_no_board_is_named(tmp_path):
    with pytest.raises(BoardError, match='no board .*nowhere.yml'):
        read_board(tmp_path / 'nowhere.yml')
    file = tmp_path / 'broken.yml'
    file.write_text('entries: [')
    with pytest.raises(BoardError, match='broken.yml is no YAML'):
        read_board(file)


@pytest.mark.parametrize('file', BOARDS, ids=lambda file: file.stem)
def test_the_boards_of_the_repository_name_configs_that_are_there(file, monkeypatch):
    monkeypatch.chdir(ROOT)
    for entry in read_board(file).entries:
        if entry.config is not None and not entry.config.startswith(STUDIES):
            find_config(entry.config)


def test_the_board_of_a_study_names_the_runs_that_the_study_makes(monkeypatch):
    monkeypatch.chdir(ROOT)
    study = read_study('configs/studies/rendered_easy.yml')
    for entry in read_board('configs/boards/synthcrowd.yml').entries:
        run = Path(entry.config).parent
        assert run == Path(entry.checkpoint) == Path(STUDIES, 'rendered_easy/runs', run.name)
        rates = study.entry(entry.name).learning_rates
        assert run.name in {Run(entry.name, FINAL, 0, rate).name for rate in rates}


def test_the_papers_tables_hold_its_figures():
    board = read_board(ROOT / 'configs/boards/paper_tables.yml')
    entries = {entry.name: entry for entry in board.entries}
    kdc = entries['KDC RN-152'].claimed
    assert not entries['KDC RN-152'].published
    assert kdc['COCO test']['keypoints'] == dict(AP=76.1, AP50=92.9, AP75=83.9, APM=71.1, APL=83.5)
    assert kdc['COCO test']['segm'] == dict(AP=47.6, AP50=81.8, AP75=48.7, APM=54.6, APL=67.8)
    assert kdc['CrowdPose test']['keypoints'] == dict(
        AP=74.5, AP50=89.7, AP75=76.8, APE=80.1, APM=74.8, APH=62.6)
    assert [kdc[f'OCHuman {part}'][task]['AP'] for part in ('val', 'test')
            for task in ('keypoints', 'segm')] == [46.3, 58.3, 46.0, 59.6]
    assert entries['PifPaf'].published['COCO test']['keypoints'] == dict(
        AP=66.7, APM=62.4, APL=72.9)
    assert entries['OpenPose'].published['CrowdPose test']['keypoints'] == dict(
        APE=62.7, APM=48.7, APH=32.3)
    assert entries['Pose2Seg'].published['OCHuman test']['segm'] == dict(AP=55.2)
    assert [entry.name for entry in board.entries if entry.keypoints == 'annotated'] == ['Pose2Seg']
    assert entries['Pose2Seg'].title == 'Pose2Seg (annotated keypoints)'
    assert entries['Pose2Seg, its own keypoints'].published['OCHuman val']['segm'] == dict(AP=22.2)
    assert entries['BBoxMaskPose'].published['OCHuman, split not named'] == dict(
        keypoints=dict(AP=49.2), segm=dict(AP=34.0))
    assert entries['DEKR HR32'].published['COCO test']['keypoints']['AP'] == 67.3
    rows = sum(len(tasks) for entry in board.entries for source in (entry.published, entry.claimed)
               for tasks in source.values())
    # tables 1, 2, 4: 31, 12 and 8 rows; 3 and 5: 9 and 3 rows of two data sets; beside the tables
    # Pose2Seg's own keypoints, and BBoxMaskPose
    assert rows == 31 + 12 + 8 + 2 * (9 + 3) + 2 + 2
