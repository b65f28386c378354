# DEKR's network and schedule (HRNet-w32, its branches concatenated) with KDC's head: poses, masks.
_base_ = [
    'mmpose::body_2d_keypoint/dekr/coco/dekr_hrnet-w32_8xb10-140e_coco-512x512.py'
]
custom_imports = dict(imports=['kdc_mm'], allow_failed_imports=False)

codec = dict(
    type='PoseSeg',
    input_size=(512, 512),
    metainfo='configs/_base_/datasets/coco.py',
    heatmap_stride=4,
    mask_stride=2,
    radius=40)

model = dict(
    head=dict(_delete_=True, type='KDCHead', in_channels=480, decoder=codec),
    test_cfg=dict(_delete_=True, flip_test=True))
find_unused_parameters = False

train_pipeline = _base_.train_pipeline
train_pipeline[3:5] = [
    dict(type='BottomupGetPersonMasks'),
    dict(type='GenerateTarget', encoder=codec),
]
val_pipeline = _base_.val_pipeline
val_pipeline[1].update(size_factor=1, resize_mode='fit')

train_dataloader = dict(dataset=dict(type='KDCCocoDataset', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type='KDCCocoDataset', pipeline=val_pipeline))
test_dataloader = val_dataloader

ann_file = _base_.data_root + 'annotations/person_keypoints_val2017.json'
val_evaluator = [
    dict(type='CocoMetric', ann_file=ann_file, nms_mode='none', score_mode='bbox'),
    dict(type='PersonSegMetric', ann_file=ann_file, metric='segm'),
]
test_evaluator = val_evaluator

default_hooks = dict(visualization=dict(type='PoseSegVisualizationHook'))
visualizer = dict(type='PoseSegVisualizer')

codec = dict(codec, _delete_=True)  # instead of DEKR's, not merged into it
