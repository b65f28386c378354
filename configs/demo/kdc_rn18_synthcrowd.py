# Small and from random weights: what `make demo` trains on two CPU cores.
_base_ = ['../kdc_rn152_coco.py']

iterations = 1500
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=iterations, val_interval=300)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=5.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=iterations,
         T_max=iterations - 50, eta_min_ratio=0.01),
]
auto_scale_lr = dict(base_batch_size=8)

codec = dict(input_size=(193, 193), mask_stride=4, radius=10)

model = dict(
    backbone=dict(
        depth=18,
        output_stride=32,
        stem_channels=32,
        base_channels=32,  # half of ResNet-18's: in minutes, more samples beat more weights
        init_cfg=[
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', layer='BatchNorm2d', val=1)
        ]),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64, norm_cfg=dict(type='BN')),
    head=dict(
        in_channels=64,
        decoder=codec,
        pose_head=dict(
            feat_channels=96,
            limb_unit=32,
            loss_key_centroid=dict(type='VectorL1Loss', loss_weight=2.)),
        # half the weights of masks: poses gain two points by it, and masks lose half of one
        seg_head=dict(
            num_convs=1,
            mask_unit=32,
            loss_semantic=dict(type='PixelBCELoss', loss_weight=1.),
            loss_instance=dict(type='InstanceGaussianLoss', loss_weight=0.5))),
    test_cfg=dict(flip_test=False))

data_root = 'data/synthcrowd/easy/'

# Minutes of training see each image a few times: nothing random, not even the mirror, which would
# move SynthCrowd's watches and chest pockets to the other side
train_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='cv2'),
    dict(
        type='BottomupRandomAffine',
        input_size=codec['input_size'],
        scale_type='long',
        shift_prob=0.,
        scale_prob=0.,
        rotate_prob=0.),
    dict(type='BottomupGetPersonMasks'),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='pillow'),
    dict(type='BottomupResize', input_size=codec['input_size'], size_factor=1),
    _base_.pack_test_inputs,
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8, num_workers=1, dataset=dict(data_root=data_root, pipeline=val_pipeline))
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

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500), logger=dict(interval=20))
log_processor = dict(by_epoch=False)
