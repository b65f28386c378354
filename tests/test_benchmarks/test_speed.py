"""Named configs, known people, and what networks cost side by side."""
import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from kdc_mm.benchmarks.codec.random_crowds import make_crowd
from kdc_mm.benchmarks.network.known_people import COCO_NAMES, replaced_method, with_keypoints
from kdc_mm.benchmarks.network.named_configs import ConfigError, find_config, load_config
from kdc_mm.benchmarks.network.onnx_speed import GraphOfOutputs, OnnxContestant, open_session
from kdc_mm.benchmarks.network.speed import (
    Contestant,
    ForwardClock,
    Times,
    measure_against_persons,
    measure_speed,
    take_turns,
    warm_up,
)
from kdc_mm.deploy.export import PACKAGES
from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / 'configs/demo/kdc_rn18_synthcrowd.py')
BODY = 'mmpose::body_2d_keypoint/'
OTHERS = dict(
    ae=f'{BODY}associative_embedding/coco/ae_hrnet-w32_8xb24-300e_coco-512x512.py',
    dekr=f'{BODY}dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py',
    cid=f'{BODY}cid/coco/cid_hrnet-w32_8xb20-140e_coco-512x512.py',
    rtmo=f'{BODY}rtmo/coco/rtmo-s_8xb32-600e_coco-640x640.py',
    mask_rcnn='mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py')
KEYS = ['config', 'params_m', 'gmacs', 'forward_ms', 'decode_ms', 'total_ms', 'fps', 'peak_mem_mb']


@pytest.fixture(scope='module')
def demo():
    return Contestant(DEMO, load_config(DEMO), input_size=(97, 97))


def test_configs_are_found_by_path_and_by_the_names_of_the_packages():
    assert find_config(DEMO) == Path(DEMO)
    for name in OTHERS.values():
        assert find_config(name).is_file()
        assert find_config(name.removesuffix('.py')) == find_config(name)


@pytest.mark.parametrize('name, message', [
    ('configs/kdc_rn10_coco.py', 'no config configs/kdc_rn10_coco.py.*kdc_rn101_coco.py'),
    (f'{BODY}cid_hrnet-w32_8xb20-140e_coco-512x51.py', 'mean cid_hrnet-w32_8xb20-140e_coco-512x51'),
    ('timm::resnet50.py', "from kdc_mm, mmpose and mmdet, not from 'timm'"),
])
def test_an_unknown_config_is_named_with_those_spelt_alike(name, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=message):
        load_config(name)


@pytest.mark.parametrize('text, message', [
    ('model = dict(', 'cannot be read as a config: SyntaxError'),
    ("_base_ = ['nowhere.py']", 'cannot be read as a config'),
    ('codec = dict()', 'has no model'),
])
def test_what_is_no_config_is_said_in_one_line(tmp_path, text, message):
    file = tmp_path / 'a.py'
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(str(file))
    assert str(file) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('name', OTHERS)
def test_the_decoders_of_others_find_the_known_people(name):
    contestant = Contestant(name, load_config(OTHERS[name]), input_size=(128, 128))
    crowd = contestant._crowd(2, 0)
    people = contestant.people(2)
    for _ in range(2):  # nothing that a decoder does to its maps is left for the next pass
        times, (sample, ) = contestant.run(people)
    assert 0 < times.forward < times.total
    found = sample.pred_instances
    if name == 'mask_rcnn':
        assert found.labels.tolist() == [0, 0] and found.masks.shape == (2, 480, 640)
    else:
        assert len(found.keypoints) == 2
    if name in ('ae', 'dekr', 'cid'):
        truth = crowd.keypoints * 5  # 640 pixels in 128
        visible = crowd.visible > 0
        for pose, own in zip(truth - (0, 80), visible):
            miss = np.linalg.norm(np.asarray(found.keypoints) - pose, axis=-1)[:, own].mean(1)
            assert miss.min() < 20


def test_kdc_finds_the_known_people_with_their_masks(demo):
    _, (sample, ) = demo.run(demo.people(2))
    found = sample.pred_instances
    assert len(found.keypoints) == len(found.masks) == 2
    assert {tuple(mask['size']) for mask in found.masks} == {(480, 640)}


