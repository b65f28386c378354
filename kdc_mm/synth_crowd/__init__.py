"""SynthCrowd: a built-in data set of rendered people, with keypoints, visible masks and true
occlusion, in COCO's layout."""
from .make import make_synth_crowd
from .scene import PRESETS

__all__ = ['make_synth_crowd', 'PRESETS']
