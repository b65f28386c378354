"""The heads' losses and predictions, alone and on top of MMPose's backbones."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import Compose
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from pycocotools import mask as coco_mask
from torch.utils._python_dispatch import TorchDispatchMode

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from kdc_mm.models.heads.flip import merge_flipped
from kdc_mm.models.heads.instances import annotated_poses
from kdc_mm_runtime.people import ImageFrame
from tests.test_codecs.people import Scene

from .samples import NOBODY, codec_config, outlines, pack, pack_two_people, two_people

SIZE = 97
POSE_LOSSES = {'loss_heatmap', 'loss_key_centroid', 'loss_limb', 'loss_person_centroid'}
SMALL = dict(feat_channels=8, num_convs=1)


def build(kind='KDCHead', codec=None, in_channels=6, **settings):
    """A small head with its own initialisation."""
    if kind == 'KDCHead':
        settings = dict(pose_head=SMALL, seg_head=SMALL) | settings
    else:
        settings = SMALL | settings
    torch.manual_seed(0)
    head = MODELS.build(
        dict(type=kind, in_channels=in_channels, decoder=codec or codec_config(), **settings))
    head.init_weights()
    return head


def features(batch=1, channels=6, seed=0):
    """One feature map of stride 8 for inputs of 97 px."""
    return (torch.randn(batch, channels, 13, 13, generator=torch.Generator().manual_seed(seed)), )


def samples_of(*packed):
    return [one['data_samples'] for one in packed]


def fixed(head, fields):
    """Let the head put out given fields."""
    head.forward = lambda feats: fields
    return head


def random_fields(head, batch=1, seed=0):
    """Fields of the shapes that the head gives, with gradients."""
    torch.manual_seed(seed)
    with torch.no_grad():
        shapes = head(features(batch))
    return {
        name: (torch.randn(field.shape) * (1 if name in ('heatmaps', 'semantic') else 5)
               + (3 if name == 'log_bandwidth' else 0)).requires_grad_()
        for name, field in shapes.items()
    }


# What a loss is made of


def test_perfect_fields_leave_no_pose_loss():
    head = build('KDCPoseHead')
    packed = pack(codec_config(), two_people())
    encoded = head.decoder.encode(*two_people())
    losses = fixed(head, perfect_maps(head.decoder, encoded)).loss(None, samples_of(packed))
    assert losses.keys() == POSE_LOSSES
    assert all(0 <= value < 0.01 for value in losses.values())


def test_the_network_predicts_numbers_around_1_and_the_fields_are_pixels():
    """A 1 of the last layer is R for a KeyCentroid, their unit for other vectors, and e times the
    bandwidth's start, which is R."""
    head = build(
        pose_head=dict(SMALL, limb_unit=40, person_centroid_unit=50),
        seg_head=dict(SMALL, mask_unit=30))
    for part in (head.pose_head, head.seg_head):
        torch.nn.init.zeros_(part.out.weight)
        torch.nn.init.ones_(part.out.bias)
    values = {name: field.unique().item() for name, field in head(features()).items()}
    assert values == pytest.approx(
        dict(heatmaps=1, key_centroids=12, limbs=40, person_centroids=50, semantic=1,
             mask_centroids=30, log_bandwidth=np.log(12) + 1))


def test_the_losses_of_a_batch_reach_every_weight():
    head = build()
    losses = head.loss(features(2), samples_of(pack_two_people(codec_config()),
                                               pack(codec_config(), NOBODY)))
    sum(losses.values()).backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


CENTROIDS = ['static', 'dynamic', 'keypoint']
EQ_5 = dict(type='MaskCentroidLoss')


def reference_centroid(kind, pixels, embeddings, keypoints):
    """C_j of one person from its pixels (P, 2), their embeddings and its labelled keypoints."""
    if kind == 'static':
        return pixels.mean(0)
    on_mask = [(pixels == keypoint).all(1) for keypoint in keypoints.round()]
    on_mask = [embeddings[at][0] for at in on_mask if at.any()]
    return torch.stack(on_mask).mean(0) if kind == 'keypoint' and on_mask else embeddings.mean(0)


def scene_with_hidden_keypoints():
    """One person's left side is not labelled; another's head lies off its mask, its wrist off the
    image; nothing of a third's is labelled."""
    scene = two_people()
    keypoints = np.concatenate([scene.keypoints, scene.keypoints[:1] + 3])
    labelled = np.ones((3, 17), bool)
    labelled[0, 1::2] = labelled[2] = False
    keypoints[1, :5] += (0, -40)
    keypoints[1, 9] = (-300, 1e6)
    keypoints[0, 10] = keypoints[0, 8]
    return Scene(keypoints, labelled)


