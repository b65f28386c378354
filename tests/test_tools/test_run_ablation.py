"""tools/analysis_tools/run_ablation.py: what it runs, keeps and draws."""
import json
import subprocess
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.registry import MODELS

from kdc_mm.codecs.skeleton import build_skeleton
from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
COCO = 'configs/_base_/datasets/coco.py'


ABLATIONS = load_tool('analysis_tools/run_ablation').read_ablations()


@pytest.fixture
def tool():
    return load_tool('analysis_tools/run_ablation')


@pytest.fixture
def calls(tool, monkeypatch):
    """Commands that the tool starts, which only pretend to train and test; those of entries in
    the list ``fails`` fail."""
    class Calls(list):
        fails = ()

    started = Calls()

    def pretend(command, stdout, stderr, check):
        command = list(map(str, command))
        folder = Path(command[command.index('--work-dir') + 1])
        started.append((Path(command[1]).name, folder.name, command))
        if folder.name in started.fails:
            raise subprocess.CalledProcessError(1, command)
        if 'train' in started[-1][0]:
            (folder / 'last_checkpoint').write_text(str(folder / 'epoch_400.pth'))
            return
        metrics = {'coco/AP': 0.5, 'coco/AP .5': 0.7, 'coco/segm_mAP': 0.4}
        (folder / 'metrics.json').write_text(json.dumps(metrics))
        scores = np.tile([[0.8], [0.]], (1, 17))
        scores[1, 0] = 0.4
        mmengine.dump([dict(pred_instances=dict(keypoint_scores=scores))],
                      folder / 'predictions.pkl')

    monkeypatch.setattr(tool.subprocess, 'run', pretend)
    return started


def test_an_entry_is_trained_and_its_last_checkpoint_tested(tool, calls, tmp_path):
    assert tool.main(['radius-8', '--out', str(tmp_path), '--cfg-options', 'a.b=1', 'c=2']) == 0
    [train, test] = calls
    assert train[:2] == ('train.py', 'radius-8') and '--resume' in train[2]
    assert test[:2] == ('test.py', 'radius-8')
    assert test[2][3] == str(tmp_path / 'radius-8/epoch_400.pth')
    for _, _, command in calls:
        assert command[2] == str(ROOT / 'configs/kdc_rn152_coco.py')
        assert command[-4:] == ['--cfg-options', 'model.head.decoder.radius=8', 'a.b=1', 'c=2']
    entry = json.loads((tmp_path / 'results.json').read_text())['radius-8']
    assert entry['setting'] == 8 and entry['metrics']['coco/AP'] == 0.5
    assert entry['keypoint_scores']['left_ankle'] == pytest.approx(0.8)
    assert entry['keypoint_scores']['nose'] == pytest.approx(0.6)
    assert cv2.imread(str(tmp_path / 'fig7_radius.png')) is not None


def test_several_processes_train_through_the_launcher(tool, calls, tmp_path):
    assert tool.main(['radius-8', '--out', str(tmp_path), '--gpus', '4']) == 0
    command = calls[0][2]
    assert command[0] == 'bash' and command[1].endswith('tools/dist_train.sh')
    assert command[3] == '4'


def test_entries_of_decoding_alone_test_one_checkpoint(tool, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'check_checkpoint', lambda path: None)
    entries = ['sigma-instance-0.1', 'sigma-instance-0.5']
    assert tool.main([*entries, '--out', str(tmp_path), '--checkpoint', 'base.pth']) == 0
    assert [(script, name, command[3]) for script, name, command in calls] == [
        ('test.py', 'sigma-instance-0.1', 'base.pth'),
        ('test.py', 'sigma-instance-0.5', 'base.pth'),
    ]


def test_finished_entries_are_not_run_again_and_failed_ones_are(tool, calls, tmp_path):
    arguments = ['mask-centroid', '--out', str(tmp_path)]
    calls.fails = ('mask-centroid-dynamic', )
    assert tool.main(arguments) == 1
    assert list(json.loads((tmp_path / 'results.json').read_text())) == [
        'mask-centroid-static', 'mask-centroid-keypoint']
    calls.clear()
    calls.fails = ()
    assert tool.main(arguments) == 0
    assert {name for _, name, _ in calls} == {'mask-centroid-dynamic'}
    calls.clear()
    assert tool.main(arguments) == 0 and not calls


