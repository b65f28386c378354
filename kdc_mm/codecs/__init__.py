from .pose_seg import PoseSeg

__all__ = ['PoseSeg']
