from .coco import KDCCocoDataset
from .crowdpose import KDCCrowdPoseDataset
from .ochuman import KDCOCHumanDataset
from .transforms import BottomupGetPersonMasks, PackKeypointIndices

__all__ = [
    'BottomupGetPersonMasks', 'KDCCocoDataset', 'KDCCrowdPoseDataset', 'KDCOCHumanDataset',
    'PackKeypointIndices'
]
