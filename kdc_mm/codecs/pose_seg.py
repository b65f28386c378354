"""The PoseSeg codec: encode → vote → group → cluster, top to bottom."""
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from .cluster import ImageFrame, MaskMaps, Masks, cluster_masks, dynamic_centroids
from .gaussian import smooth_channels
from .group import GroupingTolerance, Poses, group_keypoints
from .owner_maps import IGNORED, MAX_PERSONS, NOBODY, keypoint_owner_map
from .skeleton import build_skeleton
from .vote import Keypoints, Votes, collect_votes, full_disk_weight, merge_votes


class People(NamedTuple):
    """What is decoded from one image: ``poses``, their ``scores`` (n,), and ``masks`` if the maps
    had a segmentation part and the image's frame was given."""
    poses: Poses
    scores: np.ndarray
    masks: Optional[Masks]


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
    :mod:`kdc_mm.codecs.fields`.

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
        merge_radius (float, optional): Votes within it agree, pixels. Defaults to two cells.
        tolerance (dict, optional): Changes to :class:`~kdc_mm.codecs.group.GroupingTolerance`.
        join_fragments (bool): Join fragments of a pose by their person centroid. Defaults to
            ``True``.
        max_votes (int): Most votes per image. Defaults to 60000.
        max_persons (int): Most persons per image. Defaults to 256.

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
                 max_votes: int = 60000,
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
                mask_threshold=mask_threshold).items():
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
        self.merge_radius = merge_radius or 2 * heatmap_stride
        self.tolerance = GroupingTolerance(**(tolerance or {}))
        self.join_fragments = join_fragments
        self.max_votes = max_votes
        self.max_persons = max_persons
        self._outgoing = self.skeleton.outgoing

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
        keypoint_owner = keypoint_owner_map(keypoints, labelled, self.heatmap_size,
                                            self.heatmap_stride, self.radius)
        if heatmap_ignore is not None:
            ignored = heatmap_ignore[::self.heatmap_stride, ::self.heatmap_stride]
            keypoint_owner[(keypoint_owner == NOBODY) & ignored] = IGNORED
        if mask_owner is None:
            mask_owner = np.full(self.input_size[::-1], IGNORED, np.uint8)
        table = np.concatenate([keypoints, labelled[..., None]], axis=2).astype(np.float32)
        return dict(owner_maps=[keypoint_owner, mask_owner[None]], keypoint_table=table)

    def decode(self, encoded: Dict[str, np.ndarray], frame: Optional[ImageFrame] = None) -> People:
        """Decode the maps of one image; see :meth:`batch_decode`."""
        maps = {name: torch.as_tensor(value)[None] for name, value in encoded.items()}
        return self.batch_decode(maps, [frame])[0]

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
        segment = 'semantic' in maps and any(frame is not None for frame in frames)
        masks = self.cluster(poses, maps, frames) if segment else [None] * len(frames)
        return [
            People(pose, pose.scores.mean(1), mask) for pose, mask in zip(poses, masks)
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
        full_weight = full_disk_weight(
            self.radius, self.vote_radius,
            self.heatmap_stride) if self.use_key_centroid else 1.
        return merge_votes(votes, self.skeleton.num_keypoints, self.merge_radius, full_weight,
                           self.keypoint_threshold)

    def group(self, votes: Votes) -> Poses:
        """Votes of one image to persons, strongest first."""
        poses = group_keypoints(
            self.merge(votes), self.skeleton.num_keypoints, self.skeleton.edges, self._outgoing,
            self.tolerance, self.join_fragments)
        return Poses(*(part[:self.max_persons] for part in poses))

    def cluster(self, poses: List[Poses], maps: Dict[str, Tensor],
                frames: Sequence[Optional[ImageFrame]]) -> List[Optional[Masks]]:
        """Instance-wise Gaussian optimisation, then masks around the dynamic centroids."""
        semantic = smooth_channels(maps['semantic'].float(), [self.sigma_instance])
        packed = torch.cat(
            [semantic, maps['mask_centroids'].float(), maps['log_bandwidth'].float()], 1)
        masks = []
        for pose, frame, image_maps in zip(poses, frames, packed.cpu().numpy()):
            if frame is None:
                masks.append(None)
                continue
            image_maps = MaskMaps(image_maps[0], image_maps[1:3], image_maps[3], self.mask_stride)
            centroids, sigmas = dynamic_centroids(pose, image_maps)
            masks.append(cluster_masks(image_maps, centroids, sigmas, frame, self.mask_threshold))
        return masks
