"""Each loss against loops straight from its equation, and its gradient against differences."""
import math

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS
from torch.autograd import gradcheck

from kdc_mm.models.losses.instance_losses import instance_means


@pytest.fixture
def noise():
    """Function that draws float64 normal numbers, the same at every run."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def build(name, **settings):
    return MODELS.build(dict(type=name, **settings))


# Eq. 1


def test_the_disk_loss_is_the_cross_entropy_over_pixels_that_count(noise):
    logits = noise(2, 3, 4, 5)
    target = (noise(2, 3, 4, 5) > 0).double()
    weight = (noise(2, 3, 4, 5) > -0.5).double()
    total = count = 0
    for i in np.ndindex(2, 3, 4, 5):
        if weight[i]:
            probability = 1 / (1 + math.exp(-logits[i]))
            total -= math.log(probability if target[i] else 1 - probability)
            count += 1
    loss = build('PixelBCELoss', loss_weight=3.)(logits, target, weight)
    assert loss.item() == pytest.approx(3 * total / count)


def test_the_gradient_of_the_disk_loss_is_exact(noise):
    loss = build('PixelBCELoss')
    target, weight = (noise(2, 3, 3) > 0).double(), (noise(2, 3, 3) > -0.5).double()
    assert gradcheck(lambda x: loss(x, target, weight), noise(2, 3, 3).requires_grad_())


def test_the_disk_loss_of_ignored_pixels_is_0_and_pulls_nowhere(noise):
    prediction = noise(3, 4, 4).requires_grad_()
    target, weight = noise(3, 4, 4).sigmoid(), torch.zeros(3, 4, 4, dtype=torch.float64)
    loss = build('PixelBCELoss')(prediction, target, weight)
    loss.backward()
    assert loss == 0 and (prediction.grad == 0).all()


# Eq. 4, and the same for vectors out of the disk


def test_the_vector_loss_is_the_mean_l1_norm_of_the_errors(noise):
    vectors, target = noise(20, 2), noise(20, 2)
    errors = [
        sum(abs(float(vectors[i, axis] - target[i, axis])) for axis in (0, 1)) for i in range(20)
    ]
    loss = build('VectorL1Loss', loss_weight=0.5)(vectors, target)
    assert loss.item() == pytest.approx(0.5 * np.mean(errors))


def test_the_vector_loss_of_weighted_vectors_is_their_weighted_mean(noise):
    vectors, target, weight = noise(20, 2), noise(20, 2), noise(20, 1).abs()
    errors = [float((vectors[i] - target[i]).abs().sum()) for i in range(20)]
    loss = build('VectorL1Loss', loss_weight=0.5)(vectors, target, weight)
    expected = 0.5 * np.average(errors, weights=weight[:, 0].numpy())
    assert loss.item() == pytest.approx(expected)


def test_the_gradient_of_the_vector_loss_is_exact(noise):
    loss, target = build('VectorL1Loss'), noise(9, 2)
    assert gradcheck(lambda x: loss(x, target), noise(9, 2).requires_grad_())


def test_without_any_vector_the_loss_is_0(noise):
    nothing = noise(0, 2).requires_grad_()
    loss = build('VectorL1Loss')(nothing, noise(0, 2))
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize('old, name', [('KeypointDiskLoss', 'PixelBCELoss'),
                                       ('KeyCentroidLoss', 'VectorL1Loss'),
                                       ('MaskCentroidLoss', 'VectorL1Loss'),
                                       ('LimbDisplacementLoss', 'VectorL1Loss')])
def test_losses_go_by_their_earlier_names_too(old, name):
    assert MODELS.get(old) is MODELS.get(name) is not None


# Eqs. 5 to 7


@pytest.fixture
def instances(noise):
    """Embeddings (P, 2), owners (P,) of three instances, centroids (3, 2), σ (3,)."""
    owner = torch.tensor([0, 2, 1, 1, 0, 2, 2, 2, 0, 1, 2, 2])
    return noise(12, 2) * 8, owner, noise(3, 2) * 8, 4 + noise(3).abs()


def test_the_dynamic_centroid_is_the_mean_of_an_instances_embeddings(instances):
    embeddings, owner, _, _ = instances
    means = instance_means(embeddings, owner, 3)
    for j in range(3):
        own = [embeddings[i] for i in range(12) if owner[i] == j]
        torch.testing.assert_close(means[j], sum(own) / len(own))


def test_pixels_count_by_their_weight_and_alike_where_none_has_any(instances):
    embeddings, owner, _, _ = instances
    weight = torch.tensor([2., 0, 0, 1, 0, 0, 0, 0, 1, 3, 0, 0], dtype=torch.float64)
    means = instance_means(embeddings, owner, 3, weight)
    expected = [(2 * embeddings[0] + embeddings[8]) / 3, (embeddings[3] + 3 * embeddings[9]) / 4,
                embeddings[owner == 2].mean(0)]
    torch.testing.assert_close(means, torch.stack(expected))


def test_the_mask_centroid_loss_is_the_mean_l1_distance_to_the_own_centroid(instances):
    embeddings, owner, centroids, _ = instances
    total = sum(
        abs(embeddings[i, axis] - centroids[owner[i], axis]) for i, axis in np.ndindex(12, 2))
    loss = build('MaskCentroidLoss', loss_weight=2.)(embeddings, centroids[owner])
    assert loss.item() == pytest.approx(2 * float(total) / 12)


def reference_instance_loss(embeddings, owner, centroids, sigmas):
    """Dice distance of φ_j and mask j, plus the cross-entropy of the margin ln 2 − |e − C|²/2σ²
    with own and foreign pixels in equal parts; mean over instances."""
    total = 0
    for j, (centroid, sigma) in enumerate(zip(centroids.tolist(), sigmas.tolist())):
        overlap = size = 0
        entropy = dict(own=[], foreign=[])
        for embedding, other in zip(embeddings.tolist(), owner.tolist()):
            exponent = math.dist(embedding, centroid)**2 / (2 * sigma**2)
            phi, own = math.exp(-exponent), other == j
            overlap += phi * own
            size += phi + own
            probability = 1 / (1 + math.exp(exponent - math.log(2)))
            entropy['own' if own else 'foreign'].append(
                -math.log(probability if own else 1 - probability))
        total += 1 - 2 * overlap / size
        total += sum(sum(part) / max(len(part), 1) for part in entropy.values()) / 2
    return total / len(sigmas)


def test_the_instance_loss_is_dice_plus_cross_entropy_of_phi(instances):
    embeddings, owner, centroids, sigmas = instances
    loss = build('InstanceGaussianLoss', loss_weight=0.5)(embeddings, centroids, sigmas, owner)
    expected = reference_instance_loss(embeddings, owner, centroids, sigmas)
    assert loss.item() == pytest.approx(0.5 * expected)


def test_the_instance_loss_of_a_batch_is_the_mean_of_its_images(noise):
    """However many pixels and instances each has; pixels of other images are no foreign ones."""
    owner = torch.tensor([1, 0, 0, 1, 0, 2, 2, 3, 5, 4, 3, 3, 4, 5, 5, 5, 5])
    image = torch.tensor([0, 0, 3, 4, 4, 4])
    embeddings, centroids, sigmas = noise(17, 2) * 8, noise(6, 2) * 8, 4 + noise(6).abs()
    loss = build('InstanceGaussianLoss')(embeddings, centroids, sigmas, owner, image)
    expected = []
    for i in (0, 3, 4):
        pixels, own = image[owner] == i, image == i
        first = int(own.nonzero()[0])
        expected.append(reference_instance_loss(
            embeddings[pixels], owner[pixels] - first, centroids[own], sigmas[own]))
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_the_instance_loss_of_one_person_has_no_foreign_pixels(instances):
    embeddings, _, centroids, sigmas = instances
    owner = torch.zeros(12, dtype=torch.int64)
    loss = build('InstanceGaussianLoss')(embeddings, centroids[:1], sigmas[:1], owner)
    expected = reference_instance_loss(embeddings, owner, centroids[:1], sigmas[:1])
    assert loss.item() == pytest.approx(expected)


def test_the_instance_loss_pulls_from_any_distance():
    """Where φ is 0 in float32 its Dice distance has no gradient left."""
    embeddings = torch.tensor([[1000., 0.], [0., 0.]], requires_grad=True)
    loss = build('InstanceGaussianLoss')(
        embeddings, torch.zeros(1, 2), torch.ones(1), torch.zeros(2, dtype=torch.int64))
    loss.backward()
    assert torch.isfinite(loss) and embeddings.grad[0, 0] > 1


def test_the_gradient_of_the_instance_losses_is_exact(instances):
    """Also through the dynamic centroid, which moves with the embeddings."""
    embeddings, owner, centroids, sigmas = instances
    gaussian, offset = build('InstanceGaussianLoss'), build('MaskCentroidLoss')
    embeddings.requires_grad_(), sigmas.requires_grad_()
    image, of_two_images = torch.tensor([0, 0, 1]), owner.sort().values
    assert gradcheck(lambda e, s: gaussian(e, centroids, s, of_two_images, image),
                     (embeddings, sigmas))
    assert gradcheck(lambda e, s: gaussian(e, instance_means(e, owner, 3), s, owner),
                     (embeddings, sigmas))
    assert gradcheck(lambda e, s: gaussian(e, centroids, s, owner), (embeddings, sigmas))
    assert gradcheck(lambda e: offset(e, centroids[owner]), embeddings)


def test_the_instance_losses_of_an_image_without_people_are_0():
    embeddings = torch.zeros(0, 2, requires_grad=True)
    nothing = embeddings, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64)
    offset = build('MaskCentroidLoss')(embeddings, torch.zeros(0, 2))
    gaussian = build('InstanceGaussianLoss')(*nothing[:2], torch.zeros(0), nothing[2])
    (offset + gaussian).backward()
    assert offset == 0 and gaussian == 0
