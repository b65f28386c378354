"""What each rule and constant of decoding is worth: the same maps decoded with it changed."""
import contextlib
from typing import Any, Callable, Dict, Iterator, NamedTuple
from unittest import mock

import numpy as np

from kdc_mm.codecs.pose_seg import PoseSeg
from kdc_mm.codecs.vote import collect_votes
from kdc_mm_runtime.agreement import KeypointTolerance, Tolerance
from kdc_mm_runtime.cluster import Candidates
from kdc_mm_runtime.people import Poses


class Rule(NamedTuple):
    """A rule of decoding and how it is changed.

    ``name`` of the rule, ``change`` in words; ``settings`` of :class:`PoseSeg` by dotted name, each
    a value or what gives it for a codec of default settings; ``constants`` and functions of
    :mod:`kdc_mm_runtime` by ``module.name``, or of another package by its whole name, which take
    the place of those there. Compiled kernels keep what they were compiled with: their constants
    are arguments.
    """
    name: str
    change: str
    settings: Dict[str, Any] = {}
    constants: Dict[str, Any] = {}


def codec_arguments(settings: Dict) -> Dict:
    """A codec's config without its type."""
    return {name: value for name, value in settings.items() if name != 'type'}


@contextlib.contextmanager
def changed_codec(settings: Dict, rule: Rule) -> Iterator[PoseSeg]:
    """The codec with one rule changed, for as long as the context lasts.

    Args:
        settings (dict): Config of :class:`PoseSeg`.
        rule (Rule): What is changed.
    """
    settings = codec_arguments(settings)
    default = PoseSeg(**settings)
    for name, value in rule.settings.items():
        value = value(default) if callable(value) else value
        part, _, key = name.rpartition('.')
        settings.update({part: {**(settings.get(part) or {}), key: value}} if part else
                        {key: value})
    with contextlib.ExitStack() as stack:
        for name, value in rule.constants.items():
            module, _, attribute = name.rpartition('.')
            if '.' not in module:
                module = f'kdc_mm_runtime.{module}'
            stack.enter_context(mock.patch(f'{module}.{attribute}', value))
        yield PoseSeg(**settings)


def _unweighted_votes(*args):
    votes = collect_votes(*args)
    return votes._replace(weight=votes.heat)


def _cells_within(radius: float, vote_radius: float, stride: int) -> float:
    """Weight of an undisturbed disk where every vote counts its heat."""
    steps = np.arange(-int(vote_radius // stride), int(vote_radius // stride) + 1) * stride
    return float(np.count_nonzero(steps[:, None]**2 + steps**2 <= vote_radius**2))


def _mean_own_score(persons, oks_sigmas, error_px) -> np.ndarray:
    return (persons.score * persons.own).mean(1).astype(np.float32)


def _mean_score(persons, oks_sigmas, error_px) -> np.ndarray:
    return persons.score.mean(1).astype(np.float32)


def _one_trust(poses: Poses) -> np.ndarray:
    return np.ones(len(poses.strength), np.float32)


def _one_candidate(embedding: np.ndarray, log_sigma: np.ndarray, weight: np.ndarray) -> Candidates:
    """The mean of all embeddings of each person, K times."""
    share = weight[..., None] / weight.sum(-1)[:, None, None]
    shape = embedding.shape
    return Candidates(np.broadcast_to((share * embedding).sum(1, keepdims=True), shape),
                      np.exp(np.broadcast_to((share[..., 0] * log_sigma).sum(1, keepdims=True),
                                             shape[:2])), weight)


def _votes_of_one_place(merge_radius: float):
    """Tolerance of two votes whose person centroids need not agree."""
    return KeypointTolerance(Tolerance(merge_radius, 0.), Tolerance(1e9, 0., merge_radius))


def _setting(name: str, *values, change: Callable = '{}'.format):
    return [Rule(name, change(value), settings={name: value}) for value in values]


def _constant(name: str, *values):
    return [Rule(name, f'{value:.3g}', constants={name: value}) for value in values]


DEFAULTS = Rule('defaults', '')

#: In the order of decoding.
RULES = [
    *_setting('sigma_low_variance', 0.1, 0.3, 1.),
    *_setting('sigma_high_variance', 0.1, 0.6, 1.),
    *_setting('heatmap_threshold', 0.05, 0.2),
    Rule('vote_radius', 'R', settings=dict(vote_radius=lambda codec: codec.radius)),
    *_setting('max_votes', 6000),
    Rule('F* weighs votes (eq. 3)', 'off', constants={
        'kdc_mm.codecs.pose_seg.collect_votes': _unweighted_votes,
        'decoder.full_disk_weight': _cells_within}),
    Rule('votes for other persons stay apart', 'off', constants={
        'merge.merging_tolerance': _votes_of_one_place}),
    Rule('merge_radius', 'vote radius',
         settings=dict(merge_radius=lambda codec: codec.vote_settings.vote_radius)),
    Rule('merge_radius', 'R/4', settings=dict(merge_radius=lambda codec: codec.radius / 4)),
    Rule('merge_radius', '2 cells',
         settings=dict(merge_radius=lambda codec: 2. * codec.heatmap_stride)),
    *_constant('merge._SIGMAS_TO_MERGE', 2, 8),
    *_constant('merge._LEAST_CELLS', 0.1, 1.5),
    *_constant('merge._LAG', 1),
    *_constant('merge._FULL_SUPPORT', 1e-6, 0.1, 0.5),
    *_setting('keypoint_threshold', 0.02, 0.2),
    *_setting('tolerance.limb_px', 1., 8.),
    *_setting('tolerance.limb_relative', 0.01, 0.05, 0.2),
    *_setting('tolerance.centroid_px', 0.01, 4., 1e9),
    *_setting('tolerance.centroid_relative', 0.01, 0.15),
    *_setting('refine.join_by_centroid', False),
    *_setting('use_person_centroid', False),
    *_setting('refine.replace_margin', None, 1., 1.25),
    *_constant('group._KEY_CENTROID_STEPS', 1, 2, 4),
    *_constant('group._PLACING_DIFFERENCES', 0, 3, 12),
    *_constant('group._LEAST_PLACING_SIGMA', 1, 4, 1000),
    *_constant('group._HELD_SHARE', 1, 1000),
    *_constant('decoder._SAME_KEYPOINT_SHARE', 0.5, 1.),
    *_setting('person_threshold', 1e-4, 0.05, 0.1),
    Rule('poses rank by expected OKS', 'mean own score', constants={
        'group.expected_oks': _mean_own_score}),
    Rule('what a surer person holds counts as 0', 'off', constants={
        'group.expected_oks': _mean_score}),
    *_constant('decoder._ERROR_SHARE', 1 / 6, 2 / 3),
    *_setting('sigma_instance', 0.3, 0.5, 1.),
    *_setting('offset_steps', 0, 1, 3),
    *_setting('mask_threshold', 0.4, 0.6),
    *_setting('refine.second_choice', None),
    *_setting('refine.unposed_area', None, 64., 256.),
    Rule('embeddings on occluders do not count', 'off', constants={
        'cluster.candidate_centroids': _one_candidate}),
    Rule('trust in masks', 'off', constants={'decoder.mask_trust': _one_trust}),
    *_constant('refine._UNPOSED_TRUST', 0.05, 0.5),
    *_constant('cluster.LEAST_PHI', 0.05, 0.5),
]
