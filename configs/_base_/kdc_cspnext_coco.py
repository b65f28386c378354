# RTMPose's backbone CSPNeXt in place of KDCResNet: what its sizes have in common. A size adds
# deepen_factor, widen_factor and the checkpoint.
_base_ = ['../kdc_rn152_8xb16-140e_coco.py']

codec = dict(heatmap_stride=8, mask_stride=4)

model = dict(
    backbone=dict(
        _delete_=True,
        type='CSPNeXt',
        arch='P5',
        expand_ratio=0.5,
        out_indices=(2, 3, 4),
        channel_attention=True,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU'),
        init_cfg=dict(type='Pretrained', prefix='backbone.')),
    head=dict(in_index=(0, 1, 2), decoder=codec))
