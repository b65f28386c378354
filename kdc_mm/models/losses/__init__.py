from .field_losses import PixelBCELoss, VectorL1Loss
from .heatmap_loss import ImageHeatmapMSELoss
from .instance_losses import InstanceGaussianLoss

__all__ = ['PixelBCELoss', 'VectorL1Loss', 'InstanceGaussianLoss', 'ImageHeatmapMSELoss']
