"""A board's results as Markdown, JSON and one self-contained HTML page.

Measured figures, those that others published and the paper's claims stand in columns of their own;
below each table stands what is absent, and why.
"""
import html
import json
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from .board import METRICS, Board, BoardEntry, Figures
from .plots import accuracy_against_fps, cost_against_persons

SOURCES = dict(measured='measured here', published='published', claimed="paper's claim")
#: Columns of speed: key of a result → heading and decimals.
SPEED_COLUMNS = dict(
    params_m=('params [M]', 1), gmacs=('GMACs', 1), forward_ms=('forward [ms]', 1),
    decode_ms=('decode [ms]', 1), total_ms=('total [ms]', 1), fps=('FPS', 1),
    peak_mem_mb=('memory [MB]', 0))
TASK_NAMES = dict(keypoints='keypoints', segm='masks')


class Row(NamedTuple):
    """An entry's results.

    ``measured`` like its published figures; ``speed`` a result of
    :mod:`kdc_mm.benchmarks.network.speed`, or some of its columns; ``absent`` says per data set, or
    for 'speed', why there is no measured figure; ``spread`` has, of figures that are means of runs,
    half the distance between the best and the worst.
    """
    entry: BoardEntry
    measured: Figures
    speed: Optional[Dict]
    absent: Dict[str, str]
    spread: Figures = {}

    def figures(self, source: str) -> Figures:
        return self.measured if source == 'measured' else getattr(self.entry, source)


class Table(NamedTuple):
    """``headings`` of all columns, the ``groups`` above them as (title, columns), and ``rows`` of
    cells: text, or a number, its decimals and if it has one its spread, or ``None`` for what is
    absent."""
    headings: List[str]
    groups: List[Tuple[str, int]]
    rows: List[List]
    below: List[str]


class Addition(NamedTuple):
    """What stands in a report beside the board's own: ``tables`` by title, ``plots`` as SVG, and
    ``content`` for programs."""
    tables: Dict[str, Table]
    plots: List[str]
    content: Dict


def write_reports(out: Path, board: Board, rows: Sequence[Row], persons: Optional[Dict],
                  settings: Dict, addition: Addition = Addition({}, [], {})) -> None:
    """Write ``leaderboard.md``, ``.json`` and ``.html``.

    Args:
        out (Path): Folder.
        board (Board): The board.
        rows (sequence[Row]): One per entry.
        persons (dict | None): ``persons``, and ``total_ms`` by entry.
        settings (dict): How speed was measured, for the reader.
        addition (Addition): What the caller has beside.
    """
    tables = {**tables_of(board, rows), **addition.tables}
    out.mkdir(parents=True, exist_ok=True)
    content = {**as_json(board, rows, persons, settings), **addition.content}
    (out / 'leaderboard.json').write_text(json.dumps(content, indent=1) + '\n')
    (out / 'leaderboard.md').write_text(as_markdown(board, tables, settings))
    plots = [accuracy_against_fps(*one) for one in accuracy_points(board, rows)]
    if persons is not None:
        plots.append(cost_against_persons(persons))
    plots += addition.plots
    (out / 'leaderboard.html').write_text(as_html(board, tables, plots, settings))


def tables_of(board: Board, rows: Sequence[Row]) -> Dict[str, Table]:
    """The overview, and one table per data set and task, by title."""
    tables = {'Overview': _overview(board, rows)}
    for dataset in board.datasets:
        for task in dataset.tasks:
            table = _details(rows, dataset.name, task)
            if table is not None:
                tables[f'{dataset.name}: {TASK_NAMES[task]}'] = table
    return tables


def _overview(board: Board, rows: Sequence[Row]) -> Table:
    headings, groups, columns, below = ['model'], [('', 1)], [], []
    if any(row.entry.framework for row in rows):
        headings.append('framework')
        groups = [('', 2)]
        columns.append([row.entry.framework or None for row in rows])
    speeds = [row.speed or {} for row in rows]
    speed_columns = {key: column for key, column in SPEED_COLUMNS.items()
                     if any(key in speed for speed in speeds)}
    if speed_columns:
        groups.append(('speed, measured here', len(speed_columns)))
        for key, (heading, decimals) in speed_columns.items():
            headings.append(heading)
            columns.append([(speed[key], decimals) if key in speed else None for speed in speeds])
    below += _absent(rows, 'speed', 'speed', [row.speed is not None for row in rows])
    for dataset in board.datasets:
        for task in dataset.tasks:
            title = f'{dataset.name}, {TASK_NAMES[task]}'
            found = {
                source: [_figure(row, source, dataset.name, task, 'AP') for row in rows]
                for source in SOURCES
            }
            present = [source for source in SOURCES if any(map(_is_there, found[source]))]
            if present:
                groups.append((f'{title}: AP', len(present)))
            for source in present:
                headings.append(SOURCES[source])
                columns.append(found[source])
            missing = [SOURCES[source] for source in SOURCES if source not in present]
            if missing:
                below.append(f'{title}: no figure is {" or ".join(missing)}.')
            if 'measured' in present:
                below += _absent(rows, dataset.name, title,
                                 [_is_there(cell) for cell in found['measured']])
    body = [[row.entry.title, *cells] for row, *cells in zip(rows, *columns)]
    return Table(headings, groups, body, below)


