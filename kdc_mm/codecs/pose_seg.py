"""The PoseSeg codec: encode → vote → group → cluster, top to bottom."""
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from .cluster import (
    MaskMaps,
    absorb_fragments,
    cluster_masks,
    dynamic_centroids,
    leftover_centroids,
)
from .gaussians import smooth_channels
from .group import GroupingTolerance, group_keypoints, suppress_ghosts
from .merge import Keypoints, full_disk_weight, merge_votes, strongest_of_each_kind, vote_scatter
from .owner_maps import IGNORED, MAX_PERSONS, keypoint_owner_maps
from .people import ImageFrame, People, Poses
from .skeleton import build_skeleton
from .vote import Votes, collect_votes

#: Trust in a mask that no keypoint confirms, against the root of a pose's score.
_UNPOSED_TRUST = 0.3


#: Votes that differ by up to so many σ may mean one keypoint, and always those nearer than so many
#: cells.
_SIGMAS_TO_MERGE = 4
_LEAST_CELLS = 0.75

#: A fragment of a pose scores less than this share of the person that it belongs to.
_FRAGMENT_SHARE = 0.7


@KEYPOINT_CODECS.register_module()
class PoseSeg(BaseKeypointCodec):
    r"""Keypoints as dynamic centroids: people to maps and back (paper, section 3).

    Note:

        - instance number: N
        - keypoint number: K, directed limbs: 2E
        - input size [W, H], heatmap size [w, h] = [(W - 1) // s + 1, (H - 1) // s + 1]

    Encoded:

        - owner_maps (list[np.ndarray]): whose keypoint disk each heatmap cell lies in, (K, h, w)
          uint8, and whose mask each input pixel belongs to, (1, H, W) uint8: 0 nobody, j + 1
          person j, 255 ignored
        - keypoint_table (np.ndarray): (N, K, 3) float32: x, y in input pixels, labelled

    The float fields that a network learns are built from these on its device, see
    :mod:`kdc_mm.codecs.targets`.

    Args:
        input_size (tuple[int, int]): Input size [W, H]. At sizes s·n + 1 maps and input align.
        metainfo (str): MMPose's description of the data set, which names the keypoints and limbs.
        heatmap_stride (int): Stride s of the pose maps. Defaults to 4.
        mask_stride (int): Stride of the segmentation maps. Defaults to 2.
        radius (float): Disk radius R in input pixels. Defaults to 32.
        limbs (sequence, optional): Limbs by name or index instead of the data set's
            ``skeleton_links``.
        use_key_centroid (bool): Whether maps have KeyCentroids (table 7). Defaults to ``True``.
        sigma_high_variance (float): σ of the point-wise Gaussian for wrists, ankles, elbows and
            knees, in map cells (paper: [0.1, 0.5)). Defaults to 0.3.
        sigma_low_variance (float): The same for all other keypoints (paper: [0.5, 1)). Defaults to
            0.6.
        sigma_instance (float): σ of the instance-wise Gaussian (paper: [0.1, 1]). Defaults to 0.1.
        heatmap_threshold (float): Least heat of a cell that votes. Defaults to 0.1.
        keypoint_threshold (float): Least score of a keypoint. Defaults to 0.1.
        mask_threshold (float): A pixel belongs to a person above it. Defaults to 0.5.
        vote_radius (float, optional): Cells vote for keypoints within it, pixels. Defaults to
            ``radius / 2``, at least two cells.
        merge_radius (float, optional): Votes within it agree, pixels. By default four times the
            σ of the image's votes, at least ``0.75 heatmap_stride`` and at most ``vote_radius``:
            near joints stay apart where maps are sharp, and stay whole where they are not. Without
            KeyCentroids two cells.
        tolerance (dict, optional): Changes to :class:`~kdc_mm.codecs.group.GroupingTolerance`.
        join_fragments (bool): Join fragments of a pose by their person centroid and, where there
            are masks, by their MaskCentroid. Defaults to ``True``.
        ghost_threshold (float): Persons whose keypoints lie by much surer ones of others to more
            than this degree are dropped, in (0, 1). Defaults to 0.2.
        min_unposed_area (float): Least mask of a person without a visible keypoint, in input pixels
            squared. Defaults to 4; infinity for persons with keypoints only.
        max_votes (int): Most votes per image, the heaviest; bounds the time of a crowd. Defaults
            to 12000.
        max_persons (int): Most persons per image, and most keypoints of a kind. Defaults to 256.

    Raises:
        ValueError: if a value is out of range or the skeleton is not connected.
    """

    auxiliary_encode_keys = {'mask_owner', 'heatmap_ignore'}
    field_mapping_table = dict(owner_maps='owner_maps')
    label_mapping_table = dict(keypoint_table='keypoint_table')
    support_batch_decoding = True

    def __init__(self,
                 input_size: Tuple[int, int],
                 metainfo: str = 'configs/_base_/datasets/coco.py',
                 heatmap_stride: int = 4,
                 mask_stride: int = 2,
                 radius: float = 32.,
                 limbs: Optional[Sequence] = None,
                 use_key_centroid: bool = True,
                 sigma_high_variance: float = 0.3,
                 sigma_low_variance: float = 0.6,
                 sigma_instance: float = 0.1,
                 heatmap_threshold: float = 0.1,
                 keypoint_threshold: float = 0.1,
                 mask_threshold: float = 0.5,
                 vote_radius: Optional[float] = None,
                 merge_radius: Optional[float] = None,
                 tolerance: Optional[dict] = None,
                 join_fragments: bool = True,
                 ghost_threshold: float = 0.2,
                 min_unposed_area: float = 4.,
                 max_votes: int = 12000,
                 max_persons: int = 256) -> None:
        super().__init__()
        for name, value in dict(
                radius=radius, heatmap_stride=heatmap_stride, mask_stride=mask_stride,
                sigma_high_variance=sigma_high_variance, sigma_low_variance=sigma_low_variance,
                sigma_instance=sigma_instance).items():
            if value <= 0:
                raise ValueError(f'PoseSeg: {name} must be greater than 0, got {value}.')
        for name, value in dict(
                heatmap_threshold=heatmap_threshold, keypoint_threshold=keypoint_threshold,
                mask_threshold=mask_threshold, ghost_threshold=ghost_threshold).items():
            if not 0 < value < 1:
                raise ValueError(f'PoseSeg: {name} must lie in (0, 1), got {value}.')
        self.input_size = tuple(input_size)
        self.skeleton = build_skeleton(metainfo, limbs)
        self.heatmap_stride = heatmap_stride
        self.mask_stride = mask_stride
        self.radius = radius
        self.use_key_centroid = use_key_centroid
        self.keypoint_sigmas = np.where(self.skeleton.high_variance, sigma_high_variance,
                                        sigma_low_variance).tolist()
        self.sigma_instance = sigma_instance
        self.heatmap_threshold = heatmap_threshold
        self.keypoint_threshold = keypoint_threshold
        self.mask_threshold = mask_threshold
        self.vote_radius = vote_radius or max(radius / 2, 2 * heatmap_stride)
        self.merge_radius = merge_radius or (None if use_key_centroid else 2. * heatmap_stride)
        self.echo_radius = max(0.75 * radius, self.vote_radius, self.merge_radius or 0)
        self.tolerance = GroupingTolerance(**(tolerance or {}))
        self.join_fragments = join_fragments
        self.ghost_threshold = ghost_threshold
        self.min_unposed_area = min_unposed_area
        self.max_votes = max_votes
        self.max_persons = max_persons
        self._outgoing = self.skeleton.outgoing
        self._full_weight = full_disk_weight(
            radius, self.vote_radius, heatmap_stride) if use_key_centroid else 1.

    @property
    def heatmap_size(self) -> Tuple[int, int]:
        """Size [w, h] of the pose maps."""
        return tuple((side - 1) // self.heatmap_stride + 1 for side in self.input_size)

    def encode(self,
               keypoints: np.ndarray,
               keypoints_visible: Optional[np.ndarray] = None,
               mask_owner: Optional[np.ndarray] = None,
               heatmap_ignore: Optional[np.ndarray] = None) -> Dict:
        """Encode the people of one image as owner maps.

        Args:
            keypoints (np.ndarray): (N, K, 2) in input pixels, N up to 254.
            keypoints_visible (np.ndarray, optional): (N, K), greater than 0 where labelled.
            mask_owner (np.ndarray, optional): (H, W) uint8 owner map of the masks. Without it no
                pixel takes part in the mask losses.
            heatmap_ignore (np.ndarray, optional): (H, W) bool, regions that take no part in the
                heatmap loss. Disks inside them stay positive.

        Returns:
            dict: ``owner_maps`` and ``keypoint_table``, see the class.

        Raises:
            ValueError: if the keypoints are not those of the codec's data set.
        """
        if keypoints.shape[1] != self.skeleton.num_keypoints:
            raise ValueError(
                f'The sample has {keypoints.shape[1]} keypoints per person, the PoseSeg codec '
                f'{self.skeleton.num_keypoints} ({", ".join(self.skeleton.names)}). Give codec '
                'and head the `metainfo` and `num_keypoints` of the data set.')
        if len(keypoints) > MAX_PERSONS:
            raise ValueError(f'{len(keypoints)} persons in one image, at most {MAX_PERSONS} can be '
                             'encoded.')
        labelled = np.ones(keypoints.shape[:2], bool) if keypoints_visible is None else (
            keypoints_visible > 0)
        table = np.concatenate([keypoints, labelled[..., None]], axis=2).astype(np.float32)
        ignored = None if heatmap_ignore is None else torch.as_tensor(heatmap_ignore)[None]
        [keypoint_owner] = keypoint_owner_maps([torch.from_numpy(table)], self.heatmap_size,
                                               self.heatmap_stride, self.radius, ignored).numpy()
        if mask_owner is None:
            mask_owner = np.full(self.input_size[::-1], IGNORED, np.uint8)
        return dict(owner_maps=[keypoint_owner, mask_owner[None]], keypoint_table=table)

    def decode(self, encoded: Dict[str, np.ndarray], frame: Optional[ImageFrame] = None) -> People:
        """Decode the maps of one image; see :meth:`batch_decode`."""
        maps = {name: torch.as_tensor(value)[None] for name, value in encoded.items()}
        return self.batch_decode(maps, [frame])[0]

    @torch.no_grad()
    def batch_decode(self,
                     maps: Dict[str, Tensor],
                     frames: Sequence[Optional[ImageFrame]]) -> List[People]:
        """Decode maps of any device into people.

        Args:
            maps (dict): Vectors are (x, y) in input pixels.

                - heatmaps (B, K, h, w): logits
                - key_centroids (B, 2K, h, w), absent if ``use_key_centroid`` is off
                - person_centroids (B, 2K, h, w)
                - limbs (B, 4E, h, w)
                - semantic (B, 1, h', w') logits, mask_centroids (B, 2, h', w'), log_bandwidth
                  (B, 1, h', w') at the mask stride; absent without a segmentation head

            frames (sequence[ImageFrame]): Where each original image lies in the input; None for
                an image whose masks are not wanted.

        Returns:
            list[People]: B results; keypoints in input pixels, masks in original images.
        """
        votes = self.vote(maps)
        bounds = np.searchsorted(votes.image, np.arange(len(frames) + 1))
        poses = [
            self.group(Votes(*(part[low:high] for part in votes)))
            for low, high in zip(bounds[:-1], bounds[1:])
        ]
        people = [People(pose, pose.scores.mean(1)) for pose in poses]
        if 'semantic' not in maps:
            return people
        return [
            person if frame is None else self.cluster(person.poses, mask_maps, frame)
            for person, mask_maps, frame in zip(people, self.mask_maps(maps), frames)
        ]

    def vote(self, maps: Dict[str, Tensor]) -> Votes:
        """Point-wise Gaussian optimisation, then the votes of every confident cell."""
        heatmaps = smooth_channels(maps['heatmaps'].float().sigmoid(), self.keypoint_sigmas)
        return collect_votes(
            heatmaps, maps['key_centroids'] if self.use_key_centroid else None,
            maps['person_centroids'], maps['limbs'],
            torch.as_tensor(self._outgoing, device=heatmaps.device), self.heatmap_stride,
            self.radius, self.vote_radius, self.heatmap_threshold, self.max_votes)

    def merge(self, votes: Votes) -> Keypoints:
        """Merge the votes of one image into keypoints."""
        merge_radius = self.merge_radius or float(
            np.clip(_SIGMAS_TO_MERGE * vote_scatter(votes), _LEAST_CELLS * self.heatmap_stride,
                    self.vote_radius))
        found = merge_votes(votes, self.skeleton.num_keypoints, merge_radius, self.echo_radius,
                            self._full_weight, self.keypoint_threshold)
        return strongest_of_each_kind(found, self.max_persons)

    def group(self, votes: Votes) -> Poses:
        """Votes of one image to persons, strongest first."""
        poses = group_keypoints(
            self.merge(votes), self.skeleton.num_keypoints, self.skeleton.edges, self._outgoing,
            self.tolerance, self.join_fragments)
        poses = suppress_ghosts(poses, self.ghost_threshold)
        return Poses(*(part[:self.max_persons] for part in poses))

    def mask_maps(self, maps: Dict[str, Tensor]) -> List[MaskMaps]:
        """Instance-wise Gaussian optimisation, then the segmentation maps of each image."""
        semantic = smooth_channels(maps['semantic'].float(), [self.sigma_instance])
        packed = torch.cat(
            [semantic, maps['mask_centroids'].float(), maps['log_bandwidth'].float()], 1)
        return [
            MaskMaps(image[0], image[1:3], image[3], self.mask_stride)
            for image in packed.cpu().numpy()
        ]

    def cluster(self, poses: Poses, maps: MaskMaps, frame: ImageFrame) -> People:
        """Masks of one image around the persons' dynamic centroids, and the persons that only a
        mask shows.

        A mask ranks by its own certainty and by the root of its pose's score: a person cut off at
        the waist shows half its keypoints, but all of its mask.
        """
        centroids, sigmas = dynamic_centroids(poses, maps, self.mask_threshold,
                                              _FRAGMENT_SHARE)
        if self.join_fragments:
            poses, centroids, sigmas = absorb_fragments(poses, centroids, sigmas,
                                                        self.mask_threshold, _FRAGMENT_SHARE)
        unposed = leftover_centroids(maps, centroids, sigmas, self.mask_threshold,
                                     self.min_unposed_area)
        centroids = np.concatenate([centroids, unposed[0]])
        sigmas = np.concatenate([sigmas, unposed[1]])
        masks = cluster_masks(maps, centroids, sigmas, frame, self.mask_threshold)
        scores = poses.scores.mean(1)
        trust = np.concatenate([np.sqrt(scores), np.full(len(unposed[0]), _UNPOSED_TRUST)])
        return People(
            _append_unposed(poses, unposed[2]),
            np.concatenate([scores, np.zeros(len(unposed[0]), np.float32)]), masks,
            (masks.scores * trust).astype(np.float32))


def _append_unposed(poses: Poses, positions: np.ndarray) -> Poses:
    """Add persons whose keypoints are unknown, at the positions (m, 2) of their masks."""
    shape = (len(positions), poses.scores.shape[1])
    return Poses(
        np.concatenate([poses.keypoints, np.repeat(positions[:, None], shape[1], axis=1)]),
        np.concatenate([poses.scores, np.zeros(shape, np.float32)]),
        np.concatenate([poses.detected, np.zeros(shape, bool)]))
