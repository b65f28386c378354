"""Several processes without a GPU: mmengine starts a launcher's processes for GPUs only."""
import torch
from mmengine.config import Config
from torch import distributed

from ..config_types import type_name


def join_processes_on_cpu(cfg: Config) -> None:
    """Where there is no GPU, let the processes of ``torchrun`` meet through gloo.

    mmengine would ask for a GPU before it joins them, and would give each process's GPU to the
    wrapper of the model. With a GPU, or without ``--launcher pytorch``, nothing is changed.

    Args:
        cfg (Config): The merged config; the wrapper of its model, also FSDP's, gets the CPU as
            device.
    """
    if cfg.get('launcher') != 'pytorch' or torch.cuda.is_available():
        return
    if not distributed.is_initialized():
        distributed.init_process_group('gloo')
    if 'strategy' in cfg and type_name(cfg.strategy) == 'FSDPStrategy':
        cfg.strategy.model_wrapper.device_id = torch.device('cpu')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False))
