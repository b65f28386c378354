# COCO's 17 keypoints, and CrowdPose's top of the head and neck, which COCO lacks.
_base_ = ['mmpose::_base_/datasets/coco.py']

dataset_info = dict(
    dataset_name='coco_crowdpose',
    keypoint_info={
        17: dict(name='top_head', id=17, color=[255, 128, 0], type='upper', swap=''),
        18: dict(name='neck', id=18, color=[0, 255, 0], type='upper', swap=''),
    },
    skeleton_info={
        19: dict(link=('top_head', 'neck'), id=19, color=[51, 153, 255]),
        20: dict(link=('neck', 'left_shoulder'), id=20, color=[51, 153, 255]),
        21: dict(link=('neck', 'right_shoulder'), id=21, color=[51, 153, 255]),
    },
    joint_weights=[*_base_.dataset_info.joint_weights, 1., 1.],
    sigmas=[*_base_.dataset_info.sigmas, 0.079, 0.079])
