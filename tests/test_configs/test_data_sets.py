"""The benchmarks' configs on a few of their images, and the figures of the metrics' own tools."""
import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, METRICS
from mmpose.structures import PoseDataSample
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from xtcocotools.coco import COCO as CrowdCOCO
from xtcocotools.cocoeval import COCOeval as CrowdCOCOeval

from .small import check_losses, run, small_config, use_data

SAMPLES = {
    'coco': ('mm-samples/coco', 'test_coco.json'),
    'crowdpose': ('mm-samples/crowdpose', 'test_crowdpose.json'),
    'ochuman': ('mm-samples/ochuman', 'test_ochuman.json'),
}
STAGES = [64, 128, 256, 512]


def small_network(name, work_dir, **settings):
    """A config of the benchmarks with ResNet-18 instead of its own depth."""
    return small_config(
        name, work_dir, model__backbone__depth=18, model__neck__in_channels=STAGES, **settings)


def on_samples(cfg, data_root, sample):
    folder, file = SAMPLES[sample]
    return use_data(cfg, data_root / folder, file, file, '', '')


@pytest.mark.parametrize('config, sample, prefix', [
    ('kdc_rn101_coco.py', 'coco', 'coco'),
    ('kdc_rn152_coco.py', 'coco', 'coco'),
    ('kdc_rn152-plain_coco.py', 'coco', 'coco'),
    ('kdc_rn152-paper_coco.py', 'coco', 'coco'),
    ('kdc_rn152_8xb16-140e_coco-513.py', 'coco', 'coco'),
    ('kdc_rn101_crowdpose.py', 'crowdpose', 'crowdpose'),
    ('kdc_rn152_crowdpose.py', 'crowdpose', 'crowdpose'),
    ('kdc_rn101_ochuman.py', 'ochuman', 'ochuman'),
    ('kdc_rn152_ochuman.py', 'ochuman', 'ochuman'),
])
def test_each_benchmarks_config_trains_two_iterations_and_validates(
        data_root, tmp_path, config, sample, prefix):
    if 'plain' in config:
        cfg = small_config(
            config, tmp_path, model__backbone__depth=18, model__head__in_channels=512)
    else:
        cfg = small_network(config, tmp_path)
    cfg = on_samples(cfg, data_root, sample)
    cfg.train_dataloader.update(batch_size=1)
    cfg.train_dataloader.dataset.update(indices=2)
    losses, metrics, _ = run(cfg)
    check_losses(losses)
    expected = {f'{prefix}/AP', f'{prefix}/AR'}
    if prefix == 'crowdpose':
        expected |= {'crowdpose/AP(E)', 'crowdpose/AP(M)', 'crowdpose/AP(H)'}
        assert 'loss_semantic' not in losses[0]
    else:
        expected |= {f'{prefix}/segm_mAP', f'{prefix}/segm_mAP_50'}
        assert losses[0]['loss_semantic'] > 0
    assert metrics.keys() >= expected


@pytest.mark.parametrize('config', ['kdc_rn101_coco-on-crowdpose.py',
                                    'kdc_rn152_coco-on-crowdpose.py'])
def test_a_network_of_coco_is_evaluated_on_crowdpose(data_root, tmp_path, config):
    cfg = small_network(config, tmp_path, model__head__decoder__keypoint_threshold=1e-6)
    assert cfg.train_dataloader.dataset.type == 'KDCCocoDataset'
    on_samples(cfg, data_root, 'crowdpose')
    figures = Runner.from_cfg(cfg).test()
    assert figures.keys() >= {'crowdpose/AP', 'crowdpose/AP(E)', 'crowdpose/AP(H)'}


def test_joints_of_coco_are_compared_with_crowdposes_where_both_are_labelled(data_root):
    [metric], dataset, _ = parity_case(data_root, 'kdc_rn152_coco-on-crowdpose.py', 'crowdpose')
    annotated = [dataset.get_data_info(index) for index in range(len(dataset))]

    def predictions(error_px):
        samples = []
        for info in annotated:
            shown = (info['keypoints_visible'][:, :12] > 0).any(1)
            joints = info['keypoints'][shown, :12].astype(np.float32)
            joints[:, 0] += error_px  # of left shoulders
            coco = np.concatenate([np.zeros((len(joints), 5, 2), np.float32), joints], 1)
            scores = np.ones(len(coco), np.float32)
            pred = InstanceData(
                keypoints=coco, keypoint_scores=np.ones(coco.shape[:2], np.float32),
                bboxes=np.zeros((len(coco), 4), np.float32), bbox_scores=scores, scores=scores)
            samples.append(PoseDataSample(
                metainfo=dict(id=[], img_id=info['img_id'], img_path=info['img_path'],
                              ori_shape=info['ann_img_shape']),
                gt_instances=InstanceData(), pred_instances=pred).to_dict())
        return samples

    assert scores_of(metric, predictions(0), dataset)['AP'] == pytest.approx(1)
    assert scores_of(metric, predictions(300), dataset)['AP'] < 0.95
    missed = scores_of(dict(metric, type='CocoMetric'), predictions(0), dataset)
    assert missed['AP'] < 0.8  # the benchmark's metric misses head top and neck