@pytest.mark.parametrize('centroid', CENTROIDS)
def test_mask_losses_follow_their_equations_at_input_resolution(centroid):
    """Eqs. 5 to 7 on fields interpolated to the input, which differ by the centroid only."""
    head = build('KDCSegHead', centroid=centroid, loss_mask_centroid=EQ_5)
    scene = scene_with_hidden_keypoints()
    owner = outlines(two_people())
    owner[60:, :30] = 3
    owner[:20, :20] = 255
    fields = random_fields(head)
    losses = fixed(head, fields).loss(None, samples_of(pack(codec_config(), scene, owner)))
    assert losses.keys() == {'loss_semantic', 'loss_instance', 'loss_mask_centroid'}

    def at_input(name):
        return torch.nn.functional.interpolate(
            fields[name].detach(), size=(SIZE, SIZE), mode='bilinear', align_corners=True)[0]

    probability = at_input('semantic')[0].sigmoid().numpy()
    target, counts = (owner > 0) & (owner < 255), owner != 255
    entropy = -np.log(np.where(target, probability, 1 - probability))
    assert losses['loss_semantic'].item() == pytest.approx(2 * entropy[counts].mean(), rel=1e-4)

    y, x = np.nonzero(target)
    pixels = torch.tensor(np.stack([x, y], 1), dtype=torch.float32)
    embeddings = pixels + at_input('mask_centroids')[:, y, x].T
    instance = torch.tensor(owner[y, x].astype(np.int64) - 1)
    centres, sigmas = [], []
    for j in range(3):
        own = instance == j
        keypoints = torch.tensor(scene.keypoints[j, scene.labelled[j]], dtype=torch.float32)
        centres.append(reference_centroid(centroid, pixels[own], embeddings[own], keypoints))
        sigmas.append(at_input('log_bandwidth')[0, y, x][own].mean().exp())
    expected = head.loss_instance(embeddings, torch.stack(centres), torch.stack(sigmas), instance)
    assert losses['loss_instance'].item() == pytest.approx(expected.item(), rel=1e-3)
    error = (embeddings - torch.stack(centres)[instance]).abs().sum(1).mean() / 64
    assert losses['loss_mask_centroid'].item() == pytest.approx(error.item(), rel=1e-3)


@pytest.mark.parametrize('centroid', CENTROIDS)
def test_kinds_of_centroids_have_the_same_weights_and_losses(centroid):
    """So that a study of them shows nothing else."""
    head, dynamic = build('KDCSegHead', centroid=centroid), build('KDCSegHead')
    for name, weight in dynamic.state_dict().items():
        assert torch.equal(head.state_dict()[name], weight)
    sample = samples_of(pack_two_people(codec_config()))
    assert head.loss(features(), sample).keys() == {'loss_semantic', 'loss_instance'}


def test_a_centroid_from_keypoints_learns_at_the_keypoints():
    """Where pixels are pulled, the embeddings at the keypoints are pulled back."""
    gradients = {}
    for centroid in CENTROIDS:
        head = build('KDCSegHead', centroid=centroid)
        scene = two_people()
        fields = random_fields(head)
        loss = fixed(head, fields).loss(
            None, samples_of(pack(codec_config(), scene, outlines(scene))))['loss_instance']
        loss.backward()
        gradients[centroid] = fields['mask_centroids'].grad[0].norm(dim=0)
    x, y = (two_people().keypoints / 2).round().astype(int).reshape(-1, 2).T
    at_keypoints = {name: gradient[y, x].mean() for name, gradient in gradients.items()}
    assert at_keypoints['keypoint'] > 2 * at_keypoints['dynamic']
    assert not torch.equal(gradients['static'], gradients['dynamic'])


@pytest.mark.parametrize('centroid', CENTROIDS)
@pytest.mark.parametrize('scene', ['people', 'nobody'])
def test_without_masks_the_mask_losses_are_0_and_the_pose_part_learns(centroid, scene):
    head = build(seg_head=dict(SMALL, centroid=centroid, loss_mask_centroid=EQ_5))
    sample = pack(codec_config(), two_people() if scene == 'people' else NOBODY)
    losses = head.loss(features(), samples_of(sample))
    for name, value in losses.items():
        if name not in POSE_LOSSES:
            assert value == 0, name
    assert losses['loss_heatmap'] > 0
    sum(losses.values()).backward()
    for name, weight in head.named_parameters():
        assert weight.grad.isfinite().all(), name
        if name.startswith('seg_head'):
            assert not weight.grad.any(), name


def test_an_image_without_masks_does_not_dilute_the_mask_losses_of_the_others():
    head = build('KDCSegHead')
    fields = random_fields(head, batch=2)
    both = samples_of(pack_two_people(codec_config()), pack(codec_config(), two_people()))
    alone = {name: field[:1] for name, field in fields.items()}
    mixed_losses = fixed(head, fields).loss(None, both)
    alone_losses = fixed(head, alone).loss(None, both[:1])
    for name, value in alone_losses.items():
        assert mixed_losses[name].item() == pytest.approx(value.item(), rel=1e-5), name


def mask_owners(*numbers):
    """Owner maps with so many persons, squares that lie side by side."""
    owners = np.zeros((len(numbers), SIZE, SIZE), np.uint8)
    for owner, number in zip(owners, numbers):
        for j in range(number):
            owner[20 + j:50, 15 * j:15 * j + 12] = j + 1
        owner[owner == 2] = 9  # numbers that no pixel has do not matter
        owner[:10] = 255
    return owners


def pack_masks(*owners):
    return samples_of(*(pack(codec_config(), two_people(), owner) for owner in owners))


