_base_ = ['kdc_rn152_coco_test-dev.py']

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))

prefix = 'work_dirs/kdc_rn101_coco_test-dev/results'
test_evaluator = _base_.test_evaluator
test_evaluator[0].outfile_prefix = test_evaluator[1].outfile_prefix = prefix
