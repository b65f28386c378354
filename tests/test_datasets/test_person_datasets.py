"""The data set classes: what a sample holds, and what happens to bad files."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmpose.registry import DATASETS, MODELS
from torch.utils.data import DataLoader

from kdc_mm.datasets import AnnotationError, KDCCocoDataset
from tests.conftest import NUM_KEYPOINTS, grey_image, person

LOAD = dict(type='LoadImage', imdecode_backend='pillow')
MASKS = dict(type='BottomupGetPersonMasks')
AFFINE = dict(type='BottomupRandomAffine', input_size=(65, 65))
PACK = dict(type='PackPoseInputs')


def keep_image_id(results):
    """Last transform of a pipeline whose batches are lists of image ids."""
    return results['img_id']


def rle(mask):
    """Uncompressed RLE of a (h, w) bool mask, as COCO's crowds have it."""
    pixels = mask.T.reshape(-1)
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff(changes, prepend=0, append=len(pixels))
    return dict(counts=counts.tolist(), size=list(mask.shape))


# What a sample holds


@pytest.mark.parametrize('name', ['KDCCocoDataset', 'KDCCrowdPoseDataset', 'KDCOCHumanDataset'])
def test_a_dataset_is_bottom_up_and_names_the_class_person(name):
    dataset = DATASETS.build(dict(type=name, lazy_init=True))
    assert dataset.data_mode == 'bottomup'
    assert dataset.metainfo['classes'] == ('person', )


def test_classes_stay_when_a_config_gives_its_own_metainfo():
    dataset = KDCCocoDataset(
        lazy_init=True, metainfo=dict(from_file='configs/_base_/datasets/crowdpose.py'))
    assert dataset.metainfo['classes'] == ('person', )
    assert dataset.metainfo['num_keypoints'] == 14


def test_every_annotation_is_a_row(write_coco):
    crowd = rle(np.pad(np.ones((10, 20), bool), 5))
    polygons = [[1, 1, 9, 1, 9, 9, 1, 9], [1, 20, 9, 20, 9, 30]]
    anns = [
        person(1, 1, 8, 29, segmentation=polygons),
        person(5, 5, 20, 10, segmentation=crowd, iscrowd=1, keypoints=[0] * 3 * NUM_KEYPOINTS),
        person(2, 2, 5, 5, segmentation=None),
        person(2, 2, 5, 5, keypoints=None, num_keypoints=None, segmentation=[]),
    ]
    dataset = KDCCocoDataset(**write_coco([(grey_image(20, 30), anns)]), pipeline=[LOAD])
    sample = dataset[0]
    segmentations = [ann.get('segmentation') for ann in sample['raw_ann_info']]
    assert segmentations == [polygons, crowd, None, None]
    assert sample['keypoints'].shape == (4, NUM_KEYPOINTS, 2)
    assert sample['keypoints_visible'].max(axis=1).tolist() == [1, 0, 1, 0]
    assert sample['iscrowd'] == [0, 1, 0, 0]
    assert sample['ann_img_shape'] == (20, 30)


@pytest.mark.parametrize('serialize', [True, False])
def test_changing_a_sample_leaves_the_dataset_alone(write_coco, serialize):
    dataset = KDCCocoDataset(
        **write_coco([(grey_image(), [person(1, 1, 20, 20)])]),
        pipeline=[LOAD],
        serialize_data=serialize)
    dataset[0]['raw_ann_info'][0]['segmentation'][0][0] = -99
    assert dataset[0]['raw_ann_info'][0]['segmentation'][0][0] == 1


def test_images_without_people_are_evaluated_but_not_trained_on(write_coco):
    files = write_coco([(grey_image(), []), (grey_image(), [person(1, 1, 20, 20)])])
    assert [sample['img_id'] for sample in KDCCocoDataset(**files, pipeline=[LOAD])] == [2]
    dataset = KDCCocoDataset(**files, pipeline=[LOAD, MASKS, PACK], test_mode=True)
    assert sorted(sample['data_samples'].img_id for sample in dataset) == [1, 2]


def with_and_without_people(write_coco, people=6, empty=20):
    """Files whose first images show a person each, and the others nobody."""
    return write_coco([(grey_image(), [person(1, 1, 20, 20)])] * people +
                      [(grey_image(), [])] * empty)


@pytest.mark.parametrize('share, number', [(0, 0), (0.1, 1), (0.25, 2), (0.5, 6), (0.9, 20)])
def test_a_share_of_the_training_images_shows_nobody_as_far_as_there_are_such(
        write_coco, share, number):
    files = with_and_without_people(write_coco)
    dataset = KDCCocoDataset(**files, empty_share=share, pipeline=[keep_image_id])
    ids = list(dataset)
    assert ids[:6] == [1, 2, 3, 4, 5, 6] and len(set(ids)) == len(ids) == 6 + number
    if number > 1:
        assert np.ptp(ids[6:]) >= 20 - 20 // number - 1  # from the whole file


