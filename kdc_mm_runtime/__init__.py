"""Decoding of KDC's maps on the host, and networks exported to ONNX: neither PyTorch nor MMPose is
needed, only NumPy, numba, OpenCV and, to run networks, onnxruntime.

    from kdc_mm_runtime import Runtime

    people = Runtime('exported')('photo.jpg')
"""
from .kernels import do_without_cache_where_none_can_be_written, tell_when_compiling

do_without_cache_where_none_can_be_written()
tell_when_compiling()

from .found_people import FoundPeople  # noqa: E402
from .runtime import Runtime  # noqa: E402

__all__ = ['FoundPeople', 'Runtime']
