from .backbones import KDCResNet
from .heads import KDCHead, KDCPoseHead, KDCSegHead
from .losses import ImageHeatmapMSELoss, InstanceGaussianLoss, PixelBCELoss, VectorL1Loss
from .necks import FPNBesideInput

__all__ = [
    'KDCResNet', 'KDCHead', 'KDCPoseHead', 'KDCSegHead', 'PixelBCELoss', 'VectorL1Loss',
    'InstanceGaussianLoss', 'ImageHeatmapMSELoss', 'FPNBesideInput'
]
