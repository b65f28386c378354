# The paper's recipe on COCO: Adam, lr 1e-5, 401x401, batch 4, 400 epochs, scale/flip/rotate.
# The neck brings the maps to stride 4; kdc_rn152-plain_coco.py does without, and
# kdc_rn152-paper_coco.py has nothing but the paper's outputs.
_base_ = ['_base_/kdc_runtime.py']

train_cfg = dict(max_epochs=400, val_interval=10)
# The paper prints the learning rate as 0.1 x e^-4, read as 0.1 x 10^-4; with Euler's e it would be
# 1.8e-3, at which Adam undoes ImageNet's weights. It names no weight decay: there is none.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-5))
auto_scale_lr = dict(base_batch_size=4)

codec = dict(
    type='PoseSeg',
    input_size=(401, 401),
    metainfo='configs/_base_/datasets/coco.py',
    heatmap_stride=4,
    mask_stride=2,
    radius=32)

model = dict(
    type='BottomupPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='KDCResNet',
        depth=152,
        output_stride=16,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet152')),
    neck=dict(
        type='FPN',
        in_channels=[256, 512, 1024, 2048],
        out_channels=128,
        num_outs=4,
        upsample_cfg=dict(mode='bilinear', align_corners=True)),
    head=dict(type='KDCHead', in_channels=128, in_index=(0, 1, 2, 3), decoder=codec),
    test_cfg=dict(flip_test=True))

dataset_type = 'KDCCocoDataset'
data_root = 'data/coco/'
data_mode = 'bottomup'

train_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='pillow'),
    dict(
        type='BottomupRandomAffine',
        input_size=codec['input_size'],
        scale_type='long',
        scale_factor=(0.6, 1.4),
        rotate_factor=30,
        shift_factor=0.15),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='BottomupGetPersonMasks'),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='pillow'),
    dict(type='BottomupResize', input_size=codec['input_size'], size_factor=1),
    _base_.pack_test_inputs,
]

train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=val_pipeline))
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type='PersonPoseMetric',
        ann_file=data_root + 'annotations/person_keypoints_val2017.json',
        nms_mode='none',
        score_mode='bbox'),
    dict(
        type='PersonSegMetric',
        ann_file=data_root + 'annotations/person_keypoints_val2017.json',
        metric='segm'),
]
test_evaluator = val_evaluator
