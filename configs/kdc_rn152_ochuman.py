# Learns on COCO, is judged on OCHuman, which has no training images of its own: validated on its
# validation set, tested on its test set. Weights of kdc_rn152_coco.py fit as they are.
_base_ = ['kdc_rn152_coco.py']

data_root = 'data/ochuman/'
val_ann_file = 'annotations/ochuman_coco_format_val_range_0.00_1.00.json'
test_ann_file = 'annotations/ochuman_coco_format_test_range_0.00_1.00.json'

dataset = dict(
    type='KDCOCHumanDataset', data_root=data_root, data_prefix=dict(img='images/'))
val_dataloader = dict(dataset=dict(ann_file=val_ann_file, **dataset))
test_dataloader = dict(dataset=dict(ann_file=test_ann_file, **dataset))

pose_metric = dict(type='PersonPoseMetric', nms_mode='none', score_mode='bbox', prefix='ochuman')
mask_metric = dict(type='PersonSegMetric', metric='segm', prefix='ochuman')
val_evaluator = [
    dict(ann_file=data_root + val_ann_file, **pose_metric),
    dict(ann_file=data_root + val_ann_file, **mask_metric),
]
test_evaluator = [
    dict(ann_file=data_root + test_ann_file, **pose_metric),
    dict(ann_file=data_root + test_ann_file, **mask_metric),
]

default_hooks = dict(checkpoint=dict(save_best='ochuman/AP'))
