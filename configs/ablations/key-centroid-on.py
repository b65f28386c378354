# Table 7: with KeyCentroids, as the base has them.
_base_ = ['../kdc_rn152_coco.py']

codec = dict(use_key_centroid=True)
model = dict(head=dict(decoder=codec))
train_pipeline = _base_.train_pipeline
train_pipeline[4].encoder.update(codec)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

ablation = dict(study='key-centroid', setting='on')
