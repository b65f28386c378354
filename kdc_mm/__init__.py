"""kdc_mm: Keypoints as Dynamic Centroids for MMPose.

Importing the package registers every class in MMPose's registries, so that a config needs only
``custom_imports = dict(imports=['kdc_mm'], allow_failed_imports=False)``.
"""
from .stack import check_stack

check_stack()

from . import codecs, datasets, engine, evaluation, models, visualization  # noqa: E402
from .engine.config_files import name_own_configs  # noqa: E402
from .version import __version__  # noqa: E402

name_own_configs()

__all__ = [
    '__version__', 'codecs', 'datasets', 'engine', 'evaluation', 'models', 'visualization'
]
