"""Draw the equations of the paper, by the functions that compute them, on an image of SynthCrowd.

The pictures of docs/method.md: `python tools/misc/draw_method.py --out docs/method`. What a network
would predict is played by perfect maps, vectors of which miss by 3 px, with noise where it matters.
"""
import argparse
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

from kdc_mm.benchmarks.codec.bottomup_codecs import Crowd, PoseSegCodec  # noqa: E402
from kdc_mm.codecs import PoseSeg  # noqa: E402
from kdc_mm.codecs.gaussians import (  # noqa: E402
    key_centroid_response,
    mask_centroid_response,
    smooth_channels,
)
from kdc_mm.codecs.targets import build_mask_fields, build_pose_fields, cell_positions  # noqa: E402
from kdc_mm.models.losses.instance_losses import instance_means  # noqa: E402
from kdc_mm.synth_crowd import PRESETS  # noqa: E402
from kdc_mm.synth_crowd.scene import render_scene  # noqa: E402
from kdc_mm.visualization.draw import (  # noqa: E402
    add_label,
    decode_masks,
    dim,
    draw_centroid_vectors,
    draw_heatmap,
    draw_owners,
    draw_people,
    map_to_image,
    person_colors,
    sample_vectors,
)
from kdc_mm.visualization.fields import key_centroid_panel  # noqa: E402
from kdc_mm_runtime.people import ImageFrame  # noqa: E402

#: Sides s·n + 1 of the network's input, px.
SIZE = 401
#: A scene of two people, one before the other.
SEED = 1
#: By how much predicted vectors miss, px.
ERROR_PX = 3.
#: Height of a panel's label.
LABEL_PX = 24
#: Keypoints few enough that their disks can be told apart.
FEW = ('nose', 'left_wrist', 'right_wrist', 'left_ankle', 'right_ankle')


class Scene(NamedTuple):
    """``image`` (H, W, 3) RGB, the ``codec``, ``encoded`` people, what is ``predicted`` of them,
    maps of a batch of one, and ``noise`` for maps."""
    image: np.ndarray
    codec: PoseSeg
    encoded: dict
    predicted: Dict[str, Tensor]
    noise: torch.Generator

    @property
    def colors(self) -> list:
        return person_colors(len(self.encoded['keypoint_table']))

    @property
    def owner(self) -> np.ndarray:
        """Whose mask each pixel is: (H, W) uint8."""
        return self.encoded['owner_maps'][1][0]

    def targets(self) -> Dict[str, Tensor]:
        """The targets of the pose maps, see :func:`build_pose_fields`."""
        return build_pose_fields(
            torch.as_tensor(self.encoded['owner_maps'][0]),
            torch.as_tensor(self.encoded['keypoint_table']), self.codec.heatmap_stride,
            torch.as_tensor(self.codec.skeleton.edges))

    def to_image(self, stride: int) -> np.ndarray:
        size = self.codec.input_size
        return map_to_image(stride, size, np.array(size) / 2, size)

    def disturbed(self, logits: Tensor, strength: float) -> Tensor:
        """The maps less sure than perfect ones, with noise of each cell of its own."""
        return logits.clamp(-3, 3) + strength * torch.randn(logits.shape, generator=self.noise)


def make_scene(seed: int) -> Scene:
    """People of SynthCrowd and what a network might say of them."""
    image, people = render_scene(np.random.default_rng(seed), PRESETS['occluded'], SIZE)
    keypoints = np.array([person['keypoints'] for person in people], np.float32)
    keypoints = keypoints.reshape(len(people), -1, 3)
    owner = np.zeros((SIZE, SIZE), np.uint8)
    masks = decode_masks([person['segmentation'] for person in people], owner.shape)
    for number, mask in enumerate(masks, 1):
        owner[mask] = number
    codec = PoseSeg(input_size=(SIZE, SIZE))
    crowd = Crowd(keypoints[..., :2], keypoints[..., 2], mask_owner=owner)
    as_network = PoseSegCodec(codec)
    encoded = as_network.encode(crowd)
    noise = torch.Generator().manual_seed(seed)
    predicted = as_network.perfect_maps(crowd, encoded)
    for name in ('key_centroids', 'person_centroids', 'limbs', 'mask_centroids'):
        predicted[name] += ERROR_PX * torch.randn(predicted[name].shape, generator=noise)
    return Scene(np.ascontiguousarray(image[..., ::-1]), codec, encoded, predicted, noise)


