from .fpn_beside_input import FPNBesideInput

__all__ = ['FPNBesideInput']
