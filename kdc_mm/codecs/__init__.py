"""The PoseSeg codec; what decoding does on the host is in :mod:`kdc_mm_runtime`, which needs
neither PyTorch nor MMPose."""
from .pose_seg import PoseSeg

__all__ = ['PoseSeg']