def _details(rows: Sequence[Row], dataset: str, task: str) -> Optional[Table]:
    """All figures of one data set and task; none if there is nothing beside AP."""
    headings, groups, columns = ['model', 'framework', 'kind'], [('', 3)], []
    for source, title in SOURCES.items():
        present = [
            metric for metric in METRICS[task]
            if any(_is_there(_figure(row, source, dataset, task, metric)) for row in rows)
        ]
        if present:
            groups.append((title, len(present)))
        for metric in present:
            headings.append(metric)
            columns.append([_figure(row, source, dataset, task, metric) for row in rows])
    if len(columns) < 2:
        return None
    body = [[row.entry.title, row.entry.framework or None, row.entry.group or None, *cells]
            for row, *cells in zip(rows, *columns) if any(map(_is_there, cells))]
    return Table(headings, groups, body, [])


def _figure(row: Row, source: str, dataset: str, task: str, metric: str):
    value = row.figures(source).get(dataset, {}).get(task, {}).get(metric)
    if value is None:
        return None
    spread = row.spread.get(dataset, {}).get(task, {}).get(metric) if source == 'measured' else None
    return (value, 1) if spread is None else (value, 1, spread)


def _is_there(cell) -> bool:
    return cell is not None


def _absent(rows: Sequence[Row], key: str, title: str, there: Sequence[bool]) -> List[str]:
    """Lines that say whose measured figures are absent, one per reason."""
    reasons: Dict[str, List[str]] = {}
    for row, is_there in zip(rows, there):
        if not is_there and key in row.absent:
            reasons.setdefault(row.absent[key], []).append(row.entry.title)
    return [f'{title}: not measured for {", ".join(names)}: {reason.rstrip(".")}.'
            for reason, names in reasons.items()]


def accuracy_points(board: Board, rows: Sequence[Row]) -> List[Tuple[str, List[Tuple]]]:
    """Per data set and task its title and the points (name, FPS, AP, source) of a plot; only those
    with a point."""
    plots = []
    for dataset in board.datasets:
        for task in dataset.tasks:
            points = [
                (row.entry.title, row.speed['fps'], cell[0], source) for row in rows if row.speed
                for source in SOURCES
                if _is_there(cell := _figure(row, source, dataset.name, task, 'AP'))
            ]
            if points:
                plots.append((f'{dataset.name}, {TASK_NAMES[task]}', points))
    return plots


def as_json(board: Board, rows: Sequence[Row], persons: Optional[Dict], settings: Dict) -> Dict:
    """Everything, for programs."""
    return dict(
        title=board.title,
        settings=settings,
        entries=[
            dict(
                name=row.entry.name, framework=row.entry.framework, group=row.entry.group,
                config=row.entry.config, checkpoint=row.entry.checkpoint,
                keypoints=row.entry.keypoints, speed=row.speed,
                **{source: row.figures(source) for source in SOURCES}, absent=row.absent,
                **(dict(spread=row.spread) if row.spread else {}))
            for row in rows
        ],
        cost_against_persons=persons)


def _text(cell) -> str:
    if cell is None:
        return '–'
    if isinstance(cell, str):
        return cell
    value, decimals, *spread = cell
    return ' ± '.join(f'{number:.{decimals}f}' for number in (value, *spread))


def as_markdown(board: Board, tables: Dict[str, Table], settings: Dict) -> str:
    """The tables; – is what is absent."""
    parts = [f'# {board.title}', '']
    if board.notes:
        parts += [board.notes.strip(), '']
    for title, table in tables.items():
        names = [group for group, width in table.groups for _ in range(width)]
        headings = [f'{heading} ({group})' if group else heading
                    for heading, group in zip(table.headings, names)]
        parts += [f'## {title}', '', '| ' + ' | '.join(headings) + ' |',
                  '| --- |' + ' ---: |' * (len(headings) - 1)]
        parts += ['| ' + ' | '.join(_text(cell).replace('|', '\\|') for cell in row) + ' |'
                  for row in table.rows]
        parts += ['', *(f'- {line}' for line in table.below), '']
    if settings:
        parts += [describe(settings), '']
    return '\n'.join(parts)


