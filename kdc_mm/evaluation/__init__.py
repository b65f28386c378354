from .detected_person_metric import DetectedPersonSegMetric
from .mixed_dataset_evaluator import MixedDatasetEvaluator
from .person_pose_metric import PersonPoseMetric
from .person_seg_metric import PersonSegMetric

__all__ = [
    'DetectedPersonSegMetric', 'MixedDatasetEvaluator', 'PersonPoseMetric', 'PersonSegMetric'
]