def test_coco_test_dev_is_written_as_its_server_takes_it(data_root, tmp_path):
    """From a list of images alone: keypoints and masks in files, and no figures."""
    folder, file = SAMPLES['coco']
    content = json.loads((data_root / folder / file).read_text())
    (tmp_path / 'annotations').mkdir()
    listing = tmp_path / 'annotations/image_info_test-dev2017.json'
    listing.write_text(json.dumps(dict(
        images=content['images'][:2],
        categories=[dict(id=1, name='person'), dict(id=2, name='bicycle')])))

    cfg = small_network('kdc_rn152_coco_test-dev.py', tmp_path, model__test_cfg__flip_test=False)
    assert [part.outfile_prefix for part in cfg.test_evaluator] == 2 * [
        'work_dirs/kdc_rn152_coco_test-dev/results']
    cfg.test_dataloader.dataset.update(
        data_root=f'{tmp_path}/', data_prefix=dict(img=f'{data_root / folder}/'))
    cfg.model.head.decoder.update(heatmap_threshold=0.04, keypoint_threshold=1e-6)
    for metric in cfg.test_evaluator:
        metric.update(ann_file=str(listing), outfile_prefix=str(tmp_path / 'out/results'))
    assert Runner.from_cfg(cfg).test() == {}

    ids = {image['id'] for image in content['images'][:2]}
    poses = json.loads((tmp_path / 'out/results.keypoints.json').read_text())
    masks = json.loads((tmp_path / 'out/results.segm.json').read_text())
    assert poses and masks
    for row in poses:
        assert row['image_id'] in ids and row['category_id'] == 1
        assert len(row['keypoints']) == 51 and isinstance(row['score'], float)
    for row in masks:
        assert row['image_id'] in ids and row['category_id'] == 1
        assert isinstance(row['segmentation']['counts'], str)


# The configs' metrics against the evaluation's own tools


def jittered_truth(dataset, seed=0):
    """Predictions with errors of all sizes: what was annotated, moved, some of it left out, twice
    or invented."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        anns = [ann for ann in info['raw_ann_info'] or [] if any(ann['keypoints'][2::3])]
        anns = [ann for ann in anns for _ in range(rng.choice([0, 1, 1, 1, 2]))]
        shape = info['ann_img_shape']
        keypoints, masks = [], []
        for ann in anns:
            points = np.array(ann['keypoints'], float).reshape(-1, 3)[:, :2]
            spread = rng.choice([0.01, 0.05, 0.2]) * np.sqrt(max(ann['bbox'][2:]))
            keypoints.append(points + rng.normal(0, 5 * spread, points.shape))
            if ann.get('segmentation'):
                rle = coco_mask.merge(coco_mask.frPyObjects(ann['segmentation'], *shape)) \
                    if isinstance(ann['segmentation'], list) else ann['segmentation']
                moved = np.roll(coco_mask.decode(rle), rng.integers(-6, 7, 2), (0, 1))
                masks.append(coco_mask.encode(np.asfortranarray(moved)))
        n, k = len(anns), dataset.metainfo['num_keypoints']
        scores = rng.random(n).astype(np.float32)
        pred = InstanceData(
            keypoints=np.array(keypoints, np.float32).reshape(n, k, 2),
            keypoint_scores=rng.random((n, k)).astype(np.float32),
            bboxes=np.zeros((n, 4), np.float32), bbox_scores=scores, scores=scores,
            labels=np.zeros(n, np.int64))
        if len(masks) == n and any(ann.get('segmentation') for ann in anns):
            pred.masks = masks
            pred.mask_scores = rng.random(n).astype(np.float32)
        elif not n:
            pred.masks = []
        samples.append(PoseDataSample(
            metainfo=dict(id=[], img_id=info['img_id'], img_path=info['img_path'],
                          ori_shape=shape),
            gt_instances=InstanceData(), pred_instances=pred).to_dict())
    return samples


def scores_of(metric, samples, dataset):
    """The figures that a run would log, without their prefix."""
    metric = METRICS.build(metric)
    metric.dataset_meta = dataset.metainfo
    for sample in samples:
        metric.process({}, [sample])
    return {
        name.split('/')[-1]: value
        for name, value in metric.evaluate(len(samples)).items()
    }


def evaluate_directly(coco, rows, evaluation):
    found = evaluation(coco, coco.loadRes(rows))
    found.evaluate()
    found.accumulate()
    found.summarize()
    return found.stats


def assert_same_figures(logged, names, direct):
    for name, value in zip(names, direct):
        assert logged[name] == pytest.approx(value, abs=1e-6), name


def parity_case(data_root, config, sample):
    """The config's validation metrics, its data set and predictions on the samples."""
    cfg = Config.fromfile(f'configs/{config}')
    cfg = on_samples(cfg, data_root, sample)
    dataset = cfg.val_dataloader.dataset
    dataset.pipeline = []
    dataset.pop('indices')
    dataset = DATASETS.build(dataset)
    metrics = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    return metrics, dataset, jittered_truth(dataset)


