"""AP of an exported network, on the data and by the metrics with which a config tests."""
from typing import Callable, Dict

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope

from kdc_mm_runtime import Runtime

from ..models.heads.instances import pack_instances


def evaluate_runtime(runtime: Runtime, cfg: Config,
                     after_image: Callable[[], None] = lambda: None) -> Dict[str, float]:
    """Find the people of all test images and score them.

    Args:
        runtime (Runtime): The exported network.
        cfg (Config): Whose ``test_dataloader.dataset`` and ``test_evaluator`` are taken; images are
            read by the first step of its pipeline, and resized by the runtime.
        after_image (callable): Called after each image, for a progress bar.

    Returns:
        dict: the metrics' figures.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpose')):
        dataset = unresized_images(cfg)
        evaluator = Evaluator(cfg.test_evaluator)
        evaluator.dataset_meta = dataset.metainfo
        for index in range(len(dataset)):
            item = dataset[index]
            image = np.ascontiguousarray(item['inputs'].permute(1, 2, 0).numpy())
            sample = item['data_samples']
            sample.pred_instances = pack_instances(runtime(image))
            evaluator.process([sample])
            after_image()
        return evaluator.evaluate(len(dataset))


def unresized_images(cfg: Config):
    """The data set with which a config tests, whose images are as they were read."""
    settings = cfg.test_dataloader.dataset.copy()
    settings.pipeline = [step for step in settings.pipeline if step.type != 'BottomupResize']
    return DATASETS.build(settings)
