"""Data sets that do not define all keypoints, and images of CombinedDataset that are missing."""
import numpy as np
import pytest
import torch
from mmpose.registry import DATASETS, MODELS

from kdc_mm.datasets import KDCCocoDataset
from tests.conftest import grey_image, person

LOAD = dict(type='LoadImage8Bit', imdecode_backend='pillow')
TO_INPUT = [dict(type='BottomupRandomAffine', input_size=(65, 65)),
            dict(type='RandomFlip', prob=1.), dict(type='BottomupGetPersonMasks'),
            dict(type='PackPoseInputs')]
#: All but the nose, left eye and left ear.
CONVERT = dict(
    type='KeypointConverter', num_keypoints=17,
    mapping=[(k, k) for k in range(17) if k not in (0, 1, 3)])


def combined(files, sub_pipeline, pipeline, **settings):
    return DATASETS.build(dict(
        type='CombinedDataset', metainfo=dict(from_file='configs/_base_/datasets/coco.py'),
        datasets=[dict(type='KDCCocoDataset', pipeline=sub_pipeline, **files, **settings)],
        pipeline=pipeline))


def test_undefined_keypoints_take_no_part_in_the_heatmap_loss(write_coco):
    files = write_coco([(grey_image(), [person(10, 10, 30, 40)])])
    sample = combined(files, [LOAD, CONVERT], TO_INPUT)[0]
    sample = sample['data_samples']
    undefined = sample.gt_instance_labels.keypoint_undefined
    assert undefined[0].nonzero()[:, 0].tolist() == [0, 2, 4]  # mirrored: nose, right eye and ear
    head = MODELS.build(dict(
        type='KDCPoseHead', in_channels=4, num_convs=0,
        decoder=dict(type='PoseSeg', input_size=(65, 65), radius=8)))
    fields = head.forward((torch.randn(1, 4, 17, 17), ))
    heatmaps = fields['heatmaps'].detach().requires_grad_()
    head.forward = lambda feats: dict(fields, heatmaps=heatmaps)
    head.loss((None, ), [sample])['loss_heatmap'].backward()
    learnt = heatmaps.grad[0].abs().amax((1, 2)) > 0
    assert (~learnt).nonzero()[:, 0].tolist() == [0, 2, 4]
    assert (heatmaps.grad[0][learnt] != 0).all()  # background too


def test_images_of_a_data_set_that_defines_all_keypoints_have_no_such_label(write_coco):
    files = write_coco([(grey_image(), [person(10, 10, 30, 40)])])
    sample = combined(files, [LOAD], TO_INPUT)[0]
    assert 'keypoint_undefined' not in sample['data_samples'].gt_instance_labels


def test_an_image_of_nobody_passes_the_converter(write_coco):
    files = write_coco([(grey_image(), [person(10, 10, 30, 40)]), (grey_image(), [])])
    dataset = combined(files, [LOAD, CONVERT], TO_INPUT, empty_share=0.5)
    assert len(dataset) == 2
    assert dataset[1]['data_samples'].gt_instance_labels.keypoint_table.shape == (0, 17, 3)


@pytest.mark.parametrize('loads', ['the data set', 'CombinedDataset'])
def test_missing_images_are_skipped_in_a_combined_training(loads, write_coco, tmp_path):
    files = write_coco([(grey_image(), [person(10, 10, 30, 40)])] * 4)
    (tmp_path / '2.png').unlink()
    sub_pipeline, pipeline = ([LOAD], []) if loads == 'the data set' else ([], [LOAD])
    dataset = combined(files, sub_pipeline, pipeline)
    np.random.seed(0)
    assert dataset[1]['img_id'] in (1, 3, 4)
    assert dataset.datasets[0].num_skipped >= 1


def test_a_missing_image_stops_a_combined_evaluation(write_coco, tmp_path):
    files = write_coco([(grey_image(), [person(10, 10, 30, 40)])])
    (tmp_path / '1.png').unlink()
    dataset = combined(files, [], [LOAD], test_mode=True)
    with pytest.raises(FileNotFoundError, match=r'1\.png'):
        dataset[0]


@pytest.mark.parametrize('number', [1, 2, 4, 21])
def test_data_sets_of_any_skeleton_are_read(number, write_coco):
    info = dict(
        dataset_name='own', joint_weights=[1.] * number, sigmas=[0.05] * number,
        keypoint_info={k: dict(name=f'point {k}', id=k, swap='') for k in range(number)},
        skeleton_info={k: dict(link=(f'point {k}', f'point {k + 1}'), id=k)
                       for k in range(number - 1)})
    files = write_coco([(grey_image(), [person(9, 9, 30, 40, keypoints=[20, 20, 2] * number)])])
    dataset = KDCCocoDataset(**files, metainfo=info, pipeline=[LOAD, *TO_INPUT])
    table = dataset[0]['data_samples'].gt_instance_labels.keypoint_table
    assert table.shape == (1, number, 3) and (table[..., 2] == 1).all()
