"""Means over the global batch, however many processes share it."""
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from torch import Tensor


def mean_count(count: Tensor) -> Tensor:
    """What a process divides its own sum by, so that the loss is a mean over the global batch.

    Distributed training averages the gradients of R processes. With the sums S_r and counts n_r of
    their batches, (1/R) Σ S_r / (Σ n_r / R) = Σ S_r / Σ n_r, where own means Σ (S_r / n_r) / R
    would weigh a pixel of a crowded batch less.

    Args:
        count (Tensor): Scalar, what counts in this process's batch.

    Returns:
        Tensor: Mean count of all processes, at least that of a single one in them all.
    """
    return reduce_mean(count.float()).clamp(min=1 / get_world_size())
