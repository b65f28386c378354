"""Compiled kernels: kept where they can be, compiled anew where not, and never without a word."""
import numba
import pytest
from numba.core import event
from numba.core.caching import CacheImpl
from numba.core.dispatcher import Dispatcher

from kdc_mm_runtime.kernels import TellOnce, do_without_cache_where_none_can_be_written


def double(number):
    return 2 * number


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch):
    """As numba sees it: none of the places where it looks for one will do."""
    monkeypatch.setattr(CacheImpl, '_locator_classes', [])
    monkeypatch.setattr(Dispatcher, 'enable_caching', Dispatcher.enable_caching)
    with pytest.raises(RuntimeError, match='cannot cache function'):
        numba.njit(cache=True)(double)
    with pytest.warns(UserWarning, match='NUMBA_CACHE_DIR') as said:
        do_without_cache_where_none_can_be_written()
    assert len(said) == 1
    assert numba.njit(cache=True)(double)(3) == 6


def test_a_place_for_kernels_is_left_to_numba(recwarn):
    enable = Dispatcher.enable_caching
    do_without_cache_where_none_can_be_written()
    assert Dispatcher.enable_caching is enable and not recwarn.list


@pytest.mark.parametrize('module, told', [('kdc_mm_runtime.vote', 1), ('elsewhere', 0)])
def test_compiling_is_told_once_and_of_kdc_mm_only(monkeypatch, capsys, module, told):
    monkeypatch.setattr(double, '__module__', module)
    teller = TellOnce()
    with event.install_recorder('numba:compile') as recorder:
        kernel = numba.njit(double)
        assert kernel(3) == 6 and kernel(1.5) == 3
    events = [one for _, one in recorder.buffer if one.data['dispatcher'] is kernel]
    assert sum(one.is_start for one in events) == 2  # a kernel for each type of number
    capsys.readouterr()
    for one in events:
        teller.notify(one)
    assert capsys.readouterr().err.count('compiling the kernels of decoding') == told
