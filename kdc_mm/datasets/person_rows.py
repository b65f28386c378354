import logging
import os.path as osp
from collections import defaultdict
from typing import Any, Dict, List, Optional, Tuple

import torch
from mmengine.dataset import Compose, force_full_init
from mmengine.fileio import exists
from mmengine.logging import print_log
from mmpose.datasets.transforms import KeypointConverter

from .annotations import AnnotationError, describe, read_annotations


class UnreadableImagesError(RuntimeError):
    """Too many images in a row cannot be read: the disk is gone, or the folder is another."""


class PersonRowsMixin:
    """What bottom-up training with masks needs beyond MMPose's COCO-style data sets.

    Put before one of them in a class's bases. Letters: N annotated rows of an image, K keypoints.

    - ``data_mode`` is ``'bottomup'`` by default: one sample is one image.
    - The annotation file is read by :func:`~kdc_mm.datasets.annotations.read_annotations`: what
      annotation tools, mergers and converters write becomes what COCO would have written, and every
      change is a warning. Only annotations of persons become rows.
    - ``metainfo['classes']`` is ``('person',)``, which mmdet's metric asks for, or what the user
      names: ``metainfo=dict(classes=('human', ))`` says which of the file's categories are persons.
      ``metainfo=dict(dataset_name='mine')`` tells data sets of the same class apart.
    - A sample gains ``ann_img_shape`` (tuple): height and width of the image according to the
      annotation file.
    - Images without any row in the annotation file, also without a crowd region, show nobody. They
      take part in training as far as ``empty_share`` says; MMPose leaves them out. As in its test
      mode their ``id`` is empty, ``raw_ann_info`` is None and other keys of rows are not there.
    - Rows without keypoints stay, with keypoints not labelled.
    - In training an image that cannot be read is skipped: a warning names it, :attr:`num_skipped`
      counts it and another sample takes its place. In test mode it raises. Truncated images are
      noticed by ``LoadImage(imdecode_backend='pillow')`` only: OpenCV fills them with grey.

    Args:
        ann_file (str): Annotation file. Defaults to ''.
        data_mode (str): As in MMPose. Defaults to 'bottomup'.
        empty_share (float): Share of the training samples that show nobody, in [0, 1): so many are
            taken, evenly from the annotation file, or all that there are. Defaults to 0.
        max_refetch (int): Training stops with an error after this many further samples in a row
            that cannot be read. Defaults to 20.
        **kwargs: The other arguments of MMPose's data sets.

    Raises:
        FileNotFoundError: The annotation file is missing.
        AnnotationError: The annotation file cannot be used, or has no person to train on.
        ValueError: ``empty_share`` is out of range.
        OSError: An image cannot be read in test mode.
        UnreadableImagesError: ``max_refetch + 1`` images in a row cannot be read in training.
    """

    DOWNLOAD = ''
    """Where the data set's files belong and where they come from, for error messages."""

    def __init__(self,
                 ann_file: str = '',
                 *,
                 data_mode: str = 'bottomup',
                 empty_share: float = 0.,
                 max_refetch: int = 20,
                 **kwargs):
        if not 0 <= empty_share < 1:
            raise ValueError(
                f'{type(self).__name__}: empty_share must lie in [0, 1), got {empty_share}.')
        self.empty_share = empty_share
        # Shared memory, so that the loader's worker processes count together.
        self._num_skipped = torch.zeros(1, dtype=torch.int64).share_memory_()
        super().__init__(ann_file, data_mode=data_mode, max_refetch=max_refetch, **kwargs)

    @property
    def num_skipped(self) -> int:
        """Samples that training has skipped so far because their image could not be read, by all
        worker processes of one loader together."""
        return int(self._num_skipped)

    @classmethod
    def _load_metainfo(cls, metainfo: Optional[dict] = None) -> dict:
        """MMPose's, with the user's ``classes`` and ``dataset_name`` if there are any."""
        own = dict(metainfo or {})
        names = own.pop('classes', None)
        names = (names, ) if isinstance(names, str) else tuple(names or ())
        dataset_name = own.pop('dataset_name', None) if not own.get('keypoint_info') else None
        parsed = super()._load_metainfo(own or None)
        if dataset_name is not None:
            parsed['dataset_name'] = dataset_name
        return dict(parsed, classes=names or ('person', ), person_categories=names or None)

    def _load_annotations(self) -> Tuple[List[dict], List[dict]]:
        """The rows of persons and the images, from the one reading of annotation files."""
        if not exists(self.ann_file):
            raise FileNotFoundError(
                f'Annotation file {self.ann_file!r} does not exist.\n{self.DOWNLOAD}')
        content, changes = read_annotations(self.ann_file, self._metainfo)
        for line in describe(self.ann_file, changes):
            print_log(line, logger='current', level=logging.WARNING)
        if not self.test_mode and not content.get('annotations'):
            raise AnnotationError([f'{self.ann_file} has no person to train on.'])
        self._metainfo['CLASSES'] = content['categories']

        rows: Dict[int, List[dict]] = defaultdict(list)
        for ann in content.get('annotations', []):
            rows[ann['image_id']].append(ann)
        images = [
            dict(img, img_id=img['id'], img_path=osp.join(self.data_prefix['img'],
                                                          img['file_name']),
                 num_annotations=len(rows[img['id']]))
            for img in content['images'] if img['id'] % self.sample_interval == 0
        ]
        instances = [
            self.parse_data_info(dict(raw_ann_info=ann, raw_img_info=img)) for img in images
            for ann in rows[img['id']]
        ]
        return instances, images

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one annotation as MMPose does.

        Args:
            raw_data_info (dict): ``raw_ann_info`` and ``raw_img_info``, rows of the COCO file as
                :func:`~kdc_mm.datasets.annotations.read_annotations` leaves them.

        Returns:
            dict: The row of a sample.
        """
        data_info = super().parse_data_info(raw_data_info)
        # MMPose runs lists of an image's rows together. An empty dict adds nothing to them, where
        # None would raise, and BottomupGetHeatmapMask passes over it.
        data_info['segmentation'] = raw_data_info['raw_ann_info'].get('segmentation', {})
        return data_info

    def _get_bottomup_data_infos(self, instance_list: List[Dict],
                                 image_list: List[Dict]) -> List[Dict]:
        data_list = super()._get_bottomup_data_infos(instance_list, image_list)
        if not self.test_mode:
            data_list += self._empty_images(image_list, len(data_list))
        shapes = {img['img_id']: (img['height'], img['width']) for img in image_list}
        for data_info in data_list:
            data_info['ann_img_shape'] = shapes[data_info['img_id']]
        return data_list

    def _empty_images(self, image_list: List[Dict], num_others: int) -> List[Dict]:
        """The samples that ``empty_share`` adds to so many others."""
        empty = [img for img in image_list if not img['num_annotations']]
        wanted = round(num_others * self.empty_share / (1 - self.empty_share))
        if wanted < len(empty):
            empty = [empty[i * len(empty) // wanted] for i in range(wanted)]
        return [
            dict(img_id=img['img_id'], img_path=img['img_path'], id=[], raw_ann_info=None)
            for img in empty
        ]

    @force_full_init
    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on sample ``idx``, in training on another one instead if its image
        cannot be read."""
        if self.test_mode:
            return self._run_pipeline(idx)
        for _ in range(self.max_refetch + 1):
            try:
                return self._run_pipeline(idx)
            except Exception as error:
                if not _is_of_reading(error):
                    raise
                self._num_skipped += 1
                reason = error
                print_log(
                    f'Skipped a training image, {self.num_skipped} so far: {error}',
                    logger='current',
                    level=logging.WARNING)
                idx = self._rand_another()
        raise UnreadableImagesError(
            f'{self.max_refetch + 1} training images in a row could not be read, the last one: '
            f'{reason} Images are looked for in {self.data_prefix["img"]!r}.\n{self.DOWNLOAD}')

    def _run_pipeline(self, idx: int) -> Any:
        """What the pipeline makes of sample ``idx``.

        Raises:
            FileNotFoundError: In training, the image is missing and is left to another pipeline to
                load, that of ``CombinedDataset``, which could not take another sample.
        """
        data_info = self.get_data_info(idx)
        data_info['dataset'] = self
        steps = self.pipeline.transforms
        if data_info['raw_ann_info'] is None:  # without keypoints
            steps = [step for step in steps if not isinstance(step, KeypointConverter)]
        sample = Compose(steps)(data_info)
        if not self.test_mode and isinstance(sample, dict) \
                and not sample.keys() & {'img', 'inputs'} and not exists(sample['img_path']):
            raise FileNotFoundError(f'There is no image {sample["img_path"]!r}.')
        return sample


def _is_of_reading(error: Exception) -> bool:
    """Whether an image could not be read: Pillow raises ``OSError``; with OpenCV other errors come,
    which MMPose's ``LoadImage`` marks."""
    return isinstance(error, OSError) or 'occurs when loading' in str(error)
