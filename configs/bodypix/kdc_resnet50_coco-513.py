# BodyPix 2.0, ResNet-50, as a KDC network; docs/bodypix.md says where its weights are and how they
# are converted.
_base_ = ['kdc_mobilenet-075_coco-401.py']

codec = dict(input_size=(513, 513))

model = dict(
    data_preprocessor=dict(mean=[123.15, 115.90, 103.06], std=[1., 1., 1.]),
    backbone=dict(architecture='resnet_v1_50'),
    head=dict(in_channels=2048, decoder=codec))

train_pipeline = [
    dict(type='LoadImage8Bit'),
    dict(
        type='BottomupRandomAffine',
        input_size=codec['input_size'],
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
        input_size=codec['input_size'],
        size_factor=1,
        pad_val=(127, 127, 127)),
    _base_.pack_test_inputs,
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
