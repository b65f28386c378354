from .coco import KDCCocoDataset
from .crowdpose import KDCCrowdPoseDataset
from .ochuman import KDCOCHumanDataset
from .transforms import BottomupGetPersonMasks

__all__ = ['BottomupGetPersonMasks', 'KDCCocoDataset', 'KDCCrowdPoseDataset', 'KDCOCHumanDataset']