def test_the_instance_loss_of_a_batch_is_the_mean_over_its_images_with_persons():
    head = build('KDCSegHead')
    owners = mask_owners(1, 0, 3, 5)
    fields = random_fields(head, batch=4)
    samples = pack_masks(*owners)
    found = fixed(head, fields).loss(None, samples)['loss_instance']
    found.backward()
    gradient = fields['mask_centroids'].grad
    alone = []
    for i in (0, 2, 3):
        fields_of_image = {
            name: field.detach()[i:i + 1].requires_grad_() for name, field in fields.items()
        }
        loss = fixed(head, fields_of_image).loss(None, samples[i:i + 1])['loss_instance']
        loss.backward()
        alone.append(loss.item())
        torch.testing.assert_close(
            gradient[i] * 3, fields_of_image['mask_centroids'].grad[0], atol=1e-7, rtol=1e-4)
    assert found.item() == pytest.approx(np.mean(alone), rel=1e-6)
    assert not gradient[1].any()


class SynchronisingCalls(TorchDispatchMode):
    """Counts the operations that wait for a GPU, as their result's size or value is read."""

    NAMES = ('_local_scalar_dense', 'nonzero', 'bincount', 'unique', 'repeat_interleave')

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_mask = func.overloadpacket is torch.ops.aten.index and any(
            index is not None and index.dtype == torch.bool for index in args[1])
        self.count += by_mask or any(name in func.name() for name in self.NAMES)
        return func(*args, **(kwargs or {}))


def test_a_large_batch_waits_for_the_device_as_often_as_a_small_one():
    head = build('KDCSegHead')
    counts = []
    for numbers in ((2, 1), (3, 1, 0, 4, 2, 2, 5)):
        samples = pack_masks(*mask_owners(*numbers))
        with SynchronisingCalls() as calls:
            head.loss(features(len(numbers)), samples)
        counts.append(calls.count)
    assert counts[0] == counts[1] <= 6


def test_an_image_without_people_teaches_that_nobody_is_there():
    head = build()
    sample = pack(codec_config(), NOBODY, np.zeros((SIZE, SIZE), np.uint8))
    losses = head.loss(features(), samples_of(sample))
    for name, value in losses.items():
        assert value > 0 if name in ('loss_heatmap', 'loss_semantic') else value == 0, name


def test_what_is_ignored_has_no_influence_on_any_loss():
    """A crowd region above and left of cell 8 of stride 4, pixel 32; disks in it stay positive."""
    head = build()
    owner = outlines(two_people())
    owner[:33, :33] = 255
    ignore = np.zeros((SIZE, SIZE), bool)
    ignore[:33, :33] = True
    sample = pack(codec_config(), two_people(), owner, ignore)
    keypoint_owner = torch.as_tensor(
        head.decoder.encode(*two_people(), None, ignore)['owner_maps'][0])
    fields = random_fields(head)
    before = loss_of(head, fields, sample)
    changed = {name: field.detach().clone() for name, field in fields.items()}
    free = keypoint_owner == 255
    assert free.any()
    changed['heatmaps'][0][free] += 100
    outside = (keypoint_owner == 255) | (keypoint_owner == 0)
    for name in ('key_centroids', 'person_centroids'):
        changed[name][0][outside.repeat_interleave(2, 0)] -= 100
    for name in ('semantic', 'mask_centroids', 'log_bandwidth'):
        # cells of stride 2 whose interpolation stays within the region
        changed[name][..., :16, :16] += 100
    after = loss_of(head, changed, sample)
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.item() == after[name].item(), name


def loss_of(head, fields, sample):
    """Losses of a KDCHead whose parts put out given fields."""
    fixed(head.pose_head, {name: fields[name] for name in head.pose_head.field_channels})
    fixed(head.seg_head, {name: fields[name] for name in
                          ('semantic', 'mask_centroids', 'log_bandwidth')})
    return head.loss(features(), samples_of(sample))


POSE_LOSS_OF = dict(limbs='loss_limb', person_centroids='loss_person_centroid',
                    key_centroids='loss_key_centroid')


@pytest.mark.parametrize('kind', ['SmoothL1Loss', 'L1Loss', 'mmdet.L1Loss'])
def test_any_registered_loss_of_two_arguments_trains_vectors(kind):
    """It gets what counts, in its unit, and gives a finite number where nothing does."""
    losses = {name: dict(type=kind) for name in POSE_LOSS_OF.values()}
    head = build(pose_head=dict(SMALL, limb_unit=40, **losses),
                 seg_head=dict(SMALL, loss_mask_centroid=dict(type=kind)))
    values = head.loss(features(), samples_of(pack_two_people(codec_config())))
    sum(values.values()).backward()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())
    nobody = head.loss(features(), samples_of(pack(codec_config(), NOBODY)))
    assert all(nobody[name] == 0 for name in losses)

    fields = random_fields(head)
    packed = pack_two_people(codec_config())
    found = loss_of(head, fields, packed)
    encoded = head.decoder.encode(*two_people())
    perfect = perfect_maps(head.decoder, encoded)
    unit = dict(limbs=40, person_centroids=40, key_centroids=12)
    for name, loss in POSE_LOSS_OF.items():
        disks = torch.as_tensor(encoded['owner_maps'][0]) > 0
        if name == 'limbs':
            disks = disks[head.decoder.skeleton.edges[:, 0]]
        disks = disks.repeat_interleave(2, 0)
        difference = (fields[name][0] - perfect[name][0])[disks].abs() / unit[name]
        if kind == 'SmoothL1Loss':
            difference = torch.where(difference < 1, difference**2 / 2, difference - 0.5)
        assert found[loss].item() == pytest.approx(difference.mean().item(), rel=1e-4), name


