from .person_masks import BottomupGetPersonMasks

__all__ = ['BottomupGetPersonMasks']
