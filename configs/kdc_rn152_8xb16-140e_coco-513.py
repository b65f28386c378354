# The recipe of today at 513 px, where COCO's medium people are larger than a disk: colours vary,
# and the short side of a photo fills 0.5 to 1.5 of the input.
_base_ = ['kdc_rn152_8xb16-140e_coco.py']

codec = dict(input_size=(513, 513))
model = dict(head=dict(decoder=codec))

train_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='pillow'),
    dict(type='PhotometricDistortion'),
    dict(
        type='BottomupRandomAffine',
        input_size=codec['input_size'],
        scale_type='short',
        scale_factor=(0.5, 1.5),
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
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
