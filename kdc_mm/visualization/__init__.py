from .bad_case_hook import PersonBadCaseHook
from .curves import plot_curves
from .draw import draw_heatmap, draw_people, draw_vectors, picture_grid
from .hook import PoseSegVisualizationHook
from .pose_seg_visualizer import PoseSegVisualizer

__all__ = [
    'PersonBadCaseHook', 'PoseSegVisualizationHook', 'PoseSegVisualizer', 'draw_heatmap',
    'draw_people', 'draw_vectors', 'picture_grid', 'plot_curves'
]
