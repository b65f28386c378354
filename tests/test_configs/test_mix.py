"""KDC's parts mixed with MMPose's: each config of configs/mix trains and validates."""
import json

import pytest
from mmengine.fileio import load

from kdc_mm.datasets.check import check_config
from tests.conftest import load_tool

from .small import TRAIN_FILE, VAL_FILE, check_losses, run, small_config, use_data

POSE = {'loss_heatmap', 'loss_key_centroid', 'loss_limb', 'loss_person_centroid'}
MASK = {'loss_semantic', 'loss_instance'}


def check_run(cfg, losses, metrics):
    """Two iterations with these losses, and AP of these prefixes and kinds."""
    noted, found, _ = run(cfg)
    check_losses(noted)
    assert noted[0].keys() >= losses
    assert found.keys() >= metrics


@pytest.mark.parametrize('config, size', [
    ('mix/kdc_hrnet-w32_coco-512x512.py', (96, 96)),
    ('mix/kdc_cspnext-m-pafpn_coco-640x640.py', (96, 96)),
    ('mix/kdc_swin-t-fpn_coco.py', (97, 97)),
    ('mix/kdc_rn50-fpn_coco.py', (97, 97)),
])
def test_kdc_head_on_other_backbones_learns_poses_and_masks(config, size, synth, tmp_path):
    cfg = use_data(small_config(config, tmp_path, size), synth)
    check_run(cfg, POSE | MASK, {'coco/AP', 'coco/segm_mAP'})


def test_kdc_pose_head_alone_on_17_keypoints(synth, tmp_path):
    cfg = use_data(
        small_config('mix/kdc-pose_hrnet-w32_coco-512x512.py', tmp_path, (96, 96)), synth)
    check_run(cfg, POSE, {'coco/AP'})


def test_kdc_pose_head_alone_on_14_keypoints(synth, tmp_path):
    folder = tmp_path / 'crowdpose'
    as_crowdpose(synth, folder)
    cfg = use_data(
        small_config('mix/kdc-pose_hrnet-w32_crowdpose-512x512.py', tmp_path, (96, 96)), folder,
        train_images=f'{synth}/train2017/', val_images=f'{synth}/val2017/')
    check_run(cfg, POSE, {'crowdpose/AP', 'crowdpose/AP(E)', 'crowdpose/AP(H)'})


def test_kdc_pose_head_alone_on_133_keypoints(synth, tmp_path):
    folder = tmp_path / 'wholebody'
    as_wholebody(synth, folder)
    cfg = use_data(
        small_config('mix/kdc-pose_hrnet-w32_coco-wholebody-512x512.py', tmp_path, (96, 96)),
        folder, train_images=f'{synth}/train2017/', val_images=f'{synth}/val2017/')
    check_run(cfg, POSE, {'coco-wholebody/AP'})


def test_kdc_resnet_learns_under_mmposes_associative_embedding(synth, tmp_path):
    cfg = use_data(small_config('mix/ae_kdc-rn50_coco-512x512.py', tmp_path, (128, 128)), synth)
    check_run(cfg, {'loss_kpt', 'loss_pull', 'loss_push'}, {'coco/AP'})


SMALL_RESNET = dict(
    model__backbone__depth=18, model__neck__in_channels=[64, 128, 256, 512])


def mixed_config(tmp_path, folders):
    """The config of three data sets on the files and images of three folders.

    Args:
        folders (list): Of each data set the annotation files and image folders, for training and
            for validation.
    """
    cfg = small_config('mix/kdc_rn50-fpn_coco-crowdpose-ochuman.py', tmp_path, **SMALL_RESNET)
    for number, part in enumerate(('train', 'val')):
        datasets = cfg[f'{part}_dataloader'].dataset.datasets
        for dataset, files in zip(datasets, folders):
            file, images = files[number]
            dataset.update(data_root='', ann_file=str(file), data_prefix=dict(img=f'{images}/'),
                           indices=2)
    metrics, names = cfg.val_evaluator.metrics, cfg.val_evaluator.datasets
    for metric, name, number in zip(metrics, names, (0, 0, 1, 2, 2)):
        metric.ann_file = name.ann_file = str(folders[number][1][0])
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    return cfg


