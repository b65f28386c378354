import json

import numpy as np
import pytest

from kdc_mm.visualization import plot_curves
from kdc_mm.visualization.curves import read_scalars


def write(tmp_path, lines):
    path = tmp_path / 'scalars.json'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return path


def test_losses_and_metrics_stand_over_the_same_iterations(tmp_path):
    path = write(tmp_path, [
        dict(loss=3., loss_heatmap=2., lr=0.1, iter=10, step=10),
        dict(loss=2., loss_heatmap=1., lr=0.1, iter=20, step=20),
        {'coco/AP': 0.4, 'coco/segm_mAP': 0.3, 'step': 0},
    ])
    losses, metrics = read_scalars(path)
    assert np.array_equal(losses['loss'], [[10, 3], [20, 2]])
    assert losses.keys() == {'loss', 'loss_heatmap'}
    assert np.array_equal(metrics['coco/AP'], [[20, 0.4]])


@pytest.mark.parametrize('lines', [
    [dict(loss=3., step=10), dict(loss=2., step=20)],
    [{'coco/AP': 0.4, 'step': 20}],
])
def test_a_run_too_short_for_one_of_the_curves_has_the_other(tmp_path, lines):
    out = tmp_path / 'curves.png'
    plot_curves(write(tmp_path, lines), out)
    assert out.stat().st_size > 1000