@pytest.mark.parametrize('hidden', [
    dict(iscrowd=1, keypoints=[0] * 3 * NUM_KEYPOINTS, num_keypoints=0),
    dict(segmentation=None, keypoints=None, num_keypoints=None),
    dict(bbox=None),
])
def test_an_image_whose_people_teach_nothing_is_not_one_without_people(write_coco, hidden):
    """Crowd regions, persons that only a box shows, and what has not even that."""
    files = write_coco([(grey_image(), [person(1, 1, 20, 20)]),
                        (grey_image(), [person(5, 5, 20, 10, **hidden)]), (grey_image(), [])])
    dataset = KDCCocoDataset(**files, empty_share=0.9, pipeline=[LOAD, AFFINE, MASKS])
    empty = [sample['img_id'] for sample in dataset if not sample['id']]
    assert empty == [3]


def test_an_image_without_people_passes_through_the_training_pipeline_into_the_losses(write_coco):
    files = with_and_without_people(write_coco, 1, 1)
    pipeline = [LOAD, AFFINE, dict(type='RandomFlip', prob=1.0),
                dict(type='PhotometricDistortion'), MASKS, PACK]
    sample = KDCCocoDataset(**files, empty_share=0.5, pipeline=pipeline)[1]['data_samples']
    assert sample.gt_instance_labels.keypoint_table.shape == (0, NUM_KEYPOINTS, 3)
    assert not sample.gt_fields.mask_owner.any() and not sample.gt_fields.heatmap_ignore.any()
    head = MODELS.build(
        dict(type='KDCHead', in_channels=4, decoder=dict(type='PoseSeg', input_size=(65, 65))))
    losses = head.loss((torch.randn(1, 4, 9, 9), ), [sample])
    learnt = {name for name, value in losses.items() if value > 0}
    assert learnt == {'loss_heatmap', 'loss_semantic'}


@pytest.mark.parametrize('share', [-0.1, 1])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=r'empty_share must lie in \[0, 1\)'):
        KDCCocoDataset(lazy_init=True, empty_share=share)


def test_unusual_keypoints_pass_through_the_training_pipeline(write_coco):
    outside = [-100, 300, 2] * NUM_KEYPOINTS
    single = [30, 30, 2] + [0] * 3 * (NUM_KEYPOINTS - 1)
    anns = [person(1, 1, 20, 20, keypoints=outside), person(1, 1, 20, 20, keypoints=single)]
    dataset = KDCCocoDataset(
        **write_coco([(grey_image(), anns)]),
        pipeline=[LOAD, AFFINE, dict(type='RandomFlip', prob=1.0), MASKS, PACK])
    sample = dataset[0]['data_samples'].gt_instances
    assert sample.keypoints_visible.sum(axis=1).tolist() == [NUM_KEYPOINTS, 1]
    assert np.isfinite(sample.keypoints).all()


# Bad input


@pytest.mark.parametrize('name, folder', [('KDCCocoDataset', 'data/coco/train2017'),
                                          ('KDCCrowdPoseDataset', 'data/crowdpose/images'),
                                          ('KDCOCHumanDataset', 'data/ochuman/images')])
def test_a_missing_annotation_file_says_where_the_data_belongs_and_comes_from(name, folder):
    with pytest.raises(FileNotFoundError) as info:
        DATASETS.build(dict(type=name, ann_file='nowhere/persons.json'))
    message = str(info.value)
    assert 'nowhere/persons.json' in message
    assert folder in message
    assert 'https://' in message


def test_another_keypoint_number_than_the_datasets_is_refused(write_coco):
    anns = [person(1, 1, 9, 9), person(1, 1, 9, 9, keypoints=[0] * 42)]
    files = write_coco([(grey_image(), anns)])
    with pytest.raises(AnnotationError, match=r'14 keypoints.* 17 .*: annotation 2 of image 1'):
        KDCCocoDataset(**files)


def test_a_mask_of_another_size_than_its_image_is_refused(write_coco):
    ann = person(1, 1, 9, 9, segmentation=rle(np.ones((60, 81), bool)))
    with pytest.raises(AnnotationError, match=r'81x60 .* 80x60 .*: annotation 1 of image 1'):
        KDCCocoDataset(**write_coco([(grey_image(60, 80), [ann])]))


def test_an_image_of_another_size_than_annotated_is_refused(write_coco):
    files = write_coco([(grey_image(60, 80), [person(1, 1, 9, 9)])], height=61)
    dataset = KDCCocoDataset(**files, pipeline=[LOAD, AFFINE, MASKS])
    with pytest.raises(ValueError, match=r'1\.png. is 80x60 .* 80x61'):
        dataset[0]


