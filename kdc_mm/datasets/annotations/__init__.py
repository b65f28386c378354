"""The one reading of annotation files in COCO's layout."""
from .notes import PERSON_ID, AnnotationError, Changes, describe, examples, is_labelled
from .persons import NO_AREA
from .reading import Reading, clean_annotations, load_annotations, read_annotations

__all__ = [
    'NO_AREA', 'PERSON_ID', 'AnnotationError', 'Changes', 'Reading', 'clean_annotations',
    'describe', 'examples', 'is_labelled', 'load_annotations', 'read_annotations'
]
