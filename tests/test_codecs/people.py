"""Random people for tests of the codec, and what of them a perfect network's maps still show."""
from typing import NamedTuple

import numpy as np

from kdc_mm.benchmarks.codec.perfect_maps import perfect_maps
from kdc_mm.codecs import PoseSeg
from kdc_mm.codecs.owner_maps import keypoint_owner_map

#: A standing person in COCO's order, (x, y) in units of its height, centre (0, 0).
STANDING = np.array([
    (0., -.44), (.02, -.46), (-.02, -.46), (.05, -.44), (-.05, -.44), (.12, -.32), (-.12, -.32),
    (.17, -.15), (-.17, -.15), (.19, 0.), (-.19, 0.), (.08, .02), (-.08, .02), (.09, .25),
    (-.09, .25), (.1, .46), (-.1, .46)
])


class Scene(NamedTuple):
    """N persons: ``keypoints`` (N, K, 2) in input pixels and ``labelled`` (N, K) bool."""
    keypoints: np.ndarray
    labelled: np.ndarray


def random_people(rng, num_persons: int, size: int, label_rate: float = 0.7) -> Scene:
    """Persons of random place, height, turn and pose, partly off an image of ``size`` px.

    Every person has a labelled keypoint, and every fourth has just one.
    """
    keypoints = np.empty((num_persons, 17, 2))
    labelled = rng.random((num_persons, 17)) < label_rate
    for j in range(num_persons):
        angle = rng.normal(0, 0.4)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        pose = STANDING + rng.normal(0, 0.05, (17, 2))
        keypoints[j] = pose @ turn.T * rng.uniform(0.15, 0.9) * size + rng.uniform(
            -0.1, 1.1, 2) * size
        if rng.random() < 0.25:
            labelled[j] = False
        labelled[j, rng.integers(17)] |= not labelled[j].any()
    return Scene(keypoints, labelled)


def support(codec: PoseSeg, scene: Scene) -> np.ndarray:
    """Share of an undisturbed disk's votes that each keypoint gets from the cells it owns: (N, K).

    Cells nearer to another person's keypoint of the same kind are that one's, and beyond the border
    there are none.
    """
    owner = keypoint_owner_map(scene.keypoints, scene.labelled, codec.heatmap_size,
                               codec.heatmap_stride, codec.radius)
    width, height = codec.heatmap_size
    x = np.arange(width) * codec.heatmap_stride
    y = np.arange(height)[:, None] * codec.heatmap_stride
    share = np.zeros(scene.labelled.shape)
    reach = np.arange(-100, 101) * codec.heatmap_stride
    whole = votes_at(reach**2 + reach[:, None]**2, codec).sum()
    for j, k in np.argwhere(scene.labelled):
        squared = (x - scene.keypoints[j, k, 0])**2 + (y - scene.keypoints[j, k, 1])**2
        share[j, k] = votes_at(squared, codec)[owner[k] == j + 1].sum() / whole
    return share


def votes_at(squared: np.ndarray, codec: PoseSeg) -> np.ndarray:
    """F* of eq. 3 within the vote radius, σ = R / 2."""
    return np.exp(-squared / (2 * (codec.radius / 2)**2)) * (squared <= codec.vote_radius**2)


def decode_perfect(codec: PoseSeg, scene: Scene, mask_owner=None, frame=None):
    """Encode people and decode the maps that a perfect network would give."""
    encoded = codec.encode(scene.keypoints, scene.labelled, mask_owner)
    return codec.batch_decode(perfect_maps(codec, encoded), [frame])[0]


