"""tools/analysis_tools/codec_ceiling.py and benchmark_codec.py, and the errors of maps they use."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine import Config

from kdc_mm.benchmarks.codec.bottomup_codecs import AECodec, Crowd, SPRCodec
from kdc_mm.benchmarks.codec.ceiling import crowd_in_input, evaluate_keypoints
from kdc_mm.benchmarks.codec.map_noise import MapNoise
from kdc_mm.benchmarks.codec.random_crowds import STANDING, draw_masks, make_crowd
from kdc_mm_runtime.people import ImageFrame
from tests.conftest import load_tool

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs/kdc_rn152_coco.py')
KEYPOINT_NAMES = ['AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)',
                  'AR (L)']
CROWD_NAMES = ['AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75', 'AP(E)', 'AP(M)', 'AP(H)']


@pytest.fixture(scope='module')
def ceiling():
    return load_tool('analysis_tools/codec_ceiling')


@pytest.fixture(scope='module')
def benchmark():
    return load_tool('analysis_tools/benchmark_codec')


@pytest.fixture(autouse=True)
def torch_threads():
    """The tools switch to one thread; tests after these get back what they had."""
    import torch
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Function that runs a tool with arguments and returns the JSON it wrote."""

    def run_tool(tool, *arguments):
        out = tmp_path / 'report' / 'out.json'
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments), '--out', str(out)])
        tool.main()
        return json.loads(out.read_text())

    return run_tool


def annotate(keypoints, labelled, image_id, ann_id):
    """A COCO annotation, the mask the keypoints' box."""
    low, high = keypoints.min(0) - 5, keypoints.max(0) + 5
    width, height = high - low
    return dict(
        id=ann_id,
        image_id=image_id,
        category_id=1,
        iscrowd=0,
        bbox=[*low.tolist(), width, height],
        area=width * height,
        num_keypoints=int(labelled.sum()),
        keypoints=np.concatenate([keypoints, 2 * labelled[:, None]], 1).ravel().tolist(),
        segmentation=[[*low.tolist(), high[0], low[1], *high.tolist(), low[0], high[1]]])


@pytest.fixture
def write_people(tmp_path):
    """Function that writes an annotation file of two people apart in each of ``images`` images of
    640x480, after an image of nobody. ``change`` may edit the content."""

    def write(images=2, change=lambda content: None):
        rng = np.random.default_rng(0)
        annotations = []
        for image_id in range(2, images + 2):
            for place in (160, 480):
                pose = STANDING + rng.normal(0, 0.02, (17, 2))
                keypoints = pose * rng.uniform(250, 400) + (place, 240)
                annotations.append(
                    annotate(keypoints, rng.random(17) < 0.9, image_id, len(annotations) + 1))
        content = dict(
            images=[
                dict(id=i, file_name=f'{i}.jpg', width=640, height=480, crowdIndex=0.1 * i)
                for i in range(1, images + 2)
            ],
            annotations=annotations,
            categories=[dict(id=1, name='person')])
        change(content)
        path = tmp_path / 'people.json'
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def crowd():
    """Function that puts three people apart into an input of a size."""

    def make(input_size):
        scale = input_size[0] / 640
        heights = np.array([300., 250., 200.]) * scale
        places = np.array([(120, 300), (320, 320), (520, 340)]) * scale
        keypoints = STANDING * heights[:, None, None] + places[:, None]
        frame = ImageFrame((640, 640), (scale, scale), (0., 0.))
        owner = draw_masks(keypoints, heights, input_size)
        return Crowd(keypoints.astype(np.float32), np.ones((3, 17), np.float32), frame, owner,
                     np.zeros(owner.shape, bool))

    return make


@pytest.fixture(params=['poseseg', 'spr', 'ae'])
def codec(request, benchmark):
    poseseg = benchmark.default_codec()
    return dict(
        poseseg=poseseg, spr=SPRCodec(), ae=AECodec(poseseg.codec.skeleton.names))[request.param]


def test_the_ceiling_of_all_codecs_is_near_one_on_separate_people(ceiling, run, write_people):
    report = run(ceiling, CONFIG, '--ann-file', write_people(), '--compare', 'spr', 'ae')

    assert set(report) == {'poseseg', 'spr', 'ae', 'images', 'persons'}
    assert (report['images'], report['persons']) == (2, 4)
    for name in ('poseseg', 'spr', 'ae'):
        assert list(report[name]['keypoints']) == KEYPOINT_NAMES
        assert 0.95 < report[name]['keypoints']['AP'] <= 1
        assert 0.95 < report[name]['keypoints']['AR'] <= 1
        assert report[name]['encode_ms'] > 0 and report[name]['decode_ms'] > 0
    assert report['poseseg']['segm']['AP'] > 0.95
    assert report['poseseg']['mask_ms'] > 0
    assert report['spr']['segm'] is None and report['ae']['segm'] is None


