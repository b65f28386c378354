# Weights, gradients and optimizer states in shards over all GPUs (docs/distributed.md).
_base_ = ['kdc_rn152_coco.py']

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy=dict(
            type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy',
            min_num_params=int(1e7)),
        use_orig_params=True),
    state_dict_cfg='full')

# A shard's state is no tensor that the guard could look at
custom_hooks = [dict(type='SkippedSamplesHook')]

# All processes have to run the network equally often; the images that fill up do not count
val_dataloader = dict(sampler=dict(round_up=True))
