"""PoseSeg and MMPose's bottom-up codecs behind one interface, to compare what they can reach.

Each turns people into the maps that a perfect network would give, adds errors if asked to, and
decodes them as its head does. Letters: N persons, K keypoints, maps of h×w cells; positions are
input pixels (x, y).
"""
from typing import Dict, List, NamedTuple, Optional

import numpy as np
import torch
from mmpose.codecs import SPR, AssociativeEmbedding
from mmpose.evaluation.functional import nearby_joints_nms
from torch import Tensor

from kdc_mm.codecs import PoseSeg
from kdc_mm.codecs.gaussians import gaussian
from kdc_mm.codecs.targets import labelled_centroids
from kdc_mm_runtime.people import ImageFrame

from .map_noise import MapNoise
from .perfect_maps import perfect_maps

Maps = Dict[str, Tensor]


class Crowd(NamedTuple):
    """The people of one image as a codec's ``encode`` takes them.

    ``keypoints`` (N, K, 2), ``visible`` (N, K), ``frame`` where the image lies in the input,
    ``mask_owner`` (H, W) uint8 and ``heatmap_ignore`` (H, W) bool as
    :class:`~kdc_mm.datasets.BottomupGetPersonMasks` makes them, ``image_owner`` the owner map at
    the image's resolution.
    """
    keypoints: np.ndarray
    visible: np.ndarray
    frame: Optional[ImageFrame] = None
    mask_owner: Optional[np.ndarray] = None
    heatmap_ignore: Optional[np.ndarray] = None
    image_owner: Optional[np.ndarray] = None


class Decoded(NamedTuple):
    """n persons: ``keypoints`` (n, K, 2), ``keypoint_scores`` (n, K), ``scores`` (n,), and masks
    of the original image as n COCO RLEs with ``mask_scores`` (n,)."""
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    scores: np.ndarray
    masks: Optional[List[Dict]] = None
    mask_scores: Optional[np.ndarray] = None


class PoseSegCodec:
    """The plugin's codec.

    Args:
        codec (PoseSeg): The codec.
    """
    name = 'poseseg'

    def __init__(self, codec: PoseSeg) -> None:
        self.codec = codec
        self.input_size = codec.input_size

    def encode(self, crowd: Crowd) -> Dict:
        return self.codec.encode(crowd.keypoints, crowd.visible, crowd.mask_owner,
                                 crowd.heatmap_ignore)

    def perfect_maps(self, crowd: Crowd, encoded: Dict) -> Maps:
        return perfect_maps(self.codec, encoded, crowd.image_owner, crowd.frame)

    def perturb(self, maps: Maps, crowd: Crowd, noise: MapNoise) -> Maps:
        """Maps with the errors of :class:`~kdc_mm.benchmarks.codec.map_noise.MapNoise`."""
        stride = self.codec.heatmap_stride
        noisy = {name: field.clone() for name, field in maps.items()}
        heat = noisy['heatmaps'][0].sigmoid()
        heat *= torch.as_tensor(noise.heat_gain(heat.shape, stride))
        self._add_false_peaks(heat, noisy, crowd, noise)
        noisy['heatmaps'] = heat[None].logit(eps=1e-4)
        vectors = ('key_centroids', 'person_centroids', 'limbs', 'mask_centroids')
        for stream, name in enumerate(vectors):
            if name in noisy:
                noisy[name] += torch.as_tensor(noise.vector_errors(noisy[name].shape, stream))
        if 'semantic' in noisy:
            shape = noisy['semantic'].shape[2:]
            noisy['semantic'] += torch.as_tensor(
                noise.boundary_shift(shape, self.codec.mask_stride))
        return noisy

    def _add_false_peaks(self, heat: Tensor, maps: Maps, crowd: Crowd, noise: MapNoise) -> None:
        """False disks, whose vectors all lead to the same places."""
        labelled = crowd.visible > 0
        table = torch.as_tensor(
            np.concatenate([crowd.keypoints, labelled[..., None]], 2), dtype=torch.float32)
        centroids = labelled_centroids(table)
        skeleton, stride = self.codec.skeleton, self.codec.heatmap_stride
        y, x = torch.meshgrid(*(torch.arange(side) * stride for side in heat.shape[1:]),
                              indexing='ij')
        cells = torch.stack([x, y]).float()

        def lead_to(name: str, index: int, target: Tensor, where: Tensor) -> None:
            if name not in maps:
                return
            field = maps[name][0, 2 * index:2 * index + 2]
            field[:, where] = (target[:, None, None] - cells)[:, where]

        for peak in noise.false_peaks(labelled):
            k = peak.channel
            if k == skeleton.num_keypoints:
                continue  # a root, which these maps do not have
            place = torch.as_tensor(peak.place * self.input_size, dtype=torch.float32)
            distance = (cells - place[:, None, None]).norm(dim=0)
            where = (distance <= self.codec.radius) & (heat[k] < peak.heat)
            moved = 0 if peak.claims else place - table[peak.person, k, :2]
            heat[k][where] = peak.heat
            lead_to('key_centroids', k, place, where)
            lead_to('person_centroids', k, centroids[peak.person] + moved, where)
            for edge, (start, end) in enumerate(skeleton.edges):
                if start == k and table[peak.person, end, 2] > 0:
                    lead_to('limbs', edge, table[peak.person, end, :2] + moved, where)

    def decode(self, maps: Maps, frame: Optional[ImageFrame] = None) -> Decoded:
        """Decode keypoints, and masks if the maps have them and ``frame`` is given."""
        if frame is None and not self.codec.groups_by_embedding:
            maps = pose_maps(maps)
        people = self.codec.batch_decode(maps, [frame])[0]
        decoded = Decoded(people.poses.keypoints, people.poses.scores, people.scores)
        if people.masks is None:
            return decoded
        return decoded._replace(masks=people.masks.rles, mask_scores=people.mask_scores)