def test_noise_is_the_same_at_each_run_and_lowers_every_score(ceiling, run, write_people):
    def scores(noise):
        report = run(ceiling, CONFIG, '--ann-file', write_people(), '--compare', 'spr', 'ae',
                     '--noise', noise)
        return {name: report[name]['keypoints'] for name in ('poseseg', 'spr', 'ae')}

    some, same, more = scores(4), scores(4), scores(16)
    assert some == same
    for name in some:
        assert more[name]['AR'] < some[name]['AR'] <= 1


def test_limit_takes_the_first_annotated_images(ceiling, run, write_people):
    report = run(ceiling, CONFIG, '--ann-file', write_people(images=3), '--limit', 1)
    assert (report['images'], report['persons']) == (1, 2)


def test_without_masks_only_keypoints_are_evaluated(ceiling, run, write_people):
    def drop_masks(content):
        for ann in content['annotations']:
            del ann['segmentation']

    report = run(ceiling, CONFIG, '--ann-file', write_people(change=drop_masks))
    assert report['poseseg']['segm'] is None
    assert 'mask_ms' not in report['poseseg']


def test_the_crowd_metric_scores_by_crowding(ceiling, run, write_people):
    report = run(ceiling, CONFIG, '--ann-file', write_people(), '--iou-type', 'keypoints_crowd')
    assert list(report['poseseg']['keypoints']) == CROWD_NAMES


@pytest.mark.parametrize('name, iou_type', [('coco', 'keypoints'),
                                            ('crowdpose', 'keypoints_crowd')])
def test_the_metric_is_that_of_the_config(ceiling, name, iou_type):
    cfg = Config.fromfile(ROOT / f'configs/kdc_rn152_{name}.py')
    assert ceiling.keypoint_evaluator(cfg).get('iou_type', 'keypoints') == iou_type


def test_poses_fall_apart_without_joining_and_input_size_is_the_codecs(ceiling, run, write_people):
    def hide_hips_and_an_elbow(content):
        for ann in content['annotations']:
            for k in (7, 11, 12):
                ann['keypoints'][3 * k + 2] = 0

    arguments = [CONFIG, '--ann-file', write_people(change=hide_hips_and_an_elbow)]
    whole = run(ceiling, *arguments, '--input-size', 321, 257)
    apart = run(ceiling, *arguments, '--input-size', 321, 257, '--no-join')
    assert apart['poseseg']['keypoints']['AP'] < 0.9 < whole['poseseg']['keypoints']['AP']


@pytest.mark.parametrize('change, options, message', [
    (lambda content: content['annotations'][0].update(keypoints=[1, 2, 2] * 14), [],
     '14 keypoints, but the data set has 17'),
    (lambda content: [ann.pop('keypoints') for ann in content['annotations']], [],
     'has a labelled keypoint'),
    (lambda content: [image.pop('crowdIndex') for image in content['images']],
     ['--iou-type', 'keypoints_crowd'], 'no `crowdIndex`'),
])
def test_annotations_that_do_not_fit_are_named(ceiling, run, write_people, change, options,
                                               message):
    with pytest.raises(SystemExit, match=message):
        run(ceiling, CONFIG, '--ann-file', write_people(change=change), *options)


def test_a_missing_annotation_file_is_named(ceiling, run):
    with pytest.raises(SystemExit, match="no annotation file 'nowhere.json'"):
        run(ceiling, CONFIG, '--ann-file', 'nowhere.json')


def test_decoding_nobody_scores_zero():
    assert evaluate_keypoints([], 'unread.json', 'keypoints', {}) == dict(AP=0.)


def test_the_image_fits_into_the_input_as_a_whole(write_people):
    from mmpose.registry import DATASETS
    dataset = DATASETS.build(dict(type='KDCCocoDataset', ann_file=str(write_people())))
    info = dataset.get_data_info(0)
    crowd = crowd_in_input(info, (401, 401))
    back = (crowd.keypoints - crowd.frame.offset) / crowd.frame.scale
    np.testing.assert_allclose(back, info['keypoints'], atol=1e-3)
    assert crowd.frame.scale == pytest.approx((401 / 640, ) * 2)
    assert crowd.mask_owner.shape == (401, 401) and crowd.image_owner.shape == (480, 640)


def test_ae_groups_keypoints_in_the_published_order():
    names = ['nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder',
             'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist',
             'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle']
    assert AECodec(names).codec.decode_keypoint_order == [
        0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16]


def test_perfect_maps_give_everybody_back(codec, crowd):
    people = crowd(codec.input_size)
    decoded = codec.decode(codec.perfect_maps(people, codec.encode(people)))
    distance = np.linalg.norm(decoded.keypoints[:, None] - people.keypoints, axis=-1)
    miss = [distance[:, j, labelled > 0].mean(1).min() for j, labelled in enumerate(people.visible)]
    assert len(decoded.keypoints) == 3
    assert np.max(miss) < 2


