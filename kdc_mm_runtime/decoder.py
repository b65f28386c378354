"""Decoding on the host, in NumPy and compiled kernels: vote → merge → group → cluster.

- vote: confident cells of the smoothed heatmaps vote, weighed by F* (eq. 3);
- merge: votes become keypoints;
- group: keypoints start hypotheses of whole persons along the kinematic graph (3.4), and those that
  are not detected are placed where limbs and KeyCentroids lead;
- cluster: masks around the persons' dynamic centroids (eqs. 6, 7); hidden persons get centroids of
  their own, persons without keypoints are found.

What the paper does not have is listed in :mod:`~kdc_mm_runtime.refine`; without limb displacements
and person centroids, which it does not have either, :mod:`~kdc_mm_runtime.embedding_group` takes
the place of group.
"""
from dataclasses import asdict
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .agreement import grouping_tolerance
from .cluster import MaskMaps, cluster_masks, dynamic_centroids
from .embedding_group import find_persons_by_embedding
from .group import (
    GroupSettings,
    Hypotheses,
    PoseFields,
    assemble_poses,
    fields_of_images,
    find_persons,
)
from .merge import (
    Keypoints,
    fitting_merge_radius,
    full_disk_weight,
    keep_keypoints,
    merge_votes,
    strongest_of_each_kind,
)
from .people import ImageFrame, People, Poses
from .refine import Refinement, add_unposed_persons, mask_trust
from .skeleton import Skeleton, build_graph
from .vote import PoseMaps, Votes, VoteSettings, collect_votes, split_by_image

#: Expected error of a keypoint as a share of the disk radius, for the score of a pose.
_ERROR_SHARE = 1 / 3
#: Keypoints of a kind and person are one within this share of the merge radius: 3 σ of the votes.
_SAME_KEYPOINT_SHARE = 0.75