def test_key_centroids_can_count_by_their_response():
    """Eq. 3 with σ = R / 2 as the weight of eq. 4's cells, one cell at a time."""
    head = build('KDCPoseHead', key_centroid_weight='gaussian')
    fields = random_fields(head)
    found = fixed(head, fields).loss(None, samples_of(pack(codec_config(), two_people())))
    owner, _ = head.decoder.encode(*two_people())['owner_maps']
    total = weights = 0
    for k, v, u in np.argwhere(owner > 0):
        vector = two_people().keypoints[owner[k, v, u] - 1, k] - (4 * u, 4 * v)
        response = np.exp(-(vector**2).sum() / (2 * 6**2))
        predicted = fields['key_centroids'][0, 2 * k:2 * k + 2, v, u].detach().numpy()
        total += response * np.abs(predicted - vector).sum() / 12
        weights += response
    assert found['loss_key_centroid'].item() == pytest.approx(total / weights, rel=1e-4)
    plain = fixed(build('KDCPoseHead'), fields).loss(
        None, samples_of(pack(codec_config(), two_people())))
    assert plain['loss_key_centroid'].item() != pytest.approx(total / weights, rel=1e-2)
    assert all(plain[name] == found[name] for name in POSE_LOSSES - {'loss_key_centroid'})


def test_weighted_key_centroids_of_nobody_have_no_loss():
    head = build('KDCPoseHead', key_centroid_weight='gaussian')
    losses = head.loss(features(), samples_of(pack(codec_config(), NOBODY)))
    assert losses['loss_key_centroid'] == 0


@pytest.mark.parametrize('kind', ['mmdet.L1Loss', 'mmdet.SmoothL1Loss'])
def test_losses_of_other_libraries_take_the_weights(kind):
    head = build('KDCPoseHead', key_centroid_weight='gaussian', loss_key_centroid=dict(type=kind))
    losses = head.loss(features(), samples_of(pack_two_people(codec_config())))
    plain = build('KDCPoseHead', loss_key_centroid=dict(type=kind)).loss(
        features(), samples_of(pack_two_people(codec_config())))
    assert 0 < losses['loss_key_centroid'] < plain['loss_key_centroid']


def test_another_weight_of_key_centroids_is_refused():
    with pytest.raises(ValueError, match="must be 'gaussian' or None, got 'linear'"):
        build('KDCPoseHead', key_centroid_weight='linear')


@pytest.mark.parametrize('kind', ['KDCPoseHead', 'KDCSegHead'])
def test_group_norm_starts_as_the_identity_and_ignores_the_rest_of_the_batch(kind):
    """Also where a checkpoint's or another initialisation came before."""
    head = build(kind, norm_cfg=dict(type='GN', num_groups=2), feat_channels=8)
    norms = [part for part in head.modules() if isinstance(part, torch.nn.GroupNorm)]
    assert norms and not any('BatchNorm' in type(part).__name__ for part in head.modules())
    for norm in norms:
        torch.nn.init.constant_(norm.weight, 5)
    head._is_init = False
    head.init_weights()
    assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)
    both = features(2)
    alone = tuple(feat[:1] for feat in both)
    for name, field in head.train()(both).items():
        torch.testing.assert_close(field[:1], head.eval()(alone)[name], atol=1e-4, rtol=1e-4)


def test_vectors_of_limbs_whose_end_is_not_labelled_do_not_count():
    head = build('KDCPoseHead')
    scene = two_people()
    scene.labelled[:, 9] = False  # the left wrist
    fields = random_fields(head)
    before = fixed(head, fields).loss(None, samples_of(pack(codec_config(), scene)))
    to_wrist = np.flatnonzero(head.decoder.skeleton.edges[:, 1] == 9)
    changed = dict(fields, limbs=fields['limbs'].detach().clone())
    changed['limbs'].unflatten(1, (-1, 2))[:, to_wrist] += 100
    after = fixed(head, changed).loss(None, samples_of(pack(codec_config(), scene)))
    assert len(to_wrist) and before['loss_limb'].item() == after['loss_limb'].item()


def units_of(head):
    return {name: value for name, value in head.output_settings.items() if 'unit' in name}


def test_units_that_older_configs_give_to_losses_are_the_heads():
    """A person centroid's that is not given was 64 px, whatever the limbs'."""
    with pytest.warns(UserWarning) as warned:
        head = build(
            pose_head=dict(
                SMALL,
                loss_key_centroid=dict(type='KeyCentroidLoss', radius=10, loss_weight=2.),
                loss_limb=dict(type='LimbDisplacementLoss', unit_px=40, loss_weight=0.5)),
            seg_head=dict(SMALL, loss_mask_centroid=dict(type='MaskCentroidLoss', unit_px=32)))
    words = '\n'.join(str(warning.message) for warning in warned)
    for setting in ('limb_unit', "the codec's radius", 'mask_unit'):
        assert setting in words
    assert units_of(head) == dict(limb_unit=40, person_centroid_unit=64, mask_unit=32)
    with pytest.warns(UserWarning, match='person_centroid_unit'):
        head = build('KDCPoseHead', limb_unit=20, loss_person_centroid=dict(
            type='LimbDisplacementLoss', unit_px=48))
    assert units_of(head) == dict(limb_unit=20, person_centroid_unit=48)


