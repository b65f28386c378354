"""What the networks of a study find on the same images, side by side."""
from pathlib import Path
from typing import Dict, List

import mmcv
import numpy as np
from mmengine.config import Config
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


def draw_study(configs: Dict[str, Config], checkpoints: Dict[str, str], path: Path,
               num: int = 3) -> None:
    """Draw a row for each of some held-out images: the image, what is annotated, and what each
    network finds.

    Of each network as many people are shown as are annotated, those with the highest scores:
    scores of different heads are on different scales.

    Args:
        configs (dict): Config of a run by the name of its entry, as :func:`.configs.run_config`
            makes it. The ground truth is that of the first whose data set knows keypoints.
        checkpoints (dict): Weights by the name of the entry.
        path (Path): Picture to write.
        num (int): Images, evenly spread from those with few people to those with many.
    """
    poses = next(cfg for cfg in configs.values() if cfg.default_scope == 'mmpose')
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build(poses.val_dataloader.dataset)
    chosen = from_few_to_many_people(dataset, num)
    links = dataset.metainfo['skeleton_links']
    truth = [annotated_people(dataset[index]['data_samples']) for index in chosen]
    images = [mmcv.imread(dataset.get_data_info(index)['img_path'], channel_order='rgb')
              for index in chosen]
    columns = [[zoom_image(image, zoom_for(image)) for image in images],
               [_drawn(image, people, people, links) for image, people in zip(images, truth)]]
    for name, cfg in configs.items():
        found = _found(name, cfg, checkpoints[name], chosen, truth)
        columns.append([_drawn(image, people, annotated, links)
                        for image, people, annotated in zip(images, found, truth)])
    titles = ['image', 'annotated', *configs]
    mmcv.imwrite(picture_grid(list(zip(*columns)), titles, cell=320)[..., ::-1], str(path))


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
