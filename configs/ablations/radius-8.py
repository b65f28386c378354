# Fig. 7: disks of 8 px.
_base_ = ['../kdc_rn152_coco.py']

codec = dict(radius=8)
model = dict(head=dict(decoder=codec))
train_pipeline = _base_.train_pipeline
train_pipeline[4].encoder.update(codec)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

ablation = dict(study='radius', setting=8)
