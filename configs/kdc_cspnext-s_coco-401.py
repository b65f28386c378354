# Real time on a CPU: RTMPose's backbone CSPNeXt-s, an FPN (CSPNeXtPAFPN doubles its maps, which no
# side of s·n + 1 bears) and light heads, with masks. docs/deployment.md has its speed.
_base_ = ['kdc_rn152_8xb16-140e_coco.py']

codec = dict(heatmap_stride=8, mask_stride=4)

model = dict(
    backbone=dict(
        _delete_=True,
        type='CSPNeXt',
        arch='P5',
        expand_ratio=0.5,
        deepen_factor=0.33,
        widen_factor=0.5,
        out_indices=(2, 3, 4),
        channel_attention=True,
        norm_cfg=dict(type='BN'),
        act_cfg=dict(type='SiLU'),
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/rtmdet/'
            'cspnext_rsb_pretrain/cspnext-s_imagenet_600e.pth')),
    neck=dict(in_channels=[128, 256, 512], out_channels=96, num_outs=3, norm_cfg=dict(type='BN')),
    head=dict(
        in_channels=96,
        in_index=(0, 1, 2),
        decoder=codec,
        pose_head=dict(feat_channels=96),
        seg_head=dict(feat_channels=64, num_convs=1)),
    test_cfg=dict(flip_test=False))
