# Fig. 8: the mean of the mask pixels (eq. 5).
_base_ = ['../kdc_rn152_coco.py']

model = dict(head=dict(seg_head=dict(centroid='static')))

ablation = dict(study='mask-centroid', setting='static')
