"""Every encoded field against loops over cells, straight from the paper's definitions."""
import numpy as np
import pytest
import torch

from kdc_mm.codecs import PoseSeg
from kdc_mm.codecs.owner_maps import IGNORED
from kdc_mm.codecs.targets import build_disk_cells, build_mask_fields, build_pose_fields

from .people import random_people

SIZE, STRIDE, RADIUS = 65, 4, 12


@pytest.fixture(scope='module')
def codec():
    return PoseSeg((SIZE, SIZE), heatmap_stride=STRIDE, radius=RADIUS)


def reference_fields(scene, ignore, edges):
    """The fields of 3.1 and 3.2, one cell at a time; within R of a cell on ``ignore`` (H, W) bool
    no other than those of a disk."""
    num_persons, num_keypoints = scene.labelled.shape
    cells = (SIZE - 1) // STRIDE + 1
    shape = (cells, cells)
    fields = dict(
        heatmap=np.zeros((num_keypoints, *shape)),
        heatmap_weight=np.ones((num_keypoints, *shape)),
        key_centroid=np.zeros((num_keypoints, 2, *shape)),
        person_centroid=np.zeros((num_keypoints, 2, *shape)),
        limb=np.zeros((len(edges), 2, *shape)),
        limb_weight=np.zeros((len(edges), *shape)))
    unknown = STRIDE * np.argwhere(ignore[::STRIDE, ::STRIDE])[:, ::-1]
    centres = [scene.keypoints[j, scene.labelled[j]].mean(0) for j in range(num_persons)]
    for v, u in np.ndindex(shape):
        p = np.array([u * STRIDE, v * STRIDE])
        for k in range(num_keypoints):
            covering = [(np.linalg.norm(p - scene.keypoints[j, k]), j) for j in range(num_persons)
                        if scene.labelled[j, k]
                        and np.linalg.norm(p - scene.keypoints[j, k]) <= RADIUS]
            if not covering:
                beyond = np.linalg.norm(unknown - p, axis=1) > RADIUS
                fields['heatmap_weight'][k, v, u] = beyond.all()
                continue
            j = min(covering)[1]
            fields['heatmap'][k, v, u] = 1
            fields['key_centroid'][k, :, v, u] = scene.keypoints[j, k] - p
            fields['person_centroid'][k, :, v, u] = centres[j] - p
            for e, (a, b) in enumerate(edges):
                if a == k and scene.labelled[j, b]:
                    fields['limb'][e, :, v, u] = scene.keypoints[j, b] - p
                    fields['limb_weight'][e, v, u] = 1
    return fields


@pytest.mark.parametrize('num_persons', [1, 2, 5])
def test_pose_fields_equal_their_definitions(codec, num_persons):
    rng = np.random.default_rng(num_persons)
    scene = random_people(rng, num_persons, SIZE)
    ignore = rng.random((SIZE, SIZE)) < 0.01
    encoded = codec.encode(scene.keypoints, scene.labelled, None, ignore)
    edges = codec.skeleton.edges
    fields = build_pose_fields(
        torch.as_tensor(encoded['owner_maps'][0]), torch.as_tensor(encoded['keypoint_table']),
        STRIDE, torch.as_tensor(edges))
    expected = reference_fields(scene, ignore, edges)
    assert fields.keys() == expected.keys()
    for name, field in expected.items():
        np.testing.assert_allclose(fields[name].numpy(), field, atol=1e-4, err_msg=name)


def test_disk_cells_of_a_batch_are_those_of_its_images(codec):
    rng = np.random.default_rng(0)
    edges, outgoing = (torch.as_tensor(part) for part in (codec.skeleton.edges,
                                                          codec.skeleton.outgoing))
    owners, tables = [], []
    for num_persons in (2, 0, 4):  # with an image in between that shows nobody
        scene = random_people(rng, num_persons, SIZE)
        encoded = codec.encode(scene.keypoints, scene.labelled, None,
                               rng.random((SIZE, SIZE)) < 0.3)
        owners.append(torch.as_tensor(encoded['owner_maps'][0]))
        tables.append(torch.as_tensor(encoded['keypoint_table']))
    batch = build_disk_cells(torch.stack(owners), tables, STRIDE, edges, outgoing)
    for i, pair in enumerate(zip(owners, tables)):
        alone = build_disk_cells(pair[0][None], [pair[1]], STRIDE, edges, outgoing)
        here, limbs_here = batch.index[0] == i, batch.limb_index[0] == i
        assert here.any() == limbs_here.any() == (i != 1)
        for part, part_alone in zip(batch.index[1:], alone.index[1:]):
            assert torch.equal(part[here], part_alone)
        for part, part_alone in zip(batch.limb_index[1:], alone.limb_index[1:]):
            assert torch.equal(part[limbs_here], part_alone)
        assert torch.equal(batch.key_centroid[here], alone.key_centroid)
        assert torch.equal(batch.person_centroid[here], alone.person_centroid)
        assert torch.equal(batch.limb[limbs_here], alone.limb)


def test_pose_fields_of_an_image_without_people_are_empty(codec):
    encoded = codec.encode(np.zeros((0, 17, 2)), np.zeros((0, 17)))
    fields = build_pose_fields(
        torch.as_tensor(encoded['owner_maps'][0]), torch.as_tensor(encoded['keypoint_table']),
        STRIDE, torch.as_tensor(codec.skeleton.edges))
    assert fields.pop('heatmap_weight').all()
    assert not any(field.any() for field in fields.values())


def test_a_person_without_labelled_keypoints_gives_no_targets_and_no_nan(codec):
    scene = random_people(np.random.default_rng(0), 2, SIZE, label_rate=1.)
    scene.labelled[1] = False
    encoded = codec.encode(scene.keypoints, scene.labelled)
    fields = build_pose_fields(
        torch.as_tensor(encoded['owner_maps'][0]), torch.as_tensor(encoded['keypoint_table']),
        STRIDE, torch.as_tensor(codec.skeleton.edges))
    assert set(np.unique(encoded['owner_maps'][0])) <= {0, 1}
    assert all(field.isfinite().all() for field in fields.values())


def test_semantic_target_is_one_on_persons_and_has_no_weight_where_ignored():
    owner = torch.randint(0, 5, (20, 30), generator=torch.manual_seed(0)).to(torch.uint8)
    owner[owner == 4] = IGNORED
    fields = build_mask_fields(owner)
    for v, u in np.ndindex(20, 30):
        value = int(owner[v, u])
        assert fields['semantic'][v, u] == (value in (1, 2, 3))
        assert fields['semantic_weight'][v, u] == (value != IGNORED)
