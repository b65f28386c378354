from .kdc_head import KDCHead
from .kdc_pose_head import KDCPoseHead
from .kdc_seg_head import KDCSegHead

__all__ = ['KDCHead', 'KDCPoseHead', 'KDCSegHead']
