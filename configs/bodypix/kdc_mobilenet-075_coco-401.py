# BodyPix 2.0, MobileNetV1 of width 0.75, as a KDC network; docs/bodypix.md says where its weights
# are and how they are converted.
_base_ = ['../kdc_rn152_coco.py']

codec = dict(
    limbs=[  # PersonLab's kinematic tree
        ('nose', 'left_eye'), ('left_eye', 'left_ear'),
        ('nose', 'right_eye'), ('right_eye', 'right_ear'),
        ('nose', 'left_shoulder'), ('left_shoulder', 'left_elbow'), ('left_elbow', 'left_wrist'),
        ('left_shoulder', 'left_hip'), ('left_hip', 'left_knee'), ('left_knee', 'left_ankle'),
        ('nose', 'right_shoulder'), ('right_shoulder', 'right_elbow'),
        ('right_elbow', 'right_wrist'), ('right_shoulder', 'right_hip'),
        ('right_hip', 'right_knee'), ('right_knee', 'right_ankle')],
    heatmap_stride=16,
    mask_stride=16,
    offset_steps=3)  # its offsets are rough far from a person's middle

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True, type='TFGraph', architecture='mobilenet_v1_075', output_stride=16),
    neck=None,
    head=dict(
        in_channels=384,
        in_index=-1,
        decoder=codec,
        pose_head=dict(num_convs=0),
        seg_head=dict(num_convs=0)),
    test_cfg=dict(flip_test=False))

# BodyPix was trained with grey around its images
train_pipeline = [
    dict(type='LoadImage8Bit'),
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

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
