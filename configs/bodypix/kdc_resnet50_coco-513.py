# BodyPix 2.0, ResNet-50, as a KDC network; docs/bodypix.md says where its weights are and how they
# are converted.
_base_ = ['kdc_mobilenet-075_coco-401.py']

codec = dict(input_size=(513, 513))

model = dict(
    data_preprocessor=dict(mean=[123.15, 115.90, 103.06], std=[1., 1., 1.]),
    backbone=dict(architecture='resnet_v1_50'),
    head=dict(in_channels=2048, decoder=codec))

train_pipeline = _base_.train_pipeline
train_pipeline[1].input_size = codec['input_size']
val_pipeline = _base_.val_pipeline
val_pipeline[1].input_size = codec['input_size']

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
