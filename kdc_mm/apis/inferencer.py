"""Poses and masks on images, arrays and videos, by the call of MMPose's inferencers."""
from pathlib import Path
from typing import Callable, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

import mmengine
import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from mmpose.apis import Pose2DInferencer
from mmpose.registry import INFERENCERS
from mmpose.structures import PoseDataSample, split_instances

from ..datasets.segmentations import text_rle
from ..engine.checkpoint import check_checkpoint, check_fit
from .sources import image_files

Image = Union[str, np.ndarray]


@INFERENCERS.register_module()
class PoseSegInferencer(Pose2DInferencer):
    """MMPose's ``Pose2DInferencer`` for KDC's networks: with masks, and in real batches.

    ``inferencer(inputs, batch_size=8, out_dir='out')`` gives, as MMPose's does, one dict for each
    batch, with ``predictions`` (a list per image, as :func:`describe_people` says) and
    ``visualization``. ``inputs`` is a file, a folder, a video, 'webcam:0', a BGR image (h, w, 3)
    uint8, or a list of files and images. MMPose's further arguments of a call work unchanged, but
    ``bbox_thr``, ``nms_thr`` and ``bboxes`` have no effect: KDC finds people without boxes.
    Strokes suit a person's size, larger or smaller in proportion to ``radius`` (3) and
    ``thickness`` (1). ``draw_heatmap=True`` adds pictures of the fields.

    Predictions are those of the test pipeline.

    Args:
        model (str | Config): Config file, or the config itself. One without ``data_mode`` is taken
            for that of a bottom-up network.
        weights (str, optional): Checkpoint. Without it the network is random.
        device (str, optional): Such as 'cpu' or 'cuda:0'. By default a GPU if there is one.
        scope (str): Defaults to 'mmpose'.
        show_progress (bool): Whether a call shows a progress bar. Defaults to ``False``.

    Raises:
        CheckpointError: The checkpoint cannot be used, or is of another network.
    """

    def __init__(self,
                 model: Union[str, Config, ConfigDict],
                 weights: Optional[str] = None,
                 device: Optional[str] = None,
                 scope: str = 'mmpose',
                 show_progress: bool = False) -> None:
        if weights is not None:
            check_checkpoint(weights)
        super().__init__(model, weights, device, scope, show_progress=show_progress)
        if weights is not None:
            check_fit(self.model, weights, model if isinstance(model, str) else 'the config')

    def _init_model(self, cfg: Config, weights: Optional[str], device: str):
        if 'data_mode' not in cfg:
            cfg.data_mode = 'bottomup'
        return super()._init_model(cfg, weights, device)

    def _init_pipeline(self, cfg: Config) -> Callable:
        """The test pipeline; of several data sets together each one loads its images itself."""
        super()._init_pipeline(cfg)
        dataset = cfg.test_dataloader.dataset
        load = dataset.datasets[0].get('pipeline', [])[:1] if 'datasets' in dataset else []
        return Compose([*load, *dataset.pipeline])

    def load_image(self, path: str) -> np.ndarray:
        """A file as the test pipeline reads it.

        Returns:
            np.ndarray: BGR (h, w, 3) uint8, turned as its EXIF tag says.

        Raises:
            OSError: It cannot be read; the message names it.
        """
        try:
            return self.pipeline.transforms[0](dict(img_path=path))['img']
        except Exception as error:  # decoders raise what they like
            reason = str(error).split('` occurs when loading')[0].lstrip('`')
            raise OSError(f'{path} cannot be read as an image: {reason}') from error

    def predict(self, images: Sequence[Image]) -> List[PoseDataSample]:
        """People on images, which make one batch.

        Args:
            images (Sequence): Files, or BGR images (h, w, 3) uint8 of any size.

        Returns:
            list[PoseDataSample]: Of each image, as ``model.test_step`` gives them.
        """
        return self.forward(self._batch(images))

    def _batch(self, images: Sequence[Image], first: int = 0) -> dict:
        """Images as a batch of the test pipeline; arrays are called by their index."""
        samples = [
            sample for index, image in enumerate(images, first)
            for sample in self.preprocess_single(image, index)
        ]
        return self.collate_fn(samples)

    def _inputs_to_list(self, inputs: Union[Image, Path, Sequence[Image]]) -> Iterable:
        """MMPose's, which fails in a folder that holds anything but media."""
        inputs = str(inputs) if isinstance(inputs, Path) else inputs
        if isinstance(inputs, str) and Path(inputs).is_dir():
            inputs = image_files(Path(inputs))
        return super()._inputs_to_list(inputs)

    def preprocess(self,
                   inputs: Iterable[Image],
                   batch_size: int = 1,
                   bboxes: Optional[List] = None,
                   bbox_thr: float = 0.3,
                   nms_thr: float = 0.3) -> Iterator[Tuple[dict, List[Image]]]:
        """Batches for the network, each with the inputs that it is made of.

        Args:
            inputs (Iterable): Files and images.
            batch_size (int): Images in a batch. Defaults to 1.
            bboxes, bbox_thr, nms_thr: No effect.
        """
        first = 0
        for chunk in self._get_chunk_data(inputs, batch_size):
            yield self._batch(chunk, first), chunk
            first += len(chunk)

    def update_model_visualizer_settings(self, draw_heatmap: bool = False, **kwargs) -> None:
        """MMPose's, where KDC's visualizer draws the fields too."""
        super().update_model_visualizer_settings(draw_heatmap=draw_heatmap, **kwargs)
        self.visualizer.draw_fields = draw_heatmap

    def visualize(self,
                  inputs: List[Image],
                  preds: List[PoseDataSample],
                  return_vis: bool = False,
                  show: bool = False,
                  vis_out_dir: str = '',
                  **kwargs) -> Optional[List[np.ndarray]]:
        """Draw people as MMPose's inferencer does, on files as the network saw them."""
        if return_vis or show or vis_out_dir:
            inputs = [self.load_image(one) if isinstance(one, str) else one for one in inputs]
        return super().visualize(
            inputs, preds, return_vis=return_vis, show=show, vis_out_dir=vis_out_dir, **kwargs)

    def postprocess(self,
                    preds: List[PoseDataSample],
                    visualization: Optional[List[np.ndarray]],
                    return_datasample: Optional[bool] = None,
                    return_datasamples: bool = False,
                    pred_out_dir: str = '') -> dict:
        """Predictions as plain values, or as they are, and files of them.

        Args:
            preds (list[PoseDataSample]): Of one batch.
            visualization (list[np.ndarray], optional): What :meth:`visualize` gives.
            return_datasample (bool, optional): Older name of ``return_datasamples``.
            return_datasamples (bool): Whether to hand on ``preds``. Defaults to ``False``.
            pred_out_dir (str): Folder for a JSON file per image or video; none by default.

        Returns:
            dict: ``predictions`` and ``visualization``.
        """
        described = [describe_people(sample.pred_instances) for sample in preds]
        for people, sample in zip(described, preds) if pred_out_dir else ():
            if self._video_input:
                self.video_info['predictions'].append(people)
            else:
                name = f'{Path(sample.img_path).stem}.json'
                mmengine.dump(people, str(Path(pred_out_dir, name)), indent='  ')
        as_they_are = return_datasamples if return_datasample is None else return_datasample
        return dict(visualization=visualization, predictions=preds if as_they_are else described)


def describe_people(instances: InstanceData) -> List[dict]:
    """People of an image as plain values that JSON can hold.

    Args:
        instances (InstanceData): ``pred_instances`` of n people.

    Returns:
        list[dict]: Of each person what MMPose's inferencers give, ``keypoints`` (K, 2) in pixels,
        ``keypoint_scores`` (K,), ``bbox`` ([x1, y1, x2, y2], ) around the keypoints and
        ``bbox_score``; and, where the network has masks, ``mask``, a COCO RLE of the image's size
        whose counts are text, and ``mask_score``.
    """
    people = split_instances(instances)
    for row, person in enumerate(people):
        person['bbox_score'] = float(person['bbox_score'])
        if 'masks' in instances:
            person['mask'] = text_rle(instances.masks[row])
            person['mask_score'] = float(instances.mask_scores[row])
    return people