@pytest.mark.parametrize('config, sample', [('kdc_rn152_coco.py', 'coco'),
                                            ('kdc_rn152_ochuman.py', 'ochuman')])
def test_keypoint_figures_are_those_of_pycocotools_on_the_dumped_results(
        data_root, tmp_path, config, sample):
    metrics, dataset, samples = parity_case(data_root, config, sample)
    logged = scores_of(
        dict(metrics[0], outfile_prefix=str(tmp_path / 'results')), samples, dataset)
    rows = json.loads((tmp_path / 'results.keypoints.json').read_text())
    assert 0.05 < logged['AP'] < 0.95
    direct = evaluate_directly(
        COCO(metrics[0].ann_file), rows, lambda *args: COCOeval(*args, 'keypoints'))
    names = ['AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)',
             'AR (L)']
    assert_same_figures(logged, names, direct)


def test_crowdpose_figures_are_those_of_xtcocotools_on_the_dumped_results(data_root, tmp_path):
    [metric], dataset, samples = parity_case(data_root, 'kdc_rn152_crowdpose.py', 'crowdpose')
    logged = scores_of(dict(metric, outfile_prefix=str(tmp_path / 'results')), samples, dataset)
    rows = json.loads((tmp_path / 'results.keypoints.json').read_text())
    assert 0.05 < logged['AP'] < 0.95
    direct = evaluate_directly(
        CrowdCOCO(metric.ann_file), rows, lambda *args: CrowdCOCOeval(
            *args, 'keypoints_crowd', dataset.metainfo['sigmas'], use_area=False))
    names = ['AP', 'AP .5', 'AP .75', 'AR', 'AR .5', 'AR .75', 'AP(E)', 'AP(M)', 'AP(H)']
    assert_same_figures(logged, names, direct)


@pytest.mark.parametrize('config, sample', [('kdc_rn152_coco.py', 'coco'),
                                            ('kdc_rn152_ochuman.py', 'ochuman')])
def test_mask_figures_are_those_of_pycocotools_on_the_dumped_results(
        data_root, tmp_path, config, sample):
    metrics, dataset, samples = parity_case(data_root, config, sample)
    logged = scores_of(
        dict(metrics[1], outfile_prefix=str(tmp_path / 'results')), samples, dataset)
    rows = json.loads((tmp_path / 'results.segm.json').read_text())
    for row in rows:
        del row['bbox']  # by which pycocotools would take sizes, instead of the mask's area
    assert 0.05 < logged['segm_mAP'] < 0.95

    def evaluation(*args):
        found = COCOeval(*args, 'segm')
        found.params.maxDets = [100, 300, 1000]
        found.params.imgIds = sorted(sample['img_id'] for sample in samples)
        return found

    direct = evaluate_directly(COCO(metrics[1].ann_file), rows, evaluation)
    names = ['segm_mAP', 'segm_mAP_50', 'segm_mAP_75', 'segm_mAP_s', 'segm_mAP_m', 'segm_mAP_l']
    assert_same_figures(logged, names, direct)
