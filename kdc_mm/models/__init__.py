from .backbones import KDCResNet
from .heads import KDCHead, KDCPoseHead, KDCSegHead
from .losses import (
    ImageHeatmapMSELoss,
    InstanceGaussianLoss,
    KeyCentroidLoss,
    KeypointDiskLoss,
    LimbDisplacementLoss,
    MaskCentroidLoss,
)

__all__ = [
    'KDCResNet', 'KDCHead', 'KDCPoseHead', 'KDCSegHead', 'KeypointDiskLoss', 'KeyCentroidLoss',
    'LimbDisplacementLoss', 'MaskCentroidLoss', 'InstanceGaussianLoss', 'ImageHeatmapMSELoss'
]
