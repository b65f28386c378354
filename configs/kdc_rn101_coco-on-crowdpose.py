_base_ = ['kdc_rn152_coco-on-crowdpose.py']

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))
