# RTMPose's family: CSPNeXt-m with its PAFPN, whose input sides are multiples of 32.
_base_ = ['../_base_/kdc_cspnext_coco.py']

codec = dict(input_size=(640, 640), radius=51)

model = dict(
    backbone=dict(
        deepen_factor=0.67,
        widen_factor=0.75,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/rtmdet/'
            'cspnext_rsb_pretrain/cspnext-m_8xb256-rsb-a1-600e_in1k-ecb3bbd9.pth')),
    neck=dict(
        _delete_=True,
        type='mmdet.CSPNeXtPAFPN',
        in_channels=[192, 384, 768],
        out_channels=192,
        num_csp_blocks=2,
        expand_ratio=0.5,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU', inplace=True)),
    head=dict(in_channels=192, decoder=codec))

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

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
