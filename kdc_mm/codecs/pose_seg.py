"""The PoseSeg codec: encode → vote → merge → group → cluster, top to bottom.

Here are encoding, and what decoding computes on the device of the maps: the point-wise smoothing
(eq. 2) before the vote, and the instance-wise one (eq. 8) before the clustering. From there on
:class:`~kdc_mm_runtime.decoder.Decoder` goes on, which needs no PyTorch.
"""
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from torch import Tensor

from kdc_mm_runtime.cluster import MaskMaps
from kdc_mm_runtime.decoder import Decoder, check_positive
from kdc_mm_runtime.group import PoseFields, fields_of_images
from kdc_mm_runtime.people import ImageFrame, People, Poses

from .gaussians import smooth_channels
from .offset_refinement import refine_offsets
from .owner_maps import IGNORED, MAX_PERSONS, keypoint_owner_maps
from .skeleton import build_skeleton
from .targets import cell_positions
from .vote import PoseMaps, Votes, collect_votes, on_host

#: Pose maps and segmentation maps by name.
_MAPS_OF_ONE_SIZE = (('heatmaps', 'key_centroids', 'person_centroids', 'limbs'),
                     ('semantic', 'mask_centroids', 'log_bandwidth'))


@KEYPOINT_CODECS.register_module()
class PoseSeg(Decoder, BaseKeypointCodec):
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
            segmentation head: see :mod:`~kdc_mm_runtime.embedding_group`. Defaults to ``True``.
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
            :func:`~kdc_mm_runtime.agreement.grouping_tolerance`: limbs within ``limb_px`` (4) +
            ``limb_relative`` (0.1) of their length, person centroids within ``centroid_px`` (2) +
            ``centroid_relative`` (0.075) of their distance. Twice as wide limbs change nothing on
            COCO photos, half the share loses 0.006 AP.
        refine (dict, optional): Corrections that the paper does not have, None or False to turn one
            off: changes to :class:`~kdc_mm_runtime.refine.Refinement`.
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
        check_positive(sigma_high_variance=sigma_high_variance,
                       sigma_low_variance=sigma_low_variance, sigma_instance=sigma_instance)
        super().__init__(
            input_size, build_skeleton(metainfo, limbs),
            heatmap_stride=heatmap_stride, mask_stride=mask_stride, radius=radius,
            use_key_centroid=use_key_centroid, use_person_centroid=use_person_centroid,
            use_limbs=use_limbs, heatmap_threshold=heatmap_threshold,
            keypoint_threshold=keypoint_threshold, person_threshold=person_threshold,
            mask_threshold=mask_threshold, vote_radius=vote_radius, merge_radius=merge_radius,
            tolerance=tolerance, refine=refine, max_votes=max_votes, max_persons=max_persons)
        self.keypoint_sigmas = np.where(self.skeleton.high_variance, sigma_high_variance,
                                        sigma_low_variance).tolist()
        self.sigma_instance = sigma_instance
        self.offset_steps = offset_steps

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
        if self.groups_by_embedding and poses is None and 'semantic' not in maps:
            raise ValueError('PoseSeg: without person centroids and limbs, MaskCentroids tell '
                             'whose a keypoint is, and the maps have none: '
                             f'{", ".join(maps)}. Decode those of a KDCHead.')
        mask_maps = self.mask_maps(maps) if 'semantic' in maps else [None] * len(frames)
        pose_maps = self.pose_maps(maps) if poses is None else None
        return self.decode_maps(pose_maps, mask_maps, frames, poses)

    def host_maps(self, maps: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """All that decoding computes on the device of the maps: what
        :meth:`~kdc_mm_runtime.decoder.Decoder.decode_host_maps` goes on from.

        Args:
            maps (dict): As :meth:`batch_decode` takes them, with KeyCentroids.

        Returns:
            dict: ``heatmaps`` (B, K, h, w) probabilities, ``key_centroids`` and
            ``person_centroids`` (B, 2K, h, w), ``limbs`` (B, 4E, h, w) unless ``use_limbs`` is off,
            and ``mask_maps`` (B, 4, h', w') if there is a segmentation head.
        """
        heatmaps, key_centroids, person_centroids, limbs, _ = self.pose_maps(maps)
        named = dict(heatmaps=heatmaps, key_centroids=key_centroids,
                     person_centroids=person_centroids)
        if self.use_limbs:
            named['limbs'] = limbs
        if 'semantic' in maps:
            named['mask_maps'] = self.packed_mask_maps(maps)
        return named

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
        """The votes of every confident cell, gathered on the device of the maps."""
        return collect_votes(maps, self.limb_graph.outgoing, self.vote_settings)

    def fields(self, maps: PoseMaps) -> List[PoseFields]:
        """The maps of each image on the host, for grouping."""
        return fields_of_images(on_host(maps))

    def mask_maps(self, maps: Dict[str, Tensor]) -> List[MaskMaps]:
        """The segmentation maps of each image on the host."""
        return self.split_mask_maps(self.packed_mask_maps(maps).cpu().numpy())

    def packed_mask_maps(self, maps: Dict[str, Tensor]) -> Tensor:
        """Instance-wise Gaussian optimisation (eq. 8), then all segmentation maps (B, 4, h', w'):
        semantic map, offset and bandwidth."""
        semantic = smooth_channels(maps['semantic'].float(), [self.sigma_instance])
        offsets = refine_offsets(maps['mask_centroids'].float(), self.mask_stride,
                                 self.offset_steps)
        return torch.cat([semantic, offsets, maps['log_bandwidth'].float()], 1)


def _check_sizes(maps: Dict[str, Tensor]) -> None:
    """Kernels would read behind the memory of smaller maps."""
    for names in _MAPS_OF_ONE_SIZE:
        sizes = {name: tuple(maps[name].shape[2:]) for name in names if name in maps}
        if len(set(sizes.values())) > 1 or not all(map(all, sizes.values())):
            raise ValueError('PoseSeg: maps of one stride must have one size (h, w) of a cell at '
                             f'least, got {", ".join(f"{k} {v}" for k, v in sizes.items())}.')