def pose_maps(maps: Maps) -> Maps:
    """The maps without those of the masks."""
    masks = ('semantic', 'mask_centroids', 'log_bandwidth')
    return {name: field for name, field in maps.items() if name not in masks}


class SPRCodec:
    """MMPose's SPR as DEKR uses it: 512 px, maps of 128×128, NMS of near poses in decoding.

    DEKR's learnt rescoring is left out, which no perfect map can replace.

    Args:
        max_persons (int): Most persons decoded. Defaults to 30, as published.
    """
    name = 'spr'
    input_size = (512, 512)

    def __init__(self, max_persons: int = 30) -> None:
        self.codec = SPR(
            self.input_size, (128, 128),
            sigma=(4, 2),
            minimal_diagonal_length=32**0.5,
            generate_keypoint_heatmaps=True,
            decode_max_instances=max_persons)
        self.stride = 4

    def encode(self, crowd: Crowd) -> Dict:
        return self.codec.encode(crowd.keypoints, crowd.visible)

    def perfect_maps(self, crowd: Crowd, encoded: Dict) -> Maps:
        return dict(
            heatmaps=torch.as_tensor(encoded['heatmaps']),
            displacements=torch.as_tensor(encoded['displacements']))

    def perturb(self, maps: Maps, crowd: Crowd, noise: MapNoise) -> Maps:
        """Maps with the errors of :class:`~kdc_mm.benchmarks.codec.map_noise.MapNoise`."""
        heat, vectors = maps['heatmaps'].numpy(), maps['displacements'].numpy().copy()
        heat = heat * noise.heat_gain(heat.shape, self.stride)
        labelled = crowd.visible > 0
        keypoints = crowd.keypoints / self.stride
        num_keypoints = labelled.shape[1]
        sigmas = [self.codec.sigma[1]] * num_keypoints + [self.codec.sigma[0]]
        y, x = np.mgrid[:heat.shape[1], :heat.shape[2]]
        cells = np.stack([x, y])
        for peak in noise.false_peaks(labelled):
            place = peak.place * self.codec.heatmap_size
            where = _add_gaussian(heat[peak.channel], place, sigmas[peak.channel], peak.heat)
            if peak.channel == num_keypoints:
                own = labelled[peak.person]
                ends = keypoints[peak.person]
                if not peak.claims:
                    ends = ends + place - ends[own].mean(0)
                for k in np.flatnonzero(own):
                    target = (ends[k][:, None, None] - cells)[:, where]
                    vectors[2 * k:2 * k + 2, where] = target
        vectors += noise.vector_errors(vectors.shape, 0) / self.stride
        return dict(heatmaps=torch.as_tensor(heat), displacements=torch.as_tensor(vectors))

    def decode(self, maps: Maps, frame: Optional[ImageFrame] = None) -> Decoded:
        """Decode and suppress as ``DEKRHead`` does."""
        keypoints, (roots, scores) = self.codec.decode(maps['heatmaps'], maps['displacements'])
        keypoints, scores, roots = (part.cpu().numpy() for part in (keypoints, scores, roots))
        poses = [dict(keypoints=pose, score=score) for pose, score in zip(keypoints, scores)]
        kept = nearby_joints_nms(poses, 0.05, score_per_joint=True,
                                 max_dets=self.codec.decode_max_instances)
        scores = (roots[:, None] * scores)[kept]
        return Decoded(keypoints[kept], scores, scores.mean(1))


