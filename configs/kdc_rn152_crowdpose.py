# CrowdPose has no masks: KDCPoseHead instead of KDCHead, poses only.
_base_ = ['kdc_rn152_coco.py']

codec = dict(metainfo='configs/_base_/datasets/crowdpose.py')
model = dict(head=dict(type='KDCPoseHead', decoder=codec))

data_root = 'data/crowdpose/'
test_ann_file = 'annotations/mmpose_crowdpose_test.json'
dataset = dict(
    type='KDCCrowdPoseDataset', data_root=data_root, data_prefix=dict(img='images/'))
train_dataloader = dict(
    dataset=dict(ann_file='annotations/mmpose_crowdpose_trainval.json', **dataset))
val_dataloader = dict(dataset=dict(ann_file=test_ann_file, **dataset))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='PersonPoseMetric',
    ann_file=data_root + test_ann_file,
    iou_type='keypoints_crowd',
    prefix='crowdpose',
    use_area=False,
    nms_mode='none',
    score_mode='bbox')
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(save_best='crowdpose/AP'))
