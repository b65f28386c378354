"""Curves of a training run."""
import json
from pathlib import Path
from typing import Dict, Union

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

# Metric of the log → its name in the picture.
_METRICS = {'coco/AP': 'keypoint AP', 'coco/segm_mAP': 'mask AP'}


def plot_curves(scalars_json: Union[str, Path], out: Union[str, Path]) -> None:
    """Draw loss and AP over iterations.

    Args:
        scalars_json (str | Path): ``vis_data/scalars.json`` of mmengine's local backend, one JSON
            object a line.
        out (str | Path): Picture to write.
    """
    losses, metrics = read_scalars(scalars_json)
    figure = Figure(figsize=(11, 4.5), dpi=150, layout='constrained')
    FigureCanvasAgg(figure)
    loss_axes, metric_axes = figure.subplots(1, 2, sharex=True)
    total = losses.pop('loss', np.empty((0, 2)))  # a short run may have logged none
    for name, curve in sorted(losses.items(), key=lambda item: -item[1][-1, 1]):
        label = name.replace('loss_', '').replace('_', ' ')
        loss_axes.plot(*curve.T, lw=1.2, alpha=0.85, label=label)
    loss_axes.plot(*total.T, color='black', lw=1.8, label='total')
    loss_axes.set(title='training loss', xlabel='iteration', yscale='log')
    loss_axes.yaxis.set_major_formatter('{x:g}')
    loss_axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss_axes.yaxis.set_minor_formatter('')
    for (name, curve), color in zip(metrics.items(), ('#d62246', '#1f6feb')):
        metric_axes.plot(*curve.T, 'o-', color=color, lw=1.8, ms=4, label=_METRICS[name])
        metric_axes.annotate(
            f'{curve[-1, 1]:.2f}',
            curve[-1],
            xytext=(4, 4),
            textcoords='offset points',
            color=color)
    metric_axes.set(title='held-out images', xlabel='iteration', ylim=(0, 1))
    for axes in (loss_axes, metric_axes):
        axes.grid(alpha=0.25)
        axes.spines[['top', 'right']].set_visible(False)
        if axes.lines:
            axes.legend(
                frameon=False,
                fontsize=9,
                ncols=4,
                loc='upper center',
                bbox_to_anchor=(0.5, -0.14))
    figure.savefig(out)


def read_scalars(scalars_json: Union[str, Path]) -> tuple:
    """Losses and metrics of a log.

    Returns:
        tuple: two dicts, name → array (points, 2) of iteration and value: the losses, and of
        ``coco/AP`` and ``coco/segm_mAP`` what was logged.
    """
    lines = [json.loads(line) for line in Path(scalars_json).read_text().splitlines()]
    losses: Dict[str, list] = {}
    metrics: Dict[str, list] = {}
    iteration = 0
    for line in lines:
        for name, value in line.items():
            if name == 'loss' or name.startswith('loss_'):
                losses.setdefault(name, []).append((line['step'], value))
        if 'loss' in line:
            iteration = line['step']
        for name in _METRICS:
            if name in line:
                # By default mmengine's ``step`` of a validation is an epoch.
                metrics.setdefault(name, []).append((iteration, line[name]))
    in_order = {name: np.array(metrics[name]) for name in _METRICS if name in metrics}
    return {name: np.array(points) for name, points in losses.items()}, in_order