@pytest.fixture(params=['missing', 'truncated', 'empty', 'not an image'])
def broken_files(request, write_coco, tmp_path):
    """Arguments of a data set of eight images, the first of which cannot be read."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    files = write_coco([(noise, [person(1, 1, 20, 20)])] * 8)
    path = tmp_path / '1.png'
    if request.param == 'missing':
        path.unlink()
    elif request.param == 'truncated':
        jpeg = cv2.imencode('.jpg', noise)[1].tobytes()
        path.write_bytes(jpeg[:len(jpeg) // 2])
    elif request.param == 'empty':
        path.write_bytes(b'')
    else:
        path.write_text('<html>404</html>')
    return files


@pytest.fixture
def warnings_of(caplog):
    """Function that returns what mmengine's logger has warned of in this test."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [r.getMessage() for r in caplog.records if r.levelname == 'WARNING']
    logger.removeHandler(caplog.handler)


def test_training_goes_on_without_an_image_that_cannot_be_read(broken_files, warnings_of):
    np.random.seed(0)  # the sample that takes the place is another one at the first try
    dataset = KDCCocoDataset(**broken_files, pipeline=[LOAD, keep_image_id])
    assert dataset[0] in range(2, 9)
    assert dataset.num_skipped == 1
    [warning] = warnings_of()
    assert '1.png' in warning


@pytest.mark.parametrize('broken_files', ['missing', 'empty', 'not an image'], indirect=True)
def test_opencv_cannot_stop_training_either(broken_files, warnings_of):
    """It fills truncated images with grey, and reports the others in errors of its own."""
    np.random.seed(0)
    load = dict(type='LoadImage', imdecode_backend='cv2')
    dataset = KDCCocoDataset(**broken_files, pipeline=[load, keep_image_id])
    assert dataset[0] in range(2, 9)
    assert dataset.num_skipped == 1
    assert '1.png' in warnings_of()[-1]
    evaluated = KDCCocoDataset(**broken_files, pipeline=[load], test_mode=True)
    with pytest.raises(Exception, match=r'1\.png'):
        evaluated[0]


def test_an_error_of_the_pipeline_is_no_unreadable_image(write_coco):
    files = write_coco([(grey_image(), [person(1, 1, 20, 20)])] * 2)

    def fail(results):
        raise AssertionError('of the pipeline')

    dataset = KDCCocoDataset(**files, pipeline=[LOAD, fail])
    with pytest.raises(AssertionError, match='of the pipeline'):
        dataset[0]
    assert dataset.num_skipped == 0


def test_evaluation_stops_at_an_image_that_cannot_be_read(broken_files):
    dataset = KDCCocoDataset(**broken_files, pipeline=[LOAD], test_mode=True)
    with pytest.raises(OSError, match=r'1\.png'):
        dataset[0]
    assert dataset.num_skipped == 0


def test_worker_processes_count_skipped_images_together(write_coco, tmp_path):
    files = write_coco([(grey_image(), [person(1, 1, 20, 20)])] * 8)
    for image_id in (1, 2, 8):
        (tmp_path / f'{image_id}.png').unlink()
    dataset = KDCCocoDataset(**files, pipeline=[LOAD, keep_image_id])
    loader = DataLoader(dataset, batch_size=1, num_workers=2)
    assert len(list(loader)) == 8
    assert dataset.num_skipped >= 3


def test_training_stops_when_no_image_can_be_read(write_coco, tmp_path):
    files = write_coco([(grey_image(), [person(1, 1, 20, 20)])] * 2)
    for image_id in (1, 2):
        (tmp_path / f'{image_id}.png').unlink()
    dataset = KDCCocoDataset(**files, pipeline=[LOAD])
    with pytest.raises(RuntimeError, match='21 training images in a row') as info:
        dataset[0]
    assert str(tmp_path) in str(info.value)
    assert dataset.num_skipped == 21


# Real annotations


@pytest.mark.parametrize('name, folder, ann_file, img, images, rows', [
    ('KDCCocoDataset', 'coco-mini', 'annotations/person_keypoints_train2017.json', 'train2017', 36,
     172),
    ('KDCCocoDataset', 'mm-samples/coco', 'test_coco.json', '', 4, 14),
    ('KDCCrowdPoseDataset', 'mm-samples/crowdpose', 'test_crowdpose.json', '', 2, 5),
    ('KDCOCHumanDataset', 'mm-samples/ochuman', 'test_ochuman.json', '', 3, 5),
])
def test_real_samples_pass_through_the_training_pipeline(data_root, name, folder, ann_file, img,
                                                         images, rows):
    affine = dict(type='BottomupRandomAffine', input_size=(401, 401))
    dataset = DATASETS.build(
        dict(
            type=name,
            data_root=str(data_root / folder),
            ann_file=ann_file,
            data_prefix=dict(img=img),
            pipeline=[LOAD, affine, dict(type='RandomFlip'), MASKS]))
    assert len(dataset) == images
    samples = [dataset[i] for i in range(len(dataset))]
    assert sum(len(sample['keypoint_table']) for sample in samples) == rows
    for sample in samples:
        assert ('mask_owner' in sample) == ('crowdpose' not in folder)
        assert sample['heatmap_ignore'].shape == (401, 401)
