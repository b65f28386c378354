from .keypoint_indices import PackKeypointIndices
from .person_masks import BottomupGetPersonMasks

__all__ = ['BottomupGetPersonMasks', 'PackKeypointIndices']
