from .field_losses import KeyCentroidLoss, KeypointDiskLoss, LimbDisplacementLoss
from .heatmap_loss import ImageHeatmapMSELoss
from .instance_losses import InstanceGaussianLoss, MaskCentroidLoss

__all__ = [
    'KeypointDiskLoss', 'KeyCentroidLoss', 'LimbDisplacementLoss', 'MaskCentroidLoss',
    'InstanceGaussianLoss', 'ImageHeatmapMSELoss'
]
