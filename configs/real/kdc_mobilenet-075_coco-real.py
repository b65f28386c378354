# Real photos on a CPU, from BodyPix, converted for this config as docs/bodypix.md says (load_from):
# an FPN to stride 4 and heads on it correct what BodyPix's own outputs at stride 16 say. The input
# has the size that BodyPix knows people at: at 257 px it has half the AP, and training has too few
# photos to teach it people of half that height.
# `data_root` holds train_images, val_images and annotations/person_keypoints_{train,val}.json.
_base_ = ['../kdc_rn152_coco.py']

iterations = 600
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=iterations, val_interval=300)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(
        norm_decay_mult=0, bias_decay_mult=0,
        custom_keys=dict(backbone=dict(lr_mult=0.3), coarse=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=5.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR', by_epoch=False, begin=100, end=iterations,
        T_max=iterations - 100, eta_min_ratio=0.01),
]
auto_scale_lr = dict(base_batch_size=8)

codec = dict(
    heatmap_stride=8,
    mask_stride=4,
    offset_steps=1,  # BodyPix's own offsets need 3, those learnt from a person's mask 0
    limbs=[  # PersonLab's kinematic tree
        ('nose', 'left_eye'), ('left_eye', 'left_ear'),
        ('nose', 'right_eye'), ('right_eye', 'right_ear'),
        ('nose', 'left_shoulder'), ('left_shoulder', 'left_elbow'), ('left_elbow', 'left_wrist'),
        ('left_shoulder', 'left_hip'), ('left_hip', 'left_knee'), ('left_knee', 'left_ankle'),
        ('nose', 'right_shoulder'), ('right_shoulder', 'right_elbow'),
        ('right_elbow', 'right_wrist'), ('right_shoulder', 'right_hip'),
        ('right_hip', 'right_knee'), ('right_knee', 'right_ankle')])

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type='TFGraph',
        architecture='mobilenet_v1_075',
        output_stride=16,
        out_strides=(4, 8, 16)),
    neck=dict(
        type='FPNBesideInput',
        in_channels=[96, 192, 384], out_channels=64, num_outs=3, norm_cfg=dict(type='BN')),
    head=dict(
        in_channels=64,
        in_index=(0, 1, 2),
        coarse_channels=384,
        decoder=codec,
        pose_head=dict(feat_channels=96, limb_unit=40),
        seg_head=dict(feat_channels=64, num_convs=1, mask_unit=40)),
    test_cfg=dict(flip_test=False))

# BodyPix was trained with grey around its images
train_pipeline = [
    dict(type='LoadImage8Bit'),
    dict(type='YOLOXHSVRandomAug'),
    dict(
        type='BottomupRandomAffine',
        input_size=_base_.codec.input_size,
        scale_type='long',
        scale_factor=(0.6, 1.4),
        rotate_factor=30,
        shift_factor=0.15,
        pad_val=127),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='BottomupGetPersonMasks'),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage8Bit'),
    dict(
        type='BottomupResize',
        input_size=_base_.codec.input_size,
        size_factor=1,
        pad_val=(127, 127, 127)),
    _base_.pack_test_inputs,
]

data_root = 'data/coco-real/'
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_train.json',
        data_prefix=dict(img='train_images/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/person_keypoints_val.json',
        data_prefix=dict(img='val_images/'),
        pipeline=val_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type='PersonPoseMetric',
        ann_file=data_root + 'annotations/person_keypoints_val.json',
        nms_mode='none',
        score_mode='bbox'),
    dict(
        type='PersonSegMetric',
        ann_file=data_root + 'annotations/person_keypoints_val.json',
        metric='segm'),
]
test_evaluator = val_evaluator

default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=300), logger=dict(interval=20))
log_processor = dict(by_epoch=False)
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ChannelsLastHook'),
    # the mean of all weights from the start on: between what many photos taught and these few
    dict(
        type='EMAHook', ema_type='StochasticWeightAverage', update_buffers=True, priority=49),
]
