"""Refine: the corrections that the paper does not have.

All corrections, those of other modules too, in the order in which decoding calls them; a switch
without a name before it is one of :class:`Refinement`.

======================================= =================================== =======================
correction                              function                            switch
======================================= =================================== =======================
the merge radius fits the votes         merge.fitting_merge_radius          codec's ``merge_radius``
votes for other persons stay apart      agreement.merging_tolerance         always
few votes make a low score              merge.merge_votes                   always
neighbours agree on their person too    agreement.grouping_tolerance        codec's ``tolerance``
limb displacements                      group.find_persons                  codec's ``use_limbs``
person centroids                        all of the above, find_persons      codec's
                                                                            ``use_person_centroid``
poses join by their person centroids    group.find_persons                  ``join_by_centroid``
surer places replace detected keypoints group.find_persons                  ``replace_margin``
missing keypoints are placed            group.find_persons                  always
what a surer person holds counts as 0   group.expected_oks                  always
few keypoints are no person             group.find_persons                  ``person_threshold``,
                                                                            the codec's
poses rank by their expected OKS        group.expected_oks                  always
embeddings on occluders do not count    cluster.candidate_centroids         always
hidden persons have their own centroid  cluster.take_second_choices         ``second_choice``
persons without keypoints are found     cluster.unposed_persons             ``unposed_area``
doubles of a person get no pixels,      cluster.cluster_masks               always
... masks rank by their poses too       mask_trust                          always
======================================= =================================== =======================
"""
from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np

from .cluster import MaskCentroids, MaskMaps, unposed_persons
from .people import Poses

#: Trust in a person whom no keypoint shows, against the cube root of a pose's score.
_UNPOSED_TRUST = 0.2


@dataclass(frozen=True)
class Refinement:
    """Switches of the corrections; ``None`` or ``False`` turns one off.

    - ``join_by_centroid``: where limbs end, detected keypoints with the same person centroid
      belong to the person too, see :func:`~kdc_mm_runtime.group.find_persons`; without it perfect
      maps of CrowdPose have AP 0.964 instead of 0.9997.
    - ``replace_margin``: a keypoint that limbs and KeyCentroids place replaces a detected one if it
      is so many times as sure. At 1.25 the networks trained on SynthCrowd lose 0.008 to 0.011 AP;
      perfect maps of disks of two cells (R = 8) want it: 2 of 1,032 persons are lost at 1.05.
    - ``second_choice``: a person whose MaskCentroid belongs to another one takes its next best one
      with at least this share of the best one's support.
    - ``unposed_area``: masks of persons without a visible keypoint are found from this area on, in
      input pixels squared.
    """
    join_by_centroid: bool = True
    replace_margin: Optional[float] = 1.05
    second_choice: Optional[float] = 0.05
    unposed_area: Optional[float] = 4.


def add_unposed_persons(poses: Poses, centroids: MaskCentroids, maps: MaskMaps, threshold: float,
                        min_area: float) -> Tuple[Poses, MaskCentroids]:
    """Poses and MaskCentroids with those that only a mask shows, by
    :func:`~kdc_mm_runtime.cluster.unposed_persons`: all their keypoints lie in its middle."""
    unposed, middles = unposed_persons(maps, centroids, threshold, min_area)
    shape = len(middles), poses.scores.shape[1]
    added = Poses(np.repeat(middles[:, None], shape[1], axis=1), np.zeros(shape, np.float32),
                  np.zeros(shape, bool), np.zeros(shape[0], np.float32))
    return (Poses(*map(np.concatenate, zip(poses, added))),
            MaskCentroids(*map(np.concatenate, zip(centroids, unposed))))


def mask_trust(poses: Poses) -> np.ndarray:
    """How much poses confirm masks: s_j (n,), by which pixels choose their person and masks rank.

    The cube root of a pose's score, as a person cut off at the waist shows half its keypoints, but
    all of its mask; ``_UNPOSED_TRUST`` without a keypoint."""
    return np.where(poses.detected.any(1), np.cbrt(poses.strength), np.float32(_UNPOSED_TRUST))