def test_without_people_the_networks_own_output_is_decoded(demo):
    head = demo.model.head
    with replaced_method(head.decoder, 'batch_decode', lambda decode: lambda maps, *args: (
            noted.append(maps), decode(maps, *args))[1]):
        noted = []
        demo.run(None)
        demo.run(demo.people(2))
    own, shown = (maps['heatmaps'] for maps in noted)
    assert shown.unique().tolist() == [-8, 8]
    assert len(own.unique()) > 100


def test_people_get_the_keypoints_of_any_data_set():
    crowd = make_crowd(3, 0, (640, 480))
    names = ('left_knee', 'top_head', 'left_hand_index', 'right_big_toe')
    changed = with_keypoints(crowd, names)
    near = [COCO_NAMES.index(name)
            for name in ('left_knee', 'nose', 'left_wrist', 'right_ankle')]
    gap = np.linalg.norm(changed.keypoints - crowd.keypoints[:, near], axis=-1)
    height = np.ptp(crowd.keypoints[..., 1], axis=1)
    assert (gap[:, 0] == 0).all() and (0 < gap[:, 1:]).all()
    assert (gap < 0.2 * height[:, None]).all()
    assert (changed.visible == crowd.visible[:, near]).all()


def test_a_method_is_put_back_also_after_an_error():
    layer = nn.ReLU()
    with pytest.raises(ValueError):
        with replaced_method(layer, 'forward', lambda method: lambda x: method(x) + 1):
            assert layer(torch.zeros(1)) == 1
            raise ValueError
    assert layer(torch.zeros(1)) == 0 and 'forward' not in vars(layer)


class Sleeper(nn.Module):

    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        time.sleep(0.05)
        return x if self.inner is None else self.inner(x)


def test_the_clock_counts_modules_within_modules_once_and_nothing_between():
    model = nn.Module()
    model.head = Sleeper(Sleeper())
    start = time.perf_counter()
    with ForwardClock(model, 'cpu') as clock:
        model.head.forward(0)  # as MMPose's heads call themselves
        time.sleep(0.2)
        model.head(0)
    inside = clock.elapsed
    assert 4 * 0.05 <= inside <= time.perf_counter() - start - 0.2
    model.head(0)
    assert clock.elapsed == inside


def test_networks_take_turns():
    log = []
    jobs = [(SimpleNamespace(run=lambda people, amp, name=name: (log.append(name), Times(1, 2))[1:]
                             ), None) for name in 'abc']
    times = take_turns(jobs, 2, False, lambda: None)
    assert log == list('abcabc')
    assert times == [[Times(1, 2)] * 2] * 3


def test_results_have_the_order_and_units_of_the_request(demo):
    other = Contestant('again', load_config(DEMO), input_size=(97, 97), batch=2)
    results = measure_speed([other, demo], rounds=3)
    assert [list(result) for result in results] == [KEYS, KEYS]
    assert [result['config'] for result in results] == ['again', DEMO]
    for result, batch in zip(results, (2, 1)):
        assert result['fps'] == pytest.approx(1e3 * batch / result['total_ms'])
        assert 0 < result['forward_ms'] < result['total_ms'] and result['decode_ms'] > 0
        assert result['params_m'] == pytest.approx(
            sum(p.numel() for p in demo.model.parameters()) / 1e6)
        assert result['gmacs'] == pytest.approx(results[0]['gmacs'])  # of one image
        weights = 4 * result['params_m']
        assert weights < result['peak_mem_mb'] < weights + 100
    assert results[0]['peak_mem_mb'] > results[1]['peak_mem_mb']


def test_costs_are_the_medians_per_network_and_number_of_persons():

    def network(ms_per_person):
        slowdown = iter([1, 1, 1, 1, 9, 9, 2, 2])  # of warming up and of three rounds, by turns
        return SimpleNamespace(
            people=lambda count: count,
            run=lambda count, amp: (Times(0, ms_per_person * count * next(slowdown)), []))

    costs = measure_against_persons([network(1), network(10)], (1, 4), rounds=3)
    assert costs == [[2, 8], [20, 80]]