def test_the_person_centroids_unit_follows_the_limbs():
    assert units_of(build('KDCPoseHead', limb_unit=20)) == dict(
        limb_unit=20, person_centroid_unit=20)


@pytest.mark.parametrize('kind, setting', [('KDCPoseHead', 'limb_unit'),
                                           ('KDCPoseHead', 'person_centroid_unit'),
                                           ('KDCSegHead', 'mask_unit')])
def test_a_unit_that_is_not_positive_is_refused(kind, setting):
    with pytest.raises(ValueError, match=f'{setting} must be greater than 0 px, got 0'):
        build(kind, **{setting: 0})


def test_both_parts_share_one_codec_and_the_selected_features():
    head = build(in_index=(0, 1))
    assert head.pose_head.decoder is head.seg_head.decoder is head.decoder
    seen = {}
    for name in ('pose_head', 'seg_head'):
        getattr(head, name).convs.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0]}))
    fine, coarse = torch.randn(1, 6, 25, 25), torch.randn(1, 6, 13, 13)
    head((fine, coarse))
    expected = head.select_features((fine, coarse))
    assert torch.equal(seen['pose_head'], expected)  # 25 cells, as the pose maps have
    assert torch.equal(seen['seg_head'], expected)


@pytest.mark.parametrize('key', ['in_channels', 'in_index', 'decoder', 'coarse_channels'])
def test_what_both_parts_share_cannot_be_set_for_one(key):
    with pytest.raises(ValueError, match=f'seg_head cannot have its own {key}'):
        build(seg_head={key: 1})


def test_a_head_with_coarse_outputs_starts_from_them_and_learns_both():
    head = build(coarse_channels=3, in_index=0)
    fine, coarse = torch.randn(2, 6, 25, 25), torch.randn(2, 3, 7, 7)
    expected = F.interpolate(
        head.seg_head.coarse(coarse), size=49, mode='bilinear', align_corners=True)
    fields = head((fine, coarse))
    torch.testing.assert_close(fields['semantic'], expected[:, :1])
    torch.testing.assert_close(fields['mask_centroids'], expected[:, 1:3] * head.seg_head.mask_unit)
    sum(field.sum() for field in fields.values()).backward()
    for part in (head.pose_head, head.seg_head):
        assert part.out.weight.grad.abs().sum() > 0 and part.coarse.weight.grad.abs().sum() > 0


def test_key_centroids_can_be_left_out():
    codec = codec_config(use_key_centroid=False)
    head = build(codec=codec)
    fields = head(features())
    assert 'key_centroids' not in fields
    losses = head.loss(features(), samples_of(pack_two_people(codec)))
    assert 'loss_key_centroid' not in losses and 'loss_limb' in losses
    assert len(head.predict(features(), samples_of(pack_two_people(codec)))) == 1


def test_the_segmentation_head_alone_trains_and_gives_its_fields():
    head = build('KDCSegHead', in_channels=6)
    learnt = torch.randn(1, 6, 25, 25).requires_grad_()
    sample = samples_of(pack_two_people(codec_config()))
    optimizer = torch.optim.Adam([learnt, *head.parameters()], lr=0.02)
    totals = []
    for _ in range(60):
        total = sum(head.loss((learnt, ), sample).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]
    instances, fields = head.eval().predict((learnt, ), sample)
    assert len(instances[0].scores) == 0
    semantic = fields[0].semantic[0].detach().numpy()
    inside = outlines(two_people())[::4, ::4] > 0
    assert semantic[inside].mean() > semantic[~inside].mean() + 0.3


# Predictions


def as_predicted(head, scene, owner=None):
    """A head that puts out perfect maps of a scene, whatever it is shown."""
    encoded = head.decoder.encode(*scene, owner)
    return fixed(head, perfect_maps(head.decoder, encoded))


def test_predictions_hold_what_the_evaluators_read():
    scene, owner = two_people(), outlines(two_people())
    head = as_predicted(build(), scene, owner)
    found = head.predict(None, samples_of(pack_two_people(codec_config())))[0]
    assert found.keypoints.shape == (2, 17, 2) and found.keypoint_scores.shape == (2, 17)
    assert found.labels.tolist() == [0, 0] and found.labels.dtype == np.int64
    for name in ('keypoints', 'keypoint_scores', 'bboxes', 'bbox_scores', 'scores', 'mask_scores'):
        assert getattr(found, name).dtype == np.float32, name
    np.testing.assert_array_equal(found.scores, found.bbox_scores)
    np.testing.assert_array_equal(found.bboxes[:, :2], found.keypoints.min(1))
    np.testing.assert_array_equal(found.bboxes[:, 2:], found.keypoints.max(1))
    assert len(found.masks) == 2 and all(coco_mask.area(rle) > 500 for rle in found.masks)


def test_a_pose_head_alone_predicts_no_masks():
    head = as_predicted(build('KDCPoseHead'), two_people())
    found = head.predict(None, samples_of(pack_two_people(codec_config())))[0]
    assert len(found.scores) == 2 and 'masks' not in found