class AECodec:
    """MMPose's AssociativeEmbedding as AE-HRNet-w32 uses it, with perfect tags, at its best.

    A cell's tag is the number of the person whose keypoint of this channel is nearest. On perfect
    maps the published config loses 4 points of AP by its half-cell shift, 1 by rounding keypoints
    to cells, and more by enlarging the maps to the input first, which mixes the tags of neighbours
    and takes 15 times as long. So maps of 128×128 are decoded as they are, encoded and refined
    without bias (``use_udp``) and not shifted.

    Args:
        names (sequence[str]): Names of the K keypoints. Heads and trunks are grouped first, limbs
            from the inside out, which is the published order on COCO.
        max_persons (int): Most persons decoded. Defaults to 30, as published.
    """
    name = 'ae'
    input_size = (512, 512)

    def __init__(self, names, max_persons: int = 30) -> None:
        parts = ['elbow', 'wrist', 'knee', 'ankle']
        rank = [max((i + 1 for i, part in enumerate(parts) if part in name), default=0)
                for name in names]
        self.codec = AssociativeEmbedding(
            self.input_size, (128, 128),
            sigma=2,
            use_udp=True,
            decode_topk=max_persons,
            decode_keypoint_order=np.argsort(rank, kind='stable').tolist(),
            decode_max_instances=max_persons)
        self.stride = 511 / 127

    def encode(self, crowd: Crowd) -> Dict:
        return self.codec.encode(crowd.keypoints, crowd.visible)

    def perfect_maps(self, crowd: Crowd, encoded: Dict) -> Maps:
        # MMPose's refinement divides by a channel's largest value, which in a network's is not 0
        heat = np.maximum(encoded['heatmaps'], 1e-6)
        tags = perfect_tags(crowd, heat.shape, self.stride)
        return dict(heatmaps=torch.as_tensor(heat), tags=torch.as_tensor(tags))

    def perturb(self, maps: Maps, crowd: Crowd, noise: MapNoise) -> Maps:
        """Maps with the errors of :class:`~kdc_mm.benchmarks.codec.map_noise.MapNoise`."""
        heat, tags = maps['heatmaps'].numpy(), maps['tags'].numpy().copy()
        heat = heat * noise.heat_gain(heat.shape, self.stride)
        labelled = crowd.visible > 0
        new_tag = len(labelled)
        for peak in noise.false_peaks(labelled):
            if peak.channel == labelled.shape[1]:
                continue  # a root, which these maps do not have
            place = peak.place * self.codec.heatmap_size
            where = _add_gaussian(heat[peak.channel], place, self.codec.sigma, peak.heat)
            tags[peak.channel][where] = peak.person if peak.claims else new_tag
            new_tag += not peak.claims
        tags += noise.tag_errors(tags.shape)
        return dict(heatmaps=torch.as_tensor(heat), tags=torch.as_tensor(tags))

    def decode(self, maps: Maps, frame: Optional[ImageFrame] = None) -> Decoded:
        keypoints, keypoint_scores, scores = self.codec.batch_decode(maps['heatmaps'][None],
                                                                     maps['tags'][None])
        return Decoded(keypoints[0], keypoint_scores[0], scores[0])


def perfect_tags(crowd: Crowd, shape, stride: float) -> np.ndarray:
    """Tags (K, h, w) that tell all persons apart: a cell's is the number of the person whose
    keypoint of this channel is nearest.

    Args:
        crowd (Crowd): The people.
        shape (tuple): K, h, w.
        stride (float): Input pixels from one cell to the next.
    """
    y, x = np.mgrid[:shape[1], :shape[2]] * stride
    tags = np.zeros(shape, np.float32)
    for k in range(len(tags)):
        persons = np.flatnonzero(crowd.visible[:, k] > 0)
        if len(persons):
            own = crowd.keypoints[persons, k, :, None, None]
            nearest = ((own[:, 0] - x)**2 + (own[:, 1] - y)**2).argmin(0)
            tags[k] = persons[nearest]
    return tags


def _add_gaussian(heat: np.ndarray, place: np.ndarray, sigma: float, height: float) -> np.ndarray:
    """Raise one heatmap (h, w) by a peak at ``place`` [cells], and tell the cells (h, w) that are
    the peak's now."""
    y, x = np.mgrid[:heat.shape[0], :heat.shape[1]]
    squared = (x - place[0])**2 + (y - place[1])**2
    peak = height * gaussian(squared, sigma)
    where = (squared <= (3 * sigma)**2) & (peak > heat)
    heat[where] = peak[where]
    return where
