from .person_seg_metric import PersonSegMetric

__all__ = ['PersonSegMetric']
