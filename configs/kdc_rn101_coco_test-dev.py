_base_ = ['kdc_rn152_coco_test-dev.py']

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))

results = dict(outfile_prefix='work_dirs/kdc_rn101_coco_test-dev/results')
test_evaluator = [dict(evaluator, **results) for evaluator in _base_.test_evaluator]
