"""Who puts a KDC head into MMPose's DEKR config by hand is told what each forgotten step is."""
import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmpose.registry import DATASETS, MODELS

from kdc_mm.evaluation import PersonSegMetric

from .conftest import SIZE

DEKR = 'mmpose::body_2d_keypoint/dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py'
CODEC = dict(type='PoseSeg', input_size=SIZE, radius=8)
LOAD, AFFINE, FLIP = [
    dict(type='LoadImage8Bit'), dict(type='BottomupRandomAffine', input_size=SIZE),
    dict(type='RandomFlip', direction='horizontal')]
MASKS, PACK = dict(type='BottomupGetPersonMasks'), dict(type='PackPoseInputs')


@pytest.fixture(scope='module')
def dekr(tmp_path_factory):
    """Function that reads a config which inherits DEKR's and says ``text``."""
    folder = tmp_path_factory.mktemp('configs')

    def read(text):
        file = folder / 'swapped.py'
        file.write_text(f"_base_ = ['{DEKR}']\ncodec = {CODEC}\n{text}\n")
        cfg = Config.fromfile(file)
        cfg.model.backbone = dict(type='ResNet', depth=18, base_channels=8)
        cfg.model.neck = None
        return cfg

    return read


def head_text(more='', kind='KDCPoseHead'):
    return f"model = dict(head=dict({more}type='{kind}', in_channels=64, decoder=codec))"


@pytest.mark.parametrize('text, says', [
    (head_text(), 'KDCPoseHead has no .*heatmap_loss.*rescore_cfg.*_delete_=True'),
    ("model = dict(head=dict(_delete_=True, type='KDCPoseHead', in_channels=64, "
     'decoder=_base_.codec))', "the decoder is SPR.*_delete_=True, type='PoseSeg'"),
    ('_base_.codec.update(codec)\nmodel = dict(head=dict(_delete_=True, type="KDCHead", '
     'in_channels=64, decoder=_base_.codec))',
     'PoseSeg has no .*heatmap_size.*sigma.*_delete_=True'),
])
def test_settings_of_another_head_that_are_left_are_named(dekr, text, says):
    with pytest.raises(TypeError, match=says):
        MODELS.build(dekr(text).model)


@pytest.fixture(scope='module')
def model(dekr):
    """A swapped network that is all right."""
    return MODELS.build(dekr(head_text('_delete_=True, ', 'KDCHead')).model).eval()


def first(dekr, folder, part, pipeline=None, **settings):
    """A batch of the first sample of DEKR's data, with another pipeline if there is one."""
    dataset = copy.deepcopy(dekr(head_text('_delete_=True, '))[f'{part}_dataloader'].dataset)
    dataset.update(data_root=f'{folder}/', ann_file='people.json',
                   data_prefix=dict(img='images/'), **settings)
    if pipeline is not None:
        dataset.pipeline = pipeline
    return pseudo_collate([DATASETS.build(dataset)[0]])


def loss(model, batch):
    data = model.data_preprocessor(batch, True)
    with torch.no_grad():
        return model.loss(**data)


def test_an_encoder_that_is_left_in_the_training_pipeline_is_named(dekr, model, coco):
    with pytest.raises(ValueError, match='was encoded by GenerateTarget.*take GenerateTarget out.*'
                                         'BottomupGetHeatmapMask too.*BottomupGetPersonMasks'):
        loss(model, first(dekr, coco, 'train'))


def test_an_input_size_that_is_left_in_training_is_named(dekr, model, coco):
    steps = [LOAD, dict(AFFINE, input_size=(128, 128)), FLIP, MASKS, PACK]
    with pytest.raises(ValueError, match=r'\(128, 128\).*\(97, 97\).*BottomupRandomAffine'):
        loss(model, first(dekr, coco, 'train', steps))


@pytest.mark.parametrize('settings', [
    dict(size_factor=32, resize_mode='expand'), dict(input_size=SIZE, size_factor=32),
    dict(input_size=SIZE, size_factor=1, resize_mode='expand'),
    dict(input_size=(128, 128), size_factor=1)])
def test_a_resize_that_is_left_in_testing_is_named(dekr, model, coco, settings):
    cfg = dekr(head_text('_delete_=True, '))
    steps = cfg.val_dataloader.dataset.pipeline
    steps[1] = dict(steps[1], **settings)
    with pytest.raises(ValueError, match="(?s)97, 97.*size_factor=1 and resize_mode='fit'"):
        model.test_step(first(dekr, coco, 'val', steps))


def test_mmposes_data_set_hands_masks_to_the_loss(dekr, model, coco):
    steps = [LOAD, AFFINE, FLIP, MASKS, PACK]
    theirs, ours = (loss(model, first(dekr, coco, 'train', copy.deepcopy(steps), type=kind))
                    for kind in ('CocoDataset', 'KDCCocoDataset'))
    assert theirs.keys() == ours.keys()
    assert theirs['loss_semantic'] > 0 and theirs['loss_instance'] > 0


def test_a_training_whose_data_have_no_masks_is_told_so_once(dekr, crowdpose):
    steps = [LOAD, AFFINE, MASKS, PACK]
    without = first(dekr, crowdpose, 'train', steps, type='KDCCrowdPoseDataset')
    samples = without['data_samples']
    head = MODELS.build(dekr(head_text('_delete_=True, ', 'KDCHead')).model).head.seg_head
    with pytest.warns(UserWarning, match='first 100 batches has masks.*KDCPoseHead') as told:
        for _ in range(300):
            head._look_for_masks(samples)
    assert len(told) == 1


def test_a_data_set_of_single_persons_is_named(dekr, coco):
    with pytest.raises(ValueError, match="data_mode='bottomup'.*KDCCocoDataset"):
        first(dekr, coco, 'train', [LOAD, MASKS, PACK], type='CocoDataset', data_mode='topdown')


def test_mmposes_data_set_tests_with_the_metrics_of_masks(dekr, model, coco):
    steps = dekr(head_text('_delete_=True, ')).val_dataloader.dataset.pipeline
    steps[1] = dict(type='BottomupResize', input_size=SIZE, size_factor=1)
    batch = first(dekr, coco, 'val', steps)
    with torch.no_grad():
        samples = model.test_step(batch)
    metric = PersonSegMetric(str(coco / 'people.json'))
    metric.dataset_meta = DATASETS.get('CocoDataset')._load_metainfo(
        DATASETS.get('CocoDataset').METAINFO)
    metric.process({}, [sample.to_dict() for sample in samples])
    assert set(metric.evaluate(1)) >= {'coco/segm_mAP'}
