"""The heatmap loss that MMPose's AssociativeEmbedding head can be trained with."""
import pytest
import torch
from mmpose.registry import MODELS


def test_heatmaps_of_images_are_compared_whatever_the_number_of_persons():
    loss = MODELS.build(dict(type='ImageHeatmapMSELoss', loss_weight=2.))
    output, target = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    mask = torch.rand(2, 1, 4, 5) > 0.5
    weights_of_seven_persons = torch.rand(7, 3)
    expected = 2 * ((output - target).square() * mask).mean()
    found = loss(output, target, weights_of_seven_persons, mask)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_mmposes_own_loss_cannot_take_weights_of_persons():
    # Why there is another. When this fails, MMPose has been mended.
    loss = MODELS.build(dict(type='KeypointMSELoss', use_target_weight=True))
    maps = torch.zeros(2, 3, 4, 5)
    with pytest.raises(AssertionError):
        loss(maps, maps, torch.ones(7, 3), torch.ones(2, 1, 4, 5))