def is_ambiguous(codec: PoseSeg, scene: Scene, share: np.ndarray) -> bool:
    """Whether other people than these explain the maps as well.

    - A joint of one person, whose own neighbour on a limb does not show, has a limb that leads to
      another person's neighbour that lacks its own joint: the limb may be either's.
    - Two persons have no joint in common and centroids so close that they may be halves of one.
    - Two persons have a joint at nearly the same place and centroids so close that the votes for
      it are the same.
    - All that shows of a person lies close to the same joints of another one: the same person,
      seen twice.

    Args:
        codec (PoseSeg): Its tolerances say what is close.
        scene (Scene): N persons.
        share (np.ndarray): (N, K) what :func:`support` returns.
    """
    visible = share > 0.01
    shown = np.flatnonzero(visible.any(1))
    return any(
        leads_to_another(codec, scene, visible, i, j) or may_be_halves(codec, scene, visible, i, j)
        or votes_agree(codec, scene, share, i, j) or may_be_seen_twice(scene, visible, i, j)
        for i in shown for j in shown if i != j)


def leads_to_another(codec, scene, visible, i, j) -> bool:
    """Whether a limb of person i and one of person j may lead to each other."""
    tolerance = codec.tolerance
    for a, b in codec.skeleton.edges:
        if visible[i, a] and not visible[i, b] and visible[j, b] and not visible[j, a]:
            start, neighbour = scene.keypoints[i, a], scene.keypoints[j, b]
            # a limb's field is 0 where the other end is not labelled, and the mean of the cells
            # that vote may lie half their radius from a joint near the border
            end = scene.keypoints[i, b] if scene.labelled[i, b] else start
            back = scene.keypoints[j, a] if scene.labelled[j, a] else neighbour
            slack = codec.vote_radius / 2 * (~scene.labelled[[i, j], [b, a]]).sum()
            miss = np.linalg.norm(end - neighbour) + np.linalg.norm(back - start) - slack
            length = np.linalg.norm(start - neighbour)
            if miss / 2 < 1.1 * tolerance.limit * (
                    tolerance.limb_px + tolerance.limb_relative * length):
                return True
    return False


def may_be_halves(codec, scene, visible, i, j) -> bool:
    """Whether two persons without a common joint agree on where their centroid lies."""
    tolerance = codec.tolerance
    centres = [scene.keypoints[p, scene.labelled[p]].mean(0) for p in (i, j)]
    reach = [np.linalg.norm(scene.keypoints[p, visible[p]] - centre, axis=-1).max()
             for p, centre in zip((i, j), centres)]
    limit = tolerance.centroid_px + tolerance.centroid_relative * max(reach)
    return not (visible[i] & visible[j]).any() and (
        np.linalg.norm(centres[0] - centres[1]) < 1.1 * limit)


def votes_agree(codec, scene, share, i, j) -> bool:
    """Whether a joint of person i and the same one of person j may pass for one keypoint."""
    merge_radius = codec.merge_radius or codec.vote_radius  # the most that it becomes by itself
    centres = [scene.keypoints[p, scene.labelled[p]].mean(0) for p in (i, j)]
    for k in np.flatnonzero((share[i] > 0) & (share[j] > 0)):
        apart = np.linalg.norm(scene.keypoints[i, k] - scene.keypoints[j, k])
        reach = max(np.linalg.norm(scene.keypoints[p, k] - centre)
                    for p, centre in zip((i, j), centres))
        limit = 1.1 * max(merge_radius, codec.echo_radius / 2, 0.3 * reach)
        if np.linalg.norm(centres[0] - centres[1]) < limit and (
                apart < merge_radius
                or (apart < codec.echo_radius and share[i, k] < 0.6 * share[j, k])):
            return True
    return False


def may_be_seen_twice(scene, visible, i, j) -> bool:
    """Whether the joints of person i lie within about a tenth of person j's size from its own."""
    size = max(np.ptp(scene.keypoints[j, visible[j]], axis=0).max(), 1)
    gaps = np.linalg.norm(scene.keypoints[i] - scene.keypoints[j], axis=-1)
    gaps = np.where(visible[j], gaps, np.inf)[visible[i]]
    return np.exp(-gaps**2 / (2 * (0.1 * size)**2)).mean() > 0.4
