"""The PoseSeg codec: encode → vote → merge → group → cluster, top to bottom.

- vote: point-wise smoothing (eq. 2), then confident cells vote, weighed by F* (eq. 3);
- merge: votes become keypoints;
- group: keypoints start hypotheses of whole persons along the kinematic graph (3.4), and those that
  are not detected are placed where limbs and KeyCentroids lead;
- cluster: instance-wise smoothing (eq. 8) and masks around the persons' dynamic centroids (eqs. 6,
  7); hidden persons get centroids of their own, persons without keypoints are found.

What the paper does not have is listed in :mod:`~kdc_mm.codecs.refine`; without limb displacements
and person centroids, which it does not have either, :mod:`~kdc_mm.codecs.embedding_group` takes the
place of group.
"""
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from .agreement import grouping_tolerance
from .cluster import MaskMaps, cluster_masks, dynamic_centroids
from .embedding_group import find_persons_by_embedding
from .gaussians import smooth_channels
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
from .offset_refinement import refine_offsets
from .owner_maps import IGNORED, MAX_PERSONS, keypoint_owner_maps
from .people import ImageFrame, People, Poses
from .refine import Refinement, add_unposed_persons, mask_trust
from .skeleton import build_graph, build_skeleton
from .targets import cell_positions
from .vote import PoseMaps, Votes, VoteSettings, collect_votes, split_by_image

