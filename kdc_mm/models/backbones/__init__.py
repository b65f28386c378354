from .kdc_resnet import KDCResNet

__all__ = ['KDCResNet']