def check_mixed(cfg):
    """Masks are learnt where there are masks, and each data set has its figures."""
    noted, metrics, runner = run(cfg)
    assert len(noted) == 3 and noted[0].keys() == POSE | MASK | {'loss'}
    assert any(line['loss_semantic'] > 0 for line in noted)
    for prefix in ('coco', 'ochuman'):
        assert {f'{prefix}/AP', f'{prefix}/segm_mAP'} <= metrics.keys()
    assert {'crowdpose/AP', 'crowdpose/AP(H)'} <= metrics.keys()
    assert 'crowdpose/segm_mAP' not in metrics
    return runner


def test_coco_crowdpose_and_ochuman_train_together_and_each_is_validated(synth, tmp_path):
    as_crowdpose(synth, tmp_path / 'crowdpose')
    folders = [[(root / file, synth / images) for file, images in
                ((TRAIN_FILE, 'train2017'), (VAL_FILE, 'val2017'))]
               for root in (synth, tmp_path / 'crowdpose', synth)]
    cfg = mixed_config(tmp_path, folders)
    checks = check_config(cfg)
    assert [check.name for check in checks] == ['train', 'train 2', 'train 3', 'val', 'val 2',
                                                'val 3']
    assert [check.errors for check in checks] == 6 * [[]]
    dump = tmp_path / 'predictions.pkl'
    load_tool('test').dump_predictions(cfg, str(dump))
    cfg.val_evaluator = cfg.test_evaluator
    runner = check_mixed(cfg)
    dataset = runner.train_dataloader.dataset
    undefined = []
    for index in range(len(dataset)):
        labels = dataset[index]['data_samples'].gt_instance_labels
        undefined.append(labels.keypoint_undefined.any(0).nonzero()[:, 0].tolist())
        assert (labels.keypoint_table[labels.keypoint_undefined][:, 2] == 0).all()
    assert [sample['dataset_name'] for sample in load(dump)] == [
        name for name in ('coco', 'crowdpose', 'ochuman') for _ in range(2)]
    assert undefined == 2 * [[17, 18]] + 2 * [[0, 1, 2, 3, 4]] + 2 * [[17, 18]]


def test_photos_of_the_three_data_sets_train_together(data_root, tmp_path):
    samples = [('coco', 'test_coco.json'), ('crowdpose', 'test_crowdpose.json'),
               ('ochuman', 'test_ochuman.json')]
    folders = [2 * [(data_root / 'mm-samples' / name / file, data_root / 'mm-samples' / name)]
               for name, file in samples]
    check_mixed(mixed_config(tmp_path, folders))


def rewrite(source, target, change):
    """Copy a data set's annotation files with every person and image changed."""
    (target / 'annotations').mkdir(parents=True)
    for file in (source / 'annotations').glob('*.json'):
        content = json.loads(file.read_text())
        change(content)
        (target / 'annotations' / file.name).write_text(json.dumps(content))


def as_crowdpose(source, target):
    """CrowdPose's layout: limbs as in COCO, then the head's top and the neck; no masks."""
    def change(content):
        for image in content['images']:
            image['crowdIndex'] = 0.3
        for ann in content['annotations']:
            ann.pop('segmentation', None)
            head = ann['keypoints'][:3]
            ann['keypoints'] = ann['keypoints'][15:] + head + head
            ann['num_keypoints'] = sum(value > 0 for value in ann['keypoints'][2::3])

    rewrite(source, target, change)


def as_wholebody(source, target):
    """COCO-WholeBody's layout: feet at the ankles, the face at the nose, hands at the wrists."""
    def change(content):
        for ann in content['annotations']:
            at = [ann['keypoints'][3 * k:3 * k + 3] for k in range(17)]
            ann.update(
                foot_kpts=3 * at[15] + 3 * at[16], face_kpts=68 * at[0],
                lefthand_kpts=21 * at[9], righthand_kpts=21 * at[10], face_valid=True,
                foot_valid=True, lefthand_valid=True, righthand_valid=True)

    rewrite(source, target, change)