def describe(settings: Dict) -> str:
    """How speed was measured, in a sentence."""
    return ('Speed: ' + ', '.join(f'{name} {value}' for name, value in settings.items()) +
            '; times are medians of runs that took turns in one process, per batch and without '
            'flip test.')


def as_html(board: Board, tables: Dict[str, Table], plots: Sequence[str], settings: Dict) -> str:
    """One page that needs no other file."""
    body = [f'<h1>{html.escape(board.title)}</h1>']
    if board.notes:
        body.append(f'<p>{html.escape(board.notes.strip())}</p>')
    body.append('<p>A click on a heading sorts. – is what is absent.</p>')
    for number, (title, table) in enumerate(tables.items()):
        body += [f'<h2>{html.escape(title)}</h2>', _html_table(table)]
        body += [f'<p class="absent">{html.escape(line)}</p>' for line in table.below]
        if number == 0:
            body += [f'<figure>{plot}</figure>' for plot in plots]
            if not plots:
                body.append('<p class="absent">No plot: no entry has both a speed and an AP.</p>')
    if settings:
        body.append(f'<p class="absent">{html.escape(describe(settings))}</p>')
    return _PAGE.format(title=html.escape(board.title), body='\n'.join(body))


def _html_table(table: Table) -> str:
    groups = ''.join(
        f'<th colspan="{width}">{html.escape(title)}</th>' for title, width in table.groups)
    headings = ''.join(f'<th class="sort">{html.escape(heading)}</th>'
                       for heading in table.headings)
    rows = '\n'.join(
        '<tr>' + ''.join(_html_cell(cell) for cell in row) + '</tr>' for row in table.rows)
    return (f'<div class="wide"><table><thead><tr class="groups">{groups}</tr>'
            f'<tr>{headings}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>')


def _html_cell(cell) -> str:
    if isinstance(cell, tuple):
        return f'<td class="number" data-value="{cell[0]:.6g}">{_text(cell)}</td>'
    return f'<td>{html.escape(_text(cell))}</td>'


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px;
  padding: 0 1em; color: #1c1e21; background: #fff; }}
h1 {{ font-size: 1.6em; }} h2 {{ font-size: 1.15em; margin-top: 2em; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 14px; }}
th, td {{ padding: .3em .7em; border-bottom: 1px solid #e3e5e8; text-align: left;
  white-space: nowrap; }}
tr.groups th {{ border-bottom: 2px solid #9aa0a6; text-align: center; font-weight: 600; }}
th.sort {{ cursor: pointer; font-weight: 600; }} th.sort:hover {{ background: #f0f2f5; }}
th[aria-sort=descending]::after {{ content: ' \\25BE'; }}
th[aria-sort=ascending]::after {{ content: ' \\25B4'; }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
tbody tr:hover {{ background: #f7f8fa; }}
.absent {{ color: #5f6368; margin: .3em 0; }}
figure {{ display: inline-block; margin: 1em 1em 0 0; max-width: 100%; vertical-align: top; }}
figure svg {{ max-width: 100%; height: auto; }}
</style></head><body>
{body}
<script>
document.querySelectorAll('th.sort').forEach(function (heading) {{
  heading.addEventListener('click', function () {{
    var table = heading.closest('table'), body = table.tBodies[0];
    var column = heading.cellIndex;
    var descending = heading.getAttribute('aria-sort') !== 'descending';
    table.querySelectorAll('th.sort').forEach(function (one) {{
      one.removeAttribute('aria-sort');
    }});
    heading.setAttribute('aria-sort', descending ? 'descending' : 'ascending');
    function key(row) {{
      var cell = row.cells[column];
      if (cell.textContent === '\\u2013') return null;
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    }}
    Array.from(body.rows).sort(function (a, b) {{
      var x = key(a), y = key(b);
      if (x === null || y === null) return (x === null) - (y === null);
      var order = typeof x === 'number' && typeof y === 'number' ? x - y
        : String(x).localeCompare(String(y));
      return descending ? -order : order;
    }}).forEach(function (row) {{ body.appendChild(row); }});
  }});
}});
</script>
</body></html>
"""
