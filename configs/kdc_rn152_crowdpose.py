# CrowdPose has no masks: KDCPoseHead instead of KDCHead, poses only.
_base_ = ['kdc_rn152_coco.py']

codec = dict(
    type='PoseSeg',
    input_size=(401, 401),
    metainfo='configs/_base_/datasets/crowdpose.py',
    heatmap_stride=4,
    mask_stride=2,
    radius=32)

model = dict(head=dict(type='KDCPoseHead', decoder=codec))

train_pipeline = _base_.train_pipeline
train_pipeline[4].encoder = codec

dataset = dict(
    type='KDCCrowdPoseDataset', data_root='data/crowdpose/', data_prefix=dict(img='images/'))
train_dataloader = dict(
    dataset=dict(
        ann_file='annotations/mmpose_crowdpose_trainval.json', pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    dataset=dict(ann_file='annotations/mmpose_crowdpose_test.json', **dataset))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='CocoMetric',
    ann_file='data/crowdpose/annotations/mmpose_crowdpose_test.json',
    iou_type='keypoints_crowd',
    prefix='crowdpose',
    use_area=False,
    nms_mode='none',
    score_mode='bbox')
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(save_best='crowdpose/AP'))