@pytest.mark.parametrize('left_out, name, loss', [
    ('use_limbs', 'limbs', 'loss_limb'),
    ('use_person_centroid', 'person_centroids', 'loss_person_centroid'),
])
def test_a_field_that_the_codec_does_not_use_is_neither_predicted_nor_trained(left_out, name, loss):
    whole, head = build(), build(codec=codec_config(**{left_out: False}))
    fields = head(features())
    assert fields.keys() == whole(features()).keys() - {name}
    assert head.pose_head.out.out_channels == sum(
        channels for field, channels in whole.pose_head.field_channels.items() if field != name)
    samples = samples_of(pack_two_people(codec_config()))
    losses = head.loss(features(), samples)
    assert losses.keys() == whole.loss(features(), samples).keys() - {loss}
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in head.parameters())


def test_without_limbs_and_person_centroids_the_paper_s_outputs_are_left():
    codec = codec_config(use_limbs=False, use_person_centroid=False)
    head = build(codec=codec)
    assert head(features()).keys() == {
        'heatmaps', 'key_centroids', 'semantic', 'mask_centroids', 'log_bandwidth'}
    assert head.output_settings['use_limbs'] is head.output_settings['use_person_centroid'] is False
    found = as_predicted(head, two_people(), outlines(two_people())).predict(
        None, samples_of(pack_two_people(codec)))[0]
    assert len(found.scores) == len(found.masks) == 2
    with pytest.raises(ValueError, match='MaskCentroids tell whose a keypoint is. Take KDCHead'):
        build('KDCPoseHead', codec)


# Masks around annotated keypoints


ANNOTATED = dict(keypoints='annotated')


def test_annotated_poses_stand_in_for_those_that_a_network_misses():
    scene, owner = two_people(), outlines(two_people())
    scene.labelled[1, 3:] = False
    head = as_predicted(build(), scene, owner)
    head.forward(None)['heatmaps'][:] = -20
    samples = samples_of(pack(codec_config(), scene, owner))
    found = head.predict(None, samples, ANNOTATED)[0]
    np.testing.assert_allclose(found.keypoints, scene.keypoints, rtol=1e-6)
    np.testing.assert_array_equal(found.keypoint_scores, scene.labelled)
    assert found.scores.tolist() == found.bbox_scores.tolist() == [1, 1]
    for j, rle in enumerate(found.masks):
        mask, truth = coco_mask.decode(rle).astype(bool), owner == j + 1
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    assert not (head.predict(None, samples)[0].keypoint_scores > 0).any()


def test_annotated_keypoints_are_moved_from_the_image_into_the_input():
    frame = ImageFrame((200, 100), (0.5, 0.5), (3., 4.))
    people = InstanceData(keypoints=np.full((2, 17, 2), 10.), keypoints_visible=np.ones((2, 17)))
    people.keypoints_visible[0] = 0
    poses = annotated_poses(people, frame, 17)
    assert poses.keypoints.shape == (1, 17, 2) and poses.keypoints[0, 0].tolist() == [8, 9]
    assert poses.strength.tolist() == [1] and poses.keypoints.dtype == np.float32


@pytest.mark.parametrize('scene', [
    None, NOBODY, Scene(np.ones((1, 17, 2)), np.zeros((1, 17), bool))])
def test_who_has_no_annotated_keypoints_has_no_mask_around_them(scene):
    head = as_predicted(build(), two_people(), outlines(two_people()))
    samples = samples_of(pack(codec_config(), scene or NOBODY))
    if scene is None:  # as samples of images without annotations are
        samples[0].gt_instances = InstanceData()
    found = head.predict(None, samples, ANNOTATED)[0]
    assert found.keypoints.shape == (0, 17, 2) and len(found.masks) == len(found.scores) == 0


def test_a_pose_head_has_no_masks_around_annotated_keypoints():
    head = as_predicted(build('KDCPoseHead'), two_people())
    with pytest.raises(ValueError, match="keypoints='annotated'.*Take KDCHead"):
        head.predict(None, samples_of(pack_two_people(codec_config())), ANNOTATED)


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead', 'KDCSegHead'])
@pytest.mark.parametrize('test_cfg, words', [
    (dict(flip_tset=True), "'flip_tset', which nobody reads; it may have flip_test, keypoints"),
    (dict(keypoints='given'), "keypoints must be one of .'decoded', 'annotated'., got 'given'"),
])
def test_settings_of_testing_that_nobody_reads_are_refused(kind, test_cfg, words):
    with pytest.raises(ValueError, match=words):
        build(kind).predict(features(), samples_of(pack_two_people(codec_config())), test_cfg)


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead'])
def test_nobody_is_predicted_as_arrays_of_length_0(kind):
    head = as_predicted(build(kind), NOBODY, np.zeros((SIZE, SIZE), np.uint8))
    found = head.predict(None, samples_of(pack(codec_config(), NOBODY)))[0]
    assert found.keypoints.shape == (0, 17, 2) and found.keypoint_scores.shape == (0, 17)
    assert found.bboxes.shape == (0, 4) and found.labels.dtype == np.int64
    assert all(len(found[name]) == 0 for name in found.keys())


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead'])
def test_a_head_that_has_learnt_nothing_finds_nobody(kind):
    found = build(kind).eval().predict(features(), samples_of(pack_two_people(codec_config())))[0]
    assert not (found.keypoint_scores > 0).any()


