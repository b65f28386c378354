# Fig. 8: the mean of the learnt embeddings (eq. 7), as the base has it.
_base_ = ['../kdc_rn152_coco.py']

model = dict(head=dict(seg_head=dict(centroid='dynamic')))

ablation = dict(study='mask-centroid', setting='dynamic')