def heat_panel(scene: Scene, heat: Tensor, label: str, stride: Optional[int] = None) -> np.ndarray:
    """Heat (h, w), or the largest of (C, h, w), over the image."""
    heat = heat.amax(0) if heat.ndim == 3 else heat
    to_image = scene.to_image(stride or scene.codec.heatmap_stride)
    return add_label(draw_heatmap(scene.image, heat.numpy(), to_image), label)


def draw_heatmap_loss(scene: Scene) -> List[np.ndarray]:
    """Eq. 1: y of a few keypoints, a prediction of it 8 px farther right, and the loss there."""
    few = [scene.codec.skeleton.names.index(name) for name in FEW]
    target = scene.targets()['heatmap'][few]
    logits = F.avg_pool2d(scene.predicted['heatmaps'][0, few].roll(2, -1), 5, 1, 2)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return [heat_panel(scene, target, 'y: in a disk of R = 32 px'),
            heat_panel(scene, logits.sigmoid(), 'ŷ: predicted, 8 px off'),
            heat_panel(scene, loss / 4, 'loss at each cell')]


def draw_pointwise_smoothing(scene: Scene) -> List[np.ndarray]:
    """Eq. 2: the heatmap of noses before and after, around one, four times as large."""
    heat = scene.disturbed(scene.predicted['heatmaps'][:, :1], 1.5).sigmoid()
    half = 50
    left, top = (int(np.clip(round(float(side)) - half, 0, SIZE - 2 * half))
                 for side in scene.encoded['keypoint_table'][-1, 0, :2])

    def panel(maps: Tensor, label: str) -> np.ndarray:
        picture = draw_heatmap(scene.image, maps[0, 0].numpy(), scene.to_image(4))
        picture = picture[top:top + 2 * half, left:left + 2 * half]
        return add_label(cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC), label)

    return [panel(heat, 'a noisy prediction'),
            *(panel(smooth_channels(heat, [sigma]), f'σ = {sigma} cells')
              for sigma in (0.3, 0.6))]


def draw_response(scene: Scene) -> List[np.ndarray]:
    """Eq. 3: F* of each cell in a disk, and the votes that it weighs."""
    fields = scene.targets()
    response = fields['heatmap'] * key_centroid_response(
        fields['key_centroid'].square().sum(1), scene.codec.radius)
    codec = scene.codec
    votes = codec.vote(codec.pose_maps(scene.predicted))
    picture = dim(scene.image)
    for (x, y), weight in zip(votes.position, votes.weight):
        cv2.circle(picture, (round(float(x)), round(float(y))), 1,
                   (255, int(255 * weight), int(60 * weight)), -1, cv2.LINE_AA)
    return [heat_panel(scene, response, 'F*, what a vote weighs'),
            add_label(picture, 'votes p + k, the heavier the lighter')]


def draw_key_centroids(scene: Scene) -> List[np.ndarray]:
    """Eq. 4: k_v, a prediction of it, and how far that is off."""
    target = scene.targets()
    vectors, disks = target['key_centroid'], target['heatmap'] > 0
    predicted = scene.predicted['key_centroids'][0].unflatten(0, (-1, 2))
    error = (predicted - vectors).abs().sum(1) * disks
    ground, to_image = dim(scene.image), scene.to_image(scene.codec.heatmap_stride)
    stride = scene.codec.heatmap_stride
    panels = []
    for field, label in ((vectors, 'KeyCentroids k'), (predicted, 'predicted')):
        panel = key_centroid_panel(ground, field.numpy(), disks.numpy(), stride, to_image)
        panel[:LABEL_PX] = ground[:LABEL_PX]
        panels.append(add_label(panel, label))
    return [*panels, heat_panel(scene, error / 15, 'their L1 distance')]


