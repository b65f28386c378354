from .field_losses import PixelBCELoss, VectorL1Loss
from .heatmap_loss import ImageHeatmapMSELoss
from .instance_losses import InstanceGaussianLoss, MaskCentroidLoss

__all__ = [
    'PixelBCELoss', 'VectorL1Loss', 'MaskCentroidLoss', 'InstanceGaussianLoss',
    'ImageHeatmapMSELoss'
]
