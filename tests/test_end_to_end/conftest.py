import pytest

from kdc_mm.synth_crowd import make_synth_crowd


@pytest.fixture(scope='session')
def synth(tmp_path_factory):
    """SynthCrowd with 8 images to train on and 4 to validate on, 128 px."""
    folder = tmp_path_factory.mktemp('synth') / 'easy'
    make_synth_crowd(folder, 'easy', 8, 4, seed=0, size=128, workers=1, progress=False)
    return folder
