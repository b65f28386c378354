# MMPose's runtime with the people drawn by PoseSegVisualizer and a guard against a diverging loss
custom_imports = dict(imports=['kdc_mm'], allow_failed_imports=False)

default_scope = 'mmpose'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='WholeCheckpointHook', interval=10, save_best='coco/AP', rule='greater',
                    max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='PoseSegVisualizationHook', enable=False),
    badcase=dict(type='PersonBadCaseHook', enable=False, metric_type='accuracy'))

custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='InputSizeHook'),
    dict(type='LossGuardHook'),
    dict(type='SkippedSamplesHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='PoseSegVisualizer', vis_backends=vis_backends, name='visualizer')

log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True, num_digits=6)
log_level = 'INFO'
load_from = None
resume = False

backend_args = dict(backend='local')

train_cfg = dict(by_epoch=True)
val_cfg = dict()
test_cfg = dict()

# The last step of test pipelines. PackPoseInputs' own list of keys hands on `category_id`, which is
# of an image's persons and which the metric would take for the image's
pack_test_inputs = dict(
    type='PackPoseInputs',
    meta_keys=('id', 'img_id', 'img_path', 'crowd_index', 'ori_shape', 'img_shape', 'input_size',
               'input_center', 'input_scale', 'flip', 'flip_direction', 'flip_indices',
               'raw_ann_info', 'dataset_name'))
