"""The annotation file that an evaluator and its data set read alike."""
from typing import Dict, Iterable, Set

from mmengine.logging import print_log

from ..datasets.annotations import (
    AnnotationError,
    clean_annotations,
    examples,
    is_labelled,
    load_annotations,
)

_LACKING = dict(
    keypoints='has a labelled keypoint, so poses cannot be evaluated on it',
    segmentation='has a segmentation that can be drawn, so masks cannot be evaluated on it')


class PersonFile:
    """The persons of an annotation file, for a metric.

    Args:
        path (str): The file.
        needs (str): ``'keypoints'`` or ``'segmentation'``, which someone must have, ``'bbox'``,
            which all have, or ``'images'``: the list of images is enough.
        metric (str): Name of the metric, for errors.

    Raises:
        AnnotationError: The file cannot be used as it is, or has nothing to evaluate on.
    """

    def __init__(self, path: str, needs: str, metric: str) -> None:
        self.path, self.needs, self.metric = path, needs, metric
        self.raw = load_annotations(path)
        self.content: Dict[str, list] = {}
        self._check_needs(self.raw)

    def read(self, metainfo: dict) -> None:
        """Read the persons as the data set does whose metainfo this is."""
        self.content = clean_annotations(self.raw, self.path, metainfo).content
        self._check_needs(self.content)

    def _check_needs(self, content: dict) -> None:
        if self.needs == 'images':
            return
        persons = [ann for ann in content.get('annotations') or [] if isinstance(ann, dict)]
        if not persons:
            raise AnnotationError([f'{self.path} has no annotations of persons: {self.metric} can '
                                   'only write results, with format_only=True.'])
        has = is_labelled if self.needs == 'keypoints' else lambda ann: ann.get(self.needs)
        if self.needs != 'bbox' and not any(map(has, persons)):
            raise AnnotationError([f'No annotation of a person in {self.path} '
                                   f'{_LACKING[self.needs]}: take {self.metric} out of the '
                                   'evaluators.'])

    def check_crowd_index(self) -> None:
        """Refuse a file whose images do not say how crowded they are."""
        lacking = [image['id'] for image in self.content['images'] if 'crowdIndex' not in image]
        if lacking:
            raise AnnotationError([
                f'{len(lacking)} images in {self.path} have no crowdIndex, which keypoints_crowd '
                f"needs: {examples(lacking)}. Take MMPose's annotation files of CrowdPose, or "
                "iou_type='keypoints'."])

    def of_images(self, ids: Iterable[int]) -> dict:
        """The content for these images only, which the caller may change; says so if they are not
        all.

        Raises:
            AnnotationError: An image is not in the file.
        """
        wanted: Set[int] = set(ids)
        unknown = sorted(map(str, wanted - {image['id'] for image in self.content['images']}))
        if unknown:
            raise AnnotationError([
                f'{self.path} has no image with the id {unknown[0]}, which was predicted on. Give '
                'metric and data set the same file, and take a data set of kdc_mm or what '
                'check_data.py --fix has written.'])
        cut = dict(self.content)
        cut['images'] = [image for image in cut['images'] if image['id'] in wanted]
        if len(cut['images']) < len(self.content['images']):
            print_log(
                f'{self.metric} evaluates {len(cut["images"])} of the '
                f'{len(self.content["images"])} images in {self.path}.', logger='current')
        if 'annotations' in cut:
            cut['annotations'] = [
                dict(ann) for ann in cut['annotations'] if ann['image_id'] in wanted]
        return cut
