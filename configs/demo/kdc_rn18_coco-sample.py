# Over-fits the four COCO images of MMPose's test data, from random weights, on a CPU: proof that
# the whole path can represent and learn real people. Point `data_root` at a folder that holds
# test_coco.json and its images.
_base_ = ['../kdc_rn152_coco.py']

iterations = 600
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=iterations, val_interval=200)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1.5e-3, weight_decay=0.),
    clip_grad=dict(max_norm=5.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=iterations,
         T_max=iterations - 50, eta_min_ratio=0.01),
]

model = dict(
    backbone=dict(depth=18, output_stride=32, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=64, norm_cfg=dict(type='BN')),
    head=dict(
        in_channels=64,
        pose_head=dict(feat_channels=64, num_convs=1),
        seg_head=dict(feat_channels=64, num_convs=1)),
    test_cfg=dict(flip_test=False))

# The same view of each image as in testing: nothing random
train_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='pillow'),
    dict(
        type='BottomupRandomAffine',
        input_size=_base_.codec.input_size,
        scale_type='long',
        shift_prob=0.,
        scale_prob=0.,
        rotate_prob=0.),
    dict(type='BottomupGetPersonMasks'),
    dict(type='PackPoseInputs'),
]

data_root = 'data/mm-samples/coco/'
dataset = dict(data_root=data_root, ann_file='test_coco.json', data_prefix=dict(img=''))
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(num_workers=1, dataset=dataset)
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='PersonPoseMetric', ann_file=data_root + 'test_coco.json', nms_mode='none',
         score_mode='bbox'),
    dict(type='PersonSegMetric', ann_file=data_root + 'test_coco.json', metric='segm'),
]
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=250), logger=dict(interval=20))
log_processor = dict(by_epoch=False)
