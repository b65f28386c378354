# Learns on COCO, is judged on CrowdPose's test set, as in the paper; kdc_rn152_crowdpose.py learns
# on CrowdPose. Weights of kdc_rn152_coco.py fit as they are. Scored are the twelve joints that both
# have: COCO's face has no counterpart in CrowdPose, nor CrowdPose's head top and neck in COCO. The
# paper does not say what it does with these two; counted as missed (type='CocoMetric'), even
# perfect joints stay below its claims (docs/benchmarks.md). tools/demo.py draws COCO's keypoints.
_base_ = ['kdc_rn152_coco.py']

data_root = 'data/crowdpose/'
test_ann_file = 'annotations/mmpose_crowdpose_test.json'

val_pipeline = [
    dict(type='LoadImage8Bit', imdecode_backend='pillow'),
    dict(type='BottomupResize', input_size=_base_.codec.input_size, size_factor=1),
    # without flip_indices: those of the samples are CrowdPose's, the network's are its codec's
    dict(
        type='PackPoseInputs',
        meta_keys=[key for key in _base_.pack_test_inputs['meta_keys'] if key != 'flip_indices']),
]
val_dataloader = dict(
    dataset=dict(
        type='KDCCrowdPoseDataset',
        data_root=data_root,
        ann_file=test_ann_file,
        data_prefix=dict(img='images/'),
        pipeline=val_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='SharedKeypointsMetric',
    ann_file=data_root + test_ann_file,
    iou_type='keypoints_crowd',
    prefix='crowdpose',
    use_area=False,
    nms_mode='none',
    score_mode='bbox',
    pred_converter=dict(
        num_keypoints=14,
        # shoulders, elbows, wrists, hips, knees, ankles, left before right in both
        mapping=[(coco, coco - 5) for coco in range(5, 17)]))
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(save_best='crowdpose/AP'))