def test_fields_to_draw_are_probabilities_and_pixels_at_the_heatmap_stride():
    head = build().eval()
    sample = samples_of(pack_two_people(codec_config()))
    instances, fields = head.predict(features(), sample, dict(output_heatmaps=True))
    assert len(instances) == len(fields) == 1 and isinstance(fields[0], PixelData)
    raw = head(features())
    assert fields[0].heatmaps.shape == (17, 25, 25)
    torch.testing.assert_close(fields[0].heatmaps, raw['heatmaps'][0].sigmoid())
    torch.testing.assert_close(fields[0].key_centroids, raw['key_centroids'][0])
    # stride 2 at 97 px: every other cell lies on one of stride 4
    torch.testing.assert_close(fields[0].semantic, raw['semantic'][0, :, ::2, ::2].sigmoid())
    torch.testing.assert_close(fields[0].mask_centroids, raw['mask_centroids'][0, :, ::2, ::2])


# Flip test


def mirrored(scene, flip_indices, size):
    """The scene in the mirror image."""
    keypoints = scene.keypoints[:, flip_indices] * [-1, 1] + [size - 1, 0]
    return Scene(keypoints, scene.labelled[:, flip_indices])


def people_in_odd_poses(size):
    """Two persons without any symmetry of their own."""
    scene = two_people(size)
    noise = np.random.default_rng(0).normal(0, 0.03 * size, scene.keypoints.shape)
    return scene._replace(keypoints=scene.keypoints + noise)


@pytest.mark.parametrize('metainfo', ['coco', 'crowdpose'])
@pytest.mark.parametrize('size', [97, 98, 100])
def test_merging_an_image_with_its_mirror_image_changes_no_perfect_map(size, metainfo):
    """Also at sizes where the cells of the two lie on different pixels: people stay within 1 px."""
    codec = PoseSeg((size, size), radius=12, metainfo=f'configs/_base_/datasets/{metainfo}.py')
    scene = people_in_odd_poses(size)
    if metainfo == 'crowdpose':
        scene = Scene(scene.keypoints[:, :14], scene.labelled[:, :14])
    owner = outlines(scene, size)
    flip = list(codec.skeleton.flip_indices)
    maps = perfect_maps(codec, codec.encode(*scene, owner))
    opposite = perfect_maps(
        codec, codec.encode(*mirrored(scene, flip, size), np.ascontiguousarray(owner[:, ::-1])))
    merged = merge_flipped(maps, opposite, codec)
    if size == 97:
        for name, field in merged.items():
            disks = maps['heatmaps'] > 0
            if name == 'limbs':
                disks = disks[:, codec.skeleton.edges[:, 0]]
            if name in ('key_centroids', 'person_centroids', 'limbs'):
                disks = disks.repeat_interleave(2, 1)
                torch.testing.assert_close(field[disks], maps[name][disks], atol=1e-3, rtol=0)
            if name == 'heatmaps':
                torch.testing.assert_close(field, maps[name])
    people = codec.batch_decode({name: merged[name] for name in maps if name in (
        'heatmaps', 'key_centroids', 'person_centroids', 'limbs')}, [None])[0]
    assert len(people.scores) == 2 and people.poses.detected.all()
    order = people.poses.keypoints[:, :, 0].mean(1).argsort()
    np.testing.assert_allclose(people.poses.keypoints[order], scene.keypoints, atol=1.)


def test_flip_test_averages_with_the_mirror_image_and_is_symmetric():
    """Whatever a network makes of an image and of its mirror image: shown in the other order, they
    give the mirrored fields."""
    head = build().eval()
    image, opposite = head(features(seed=1)), head(features(seed=2))
    one = merge_flipped(image, opposite, head.decoder)
    other = merge_flipped(opposite, image, head.decoder)
    for name, field in one.items():
        mean = (image[name] + mirror_of(opposite[name], name, head.decoder)) / 2
        torch.testing.assert_close(field, mean, atol=1e-5, rtol=0)
    for name, field in one.items():
        torch.testing.assert_close(
            field, mirror_of(other[name], name, head.decoder), atol=1e-4, rtol=0)


def mirror_of(field, name, codec):
    """A field of the mirror image, one channel and vector at a time."""
    skeleton = codec.skeleton
    flip = list(skeleton.flip_indices)
    field = field.flip(-1)
    if name in ('heatmaps', 'semantic', 'log_bandwidth'):
        return field[:, flip] if name == 'heatmaps' else field
    source = dict(key_centroids=flip, person_centroids=flip, limbs=skeleton.mirrored_edges,
                  mask_centroids=[0])[name]
    out = torch.empty_like(field)
    for channel, mirror in enumerate(source):
        out[:, 2 * channel] = -field[:, 2 * mirror]
        out[:, 2 * channel + 1] = field[:, 2 * mirror + 1]
    return out


