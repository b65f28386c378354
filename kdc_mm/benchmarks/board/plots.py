"""Plots of a leaderboard, as SVG for a page."""
import io
import re
from typing import Dict, Sequence, Tuple

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

_COLORS = ('#d62246', '#1f6feb', '#3a9d5d', '#a15bd6', '#e08a1e', '#17877e', '#6b7280', '#b0427d')
#: Marker and fill by where an AP comes from.
_LOOKS = dict(measured=('o', True, 'measured here'), published=('s', False, 'published'),
              claimed=('^', False, "paper's claim"))


def accuracy_against_fps(title: str, points: Sequence[Tuple[str, float, float, str]]) -> str:
    """AP against frames per second.

    Args:
        title (str): Data set and task.
        points (sequence[tuple]): Name, FPS, AP in percent, and 'measured', 'published' or
            'claimed'.

    Returns:
        str: An ``<svg>`` element.
    """
    figure, axes = _axes(f'{title}: AP against FPS')
    names = list(dict.fromkeys(name for name, *_ in points))
    for name, fps, accuracy, source in points:
        marker, filled, _ = _LOOKS[source]
        color = _COLORS[names.index(name) % len(_COLORS)]
        axes.plot(fps, accuracy, marker, color=color, ms=8, mew=1.6,
                  mfc=color if filled else 'white')
        axes.annotate(name, (fps, accuracy), xytext=(0, 8), textcoords='offset points',
                      ha='center', color=color, fontsize=9)
    for source in dict.fromkeys(source for *_, source in points):
        marker, filled, label = _LOOKS[source]
        axes.plot([], [], marker, color='#5f6368', mfc='#5f6368' if filled else 'white', ms=7,
                  label=label)
    axes.margins(0.18, 0.15)
    axes.set(xlabel='FPS, measured here', ylabel='AP')
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.legend(frameon=False, fontsize=9, loc='lower left', bbox_to_anchor=(0, 1), ncols=3)
    return _svg(figure)


def cost_against_persons(cost: Dict) -> str:
    """Time of an image against the number of persons in it.

    Args:
        cost (dict): ``persons``, and ``total_ms``: name → times.

    Returns:
        str: An ``<svg>`` element.
    """
    figure, axes = _axes('Cost against persons')
    for number, (name, times) in enumerate(cost['total_ms'].items()):
        axes.plot(cost['persons'], times, 'o-', color=_COLORS[number % len(_COLORS)], lw=1.6, ms=4,
                  label=name)
    axes.set(xlabel='persons in the image', ylabel='network and decoding [ms]', yscale='log')
    axes.set_xticks(cost['persons'])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter('{x:g}')
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, fontsize=9, loc='center left', bbox_to_anchor=(1, 0.5))
    return _svg(figure)


def accuracy_along(title: str, label: str,
                   curves: Dict[str, Sequence[Tuple[Sequence[float], Sequence[float]]]]) -> str:
    """AP along training.

    Args:
        title (str): Data set and task.
        label (str): What the horizontal axis shows.
        curves (dict): Name → for each of its runs the positions and the APs in percent. Runs of one
            name share a colour.

    Returns:
        str: An ``<svg>`` element.
    """
    figure, axes = _axes(title)
    for number, (name, runs) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        for index, (positions, values) in enumerate(runs):
            axes.plot(positions, values, 'o-', color=color, lw=1.4, ms=3.5,
                      label=None if index else name)
    axes.set(xlabel=label, ylabel='AP')
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.legend(frameon=False, fontsize=9, loc='center left', bbox_to_anchor=(1, 0.5))
    return _svg(figure)


def _axes(title: str):
    figure = Figure(figsize=(6.6, 4.2), layout='constrained')
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.set_title(title, fontsize=11, loc='left', pad=24)
    axes.grid(alpha=0.25)
    axes.spines[['top', 'right']].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The figure as an element of a page: without a file's head, the same at each run."""
    text = io.StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'kdc_mm',
                                'font.family': 'sans-serif'}):
        figure.savefig(text, format='svg', metadata={'Date': None})
    return re.sub(r'^.*?(?=<svg)', '', text.getvalue(), flags=re.DOTALL)
