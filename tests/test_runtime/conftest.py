import pytest

from kdc_mm.deploy import export_onnx
from kdc_mm.deploy.export import PACKAGES
from tests.test_apis.conftest import inferencer, small_cfg  # noqa: F401


@pytest.fixture(scope='session')
def exported(inferencer, tmp_path_factory):  # noqa: F811
    """The folder of the exported network of two people."""
    for name in PACKAGES:
        pytest.importorskip(name, reason='export is optional: requirements/deploy.txt')
    folder = tmp_path_factory.mktemp('exported')
    export_onnx(inferencer, folder)
    return folder
