"""Where numba keeps the compiled kernels of decoding, and that it says when it compiles.

It does at the first decode, which takes a quarter of a minute, unless ``python -m
kdc_mm.compile_kernels`` has been run. They lie beside their source, or in the user's cache, or in
``NUMBA_CACHE_DIR``.
"""
import sys
import warnings

from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.event import Event, Listener, register


def do_without_cache_where_none_can_be_written() -> None:
    """Let each process compile for itself there; numba would refuse the first kernel."""
    try:
        FunctionCache(do_without_cache_where_none_can_be_written)
    except RuntimeError:
        Dispatcher.enable_caching = lambda self: None
        warnings.warn(
            'kdc_mm: compiled kernels can be kept nowhere, so that each process compiles them '
            'anew. Name a folder that can be written: NUMBA_CACHE_DIR=/some/folder', stacklevel=2)


#: Whose kernels are told of.
PACKAGES = ('kdc_mm.', 'kdc_mm_runtime.')


class TellOnce(Listener):
    """Says that kernels of kdc_mm are being compiled, when the first is."""

    told = False

    def on_start(self, event: Event) -> None:
        if not self.told and event.data['dispatcher'].py_func.__module__.startswith(PACKAGES):
            self.told = True
            print('kdc_mm: compiling the kernels of decoding, a quarter of a minute this once '
                  '(ahead: python -m kdc_mm.compile_kernels, or any image)', file=sys.stderr,
                  flush=True)

    def on_end(self, event: Event) -> None:
        pass


def tell_when_compiling() -> None:
    """Say so when numba does not find a kernel in its cache."""
    register('numba:compile', TellOnce())
