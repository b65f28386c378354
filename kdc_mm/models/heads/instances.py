"""People as MMPose's samples hold them: annotated ones to be decoded around, and found ones."""
import numpy as np
from mmengine.structures import InstanceData

from kdc_mm_runtime.found_people import FoundPeople
from kdc_mm_runtime.people import ImageFrame, People, Poses


def annotated_poses(annotated: InstanceData, frame: ImageFrame, num_keypoints: int) -> Poses:
    """The N persons of an image who have labelled keypoints, as if they were decoded for certain.

    Args:
        annotated (InstanceData): ``gt_instances`` of a test sample: ``keypoints`` (N, K, 2) in
            pixels of the original image, ``keypoints_visible`` (N, K); neither without people.
        frame (ImageFrame): Where that image lies in the input.
        num_keypoints (int): K.

    Returns:
        Poses: scores are 1, and 0 where a keypoint is not labelled.
    """
    if 'keypoints' not in annotated:
        return People.none(num_keypoints).poses
    labelled = np.asarray(annotated.keypoints_visible) > 0
    is_posed = labelled.any(1)
    labelled = labelled[is_posed]
    position = np.asarray(annotated.keypoints)[is_posed] * frame.scale + frame.offset
    return Poses(position.astype(np.float32), labelled.astype(np.float32), labelled,
                 np.ones(len(labelled), np.float32))


def pack_instances(found: FoundPeople) -> InstanceData:
    """n people as the evaluators and inferencers of MMPose and mmdet read them.

    Args:
        found (FoundPeople): Keypoints in input space, which the estimator moves to image space, or
            in image space.

    Returns:
        InstanceData: ``keypoints`` (n, K, 2) and ``bboxes`` (n, 4) in that space;
        ``keypoint_scores`` (n, K), ``bbox_scores``, ``scores`` (n,), ``labels`` (n,) zeros; with a
        segmentation head also ``masks``, n RLEs in image space, and ``mask_scores`` (n,). All
        arrays have length 0 without people.
    """
    instances = InstanceData(
        keypoints=found.keypoints,
        keypoint_scores=found.keypoint_scores,
        bboxes=found.bboxes,
        bbox_scores=found.scores,
        scores=found.scores,
        labels=np.zeros(len(found.scores), np.int64))
    if found.rles is not None:
        instances.masks = found.rles
        instances.mask_scores = found.mask_scores
    return instances
