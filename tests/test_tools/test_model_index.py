"""The index of models and the configs that it names."""
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_index_names_the_configs_of_the_top_level_and_no_other():
    models = yaml.safe_load((ROOT / 'configs/metafile.yml').read_text())['Models']
    named = {model['Config'] for model in models}
    configs = {f'configs/{config.name}' for config in (ROOT / 'configs').glob('*.py')}
    assert named == configs
    assert all(model['Name'] == Path(model['Config']).stem for model in models)
