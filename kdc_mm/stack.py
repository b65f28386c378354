"""The packages that kdc_mm plugs into, which it does not install."""
from importlib.util import find_spec

#: Package → what to give to pip or mim; the ranges of requirements/mminstall.txt.
STACK = dict(
    torch='torch>=2.6',
    mmengine='mmengine>=0.10.0,<1.0.0',
    mmcv='mmcv>=2.0.1,<2.2.0',
    mmdet='mmdet>=3.2.0,<3.4.0',
    mmpose='mmpose>=1.3.0,<1.4.0')


def check_stack() -> None:
    """Look for the packages of :data:`STACK` before any is imported.

    Raises:
        ImportError: names those that are missing and how to get them.
    """
    missing = [name for name in STACK if find_spec(name) is None]
    if missing:
        wanted = ' '.join(f'"{STACK[name]}"' for name in missing)
        raise ImportError(f'kdc_mm plugs into {", ".join(STACK)}; here is no '
                          f'{", ".join(missing)}. Install what is missing: mim install {wanted} '
                          '(pip install openmim)')
