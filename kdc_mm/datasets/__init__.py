from .annotations import AnnotationError, read_annotations
from .coco import KDCCocoDataset
from .crowdpose import KDCCrowdPoseDataset
from .ochuman import KDCOCHumanDataset
from .transforms import BottomupGetPersonMasks, LoadImage8Bit, PackKeypointIndices

__all__ = [
    'AnnotationError', 'BottomupGetPersonMasks', 'KDCCocoDataset', 'KDCCrowdPoseDataset',
    'KDCOCHumanDataset', 'LoadImage8Bit', 'PackKeypointIndices', 'read_annotations'
]