def test_mixed_precision_runs_on_a_cpu(demo):
    seen = []
    handle = demo.model.backbone.conv1.register_forward_hook(
        lambda module, inputs, output: seen.append(output.dtype))
    demo.run(demo.people(1), amp=True)
    handle.remove()
    assert seen == [torch.bfloat16]


def test_an_input_size_is_rounded_up_to_what_the_network_takes():
    name = OTHERS['rtmo']
    contestant = Contestant(name, load_config(name), input_size=(97, 65))
    assert contestant.input_size == (128, 96)


def test_a_network_that_cannot_run_is_named(demo):
    name = OTHERS['dekr']
    contestant = Contestant(name, load_config(name), input_size=(64, 64), batch=2)
    with pytest.raises(ConfigError, match='dekr.*2 images of 64x64 on cpu.*batch_size 1'):
        warm_up([contestant], [contestant.people(1)], amp=False)


def test_networks_that_see_one_person_at_a_time_are_refused():
    name = f'{BODY}topdown_heatmap/coco/td-hm_res50_8xb64-210e_coco-256x192.py'
    with pytest.raises(ConfigError, match='td-hm_res50.*no BottomupResize'):
        Contestant(name, load_config(name))


def test_the_tool_writes_the_results(tmp_path, capsys):
    out = tmp_path / 'report/speed.json'
    load_tool('analysis_tools/benchmark_speed').main([
        DEMO, '--input-size', '97', '97', '--rounds', '1', '--device', 'cpu', '--out', str(out)])
    (result, ) = json.loads(out.read_text())['results']
    assert list(result) == KEYS and result['config'] == DEMO
    assert f'| {DEMO} |' in capsys.readouterr().out


@pytest.mark.parametrize('arguments, message', [
    (['nowhere.py'], 'error: There is no config nowhere.py'),
    ([DEMO, '--rounds', '0'], '--rounds must be at least 1'),
])
def test_the_tool_says_in_one_line_what_is_wrong(arguments, message):
    with pytest.raises(SystemExit, match=message):
        load_tool('analysis_tools/benchmark_speed').main([*arguments, '--device', 'cpu'])


@pytest.mark.gpu
@pytest.mark.parametrize('amp', [False, True])
def test_networks_are_measured_on_a_gpu(amp):
    contestant = Contestant(DEMO, load_config(DEMO), 'cuda')
    (result, ) = measure_speed([contestant], rounds=2, amp=amp)
    assert 0 < result['forward_ms'] < result['total_ms']
    assert result['peak_mem_mb'] > 4 * result['params_m']


def need_onnx():
    for name in PACKAGES:
        pytest.importorskip(name, reason=f'{name} is optional: requirements/deploy.txt')


def test_with_onnxruntime_kdcs_people_are_found_without_pytorch():
    need_onnx()
    contestant = OnnxContestant(DEMO, load_config(DEMO), input_size=(97, 97), batch=2)
    times, found = contestant.run(contestant.people(3))
    assert [len(people.masks.rles) for people in found] == [3, 3]
    assert 0 < times.forward < times.total
    [result] = measure_speed([contestant], rounds=2)
    assert list(result) == KEYS and result['peak_mem_mb'] is None


class Plain(nn.Module):
    """A network of one convolution whose head puts out nested lists."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Module()
        self.head.forward = lambda x: ([x, None], (x.mean((2, 3)), ))

    def extract_feat(self, inputs):
        return self.backbone(inputs)


def test_with_onnxruntime_a_head_of_others_gets_its_outputs_as_pytorch_has_them(tmp_path):
    need_onnx()
    torch.manual_seed(0)
    network, inputs = GraphOfOutputs(Plain()), torch.randn(1, 3, 8, 9)
    session = open_session('plain', network, inputs)
    flat = session.run(None, dict(images=inputs.numpy()))
    [first, nothing], (mean, ) = network.unflatten([torch.from_numpy(part) for part in flat])
    with torch.no_grad():
        expected = network.model.extract_feat(inputs)
    assert nothing is None
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(mean, expected.mean((2, 3)))


def test_with_onnxruntime_detectors_are_refused():
    need_onnx()
    with pytest.raises(ConfigError, match='bottom-up pose networks on the CPU'):
        OnnxContestant(OTHERS['mask_rcnn'], load_config(OTHERS['mask_rcnn']))