def embeddings(scene: Scene) -> tuple:
    """Pixels m (P, 2) of persons, their predicted embeddings e = m + v, and whose each is (P,)."""
    owner = torch.as_tensor(scene.owner)
    inside = build_mask_fields(owner)['semantic'] > 0
    offset = F.interpolate(scene.predicted['mask_centroids'], size=owner.shape, mode='bilinear',
                           align_corners=True)[0]
    pixels = cell_positions(*owner.shape, 1, 'cpu')[:, inside].T
    # a dynamic network is free to let them meet anywhere: here by each person's head
    table = torch.as_tensor(scene.encoded['keypoint_table'])
    instance = owner[inside].long() - 1
    middle = instance_means(pixels, instance, len(table))
    to_head = 0.5 * (table[:, 0, :2] - middle)
    return pixels, pixels + offset[:, inside].T + to_head[instance], instance


def arrows(scene: Scene, ends: Tensor, label: str) -> np.ndarray:
    """Short arrows from person pixels to their ends (P, 2), and dots there."""
    owner = scene.owner
    field = np.zeros((2, SIZE, SIZE), np.float32)
    row, column = np.nonzero(owner)
    field[:, row, column] = (ends - torch.as_tensor(np.stack([column, row], 1))).T
    ground = draw_owners(dim(scene.image), owner, scene.colors, opacity=0.22)
    starts, ends, cells = sample_vectors(field, owner > 0, 1, scene.to_image(1), 9)
    colors = np.array(scene.colors)[owner[cells[:, 1], cells[:, 0]] - 1]
    return add_label(draw_centroid_vectors(ground, starts, ends, colors, 7), label)


def crosses(picture: np.ndarray, centroids: Tensor, sigmas: Tensor) -> np.ndarray:
    """White crosses at C_j, and the circles on which φ_j is one half."""
    picture = picture.copy()
    for (x, y), sigma in zip(centroids.round().int().tolist(), sigmas.tolist()):
        cv2.drawMarker(picture, (x, y), (255, 255, 255), cv2.MARKER_CROSS, 15, 2, cv2.LINE_AA)
        cv2.circle(picture, (x, y), round(sigma * (2 * np.log(2))**0.5), (255, 255, 255), 1,
                   cv2.LINE_AA)
    return picture


def draw_static_centroids(scene: Scene) -> List[np.ndarray]:
    """Eq. 5: offsets to the mean of the mask, and those predicted."""
    pixels, _, instance = embeddings(scene)
    centroids = instance_means(pixels, instance, len(scene.colors))
    offset = F.interpolate(scene.predicted['mask_centroids'], size=(SIZE, SIZE), mode='bilinear',
                           align_corners=True)[0]
    predicted = pixels + offset[:, torch.as_tensor(scene.owner) > 0].T
    error = torch.zeros(SIZE, SIZE)
    error[torch.as_tensor(scene.owner) > 0] = (predicted - centroids[instance]).abs().sum(1)
    return [arrows(scene, centroids[instance], 'to C, the mean of the mask'),
            arrows(scene, predicted, 'e = m + v, predicted'),
            heat_panel(scene, error / 15, 'L1 distance of C and e', stride=1)]


def draw_phi(scene: Scene) -> List[np.ndarray]:
    """Eq. 6: φ of each person at all person pixels."""
    pixels, embedding, instance = embeddings(scene)
    inside = torch.as_tensor(scene.owner) > 0
    centroids = instance_means(embedding, instance, len(scene.colors))
    panels = []
    for number, centroid in enumerate(centroids[:3], 1):
        phi = torch.zeros(SIZE, SIZE)
        phi[inside] = mask_centroid_response(
            (embedding - centroid).square().sum(1), sigma_of(scene))
        panels.append(heat_panel(scene, phi, f'φ of person {number}', stride=1))
    return panels


