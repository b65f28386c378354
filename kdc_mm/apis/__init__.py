from .inferencer import PoseSegInferencer, describe_people
from .tracking import PersonTracker

__all__ = ['PersonTracker', 'PoseSegInferencer', 'describe_people']
