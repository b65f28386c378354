from .kdc_resnet import KDCResNet
from .tf_graph import TFGraph

__all__ = ['KDCResNet', 'TFGraph']
