import pytest

from kdc_mm.deploy import export_onnx
from kdc_mm.deploy.export import PACKAGES
from tests.test_apis.conftest import inferencer, small_cfg  # noqa: F401


def need_packages():
    """Skip where what export needs is not installed."""
    for name in PACKAGES:
        pytest.importorskip(name, reason=f'{name} is optional: requirements/deploy.txt')


@pytest.fixture(scope='session')
def exported(inferencer, tmp_path_factory):  # noqa: F811
    """The folder of the exported network of two people."""
    need_packages()
    folder = tmp_path_factory.mktemp('exported')
    export_onnx(inferencer, folder)
    return folder
