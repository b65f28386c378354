"""Visualizer of people with skeletons and masks."""
from typing import List, Optional

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmpose.registry import VISUALIZERS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

from .draw import Color, add_label, draw_boxes, draw_people, person_colors, stack_panels, zoom_for
from .fields import field_panels
from .people import DrawnPeople, annotated_people, matching_colors, predicted_people


@VISUALIZERS.register_module()
class PoseSegVisualizer(PoseLocalVisualizer):
    """Draws skeletons and translucent masks in one colour per person.

    MMPose's ``PoseVisualizationHook`` works with it unchanged. That hook hands over nothing of
    ``pred_fields`` but the heatmaps; :class:`PoseSegVisualizationHook` hands over all.

    Args:
        name (str): Name of the instance. Defaults to 'visualizer'.
        draw_fields (bool): Whether to add pictures of the predicted fields, as far as the sample
            has them (the head's ``test_cfg`` needs ``output_heatmaps=True``): keypoint heatmaps,
            KeyCentroid and MaskCentroid arrows. Defaults to False.
        mask_thr (float): Predicted people whose mask has a lower score are left out. Defaults to
            0.3.
        min_long_side (int): Smaller images are drawn enlarged to this length of their longer
            side, so that lines are crisp. Defaults to 800.
        *args, **kwargs: Of MMPose's ``PoseLocalVisualizer``; its colours, radius and line width
            have no effect here.
    """

    def __init__(self,
                 name: str = 'visualizer',
                 *args,
                 draw_fields: bool = False,
                 mask_thr: float = 0.3,
                 min_long_side: int = 800,
                 **kwargs) -> None:
        super().__init__(name, *args, **kwargs)
        self.draw_fields = draw_fields
        self.mask_thr = mask_thr
        self.min_long_side = min_long_side
        # Fields of the next sample, where a hook has merged them away.
        self.pred_fields = None

    @master_only
    def add_datasample(self,
                       name: str,
                       image: np.ndarray,
                       data_sample: PoseDataSample,
                       draw_gt: bool = True,
                       draw_pred: bool = True,
                       draw_heatmap: bool = False,
                       draw_bbox: bool = False,
                       show_kpt_idx: bool = False,
                       skeleton_style: str = 'mmpose',
                       show: bool = False,
                       wait_time: float = 0,
                       out_file: Optional[str] = None,
                       kpt_thr: float = 0.3,
                       step: int = 0) -> np.ndarray:
        """Draw a data sample: ground truth left of the prediction, the fields below.

        Args:
            name (str): Of the picture in the backends, or of the window.
            image (np.ndarray): RGB (h, w, 3), the original image.
            data_sample (:obj:`PoseDataSample`): With ``pred_instances`` in pixels of ``image``.
            draw_gt (bool): Whether to draw the ground truth, if the sample has one.
            draw_pred (bool): Whether to draw the prediction, if the sample has one.
            draw_heatmap (bool): No effect; see ``draw_fields`` of the class.
            draw_bbox (bool): Whether to draw boxes; people with masks need none and get none.
            show_kpt_idx (bool): No effect.
            skeleton_style (str): No effect.
            show (bool): Whether to show the picture in a window.
            wait_time (float): Seconds that the window stays.
            out_file (str, optional): File to write instead of storing the picture in the backends.
            kpt_thr (float): Keypoints of a lower score are left out.
            step (int): Step under which the backends store the picture.

        Returns:
            np.ndarray: the picture, RGB.
        """
        zoom = zoom_for(image, self.min_long_side)
        annotated = predicted = None
        panels = []
        if draw_gt and ('gt_instances' in data_sample or 'raw_ann_info' in data_sample):
            annotated = annotated_people(data_sample)
            colors = person_colors(len(annotated.boxes))
            panel = self._draw(image, annotated, colors, zoom, kpt_thr, draw_bbox)
            panels.append(add_label(panel, 'ground truth'))
        if draw_pred and 'pred_instances' in data_sample:
            predicted = predicted_people(data_sample, self.mask_thr)
            colors = (
                matching_colors(predicted, annotated)
                if annotated else person_colors(len(predicted.boxes)))
            panel = self._draw(image, predicted, colors, zoom, kpt_thr, draw_bbox)
            panels.append(add_label(panel, 'prediction'))
            fields = self.pred_fields or data_sample.get('pred_fields')
            self.pred_fields = None
            if self.draw_fields and fields is not None:
                panels += field_panels(image, fields, data_sample, predicted.masks, colors, zoom)

        picture = stack_panels(panels or [image])
        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(picture[..., ::-1], out_file)
        else:
            self.add_image(name, picture, step)
        return self.get_image()

    def _draw(self, image: np.ndarray, people: DrawnPeople, colors: List[Color], zoom: float,
              kpt_thr: float, draw_bbox: bool) -> np.ndarray:
        picture = draw_people(image, people.keypoints, people.scores, people.masks,
                              self.dataset_meta['skeleton_links'], kpt_thr, colors, zoom)
        if draw_bbox and people.masks is None:
            picture = draw_boxes(picture, people.boxes, colors, zoom)
        return picture
