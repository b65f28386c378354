from .detected_person_metric import DetectedPersonSegMetric
from .person_seg_metric import PersonSegMetric

__all__ = ['DetectedPersonSegMetric', 'PersonSegMetric']
