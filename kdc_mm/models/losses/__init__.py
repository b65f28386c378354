from .field_losses import KeyCentroidLoss, KeypointDiskLoss, LimbDisplacementLoss
from .instance_losses import InstanceGaussianLoss, MaskCentroidLoss

__all__ = [
    'KeypointDiskLoss', 'KeyCentroidLoss', 'LimbDisplacementLoss', 'MaskCentroidLoss',
    'InstanceGaussianLoss'
]