def test_spoiling_leaves_perfect_maps_as_they_were(codec, crowd):
    people = crowd(codec.input_size)
    maps = codec.perfect_maps(people, codec.encode(people))
    before = {name: field.clone() for name, field in maps.items()}
    noisy = codec.perturb(maps, people, MapNoise(4, image=0))
    for name, field in before.items():
        assert (maps[name] == field).all()
        assert noisy[name].shape == field.shape
    changed = {name for name in maps if not (noisy[name] == maps[name]).all()}
    assert changed == set(maps) - {'log_bandwidth'}


def test_vectors_miss_by_the_noise_in_pixels_of_the_input(codec, crowd):
    people = crowd(codec.input_size)
    maps = codec.perfect_maps(people, codec.encode(people))
    noisy = codec.perturb(maps, people, MapNoise(4, image=0))
    unit = dict(displacements=4, key_centroids=1, person_centroids=1, limbs=1, mask_centroids=1)
    for name in maps:
        if name in unit:
            error = unit[name] * (noisy[name] - maps[name])
            # quantiles, since false peaks have vectors of their own
            np.testing.assert_allclose(np.quantile(error, [0.3, 0.5, 0.7]), [-2.1, 0, 2.1],
                                       atol=0.3)


def test_a_peaks_place_moves_by_the_noise():
    y, x = np.mgrid[:64, :64] * 4.
    peak = np.exp(-((x - 128)**2 + (y - 128)**2) / (2 * 8**2))
    noisy = peak * MapNoise(2, image=0).heat_gain((200, 64, 64), 4)
    place = np.array([(x.flat[i], y.flat[i]) for i in noisy.reshape(200, -1).argmax(1)]) - 128
    assert place.std() == pytest.approx(2, abs=0.7)


def test_smooth_fields_have_unit_variance_at_all_strides():
    for stride in (1, 2, 4, 8):
        shift = np.stack([MapNoise(1, image).boundary_shift((400 // stride,) * 2, stride)
                          for image in range(8)])
        assert shift.std() == pytest.approx(1, abs=0.1)


def test_false_peaks_are_the_same_for_all_codecs_and_as_many_as_said():
    labelled = np.ones((3, 17), bool)
    peaks = [peak for image in range(50) for peak in MapNoise(4, image).false_peaks(labelled)]
    assert len(peaks) / (50 * 18) == pytest.approx(1, abs=0.1)
    assert np.mean([peak.claims for peak in peaks]) == pytest.approx(0.5, abs=0.1)
    again = MapNoise(4, 0).false_peaks(labelled)
    assert [peak.heat for peak in again] == [peak.heat for peak in peaks[:len(again)]]


def test_nobody_is_copied_where_nobody_is():
    assert MapNoise(100, image=0).false_peaks(np.zeros((2, 17), bool)) == []


def test_the_benchmark_times_every_codec(benchmark, run, tmp_path, capsys):
    report = run(benchmark, '--persons', 1, 3, '--rounds', 1)

    assert report['persons'] == [1, 3]
    assert set(report) == {'persons', 'poseseg', 'spr', 'ae'}
    assert set(report['poseseg']) == {'encode_ms', 'decode_ms', 'mask_ms'}
    for name in ('poseseg', 'spr', 'ae'):
        for kind in ('encode_ms', 'decode_ms'):
            assert len(report[name][kind]) == 2 and min(report[name][kind]) > 0
    assert (tmp_path / 'report' / 'out.png').stat().st_size > 10_000
    assert 'encodes 200 persons within' in capsys.readouterr().out


@pytest.mark.gpu
def test_the_benchmark_runs_on_a_gpu(benchmark, run):
    report = run(benchmark, '--persons', 3, '--rounds', 1, '--device', 'cuda')
    for name in ('poseseg', 'spr', 'ae'):
        assert report[name]['decode_ms'][0] > 0


def test_encoding_200_persons_stays_below_100_mb(benchmark):
    assert benchmark.encode_peak(benchmark.default_codec(), 200) < 100


def test_a_crowds_people_are_the_same_in_inputs_of_all_sizes():
    small, large = (make_crowd(20, 1, size) for size in ((401, 401), (512, 512)))
    np.testing.assert_allclose((small.keypoints - small.frame.offset) / small.frame.scale,
                               (large.keypoints - large.frame.offset) / large.frame.scale,
                               atol=1e-3)
    assert (small.visible == large.visible).all() and small.visible.any(1).all()


def test_masks_are_decoded_with_the_poses(benchmark, crowd):
    poseseg = benchmark.default_codec()
    people = crowd(poseseg.input_size)
    maps = poseseg.perfect_maps(people, poseseg.encode(people))
    decoded = poseseg.decode(maps, people.frame)
    assert len(decoded.masks) == len(decoded.mask_scores) == 3
    assert poseseg.decode(maps).masks is None
