from .keypoint_indices import PackKeypointIndices
from .load_image import LoadImage8Bit
from .person_masks import BottomupGetPersonMasks

__all__ = ['BottomupGetPersonMasks', 'LoadImage8Bit', 'PackKeypointIndices']
