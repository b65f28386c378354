# tools/test.py writes what COCO's server takes: results.keypoints.json and results.segm.json in
# work_dirs/kdc_rn152_coco_test-dev. Test-dev has no public annotations, so nothing is scored here.
_base_ = ['kdc_rn152_coco.py']

test_ann_file = 'annotations/image_info_test-dev2017.json'
test_dataloader = dict(
    dataset=dict(ann_file=test_ann_file, data_prefix=dict(img='test2017/')))

results = dict(
    ann_file=_base_.data_root + test_ann_file,
    format_only=True,
    outfile_prefix='work_dirs/kdc_rn152_coco_test-dev/results')
test_evaluator = [
    dict(type='PersonPoseMetric', nms_mode='none', score_mode='bbox', **results),
    dict(type='PersonSegMetric', metric='segm', **results),
]
