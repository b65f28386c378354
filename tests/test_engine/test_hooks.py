"""Training stops when a number is no longer finite, and says how many images it had to skip."""
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from mmengine.dataset import BaseDataset, RepeatDataset
from torch import nn
from torch.utils.data import ConcatDataset

from kdc_mm.engine.hooks.loss_guard_hook import LossGuardHook, all_finite, non_finite_weights
from kdc_mm.engine.hooks.skipped_samples_hook import count_skipped

from .toy import ToyData, ToyModel, build_runner

GUARD = dict(type='LossGuardHook')


def train_until_it_stops(work_dir, model):
    with pytest.raises(FloatingPointError) as error:
        build_runner(work_dir, model, epochs=4, hooks=[GUARD]).train()
    return str(error.value)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_not_finite_stops_training_with_iteration_terms_and_images(
        tmp_path, value):
    message = train_until_it_stops(tmp_path, ToyModel(breaks_at=3, value=value))
    assert 'epoch 2, iteration 4' in message
    assert f'loss_b = {value}' in message and 'loss_a' not in message
    assert '5 (data/5.jpg), 6 (data/6.jpg)' in message
    assert 'epoch_1.pth' in message
    assert '\n' not in message


def test_the_message_is_in_the_log_file_too(tmp_path):
    message = train_until_it_stops(tmp_path, ToyModel(breaks_at=3))
    assert message in next(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.parametrize('in_gradient', [False, True])
@pytest.mark.parametrize('breaks_at', [2, 3])
def test_the_last_checkpoint_stays_intact(tmp_path, breaks_at, in_gradient):
    """Also where the weights break in the last iteration of an epoch, just before saving."""
    train_until_it_stops(tmp_path, ToyModel(breaks_at=breaks_at, in_gradient=in_gradient))
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    weights = torch.load(tmp_path / 'epoch_1.pth')['state_dict']
    assert all(weight.isfinite().all() for weight in weights.values())
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')


def test_a_gradient_that_is_not_finite_is_blamed_on_its_own_batch(tmp_path):
    message = train_until_it_stops(tmp_path, ToyModel(breaks_at=3, in_gradient=True))
    assert 'iteration 4' in message
    assert 'layer.weight' in message


def test_a_loss_that_breaks_at_once_says_that_nothing_was_saved(tmp_path):
    assert 'Nothing was saved' in train_until_it_stops(tmp_path, ToyModel(breaks_at=0))


def test_training_that_stays_finite_is_left_alone(tmp_path):
    runner = build_runner(tmp_path, hooks=[GUARD])
    runner.train()
    assert runner.iter == 4


def test_an_infinite_gradient_that_the_loss_scaler_skips_does_not_stop_training(tmp_path):
    """What AMP does on a GPU, with the scaler's decision written out."""
    runner = build_runner(tmp_path, ToyModel(breaks_at=1, in_gradient=True), hooks=[GUARD])
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    step = runner.optim_wrapper.optimizer.step

    def skip_if_not_finite(closure=None):
        parameters = runner.optim_wrapper.optimizer.param_groups[0]['params']
        if all(parameter.grad.isfinite().all() for parameter in parameters):
            step(closure)

    runner.optim_wrapper.optimizer.step = skip_if_not_finite
    runner.train()
    assert runner.iter == 4


def test_parameters_and_buffers_that_are_not_finite_are_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert non_finite_weights(model) == []
    model[0].weight.data[0, 0] = 3e38
    assert non_finite_weights(model) == []
    model[1].running_var[0] = float('inf')
    model[0].bias.data[1] = float('nan')
    assert non_finite_weights(model) == ['0.bias', '1.running_var']


def test_a_weight_that_is_large_and_finite_stops_nothing(tmp_path):
    """Its norm overflows, so that the elements are looked at."""
    runner = build_runner(tmp_path, epochs=1, hooks=[GUARD])
    runner.model.register_buffer('large', torch.full((2, ), 3e38))
    assert not all_finite([runner.model.large])
    runner.train()
    assert runner.iter == 2


def test_losses_and_weights_take_one_look_at_the_device():
    losses = {name: torch.ones(()) for name in ('loss', 'loss_a', 'loss_b')}
    with patch.object(torch.Tensor, '__bool__', return_value=True) as looks, \
            patch.object(torch.Tensor, 'item') as items:
        LossGuardHook().after_train_iter(SimpleNamespace(model=ToyModel()), 0, None, losses)
    assert looks.call_count == 1 and items.call_count == 0


def test_skipped_images_are_counted_through_wrappers():
    repeated = RepeatDataset(BaseDataset(lazy_init=True), times=2, lazy_init=True)
    assert count_skipped(repeated) == 0
    repeated.dataset = ToyData(num_skipped=3)
    assert count_skipped(repeated) == 3
    assert count_skipped(ConcatDataset([repeated.dataset, ToyData(num_skipped=4)])) == 7


@pytest.mark.parametrize('num_skipped', [0, 3])
def test_an_epoch_ends_with_the_number_of_skipped_images_if_there_are_any(
        tmp_path, num_skipped):
    data = ToyData(num_skipped=num_skipped)
    build_runner(tmp_path, data=data, hooks=[dict(type='SkippedSamplesHook')]).train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert ('3 times since training started' in log) == (num_skipped > 0)