#: Expected error of a keypoint as a share of the disk radius, for the score of a pose.
_ERROR_SHARE = 1 / 3
#: Keypoints of a kind and person are one within this share of the merge radius: 3 σ of the votes.
_SAME_KEYPOINT_SHARE = 0.75
#: Pose maps and segmentation maps by name.
_MAPS_OF_ONE_SIZE = (('heatmaps', 'key_centroids', 'person_centroids', 'limbs'),
                     ('semantic', 'mask_centroids', 'log_bandwidth'))


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
        use_person_centroid (bool): Whether maps have person centroids, which the paper does not
            have. Defaults to ``True``.
        use_limbs (bool): Whether maps have limb displacements, of which the paper has a word and no
            equation. Without them what is not detected is not found, and poses join by person
            centroids alone; without both, by MaskCentroids, so that decoding needs the maps of a
            segmentation head: see :mod:`~kdc_mm.codecs.embedding_group`. Defaults to ``True``.
        sigma_high_variance (float): σ of the point-wise Gaussian for wrists, ankles, elbows and
            knees, in map cells (paper: [0.1, 0.5)). Defaults to 0.3.
        sigma_low_variance (float): The same for all other keypoints (paper: [0.5, 1)). Defaults to
            0.6.
        sigma_instance (float): σ of the instance-wise Gaussian (paper: [0.1, 1]). Defaults to 0.1.
        heatmap_threshold (float): Least heat of a cell that votes. Defaults to 0.1.
        keypoint_threshold (float): Least score of a keypoint. Defaults to 0.1.
        person_threshold (float): Least mean score of a person's own keypoints; what a surer person
            holds and what is not seen counts as 0. Defaults to 0.02.
        mask_threshold (float): A pixel belongs to a person above it. Defaults to 0.5.
        vote_radius (float, optional): Cells vote for keypoints within it, pixels. Defaults to
            ``radius / 2``, at least two cells.
        merge_radius (float, optional): Votes within it agree, pixels. By default four times the
            σ of the image's votes, between the least of :func:`.merge.fitting_merge_radius` and
            ``vote_radius``: near joints stay apart where maps are sharp, and stay whole where they
            are not. Without KeyCentroids two cells.
        tolerance (dict, optional): When detected keypoints belong to one person, changes to
            :func:`~kdc_mm.codecs.agreement.grouping_tolerance`: limbs within ``limb_px`` (4) +
            ``limb_relative`` (0.1) of their length, person centroids within ``centroid_px`` (2) +
            ``centroid_relative`` (0.075) of their distance. Twice as wide limbs lose 0.01 AP on
            COCO photos.
        refine (dict, optional): Corrections that the paper does not have, None or False to turn one
            off: changes to :class:`~kdc_mm.codecs.refine.Refinement`.
        offset_steps (int): How often the offsets to MaskCentroids are followed further, see
            :func:`~kdc_mm.codecs.offset_refinement.refine_offsets`: for networks whose offsets are
            rough far from their target, as BodyPix's. Defaults to 0.
        max_votes (int): Most votes per image, the heaviest; bounds the time of a crowd. Defaults
            to 12000.
        max_persons (int): Most persons decoded per image, and most keypoints of a kind; encoding
            has a limit of its own. Defaults to 256.

    Raises:
        ValueError: if a value is out of range, the skeleton is not connected or nothing would tell
            whose a keypoint is.
    """

    #: What ``PackPoseInputs`` keeps of encoding by MMPose's ``GenerateTarget``, so that the heads,
    #: which draw their targets themselves, can tell that it took place and refuse.
    field_mapping_table = dict(owner_maps='owner_maps')

    def __init__(self,
                 input_size: Tuple[int, int],
                 metainfo: str = 'configs/_base_/datasets/coco.py',
                 heatmap_stride: int = 4,
                 mask_stride: int = 2,
                 radius: float = 32.,
                 limbs: Optional[Sequence] = None,
                 use_key_centroid: bool = True,
                 use_person_centroid: bool = True,
                 use_limbs: bool = True,
                 sigma_high_variance: float = 0.3,
                 sigma_low_variance: float = 0.6,
                 sigma_instance: float = 0.1,
                 heatmap_threshold: float = 0.1,
                 keypoint_threshold: float = 0.1,
                 person_threshold: float = 0.02,
                 mask_threshold: float = 0.5,
                 vote_radius: Optional[float] = None,
                 merge_radius: Optional[float] = None,
                 tolerance: Optional[dict] = None,
                 refine: Optional[dict] = None,
                 offset_steps: int = 0,
                 max_votes: int = 12000,
                 max_persons: int = 256) -> None:
        super().__init__()
        _check_positive(
            radius=radius, heatmap_stride=heatmap_stride, mask_stride=mask_stride,
            sigma_high_variance=sigma_high_variance, sigma_low_variance=sigma_low_variance,
            sigma_instance=sigma_instance, vote_radius=vote_radius, merge_radius=merge_radius)
        _check_share(
            heatmap_threshold=heatmap_threshold, keypoint_threshold=keypoint_threshold,
            person_threshold=person_threshold, mask_threshold=mask_threshold)
        if vote_radius is None:
            vote_radius = max(radius / 2, 2 * heatmap_stride)
        if merge_radius is None and not use_key_centroid:
            merge_radius = 2. * heatmap_stride
        self.input_size = tuple(input_size)
        self.skeleton = build_skeleton(metainfo, limbs)
        self.heatmap_stride = heatmap_stride
        self.mask_stride = mask_stride
        self.radius = radius
        self.use_key_centroid = use_key_centroid
        self.use_person_centroid = use_person_centroid
        self.use_limbs = use_limbs
        num_keypoints = self.skeleton.num_keypoints
        self.limb_graph = self.skeleton.graph if use_limbs else build_graph(
            np.zeros((0, 2), np.int64), num_keypoints)
        self.keypoint_sigmas = np.where(self.skeleton.high_variance, sigma_high_variance,
                                        sigma_low_variance).tolist()
        self.sigma_instance = sigma_instance
        self.keypoint_threshold = keypoint_threshold
        self.mask_threshold = mask_threshold
        self.vote_settings = VoteSettings(radius, vote_radius, heatmap_threshold, max_votes)
        self.merge_radius = merge_radius
        self.full_disk_weight = full_disk_weight(
            radius, vote_radius, heatmap_stride) if use_key_centroid else 1.
        self.refinement = Refinement(**(refine or {}))
        self.group_settings = self._group_settings(
            tolerance or {}, keypoint_threshold, person_threshold, max_persons)
        self.offset_steps = offset_steps
        self.max_persons = max_persons

    def _group_settings(self, tolerance: dict, keypoint_threshold: float, person_threshold: float,
                        max_persons: int) -> GroupSettings:
        margin = self.refinement.replace_margin
        join = self.use_person_centroid and bool(self.refinement.join_by_centroid)
        if self.use_person_centroid and not (join or self.use_limbs):
            raise ValueError('PoseSeg: without limbs and refine.join_by_centroid each keypoint '
                             'would be a person of its own; turn one of them on, or '
                             'use_person_centroid off too.')
        if not self.use_person_centroid:
            tolerance = dict(tolerance, centroid_px=np.inf)
        return GroupSettings(
            grouping_tolerance(**tolerance), join,
            float('inf') if margin is None else float(margin), float(keypoint_threshold),
            float(person_threshold), max_persons)

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

    def encode(self,
               keypoints: np.ndarray,
               keypoints_visible: Optional[np.ndarray] = None,
               mask_owner: Optional[np.ndarray] = None,
               heatmap_ignore: Optional[np.ndarray] = None) -> Dict:
        """Encode the people of one image as owner maps.

        Args:
            keypoints (np.ndarray): (N, K, 2) in input pixels, N up to ``MAX_PERSONS``.
            keypoints_visible (np.ndarray, optional): (N, K), greater than 0 where labelled.
            mask_owner (np.ndarray, optional): (H, W) uint8 owner map of the masks. Without it no
                pixel takes part in the mask losses.
            heatmap_ignore (np.ndarray, optional): (H, W) bool, people whose keypoints are not
                known: what lies within R of them takes no part in the heatmap loss. Disks there
                stay positive.

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
        """Decode the maps of one image.

        Args:
            encoded (dict): The maps of a network, not what :meth:`encode` returns: those of
                :meth:`batch_decode` without their first axis.
            frame (ImageFrame, optional): Where the original image lies in the input.
        """
        maps = {name: torch.as_tensor(value)[None] for name, value in encoded.items()}
        return self.batch_decode(maps, [frame])[0]

    @torch.no_grad()
    def batch_decode(self,
                     maps: Dict[str, Tensor],
                     frames: Sequence[Optional[ImageFrame]],
                     poses: Optional[Sequence[Poses]] = None) -> List[People]:
        """Decode maps of any device into people.

        Args:
            maps (dict): Vectors are (x, y) in input pixels.

                - heatmaps (B, K, h, w): logits
                - key_centroids (B, 2K, h, w), absent if ``use_key_centroid`` is off
                - person_centroids (B, 2K, h, w), absent if ``use_person_centroid`` is off
                - limbs (B, 4E, h, w), absent if ``use_limbs`` is off
                - semantic (B, 1, h', w') logits, mask_centroids (B, 2, h', w') offsets v to the
                  MaskCentroids, log_bandwidth (B, 1, h', w') ln σ, at the mask stride; absent
                  without a segmentation head

            frames (sequence[ImageFrame]): Where each original image lies in the input; None for
                an image whose masks are not wanted.
            poses (sequence[Poses], optional): B times the persons whose masks are wanted, instead
                of those that the maps show.

        Returns:
            list[People]: B results; keypoints in input pixels, masks in original images.

        Raises:
            ValueError: if MaskCentroids have to tell whose a keypoint is and the maps have none, or
                maps of one stride differ in size or have no cell.
        """
        _check_sizes(maps)
        mask_maps = self.mask_maps(maps) if 'semantic' in maps else [None] * len(frames)
        is_decoding = poses is None
        if is_decoding:
            poses = self.decode_poses(maps, mask_maps)
        return [
            People(poses_of_image, poses_of_image.strength)
            if maps_of_image is None or frame is None else
            self.cluster(poses_of_image, maps_of_image, frame, find_unposed=is_decoding)
            for poses_of_image, maps_of_image, frame in zip(poses, mask_maps, frames)
        ]

    def decode_poses(self, maps: Dict[str, Tensor],
                     mask_maps: Sequence[Optional[MaskMaps]]) -> List[Poses]:
        """The poses of each image, see :meth:`batch_decode`."""
        if self.groups_by_embedding and None in mask_maps:
            raise ValueError('PoseSeg: without person centroids and limbs, MaskCentroids tell '
                             'whose a keypoint is, and the maps have none: '
                             f'{", ".join(maps)}. Decode those of a KDCHead.')
        pose_maps = self.pose_maps(maps)
        poses = []
        for votes, fields, maps_of_image in zip(
                split_by_image(self.vote(pose_maps), len(mask_maps)), fields_of_images(pose_maps),
                mask_maps):
            merge_radius = self.fitting_merge_radius(votes)
            keypoints = self.merge(votes, merge_radius)
            poses.append(self.group_by_embedding(keypoints, maps_of_image)
                         if self.groups_by_embedding else
                         self.group(keypoints, fields, merge_radius))
        return poses

    def pose_maps(self, maps: Dict[str, Tensor]) -> PoseMaps:
        """Point-wise Gaussian optimisation (eq. 2)."""
        heatmaps = smooth_channels(maps['heatmaps'].float().sigmoid(), self.keypoint_sigmas)
        return PoseMaps(
            heatmaps, maps['key_centroids'] if self.use_key_centroid else None,
            maps['person_centroids'] if self.use_person_centroid else self._one_centroid(heatmaps),
            maps['limbs'] if self.use_limbs else heatmaps[:, :0], self.heatmap_stride)

    def _one_centroid(self, heatmaps: Tensor) -> Tensor:
        """Person centroids that tell nobody apart: all cells lead to pixel (0, 0)."""
        batch, num_keypoints, *size = heatmaps.shape
        to_corner = -cell_positions(*size, self.heatmap_stride, heatmaps.device)
        return to_corner.repeat(num_keypoints, 1, 1).expand(batch, -1, -1, -1)

    def vote(self, maps: PoseMaps) -> Votes:
        """The votes of every confident cell."""
        return collect_votes(maps, self.limb_graph.outgoing, self.vote_settings)

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

    def mask_maps(self, maps: Dict[str, Tensor]) -> List[MaskMaps]:
        """Instance-wise Gaussian optimisation (eq. 8), then the segmentation maps of each image."""
        semantic = smooth_channels(maps['semantic'].float(), [self.sigma_instance])
        offsets = refine_offsets(maps['mask_centroids'].float(), self.mask_stride,
                                 self.offset_steps)
        packed = torch.cat([semantic, offsets, maps['log_bandwidth'].float()], 1)
        return [
            MaskMaps(image[0], image[1:3], image[3], self.mask_stride)
            for image in packed.cpu().numpy()
        ]

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


def _check_sizes(maps: Dict[str, Tensor]) -> None:
    """Kernels would read behind the memory of smaller maps."""
    for names in _MAPS_OF_ONE_SIZE:
        sizes = {name: tuple(maps[name].shape[2:]) for name in names if name in maps}
        if len(set(sizes.values())) > 1 or not all(map(all, sizes.values())):
            raise ValueError('PoseSeg: maps of one stride must have one size (h, w) of a cell at '
                             f'least, got {", ".join(f"{k} {v}" for k, v in sizes.items())}.')


def _check_positive(**values: Optional[float]) -> None:
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f'PoseSeg: {name} must be greater than 0, got {value}.')


def _check_share(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise ValueError(f'PoseSeg: {name} must lie in (0, 1), got {value}.')