def test_an_entry_with_other_settings_is_run_again(tool, calls, tmp_path):
    arguments = ['radius-8', '--out', str(tmp_path)]
    tool.main(arguments)
    calls.clear()
    tool.main([*arguments, '--cfg-options', 'train_cfg.max_epochs=1'])
    assert len(calls) == 2


@pytest.mark.parametrize('name, words', [
    ('sigma-instance-0.1', 'name them with --checkpoint'),
    ('radius-61', 'radius-61 is no ablation; see radius-16'),
    ('masks', 'masks is no ablation; see'),
])
def test_what_cannot_run_is_named_before_anything_starts(tool, calls, tmp_path, capsys, name,
                                                         words):
    assert tool.main(['radius-8', name, '--out', str(tmp_path)]) == 1 and not calls
    assert words in capsys.readouterr().err


def test_a_checkpoint_that_is_not_there_is_named(tool, calls, tmp_path, capsys):
    arguments = ['sigma-instance-0.1', '--checkpoint', 'no.pth', '--out', str(tmp_path)]
    assert tool.main(arguments) == 1
    assert 'no.pth' in capsys.readouterr().err and not calls


def test_every_figure_of_the_paper_is_drawn_from_its_studies(tool, tmp_path):
    entries = [
        dict(
            study=ablation.study, setting=ablation.setting,
            metrics={'coco/AP': 0.5, 'coco/AP (M)': -1, 'coco/segm_mAP': 0.4},
            keypoint_scores=dict.fromkeys(build_skeleton(COCO).names, 0.7))
        for ablation in ABLATIONS.values()
    ]
    pictures = tool.draw_ablations(entries, tmp_path)
    assert [path.stem for path in pictures] == [
        'table7_key_centroid', 'fig7_radius', 'fig8_mask_centroid', 'fig9_point_sigma',
        'fig10_instance_sigma']
    assert all(cv2.imread(str(path)) is not None for path in pictures)


def test_all_entries_are_listed_with_what_they_change(tool, capsys):
    assert tool.main(['--list']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ABLATIONS)
    [line] = [line for line in lines if line.startswith('sigma-instance-0.1')]
    assert 'fig. 10' in line and 'sigma_instance=0.1 (decoding only)' in line


def test_a_printed_config_is_one_that_runs_as_the_entry_does(tool, capsys, tmp_path):
    assert tool.main(['--print-config', 'radius-16']) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == (
        '# radius-16 (fig. 7): kdc_rn152_coco.py model.head.decoder.radius=16')
    (tmp_path / 'printed.py').write_text(printed)
    changed = Config.fromfile(tmp_path / 'printed.py')
    base = Config.fromfile(ROOT / 'configs/kdc_rn152_coco.py')
    assert changed.model.head.decoder == dict(base.model.head.decoder, radius=16)
    base.model.head.decoder.radius = 16
    for key, value in changed.items():
        assert value == base[key], key


def changed_head(name):
    """The head of an entry; an option that it does not have fails here."""
    cfg = Config.fromfile(ABLATIONS[name].config)
    cfg.merge_from_dict(ABLATIONS[name].options)
    return MODELS.build(dict(cfg.model.head, in_channels=1))


def test_what_an_entry_trains_has_its_settings():
    assert not changed_head('key-centroid-off').decoder.use_key_centroid
    assert changed_head('mask-centroid-static').seg_head.centroid == 'static'
    assert changed_head('mask-centroid-keypoint').seg_head.centroid == 'keypoint'
    assert not changed_head('outputs-no-limbs').decoder.use_limbs
    assert not changed_head('outputs-no-person-centroids').decoder.use_person_centroid
    assert [changed_head(f'radius-{r}').decoder.radius for r in (8, 16, 32)] == [8, 16, 32]


def test_the_papers_outputs_are_those_of_its_config():
    cfg = Config.fromfile(ABLATIONS['outputs-paper'].config)
    cfg.merge_from_dict(ABLATIONS['outputs-paper'].options)
    assert cfg.model == Config.fromfile(ROOT / 'configs/kdc_rn152-paper_coco.py').model


@pytest.mark.parametrize('name', [name for name, one in ABLATIONS.items() if one.decoding_only])
def test_what_changes_decoding_only_fits_the_weights_of_its_base(name):
    base = changed_head('radius-32')
    changed_head(name).load_state_dict(base.state_dict())
