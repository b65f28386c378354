# DEKR's network and schedule (HRNet-w32, its branches concatenated) with KDC's head: poses, masks.
_base_ = ['kdc-pose_hrnet-w32_coco-512x512.py']

codec = dict(mask_stride=2)
model = dict(head=dict(type='KDCHead', decoder=codec))

ann_file = _base_.data_root + 'annotations/person_keypoints_val2017.json'
val_evaluator = [
    dict(type='PersonPoseMetric', ann_file=ann_file, nms_mode='none', score_mode='bbox'),
    dict(type='PersonSegMetric', ann_file=ann_file, metric='segm'),
]
test_evaluator = val_evaluator

default_hooks = dict(visualization=dict(type='PoseSegVisualizationHook'))
visualizer = dict(type='PoseSegVisualizer')
