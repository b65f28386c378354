# KDCResNet under MMPose's AssociativeEmbedding head: stride 16, and two deconvolutions to stride 4.
_base_ = [
    'mmpose::body_2d_keypoint/associative_embedding/coco/'
    'ae_hrnet-w32_8xb24-300e_coco-512x512.py'
]
custom_imports = dict(imports=['kdc_mm'], allow_failed_imports=False)

model = dict(
    backbone=dict(
        _delete_=True,
        type='KDCResNet',
        depth=50,
        output_stride=16,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    head=dict(
        in_channels=2048,
        deconv_out_channels=(256, 256),
        deconv_kernel_sizes=(4, 4),
        keypoint_loss=dict(_delete_=True, type='ImageHeatmapMSELoss')))

# MMPose evaluates AssociativeEmbedding and leaves its training pipeline empty
train_pipeline = [
    dict(type='LoadImage8Bit'),
    dict(type='BottomupRandomAffine', input_size=_base_.codec.input_size),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackKeypointIndices'),
    dict(type='BottomupGetHeatmapMask'),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
