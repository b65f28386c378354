# KDC's pose head for COCO-WholeBody's 133 keypoints: body, feet, face and hands of each person.
_base_ = ['kdc-pose_hrnet-w32_coco-512x512.py']

# MMPose links neither the face nor the hands to the body. Here the face hangs on the nose by its
# tip, as one chain, and each hand on its wrist.
body = [(15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6)]
feet = [(15, 17), (15, 18), (15, 19), (16, 20), (16, 21), (16, 22)]
face = [(0, 53)] + [(k, k + 1) for k in range(23, 90)]
hands = [(9, 91), (10, 112)] + [
    (root if joint == 0 else root + 4 * finger + joint, root + 4 * finger + joint + 1)
    for root in (91, 112) for finger in range(5) for joint in range(4)
]

codec = dict(
    metainfo='configs/_base_/datasets/coco_wholebody.py',
    radius=16,
    limbs=body + feet + face + hands)

model = dict(head=dict(decoder=codec))

train_dataloader = dict(
    dataset=dict(
        type='CocoWholeBodyDataset',
        ann_file='annotations/coco_wholebody_train_v1.0.json'))
val_dataloader = dict(
    dataset=dict(
        type='CocoWholeBodyDataset', ann_file='annotations/coco_wholebody_val_v1.0.json'))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoWholeBodyMetric',
    ann_file=_base_.data_root + 'annotations/coco_wholebody_val_v1.0.json')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco-wholebody/AP'))
