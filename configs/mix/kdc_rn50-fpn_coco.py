# MMPose's ResNet as it is, which halves its maps to stride 32 and dilates none.
_base_ = ['../kdc_rn152_8xb16-140e_coco.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))
