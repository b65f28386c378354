"""A model of one layer and a data set of ten numbers, for runs of a second."""
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset


class ToyData(Dataset):
    """Ten samples; sample i has ``img_id`` i. It counts skipped images as kdc_mm's data sets do."""

    metainfo = dict(dataset_name='toy', sigmas=torch.ones(3).numpy())

    def __init__(self, num_skipped=0):
        self.num_skipped = num_skipped

    def __len__(self):
        return 10

    def __getitem__(self, index):
        sample = BaseDataElement(metainfo=dict(img_id=index, img_path=f'data/{index}.jpg'))
        return dict(inputs=torch.ones(2), data_samples=sample)


class ToyModel(BaseModel):
    """Two losses. From iteration ``breaks_at`` on ``loss_b`` is ``value``, or its gradient is."""

    def __init__(self, breaks_at=None, value=float('nan'), in_gradient=False):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.breaks_at = breaks_at
        self.value = value
        self.in_gradient = in_gradient
        self.calls = 0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        out = self.layer(torch.stack(inputs))
        if mode != 'loss':
            return data_samples
        self.calls += 1
        loss_b = out.abs().mean()
        if self.breaks_at is not None and self.calls > self.breaks_at:
            if self.in_gradient:
                loss_b = loss_b * 0 + (out - out.detach()).pow(2).sqrt().mean()
            else:
                loss_b = loss_b * self.value
        return dict(loss_a=out.pow(2).mean(), loss_b=loss_b)


class ToyMetric(BaseMetric):
    """Always one half."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(len(data_samples))

    def compute_metrics(self, results):
        return dict(AP=0.5)


def build_runner(work_dir, model=None, epochs=2, validate=False, data=None, hooks=(),
                 checkpoint=None, **settings):
    """A runner over ToyData with batches of 5, so 2 iterations an epoch, saving every epoch."""
    loader = dict(batch_size=5, num_workers=0, collate_fn=dict(type='pseudo_collate'))
    data = data or ToyData()
    if validate:
        settings.update(
            val_cfg=dict(), val_evaluator=[ToyMetric()],
            val_dataloader=dict(loader, dataset=data, sampler=dict(type='DefaultSampler',
                                                                   shuffle=False)))
        saving = dict(type='CheckpointHook', interval=1, save_best='toy/AP', rule='greater')
    else:
        saving = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
    settings.setdefault('train_cfg', dict(by_epoch=True, max_epochs=epochs))
    # At the end of an epoch mmengine's loop over iterations waits for two seconds.
    sampler = 'DefaultSampler' if settings['train_cfg']['by_epoch'] else 'InfiniteSampler'
    torch.manual_seed(0)
    return Runner(
        model=model or ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=dict(loader, dataset=data, sampler=dict(type=sampler, shuffle=False)),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=1e-3)),
        default_hooks=dict(
            checkpoint=checkpoint or saving, logger=dict(type='LoggerHook', interval=1)),
        custom_hooks=list(hooks),
        experiment_name=f'{work_dir}-{epochs}'.replace('/', '_'),
        default_scope='mmpose',
        **settings)
