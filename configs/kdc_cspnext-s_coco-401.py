# Real time on a CPU: RTMPose's backbone CSPNeXt-s, an FPN (CSPNeXtPAFPN doubles its maps, which no
# side of s·n + 1 bears) and light heads, with masks. docs/deployment.md has its speed.
_base_ = ['_base_/kdc_cspnext_coco.py']

model = dict(
    backbone=dict(
        deepen_factor=0.33,
        widen_factor=0.5,
        init_cfg=dict(
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/rtmdet/'
            'cspnext_rsb_pretrain/cspnext-s_imagenet_600e.pth')),
    neck=dict(in_channels=[128, 256, 512], out_channels=96, num_outs=3, norm_cfg=dict(type='BN')),
    head=dict(
        in_channels=96,
        pose_head=dict(feat_channels=96),
        seg_head=dict(feat_channels=64, num_convs=1)),
    test_cfg=dict(flip_test=False))
