from typing import Any, Dict, List, Optional, Sequence, Union

from mmengine.evaluator import Evaluator
from mmengine.evaluator.metric import BaseMetric
from mmengine.structures import BaseDataElement
from mmpose.evaluation.evaluators import MultiDatasetEvaluator
from mmpose.registry import DATASETS, EVALUATORS

from ..config_types import type_class


@EVALUATORS.register_module()
class MixedDatasetEvaluator(MultiDatasetEvaluator):
    """MMPose's ``MultiDatasetEvaluator`` with any number of metrics for each data set, such as
    keypoints and masks of several data sets in one validation.

    A sample belongs to the data set that its ``dataset_name`` names, which test pipelines have to
    hand on (``PackPoseInputs(meta_keys=(..., 'dataset_name'))``).

    Args:
        metrics (sequence[dict | BaseMetric]): The metrics.
        datasets (sequence[dict | None]): Config of the data set of each metric; None for a metric
            that takes the samples of all, as one that writes predictions does.

    Raises:
        ValueError: There are not as many data sets as metrics, or two data sets have the same name.
    """

    def __init__(self, metrics: Sequence[Union[dict, BaseMetric]],
                 datasets: Sequence[Optional[dict]]) -> None:
        if len(metrics) != len(datasets):
            raise ValueError(f'MixedDatasetEvaluator has {len(metrics)} metrics and '
                             f'{len(datasets)} data sets: name the data set of each metric.')
        Evaluator.__init__(self, metrics)
        self.metrics_dict: Dict[str, _Metrics] = {}
        self.metrics_of_all = _Metrics()
        files: Dict[str, str] = {}
        for dataset, metric in zip(datasets, self.metrics):
            if dataset is None:
                self.metrics_of_all.append(metric)
                continue
            metainfo = type_class(dataset, DATASETS)._load_metainfo(dataset.get('metainfo'))
            name = metainfo['dataset_name']
            if files.setdefault(name, dataset['ann_file']) != dataset['ann_file']:
                raise ValueError(
                    f'MixedDatasetEvaluator cannot tell {files[name]} and {dataset["ann_file"]} '
                    f'apart: both are named {name!r}. Give one another name, in the data set and '
                    "here: metainfo=dict(dataset_name='NAME').")
            metric.dataset_meta = metainfo
            self.metrics_dict.setdefault(name, _Metrics()).append(metric)

    def process(self, data_samples: Sequence[BaseDataElement],
                data_batch: Optional[Any] = None) -> None:
        """Give each metric its samples of a batch.

        Args:
            data_samples (Sequence[BaseDataElement]): Predictions.
            data_batch (dict): ``inputs`` and ``data_samples``, as many as predictions.
        """
        super().process(data_samples, data_batch)
        self.metrics_of_all.process(data_batch, [
            sample.to_dict() if isinstance(sample, BaseDataElement) else sample
            for sample in data_samples])


class _Metrics(List[BaseMetric]):
    """Metrics that MMPose's evaluator takes for one."""

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for metric in self:
            metric.process(data_batch, data_samples)
