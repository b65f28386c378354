from .associative_embedding_loss import ImageHeatmapMSELoss
from .field_losses import PixelBCELoss, VectorL1Loss
from .instance_losses import InstanceGaussianLoss

__all__ = ['PixelBCELoss', 'VectorL1Loss', 'InstanceGaussianLoss', 'ImageHeatmapMSELoss']
