# COCO, CrowdPose and OCHuman in one training, with masks where there are masks, and a validation
# on each. The network predicts COCO's keypoints and CrowdPose's two more; what a data set does not
# define is not learnt from it. OCHuman has no training images of its own: its validation set
# trains, its test set validates.
_base_ = ['kdc_rn50-fpn_coco.py']

# not one of MMPose's, which are found from any folder
metainfo = '{{ fileDirname }}/../_base_/datasets/coco_crowdpose.py'
codec = dict(metainfo=metainfo)
model = dict(head=dict(decoder=codec))

coco = dict(
    type='KDCCocoDataset',
    data_root='data/coco/',
    ann_file='annotations/person_keypoints_train2017.json',
    data_prefix=dict(img='train2017/'))
crowdpose = dict(
    type='KDCCrowdPoseDataset',
    data_root='data/crowdpose/',
    ann_file='annotations/mmpose_crowdpose_trainval.json',
    data_prefix=dict(img='images/'))
ochuman = dict(
    type='KDCOCHumanDataset',
    data_root='data/ochuman/',
    ann_file='annotations/ochuman_coco_format_val_range_0.00_1.00.json',
    data_prefix=dict(img='images/'))
val_coco = dict(
    coco,
    ann_file='annotations/person_keypoints_val2017.json',
    data_prefix=dict(img='val2017/'),
    test_mode=True)
val_crowdpose = dict(
    crowdpose, ann_file='annotations/mmpose_crowdpose_test.json', test_mode=True)
val_ochuman = dict(
    ochuman, ann_file='annotations/ochuman_coco_format_test_range_0.00_1.00.json', test_mode=True)

# Of each keypoint of a data set: where it stands among the 19
coco_keypoints = [(k, k) for k in range(17)]
crowdpose_keypoints = [(k, k + 5) for k in range(12)] + [(12, 17), (13, 18)]

# In training a data set loads its own images, so that it can take another where one cannot be read.
# For validation the common pipeline does, which MMPose's inferencers run
load = _base_.train_pipeline[0]
from_coco = dict(type='KeypointConverter', num_keypoints=19, mapping=coco_keypoints)
from_crowdpose = dict(type='KeypointConverter', num_keypoints=19, mapping=crowdpose_keypoints)

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CombinedDataset',
        metainfo=dict(from_file=metainfo),
        datasets=[
            dict(coco, pipeline=[load, from_coco]),
            dict(crowdpose, pipeline=[load, from_crowdpose]),
            dict(ochuman, pipeline=[load, from_coco]),
        ],
        pipeline=_base_.train_pipeline[1:]))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CombinedDataset',
        metainfo=dict(from_file=metainfo),
        datasets=[val_coco, val_crowdpose, val_ochuman],
        pipeline=_base_.val_pipeline,
        test_mode=True))
test_dataloader = val_dataloader

pose_metric = dict(type='PersonPoseMetric', nms_mode='none', score_mode='bbox')
to_coco = dict(num_keypoints=17, mapping=[(j, k) for k, j in coco_keypoints])
to_crowdpose = dict(num_keypoints=14, mapping=[(j, k) for k, j in crowdpose_keypoints])
coco_file = val_coco['data_root'] + val_coco['ann_file']
crowdpose_file = val_crowdpose['data_root'] + val_crowdpose['ann_file']
ochuman_file = val_ochuman['data_root'] + val_ochuman['ann_file']

val_evaluator = dict(
    _delete_=True,
    type='MixedDatasetEvaluator',
    metrics=[
        dict(pose_metric, ann_file=coco_file, pred_converter=to_coco),
        dict(type='PersonSegMetric', ann_file=coco_file),
        dict(
            pose_metric, ann_file=crowdpose_file, pred_converter=to_crowdpose, prefix='crowdpose',
            iou_type='keypoints_crowd', use_area=False),
        dict(pose_metric, ann_file=ochuman_file, pred_converter=to_coco, prefix='ochuman'),
        dict(type='PersonSegMetric', ann_file=ochuman_file, prefix='ochuman'),
    ],
    datasets=[val_coco, val_coco, val_crowdpose, val_ochuman, val_ochuman])
test_evaluator = val_evaluator
