# DEKR's network and schedule with KDC's pose head: CrowdPose's 14 keypoints, no masks.
_base_ = [
    'mmpose::body_2d_keypoint/dekr/crowdpose/dekr_hrnet-w32_8xb10-300e_crowdpose-512x512.py'
]
custom_imports = dict(imports=['kdc_mm'], allow_failed_imports=False)

codec = dict(
    type='PoseSeg',
    input_size=(512, 512),
    metainfo='configs/_base_/datasets/crowdpose.py',
    heatmap_stride=4,
    radius=40)

model = dict(
    head=dict(_delete_=True, type='KDCPoseHead', in_channels=480, decoder=codec),
    test_cfg=dict(_delete_=True, flip_test=True))
find_unused_parameters = False

train_pipeline = [
    dict(type='LoadImage8Bit'),
    dict(type='BottomupRandomAffine', input_size=codec['input_size']),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='BottomupGetPersonMasks'),  # of persons without keypoints, to ignore them
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage8Bit'),
    dict(type='BottomupResize', input_size=codec['input_size'], size_factor=1),
    dict(
        type='PackPoseInputs',
        meta_keys=('id', 'img_id', 'img_path', 'crowd_index', 'ori_shape', 'img_shape',
                   'input_size', 'input_center', 'input_scale', 'flip', 'flip_direction',
                   'flip_indices', 'raw_ann_info', 'skeleton_links')),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='PersonPoseMetric', score_mode='bbox')
test_evaluator = val_evaluator

codec = dict(codec, _delete_=True)  # else mmengine would merge it into DEKR's
