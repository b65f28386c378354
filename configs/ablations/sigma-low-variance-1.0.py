# Fig. 9: all other keypoints. Decoding only: any checkpoint of the base will do.
_base_ = ['../kdc_rn152_coco.py']

codec = dict(sigma_low_variance=1.0)
model = dict(head=dict(decoder=codec))
train_pipeline = _base_.train_pipeline
train_pipeline[4].encoder.update(codec)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

ablation = dict(study='sigma-low-variance', setting=1.0)
