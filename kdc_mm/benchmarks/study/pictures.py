"""What the networks of a study find on the same images, side by side."""
from pathlib import Path
from typing import Dict, List, Sequence, Union

import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS

from kdc_mm.visualization import draw_people, picture_grid
from kdc_mm.visualization.draw import person_colors, zoom_for, zoom_image
from kdc_mm.visualization.people import (
    DrawnPeople,
    annotated_people,
    matching_colors,
    predicted_people,
    to_numpy,
)
from kdc_mm.visualization.rows import from_few_to_many_people, predict

from ..network.named_configs import build_model
from . import parts  # noqa: F401  (registers the networks of peers)
from .study import StudyError


def draw_study(configs: Dict[str, Config], checkpoints: Dict[str, str], path: Path,
               images: Union[int, Sequence[str]] = 3) -> None:
    """Draw a row for each of some held-out images: the image, what is annotated, and what each
    network finds.

    Of each network as many people are shown as are annotated, those with the highest scores:
    scores of different heads are on different scales.

    Args:
        configs (dict): Config of a run by the name of its entry, as :func:`.configs.run_config`
            makes it. The ground truth is that of the first whose data set knows keypoints.
        checkpoints (dict): Weights by the name of the entry.
        path (Path): Picture to write.
        images (int | list): Names of images of the data set, or how many, evenly spread from
            those with few people to those with many.

    Raises:
        StudyError: No image of the data set has one of the names.
    """
    poses = next(cfg for cfg in configs.values() if cfg.default_scope == 'mmpose')
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build(poses.val_dataloader.dataset)
    chosen = chosen_indices(dataset, images)
    links = dataset.metainfo['skeleton_links']
    truth = [annotated_people(dataset[index]['data_samples']) for index in chosen]
    originals = [mmcv.imread(dataset.get_data_info(index)['img_path'], channel_order='rgb')
                 for index in chosen]
    columns = [[zoom_image(image, zoom_for(image)) for image in originals],
               [_drawn(image, people, people, links) for image, people in zip(originals, truth)]]
    for name, cfg in configs.items():
        found = _found(name, cfg, checkpoints[name], chosen, truth)
        columns.append([_drawn(image, people, annotated, links)
                        for image, people, annotated in zip(originals, found, truth)])
    titles = ['image', 'annotated', *configs]
    mmcv.imwrite(picture_grid(list(zip(*columns)), titles, cell=320)[..., ::-1], str(path))


def chosen_indices(dataset: BaseDataset, images: Union[int, Sequence[str]]) -> List[int]:
    """Where images of these names are in a data set, or so many of it."""
    if isinstance(images, int):
        return from_few_to_many_people(dataset, images)
    names = [Path(dataset.get_data_info(index)['img_path']).name for index in range(len(dataset))]
    missing = [name for name in images if name not in names]
    if missing:
        raise StudyError(f'No image to judge on is named {missing[0]}; the first is {names[0]}.')
    return [names.index(name) for name in images]


def _found(name: str, cfg: Config, checkpoint: str, indices: List[int],
           truth: List[DrawnPeople]) -> List[DrawnPeople]:
    """The surest people of a network, as many as are annotated."""
    model = build_model(name, cfg)
    load_checkpoint(model, checkpoint, map_location='cpu')
    found = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        for index, annotated in zip(indices, truth):
            sample = predict(model, dataset, index)
            sample.pred_instances = surest(sample.pred_instances, len(annotated.boxes))
            found.append(predicted_people(sample, mask_thr=0))
    return found


def surest(instances: InstanceData, number: int) -> InstanceData:
    """The instances with the highest scores, as the metrics rank them."""
    if not len(instances):
        return instances
    key = next(key for key in ('bbox_scores', 'scores', 'keypoint_scores') if key in instances)
    scores = to_numpy(instances[key]).reshape(len(instances), -1).mean(1)
    return instances[np.argsort(-scores, kind='stable')[:number]]


def _drawn(image: np.ndarray, people: DrawnPeople, annotated: DrawnPeople,
           links: List) -> np.ndarray:
    colors = (person_colors(len(people.boxes)) if people is annotated
              else matching_colors(people, annotated))
    if not people.keypoints.shape[1]:
        links = []  # a detector, which finds no keypoints
    return draw_people(image, people.keypoints, people.scores, people.masks, links, 0., colors,
                       zoom_for(image))
