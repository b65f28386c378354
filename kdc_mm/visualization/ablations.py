"""The paper's ablation figures, drawn from the results of runs."""
from pathlib import Path
from typing import Dict, List, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Figures that are drawn as bars.
BARS = ('AP', 'AP50', 'AP75', 'APM', 'APL')

Entries = List[dict]


def draw_ablations(entries: Entries, folder: Union[str, Path]) -> List[Path]:
    """Draw every figure of which there are results.

    Args:
        entries (list[dict]): Finished entries: ``group``, ``setting``, ``figures`` (task → figure
            → percentage) and ``keypoint_scores`` (name → mean confidence where the keypoint was
            found).
        folder (str | Path): Folder for the pictures.

    Returns:
        list[Path]: The pictures.
    """
    drawn = []
    for name, (groups, draw) in FIGURES.items():
        chosen = [entry for entry in entries if entry['group'] in groups]
        if chosen:
            path = Path(folder) / f'{name}.png'
            draw(chosen, path)
            drawn.append(path)
    return drawn


def draw_key_centroid(entries: Entries, path: Path) -> None:
    """Table 7: keypoint AP with and without KeyCentroids."""
    axes = figure_of(1)
    draw_bars(axes[0], entries, 'keypoints')
    axes[0].set(title='KeyCentroid (table 7)', ylabel='keypoint AP')
    finish(axes, path)


def draw_radius(entries: Entries, path: Path) -> None:
    """Fig. 7: mean confidence of left and of right keypoints for each radius."""
    axes = figure_of(2)
    for axis, side, other in zip(axes, ('left', 'right'), ('right', 'left')):
        for entry in in_order(entries):
            scores = {
                name.replace(f'{side}_', ''): score
                for name, score in entry['keypoint_scores'].items() if other not in name
            }
            axis.plot(list(scores), list(scores.values()), 'o-', ms=4, lw=1.6,
                      label=f'R = {entry["setting"]} px')
        axis.set(title=f'{side} keypoints (fig. 7)', ylabel='mean confidence', ylim=(0, 1))
        axis.tick_params(axis='x', rotation=45)
    finish(axes, path)


def draw_mask_centroid(entries: Entries, path: Path) -> None:
    """Fig. 8: mask AP with static and with dynamic MaskCentroids."""
    axes = figure_of(1)
    draw_bars(axes[0], entries, 'segm')
    axes[0].set(title='MaskCentroid (fig. 8)', ylabel='mask AP')
    finish(axes, path)


def draw_point_sigma(entries: Entries, path: Path) -> None:
    """Fig. 9: keypoint AP over σ of high- and of low-variance keypoints."""
    axes = figure_of(1)
    for group, label in (('sigma-high-variance', 'high-variance keypoints'),
                         ('sigma-low-variance', 'low-variance keypoints')):
        chosen = [entry for entry in entries if entry['group'] == group]
        draw_curve(axes[0], chosen, 'keypoints', 'AP', label)
    axes[0].set(title='point-wise Gaussian (fig. 9)', xlabel='σ [map cells]', ylabel='keypoint AP')
    finish(axes, path)


def draw_instance_sigma(entries: Entries, path: Path) -> None:
    """Fig. 10: mask AP over σ of the semantic map."""
    axes = figure_of(1)
    for label in ('AP', 'AP50', 'AP75'):
        draw_curve(axes[0], entries, 'segm', label, label)
    axes[0].set(title='instance-wise Gaussian (fig. 10)', xlabel='σ [map cells]', ylabel='mask AP')
    finish(axes, path)


#: Name of a picture → the groups in it and what draws them.
FIGURES: Dict[str, tuple] = {
    'table7_key_centroid': (('key-centroid', ), draw_key_centroid),
    'fig7_radius': (('radius', ), draw_radius),
    'fig8_mask_centroid': (('mask-centroid', ), draw_mask_centroid),
    'fig9_point_sigma': (('sigma-high-variance', 'sigma-low-variance'), draw_point_sigma),
    'fig10_instance_sigma': (('sigma-instance', ), draw_instance_sigma),
}


def figure(entry: dict, task: str, name: str) -> float:
    """A percentage; not a number where nobody of that size is annotated."""
    return entry['figures'].get(task, {}).get(name, float('nan'))


def in_order(entries: Entries) -> Entries:
    """By setting: numbers first, then words."""
    return sorted(entries, key=lambda entry: (
        (0, entry['setting'], '') if isinstance(entry['setting'], (int, float))
        else (1, 0, str(entry['setting']))))


def draw_bars(axis: Axes, entries: Entries, task: str) -> None:
    """A group of bars for each figure, a bar for each setting."""
    places = np.arange(len(BARS))
    width = 0.8 / len(entries)
    for number, entry in enumerate(in_order(entries)):
        heights = [figure(entry, task, name) for name in BARS]
        bars = axis.bar(places + (number - (len(entries) - 1) / 2) * width, heights, width,
                        label=str(entry['setting']))
        axis.bar_label(bars, fmt='%.1f', fontsize=8)
    axis.set_xticks(places, BARS)


def draw_curve(axis: Axes, entries: Entries, task: str, name: str, label: str) -> None:
    """A figure over the settings."""
    if entries:
        ordered = in_order(entries)
        axis.plot([entry['setting'] for entry in ordered],
                  [figure(entry, task, name) for entry in ordered], 'o-', lw=1.6, label=label)


def figure_of(columns: int) -> List[Axes]:
    figure = Figure(figsize=(6.5 * columns, 4.5), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    return list(figure.subplots(1, columns, squeeze=False)[0])


def finish(axes: List[Axes], path: Path) -> None:
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.spines[['top', 'right']].set_visible(False)
        if axis.get_legend_handles_labels()[0]:
            axis.legend(frameon=False)
    axes[0].figure.savefig(path)