def test_a_limb_without_a_mirror_image_keeps_its_own_field():
    codec = PoseSeg((SIZE, SIZE), radius=12, limbs=[(k, k + 1) for k in range(16)])
    head = build('KDCPoseHead', codec_config(limbs=[(k, k + 1) for k in range(16)])).eval()
    image, opposite = head(features(seed=1)), head(features(seed=2))
    merged = merge_flipped(image, opposite, codec)
    for edge, mirror in enumerate(codec.skeleton.mirrored_edges):
        own = image['limbs'][:, 2 * edge:2 * edge + 2]
        assert torch.equal(merged['limbs'][:, 2 * edge:2 * edge + 2], own) == (mirror < 0)


# What is refused


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead', 'KDCSegHead'])
def test_a_head_with_another_number_of_keypoints_than_its_codec_is_refused(kind):
    with pytest.raises(ValueError, match=f'{kind}: num_keypoints=14, but.*17 keypoints'):
        build(kind, num_keypoints=14)
    assert build(kind, num_keypoints=17).num_keypoints == 17


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead', 'KDCSegHead'])
def test_features_of_other_channels_are_refused_with_what_there_is(kind):
    maps = (torch.zeros(1, 32, 25, 25), torch.zeros(1, 64, 13, 13))
    words = r'in_channels=6, but.*\[64\] channels \(all maps: \[\(32, 25, 25\), \(64, 13, 13\)\]'
    with pytest.raises(ValueError, match=words):
        build(kind)(maps)


@pytest.mark.parametrize('in_index', [2, (0, 1, 2), -3])
def test_a_feature_map_that_is_not_there_is_refused(in_index):
    with pytest.raises(ValueError, match='in_index=.* but backbone and neck give 2 feature maps'):
        build(in_index=in_index)((torch.zeros(1, 6, 25, 25), ) * 2)


def test_several_feature_maps_are_summed_at_the_size_of_the_first():
    fine, coarse = torch.randn(1, 6, 25, 25), torch.randn(1, 6, 13, 13)
    chosen = build('KDCPoseHead', in_index=(0, 1)).select_features((fine, coarse))
    torch.testing.assert_close(chosen[..., ::2, ::2], fine[..., ::2, ::2] + coarse)
    assert torch.equal(build('KDCPoseHead', in_index=0).select_features((fine, coarse)), fine)


def test_an_unknown_kind_of_centroid_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="one of .'static', 'dynamic', 'keypoint'., got 'mean'"):
        build(seg_head=dict(centroid='mean'))


def test_a_data_set_with_other_keypoints_is_refused():
    crowdpose = codec_config(metainfo='configs/_base_/datasets/crowdpose.py')
    scene = Scene(two_people().keypoints[:, :14], np.ones((2, 14), bool))
    sample = pack(crowdpose, scene, flip_indices=list(range(14)))
    with pytest.raises(ValueError, match='predicts 17 keypoints, the data set has 14'):
        build().loss(features(), samples_of(sample))
    with pytest.raises(ValueError, match='predicts 17 keypoints, the data set has 14'):
        build().predict(features(), samples_of(sample))


@pytest.mark.parametrize('call', ['predict', 'loss'])
def test_an_input_of_another_size_than_the_codecs_is_refused(call):
    with pytest.raises(ValueError, match=r'\(65, 65\), the codec was set up for \(97, 97\)'):
        getattr(build(), call)(features(), samples_of(pack_two_people(codec_config(65))))


@pytest.mark.parametrize('kind', ['KDCHead', 'KDCPoseHead', 'KDCSegHead'])
@pytest.mark.parametrize('pipeline, words', [
    ([dict(type='GenerateTarget', encoder=codec_config())], 'was encoded by GenerateTarget'),
    ([], 'lacks its people'),
])
def test_samples_of_another_pipeline_are_refused_with_what_to_change(kind, pipeline, words):
    scene = two_people()
    sample = Compose([*pipeline, dict(type='PackPoseInputs', meta_keys=())])(dict(
        img=np.zeros((SIZE, SIZE, 3), np.uint8), keypoints=scene.keypoints,
        keypoints_visible=scene.labelled.astype(np.float32)))
    advice = "take GenerateTarget out .* put dict.type='BottomupGetPersonMasks'. before"
    with pytest.raises(ValueError, match=f'{words}.*{advice}'):
        build(kind).loss(features(), samples_of(sample))


# Mixed precision


def backward_in(device, dtype):
    head = build().to(device)
    samples = samples_of(pack_two_people(codec_config()), pack(codec_config(), NOBODY))
    feats = tuple(feat.to(device).requires_grad_() for feat in features(2))
    with torch.autocast(device, dtype):
        losses = head.loss(feats, [sample.to(device) for sample in samples])
    sum(losses.values()).backward()
    assert all(value.isfinite() and value.dtype == torch.float32 for value in losses.values())
    assert all(weight.grad.isfinite().all() for weight in head.parameters())
    return {name: value.item() for name, value in losses.items()}


def test_bfloat16_on_a_cpu_gives_nearly_the_same_finite_losses():
    exact = build().loss(features(2), samples_of(pack_two_people(codec_config()),
                                                 pack(codec_config(), NOBODY)))
    for name, value in backward_in('cpu', torch.bfloat16).items():
        assert value == pytest.approx(exact[name].item(), rel=0.05, abs=0.02), name


@pytest.mark.gpu
def test_float16_on_a_gpu_gives_finite_losses():
    if not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')
    backward_in('cuda', torch.float16)
