"""The one reading of annotation files in COCO's layout, for whatever trains on them, evaluates on
them or draws them.

Annotation tools, mergers and converters write the same people in many ways. What is meant is
brought into COCO's own form, and every change is noted; what could mean two things is refused.
"""
import json
from collections import defaultdict
from typing import List, NamedTuple, Optional

from mmengine.fileio import get

from .categories import find_persons, person_category
from .images import clean_images, number_images
from .notes import AnnotationError, Changes, as_id, raise_refused
from .persons import clean_person, count_keypoints, number_annotations


class Reading(NamedTuple):
    """What an annotation file says.

    Attributes:
        content (dict): ``images``, ``annotations`` (unless the file is a list of images) and
            ``categories`` in COCO's layout. Ids are integers, annotation ids start from 1, the
            only category is that of persons. Each annotation has ``bbox``, ``area``, ``iscrowd``,
            ``keypoints`` and ``num_keypoints``; ``segmentation`` only where it can be drawn.
        changes (dict): What differs from the file, and the images and annotations that it was
            changed in, by their ids in the file.
    """
    content: dict
    changes: Changes

    @property
    def persons(self) -> List[dict]:
        """The annotations that are no crowd regions."""
        return [ann for ann in self.content.get('annotations', []) if not ann['iscrowd']]


def read_annotations(path: str,
                     metainfo: Optional[dict] = None,
                     image_folder: Optional[str] = None) -> Reading:
    """Read an annotation file.

    Args:
        path (str): The file, anywhere that MMEngine reads.
        metainfo (dict, optional): The data set's, as MMPose has parsed it: its keypoints'
            number and names, and ``person_categories``, the categories of the file that the user
            has named as persons, or None. Keypoints are not checked without it.
        image_folder (str, optional): Where missing image sizes are read from; without it they are
            an error.

    Raises:
        AnnotationError: The file cannot be used as it is.
    """
    return clean_annotations(load_annotations(path), path, metainfo or {}, image_folder)


def load_annotations(path: str) -> dict:
    """The content of an annotation file as it is, in any encoding of Unicode.

    Raises:
        AnnotationError: It is no JSON file, or not in COCO's layout.
    """
    try:
        content = json.loads(get(path))
    except OSError as error:
        raise AnnotationError([f'{path} cannot be read: {error}.']) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(
            [f'{path} is not encoded as UTF-8 ({error}): save it as UTF-8.']) from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            [f'{path} is no JSON file ({error}): export it or download it again.']) from error
    if not isinstance(content, dict) or not isinstance(content.get('images'), list) \
            or not content['images']:
        raise AnnotationError([f"{path} lists no images: it is not in COCO's layout."])
    if not isinstance(content.get('annotations', []), (list, type(None))):
        raise AnnotationError(
            [f"{path} has no list of annotations: it is not in COCO's layout."])
    return content


def clean_annotations(content: dict, path: str, metainfo: dict,
                      image_folder: Optional[str] = None) -> Reading:
    """The persons in the content of a file; arguments as of :func:`read_annotations`."""
    changes: Changes = defaultdict(list)
    refused: Changes = defaultdict(list)
    images = clean_images(content['images'], image_folder, changes, refused)
    raise_refused(path, refused)
    number_images(images, changes)
    cleaned = dict(content, images=list(images.values()))
    if 'annotations' not in content:
        return Reading(dict(cleaned, categories=[person_category({}, metainfo)]), dict(changes))

    persons = find_persons(content, images, metainfo, path, changes, refused)
    annotations = []
    for ann in persons.rows:
        image = images[as_id(ann.get('image_id'))]
        person = clean_person(ann, image, metainfo, persons.order, changes, refused)
        if person is not None:
            annotations.append(person)
    raise_refused(path, refused)
    if 'num_keypoints' in metainfo:
        count_keypoints(annotations, changes)
    cleaned.update(
        annotations=number_annotations(annotations, changes), categories=[persons.category])
    return Reading(cleaned, dict(changes))