class Decoder:
    """Maps that lie smoothed on the host to people.

    Args:
        skeleton (Skeleton): K keypoints and the limbs between them.
        **settings: All others are those of :class:`~kdc_mm.codecs.PoseSeg`, where they have
            defaults.

    Raises:
        ValueError: if a value is out of range, or nothing would tell whose a keypoint is.
    """

    def __init__(self,
                 input_size: Tuple[int, int],
                 skeleton: Skeleton,
                 *,
                 heatmap_stride: int,
                 mask_stride: int,
                 radius: float,
                 use_key_centroid: bool,
                 use_person_centroid: bool,
                 use_limbs: bool,
                 heatmap_threshold: float,
                 keypoint_threshold: float,
                 person_threshold: float,
                 mask_threshold: float,
                 vote_radius: Optional[float],
                 merge_radius: Optional[float],
                 tolerance: Optional[dict],
                 refine: Optional[dict],
                 max_votes: int,
                 max_persons: int) -> None:
        check_positive(radius=radius, heatmap_stride=heatmap_stride, mask_stride=mask_stride,
                       vote_radius=vote_radius, merge_radius=merge_radius)
        _check_share(
            heatmap_threshold=heatmap_threshold, keypoint_threshold=keypoint_threshold,
            person_threshold=person_threshold, mask_threshold=mask_threshold)
        if vote_radius is None:
            vote_radius = max(radius / 2, 2 * heatmap_stride)
        if merge_radius is None and not use_key_centroid:
            merge_radius = 2. * heatmap_stride
        self.input_size = tuple(input_size)
        self.skeleton = skeleton
        self.heatmap_stride = heatmap_stride
        self.mask_stride = mask_stride
        self.radius = radius
        self.use_key_centroid = use_key_centroid
        self.use_person_centroid = use_person_centroid
        self.use_limbs = use_limbs
        self.limb_graph = skeleton.graph if use_limbs else build_graph(
            np.zeros((0, 2), np.int64), skeleton.num_keypoints)
        self.keypoint_threshold = keypoint_threshold
        self.mask_threshold = mask_threshold
        self.vote_settings = VoteSettings(radius, vote_radius, heatmap_threshold, max_votes)
        self.merge_radius = merge_radius
        self.full_disk_weight = full_disk_weight(
            radius, vote_radius, heatmap_stride) if use_key_centroid else 1.
        self.refinement = Refinement(**(refine or {}))
        self.tolerance = tolerance or {}
        self.group_settings = self._group_settings(person_threshold, max_persons)
        self.max_persons = max_persons

    def _group_settings(self, person_threshold: float, max_persons: int) -> GroupSettings:
        tolerance, margin = self.tolerance, self.refinement.replace_margin
        join = self.use_person_centroid and bool(self.refinement.join_by_centroid)
        if self.use_person_centroid and not (join or self.use_limbs):
            raise ValueError('PoseSeg: without limbs and refine.join_by_centroid each keypoint '
                             'would be a person of its own; turn one of them on, or '
                             'use_person_centroid off too.')
        if not self.use_person_centroid:
            tolerance = dict(tolerance, centroid_px=np.inf)
        return GroupSettings(
            grouping_tolerance(**tolerance), join,
            float('inf') if margin is None else float(margin), float(self.keypoint_threshold),
            float(person_threshold), max_persons)

    @property
    def settings(self) -> Dict[str, Any]:
        """What the decoder was built with, but for the skeleton: values that JSON can hold."""
        votes = self.vote_settings
        return dict(
            input_size=list(self.input_size),
            heatmap_stride=self.heatmap_stride,
            mask_stride=self.mask_stride,
            radius=self.radius,
            use_key_centroid=self.use_key_centroid,
            use_person_centroid=self.use_person_centroid,
            use_limbs=self.use_limbs,
            heatmap_threshold=votes.threshold,
            keypoint_threshold=self.keypoint_threshold,
            person_threshold=self.group_settings.person_threshold,
            mask_threshold=self.mask_threshold,
            vote_radius=votes.vote_radius,
            merge_radius=self.merge_radius,
            tolerance=self.tolerance,
            refine=asdict(self.refinement),
            max_votes=votes.max_votes,
            max_persons=self.max_persons)

    @property
    def groups_by_embedding(self) -> bool:
        """Whether MaskCentroids tell whose a keypoint is, see the class."""
        return not (self.use_person_centroid or self.use_limbs)

    @property
    def heatmap_size(self) -> Tuple[int, int]:
        """Size [w, h] of the pose maps."""
        return self._map_size(self.heatmap_stride)

    @property
    def mask_size(self) -> Tuple[int, int]:
        """Size [w', h'] of the segmentation maps."""
        return self._map_size(self.mask_stride)

    def _map_size(self, stride: int) -> Tuple[int, int]:
        return tuple((side - 1) // stride + 1 for side in self.input_size)

    def decode_host_maps(self, maps: Dict[str, np.ndarray],
                         frames: Sequence[Optional[ImageFrame]]) -> List[People]:
        """Decode what :meth:`.PoseSeg.host_maps` names, of a batch.

        Args:
            maps (dict): float32 arrays; ``limbs`` and ``mask_maps`` may be absent.
            frames (sequence[ImageFrame]): Where each original image lies in the input.
        """
        heatmaps = maps['heatmaps']
        pose_maps = PoseMaps(heatmaps, maps['key_centroids'], maps['person_centroids'],
                             maps.get('limbs', heatmaps[:, :0]), self.heatmap_stride)
        mask_maps = (self.split_mask_maps(maps['mask_maps']) if 'mask_maps' in maps else
                     [None] * len(frames))
        return self.decode_maps(pose_maps, mask_maps, frames)

    def decode_maps(self,
                    pose_maps: Optional[PoseMaps],
                    mask_maps: Sequence[Optional[MaskMaps]],
                    frames: Sequence[Optional[ImageFrame]],
                    poses: Optional[Sequence[Poses]] = None) -> List[People]:
        """Decode the maps of a batch.

        Args:
            pose_maps (PoseMaps, optional): Of B images; None where ``poses`` are given.
            mask_maps (sequence[MaskMaps]): B times, None without a segmentation head.
            frames (sequence[ImageFrame]): Where each original image lies in the input; None for
                an image whose masks are not wanted.
            poses (sequence[Poses], optional): B times the persons whose masks are wanted, instead
                of those that the maps show.

        Returns:
            list[People]: B results; keypoints in input pixels, masks in original images.
        """
        is_decoding = poses is None
        if is_decoding:
            poses = self.decode_poses(pose_maps, mask_maps)
        return [
            People(poses_of_image, poses_of_image.strength)
            if maps is None or frame is None else
            self.cluster(poses_of_image, maps, frame, find_unposed=is_decoding)
            for poses_of_image, maps, frame in zip(poses, mask_maps, frames)
        ]

    def decode_poses(self, pose_maps: PoseMaps,
                     mask_maps: Sequence[Optional[MaskMaps]]) -> List[Poses]:
        """The poses of each image, see :meth:`decode_maps`."""
        poses = []
        for votes, fields, maps in zip(
                split_by_image(self.vote(pose_maps), len(mask_maps)), self.fields(pose_maps),
                mask_maps):
            merge_radius = self.fitting_merge_radius(votes)
            keypoints = self.merge(votes, merge_radius)
            poses.append(self.group_by_embedding(keypoints, maps)
                         if self.groups_by_embedding else
                         self.group(keypoints, fields, merge_radius))
        return poses

    def vote(self, maps: PoseMaps) -> Votes:
        """The votes of every confident cell."""
        return collect_votes(maps, self.limb_graph.outgoing, self.vote_settings)

    def fields(self, maps: PoseMaps) -> List[PoseFields]:
        """The maps of each image, for grouping."""
        return fields_of_images(maps)

    def fitting_merge_radius(self, votes: Votes) -> float:
        """The merge radius of one image, pixels."""
        if self.merge_radius is not None:
            return self.merge_radius
        return fitting_merge_radius(votes, self.heatmap_stride, self.vote_settings.vote_radius)

    def merge(self, votes: Votes, merge_radius: float) -> Keypoints:
        """Votes of one image to keypoints."""
        keypoints = merge_votes(votes, self.skeleton.num_keypoints, merge_radius,
                                self.full_disk_weight)
        keypoints = keep_keypoints(keypoints, self.keypoint_threshold)
        return strongest_of_each_kind(keypoints, self.max_persons)

    def group(self, keypoints: Keypoints, fields: PoseFields, merge_radius: float) -> Poses:
        """Keypoints of one image to poses, strongest first."""
        return self._poses(find_persons(keypoints, fields, self.limb_graph,
                                        _SAME_KEYPOINT_SHARE * merge_radius, self.group_settings))

    def group_by_embedding(self, keypoints: Keypoints, maps: MaskMaps) -> Poses:
        """Keypoints of one image to poses by their MaskCentroids, strongest first."""
        return self._poses(find_persons_by_embedding(
            keypoints, maps, self.skeleton.graph, self.mask_threshold, self.group_settings))

    def _poses(self, persons: Hypotheses) -> Poses:
        return assemble_poses(persons, self.skeleton.oks_sigmas, _ERROR_SHARE * self.radius)

    def split_mask_maps(self, packed: np.ndarray) -> List[MaskMaps]:
        """The segmentation maps of each image of a batch (B, 4, h', w'): semantic map, offset and
        bandwidth. Contiguous: kernels are compiled for one layout, and networks whose channels lie
        last have another."""
        return [MaskMaps(image[0], image[1:3], image[3], self.mask_stride)
                for image in np.ascontiguousarray(packed)]

    def cluster(self, poses: Poses, maps: MaskMaps, frame: ImageFrame,
                find_unposed: bool = True) -> People:
        """Masks of one image around the persons' dynamic centroids (eqs. 6 and 7), and the persons
        that only a mask shows."""
        refine, threshold = self.refinement, self.mask_threshold
        centroids = dynamic_centroids(poses, maps, mask_trust(poses), threshold,
                                      refine.second_choice)
        if find_unposed and refine.unposed_area is not None:
            poses, centroids = add_unposed_persons(poses, centroids, maps, threshold,
                                                   refine.unposed_area)
        trust = mask_trust(poses)
        masks = cluster_masks(maps, centroids, trust, frame, threshold)
        return People(poses, poses.strength, masks, masks.scores * trust)


def check_positive(**values: Optional[float]) -> None:
    """
    Raises:
        ValueError: if a value is neither None nor greater than 0.
    """
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f'PoseSeg: {name} must be greater than 0, got {value}.')


def _check_share(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f'PoseSeg: {name} must lie in (0, 1), got {value}.')
