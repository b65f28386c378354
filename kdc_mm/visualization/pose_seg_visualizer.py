"""Visualizer of people with skeletons and masks."""
from typing import List, Optional, Sequence, Tuple, Union

import mmcv
import numpy as np
from mmengine.dist import master_only
from mmengine.structures import PixelData
from mmengine.visualization.utils import color_str2rgb
from mmpose.registry import VISUALIZERS
from mmpose.structures import PoseDataSample
from mmpose.visualization import PoseLocalVisualizer

from .draw import (
    Color,
    add_label,
    draw_boxes,
    draw_keypoint_numbers,
    draw_people,
    person_colors,
    stack_panels,
    zoom_for,
    zoom_image,
)
from .fields import field_panels, heatmap_panel, maps_to_picture
from .people import (
    DrawnPeople,
    annotated_people,
    in_openpose_style,
    is_input,
    matching_colors,
    openpose_metainfo,
    people_in_input,
    predicted_people,
    to_numpy,
)

#: Of MMPose's visualizer and inferencers; with them strokes suit the person.
_RADIUS, _LINE_WIDTH = 3, 1


@VISUALIZERS.register_module()
class PoseSegVisualizer(PoseLocalVisualizer):
    """Draws skeletons and translucent masks in one colour per person.

    It takes the place of MMPose's ``PoseLocalVisualizer`` wherever that is used: same arguments,
    pictures of the same size. Without limbs in the data set's description it draws keypoints alone.

    MMPose's ``PoseVisualizationHook`` hands over nothing of ``pred_fields`` but the heatmaps;
    :class:`PoseSegVisualizationHook` hands over all.

    Args:
        name (str): Name of the instance. Defaults to 'visualizer'.
        draw_fields (bool): Whether to add pictures of the predicted fields, as far as the sample
            has them (the head's ``test_cfg`` needs ``output_heatmaps=True``): keypoint heatmaps,
            KeyCentroid and MaskCentroid arrows. Defaults to False.
        mask_thr (float): Predicted people whose mask has a lower score are left out. Defaults to
            0.3.
        min_long_side (int): Smaller images are drawn enlarged to this length of their longer
            side, so that lines are crisp. Defaults to 0: pictures have the size of their image,
            as MMPose's badcase hook, which draws over what it has drawn, needs them.
        kpt_color, link_color (str | tuple[int], optional): RGB colour of all people, whichever of
            the two is given. By default each person has its own; a list of colours leaves it so.
        radius (float): Keypoints are drawn ``radius / 3`` times as large as suits the person.
            Defaults to 3.
        line_width (float): Limbs are drawn ``line_width`` times as wide as suits the person.
            Defaults to 1.
        *args, **kwargs: Of MMPose's ``PoseLocalVisualizer``. Colours of boxes and text,
            ``show_keypoint_weight`` and ``alpha`` have no effect here.
    """

    def __init__(self,
                 name: str = 'visualizer',
                 *args,
                 draw_fields: bool = False,
                 mask_thr: float = 0.3,
                 min_long_side: int = 0,
                 kpt_color: Union[str, Sequence, None] = None,
                 link_color: Union[str, Sequence, None] = None,
                 radius: float = _RADIUS,
                 line_width: float = _LINE_WIDTH,
                 **kwargs) -> None:
        super().__init__(name, *args, kpt_color=kpt_color, link_color=link_color, radius=radius,
                         line_width=line_width, **kwargs)
        self.draw_fields = draw_fields
        self.mask_thr = mask_thr
        self.min_long_side = min_long_side
        self._own_colors = dict(kpt_color=kpt_color, link_color=link_color)
        # Fields of the next sample, where a hook has merged them away.
        self.pred_fields = None

    def set_dataset_meta(self, dataset_meta: dict, skeleton_style: str = 'mmpose') -> None:
        """Take keypoints and limbs from a data set's description, but no colours.

        Args:
            dataset_meta (dict): The description.
            skeleton_style (str): No effect: :meth:`add_datasample` is told for each picture.
        """
        super().set_dataset_meta(dataset_meta)
        vars(self).update(self._own_colors)

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
        """Draw a data sample: ground truth left of the prediction, heatmaps below.

        Args:
            name (str): Of the picture in the backends, or of the window.
            image (np.ndarray): RGB (h, w, 3): the original image, or the network's input, on which
                the ground truth is moved as the pipeline has moved the image.
            data_sample (:obj:`PoseDataSample`): With ``pred_instances`` in pixels of ``image``.
            draw_gt (bool): Whether to draw the ground truth; the plain image if there is none.
            draw_pred (bool): Whether to draw the prediction; the plain image if there is none.
            draw_heatmap (bool): Whether to add a picture of the heatmaps, if the sample has any.
                All fields have one with ``draw_fields`` of the class, whatever this says.
            draw_bbox (bool): Whether to draw boxes.
            show_kpt_idx (bool): Whether to write the keypoints' indices.
            skeleton_style (str): 'openpose' draws OpenPose's keypoints and limbs where COCO's
                keypoints are known. Defaults to 'mmpose': those of the data set.
            show (bool): Whether to show the picture in a window.
            wait_time (float): Seconds that the window stays.
            out_file (str, optional): File to write instead of storing the picture in the backends.
            kpt_thr (float): Keypoints of a lower score are left out.
            step (int): Step under which the backends store the picture.

        Returns:
            np.ndarray: the picture, RGB.
        """
        zoom = zoom_for(image, self.min_long_side)
        plain = zoom_image(image, zoom)
        annotated = predicted = None
        colors: List[Color] = []
        if draw_gt and ('gt_instances' in data_sample or 'raw_ann_info' in data_sample):
            annotated = self._annotated(image, data_sample)
        if draw_pred and 'pred_instances' in data_sample:
            predicted = predicted_people(data_sample, self.mask_thr)
            colors = self._colors(predicted, annotated)

        def draw(people: Optional[DrawnPeople], people_colors: List[Color], title: str):
            if people is None:
                return plain
            picture = self._draw(image, people, people_colors, zoom, kpt_thr, draw_bbox,
                                 show_kpt_idx, skeleton_style)
            return add_label(picture, title) if draw_gt and draw_pred else picture

        columns = []
        if draw_gt:
            columns.append([draw(annotated, self._colors(annotated), 'ground truth')])
        if draw_pred:
            columns.append([draw(predicted, colors, 'prediction')])
        fields = self.pred_fields or data_sample.get('pred_fields')
        self.pred_fields = None
        if self.draw_fields and predicted is not None and fields is not None:
            people = [panel for column in columns for panel in column]
            picture = stack_panels(
                people + field_panels(image, fields, data_sample, predicted.masks, colors, zoom))
        else:
            shown = [data_sample.get('gt_fields')] * draw_gt + [fields] * draw_pred
            for column, shown_fields in zip(columns, shown):
                if draw_heatmap and _has_heatmaps(shown_fields):
                    column.append(self._heatmaps(image, shown_fields, data_sample, zoom))
            picture = _side_by_side(columns or [[plain]], plain)

        self.set_image(picture)
        if show:
            self.show(picture, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(picture[..., ::-1], out_file)
        else:
            self.add_image(name, picture, step)
        return self.get_image()

    @staticmethod
    def _annotated(image: np.ndarray, data_sample: PoseDataSample) -> DrawnPeople:
        """The ground truth in pixels of ``image``."""
        if is_input(image.shape[:2], data_sample):
            return people_in_input(data_sample)
        return annotated_people(data_sample)

    def _colors(self, people: Optional[DrawnPeople],
                reference: Optional[DrawnPeople] = None) -> List[Color]:
        """A colour for each person, like that of the same person of ``reference``."""
        num_people = 0 if people is None else len(people.boxes)
        given = [color_str2rgb(color) if isinstance(color, str) else color
                 for color in (self.link_color, self.kpt_color) if _is_one_color(color)]
        if given:
            return [tuple(int(c) for c in given[0])] * num_people
        return person_colors(num_people) if reference is None else matching_colors(
            people, reference)

    def _draw(self, image: np.ndarray, people: DrawnPeople, colors: List[Color], zoom: float,
              kpt_thr: float, draw_bbox: bool, show_kpt_idx: bool,
              skeleton_style: str) -> np.ndarray:
        boxes = people.boxes
        people, links = self._in_style(people, skeleton_style)
        picture = draw_people(image, people.keypoints, people.scores, people.masks, links, kpt_thr,
                              colors, zoom, self.line_width / _LINE_WIDTH, self.radius / _RADIUS)
        if draw_bbox:
            picture = draw_boxes(picture, boxes, colors, zoom)
        if show_kpt_idx:
            picture = draw_keypoint_numbers(picture, people.keypoints, people.scores, kpt_thr, zoom)
        return picture

    def _in_style(self, people: DrawnPeople,
                  skeleton_style: str) -> Tuple[DrawnPeople, Sequence[Tuple[int, int]]]:
        """The keypoints to draw, and the limbs between them; none if they are not the data set's.
        """
        meta = self.dataset_meta or {}
        num_keypoints = people.keypoints.shape[1]
        names = list(meta.get('keypoint_name2id', {}))
        if skeleton_style == 'openpose' and len(names) == num_keypoints:
            restyled = in_openpose_style(people, names)
            if restyled is not None:
                return restyled, openpose_metainfo()['skeleton_links']
        links = meta.get('skeleton_links', self.skeleton)
        is_other = meta.get('num_keypoints', num_keypoints) != num_keypoints
        return people, [] if links is None or is_other else links

    @staticmethod
    def _heatmaps(image: np.ndarray, fields: PixelData, data_sample: PoseDataSample,
                  zoom: float) -> np.ndarray:
        """A picture of the heatmaps."""
        heatmaps = to_numpy(fields.heatmaps)
        to_image = maps_to_picture(heatmaps.shape[1:], image.shape[:2], data_sample, zoom)
        return heatmap_panel(zoom_image(image, zoom), heatmaps, to_image)


def _is_one_color(color: Union[str, Sequence, None]) -> bool:
    """Whether it is a name or three numbers, not a list of colours."""
    return isinstance(color, str) or (
        np.shape(color) == (3, ) and np.asarray(color).dtype.kind in 'iuf')


def _has_heatmaps(fields: Optional[PixelData]) -> bool:
    return isinstance(fields, PixelData) and 'heatmaps' in fields


def _side_by_side(columns: List[List[np.ndarray]], plain: np.ndarray) -> np.ndarray:
    """Columns of panels as one picture, short ones filled with the plain image."""
    height = max(map(len, columns))
    filled = [column + [plain] * (height - len(column)) for column in columns]
    return np.concatenate([np.concatenate(column) for column in filled], axis=1)
