# The plainest network that the paper's words allow: a dilated backbone of stride 8, 1x1 output
# layers, no neck. Its outputs and decoding are kdc_rn152_coco.py's; those that the paper names, and
# no more, are kdc_rn152-paper_coco.py.
_base_ = ['kdc_rn152_coco.py']

codec = dict(heatmap_stride=8, mask_stride=8)
model = dict(
    backbone=dict(output_stride=8, out_indices=(3, )),
    neck=None,
    head=dict(
        in_channels=2048,
        in_index=-1,
        decoder=codec,
        pose_head=dict(num_convs=0),
        seg_head=dict(num_convs=0)))
