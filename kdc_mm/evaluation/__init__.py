from .detected_person_metric import DetectedPersonSegMetric
from .person_seg_metric import PersonSegMetric
from .shared_keypoints_metric import SharedKeypointsMetric

__all__ = ['DetectedPersonSegMetric', 'PersonSegMetric', 'SharedKeypointsMetric']
