"""The results of studies that the repository keeps, and what docs/evidence.md says of them."""
import json
import re
from pathlib import Path

import pytest

from kdc_mm.benchmarks.board.board import read_board
from kdc_mm.benchmarks.board.report import TASK_NAMES
from kdc_mm.benchmarks.study.report import write_study
from kdc_mm.benchmarks.study.results import collect
from kdc_mm.benchmarks.study.study import read_study
from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / 'docs/evidence'
#: The studies that compare heads, in the order of the pages' columns.
COMPARED = ('rendered_easy', 'rendered_occluded', 'rendered_crowd', 'real_photos')


@pytest.fixture(scope='module', params=sorted(
    path.name for path in KEPT.iterdir() if path.name not in ('sigma', 'board')))
def kept(request):
    """A study, and what is kept of its results."""
    study = read_study(ROOT / f'configs/studies/{request.param}.yml')
    return study, collect(study, [KEPT / study.name])


def test_kept_results_are_of_the_settings_that_the_study_has(kept):
    _, (results, ignored) = kept
    assert results and not ignored, '\n'.join(ignored)


def test_kept_results_name_no_folder(kept):
    study, _ = kept
    for path in (KEPT / study.name).iterdir():
        assert not re.search(r'[\w.]*/\w', path.read_text()), path.name


def test_the_docs_show_what_the_tool_makes_of_the_kept_results(kept, tmp_path):
    study, collected = kept
    if study.name == 'by_heart':
        shown = [f'| {run.entry}, {TASK_NAMES[task]} | ' + ' | '.join(
            f'{point["figures"][task]["AP"]:.1f}' for point in result['curve']) + ' |'
                 for run, result in collected.results.items()
                 for task in study.entry(run.entry).tasks]
    else:
        write_study(tmp_path, study, collected)
        page = (tmp_path / 'leaderboard.md').read_text()
        shown = [line for line in page[page.index('## Training'):].splitlines()
                 if not line.startswith('#')]
    check_shown(shown)


def check_shown(lines, page='docs/evidence.md'):
    shown = (ROOT / page).read_text(encoding='utf-8').splitlines()
    lacking = [line for line in lines if line not in shown]
    assert not lacking, '\n'.join([f'{page} lacks:', *lacking])


def test_the_pages_sum_up_what_the_four_data_sets_say():
    rows = {}
    for column, name in enumerate(COMPARED):
        study = read_study(ROOT / f'configs/studies/{name}.yml')
        results = collect(study, [KEPT / name]).results
        for entry in study.entries:
            for task in entry.tasks:
                found = [result['curve'][-1]['figures'][task]['AP']
                         for run, result in sorted(results.items(), key=lambda item: item[0].seed)
                         if run.entry == entry.name and run.part == 'final']
                row = rows.setdefault((TASK_NAMES[task], entry.name), ['–'] * len(COMPARED))
                row[column] = ', '.join(f'{figure:.1f}' for figure in found) or '–'
    lines = [f'| {task} | {name} | {" | ".join(row)} |' for (task, name), row in rows.items()]
    check_shown(lines)
    check_shown(lines, 'README.md')


def test_the_docs_show_the_measured_sigmas():
    reports = [json.loads(path.read_text()) for path in sorted((KEPT / 'sigma').iterdir())]
    assert all(report['images'] >= 200 for report in reports)
    check_shown(load_tool('analysis_tools/codec_rules').table(reports).splitlines())


@pytest.fixture(scope='module')
def board():
    """What the leaderboard of synthcrowd.yml measured, by entry."""
    content = json.loads((KEPT / 'board/synthcrowd.json').read_text())
    return {entry['name']: entry for entry in content['entries']}


def test_the_board_measures_every_entry_as_the_study_did(board):
    assert list(board) == [
        entry.name for entry in read_board(ROOT / 'configs/boards/synthcrowd.yml').entries]
    study = read_study(ROOT / 'configs/studies/rendered_easy.yml')
    results = collect(study, [KEPT / study.name]).results
    for run, result in results.items():
        if run.part == 'final' and run.seed == study.seeds[0]:
            [measured] = board[run.entry]['measured'].values()
            for task in study.entry(run.entry).tasks:
                trained = result['curve'][-1]['figures'][task]['AP']
                assert measured[task]['AP'] == pytest.approx(trained, abs=0.01), run.name


def test_the_docs_show_what_the_board_measured(board):
    keys = ('params_m', 'gmacs', 'forward_ms', 'decode_ms', 'total_ms', 'fps')
    for name, entry in board.items():
        [measured] = entry['measured'].values()
        cells = [entry['speed'][key] for key in keys]
        cells += [measured.get(task, {}).get('AP') for task in ('keypoints', 'segm')]
        shown = ('–' if cell is None else f'{cell:.1f}' for cell in cells)
        check_shown([f'| {name} | {" | ".join(shown)} |'])