def sigma_of(scene: Scene) -> float:
    """The bandwidth of the prediction, one for all people here."""
    return float(scene.predicted['log_bandwidth'].exp().min())


def draw_dynamic_centroids(scene: Scene) -> List[np.ndarray]:
    """Eq. 7: embeddings that meet where they like, their means, and whose each pixel is."""
    _, embedding, instance = embeddings(scene)
    centroids = instance_means(embedding, instance, len(scene.colors))
    sigmas = torch.full((len(centroids), ), sigma_of(scene))
    phi = mask_centroid_response(
        (embedding[:, None] - centroids).square().sum(-1), sigmas)
    owner = np.zeros((SIZE, SIZE), np.uint8)
    owner[scene.owner > 0] = torch.where(phi.amax(1) > 0.5, phi.argmax(1) + 1, 0).numpy()
    picture = draw_owners(dim(scene.image), owner, scene.colors, opacity=0.5)
    return [crosses(arrows(scene, embedding, 'C: mean of the embeddings'), centroids, sigmas),
            add_label(crosses(picture, centroids, sigmas), 'the largest φ above one half')]


def draw_instance_smoothing(scene: Scene) -> List[np.ndarray]:
    """Eq. 8: the semantic map before and after."""
    semantic = scene.disturbed(scene.predicted['semantic'], 2.)
    stride = scene.codec.mask_stride
    return [heat_panel(scene, semantic[0].sigmoid(), 'a noisy semantic map', stride),
            *(heat_panel(scene, smooth_channels(semantic, [sigma])[0].sigmoid(),
                         f'σ = {sigma} cells{note}', stride)
              for sigma, note in ((0.1, ', the default'), (1., '')))]


def draw_decoded(scene: Scene) -> List[np.ndarray]:
    """3.4: the image, the truth and what PoseSeg decodes from the predicted maps."""
    codec, table = scene.codec, scene.encoded['keypoint_table']
    frame = ImageFrame((SIZE, SIZE), (1., 1.), (0., 0.))
    people = codec.batch_decode(scene.predicted, [frame])[0]
    links = codec.skeleton.edges[:len(codec.skeleton.edges) // 2].tolist()
    masks = [scene.owner == number for number in range(1, len(table) + 1)]
    truth = draw_people(scene.image, table[..., :2], table[..., 2], masks, links)
    apart = np.abs(people.poses.keypoints[:, None] - table[..., :2]).mean((2, 3))
    colors = [scene.colors[nearest] for nearest in apart.argmin(1)]
    found = draw_people(scene.image, people.poses.keypoints, people.poses.scores,
                        people.masks.rles, links, colors=colors)
    return [add_label(truth, 'annotated'), add_label(found, 'decoded')]


#: Pictures by name.
PICTURES = dict(
    eq1=draw_heatmap_loss,
    eq2=draw_pointwise_smoothing,
    eq3=draw_response,
    eq4=draw_key_centroids,
    eq5=draw_static_centroids,
    eq6=draw_phi,
    eq7=draw_dynamic_centroids,
    eq8=draw_instance_smoothing,
    people=draw_decoded)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='folder to write the pictures to')
    parser.add_argument('--only', nargs='+', choices=PICTURES, default=list(PICTURES),
                        help='these pictures. Defaults to all')
    parser.add_argument('--seed', type=int, default=SEED, help=f'another scene than {SEED}')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        panels = PICTURES[name](make_scene(args.seed))
        picture = np.concatenate(panels, axis=1)[..., ::-1]
        cv2.imwrite(str(args.out / f'{name}.jpg'), picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
        print(f'wrote {args.out / name}.jpg')


if __name__ == '__main__':
    main()
