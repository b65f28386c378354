"""Network outputs that show a known number of people, whatever the weights.

Untrained weights give maps that mean nothing: a KDC head then finds nobody and decodes in no time,
where MMPose's associative embedding groups 30 persons of noise. Neither tells what decoding costs.
So the outputs of the network are computed as always, and then replaced by what a perfect network
would have put out for the same random people: encoded by the codec of the head, or, for heads
without one, boxes around the people. Everything after the network runs as it is.

Each function below knows one kind of head, and says what is replaced where.
"""
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.roi_heads import StandardRoIHead
from mmpose.models.heads import AssociativeEmbeddingHead, CIDHead, DEKRHead, RTMOHead
from torch import Tensor, nn

from kdc_mm.benchmarks.codec.bottomup_codecs import Crowd, PoseSegCodec, perfect_tags
from kdc_mm.models.heads.field_head import FieldHead

#: Keypoints of :data:`kdc_mm.benchmarks.codec.random_crowds.STANDING`.
COCO_NAMES = ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder',
              'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist',
              'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle')
#: Which of them the keypoints of other data sets lie near, by the start of their names; the nose
#: for all others.
_NEAR = (('left_hand', 'left_wrist'), ('right_hand', 'right_wrist'), ('left', 'left_ankle'),
         ('right', 'right_ankle'))
#: Logits of what is and of what is not there.
_CERTAIN = 8.
#: Boxes that a detector finds for one person before non-maximum suppression, per side.
_BOXES_PER_SIDE = 3

Replace = Callable[..., Any]


class Replacement(NamedTuple):
    """``owner.name(*args)`` shall return ``replace(its output, *args)``."""
    owner: Any
    name: str
    replace: Replace


def outputs_of_people(model: nn.Module, crowds: Sequence[Crowd],
                      device: str) -> Optional[List[Replacement]]:
    """What to replace so that the network shows these people.

    Args:
        model (nn.Module): An estimator of MMPose or a detector of mmdet.
        crowds (sequence[Crowd]): One per image of the batch, in input pixels, with the keypoints of
            the model's data set.
        device (str): Where the model is.

    Returns:
        list[Replacement] | None: For :func:`replaced_outputs`; ``None`` for a kind of head that is
        not known here.
    """
    head = getattr(model, 'head', getattr(model, 'roi_head', None))
    for kind, replacements in _REPLACEMENTS.items():
        if isinstance(head, kind):
            return [Replacement(owner, name, replace)
                    for owner, name, replace in replacements(model, head, crowds, device)]
    return None


@contextmanager
def replaced_outputs(replacements: Optional[Sequence[Replacement]]) -> Iterator[None]:
    """Put the replacements in place, and take them away again."""
    with ExitStack() as stack:
        for owner, name, replace in replacements or ():
            stack.enter_context(replaced_method(owner, name, _after(replace)))
        yield


def _after(replace: Replace) -> Callable[[Callable], Callable]:
    return lambda method: lambda *args, **kwargs: replace(method(*args, **kwargs), *args)


@contextmanager
def replaced_method(owner: Any, name: str, make: Callable[[Callable], Callable]) -> Iterator[None]:
    """Put ``make(method)`` in the place of an object's method."""
    before = vars(owner).get(name)
    setattr(owner, name, make(getattr(owner, name)))
    try:
        yield
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def with_keypoints(crowd: Crowd, names: Sequence[str]) -> Crowd:
    """The same people with the keypoints of another data set than COCO.

    A keypoint that COCO lacks lies near the one of COCO's that it belongs to: those of hands by the
    wrists, of feet by the ankles, of heads by the nose.
    """
    source = [COCO_NAMES.index(_nearest_coco_name(name)) for name in names]
    keypoints = crowd.keypoints[:, source].copy()
    height = np.ptp(crowd.keypoints[..., 1], axis=1)[:, None, None]
    lacking = [name not in COCO_NAMES for name in names]
    aside = np.random.default_rng(0).normal(0, 0.03, keypoints.shape) * height
    keypoints[:, lacking] += aside[:, lacking].astype(keypoints.dtype)
    return crowd._replace(keypoints=keypoints, visible=crowd.visible[:, source])


def _nearest_coco_name(name: str) -> str:
    if name in COCO_NAMES:
        return name
    return next((near for start, near in _NEAR if name.startswith(start)), 'nose')


def boxes_of(crowd: Crowd) -> np.ndarray:
    """Boxes (N, 4) x1, y1, x2, y2 around the persons' keypoints, input pixels."""
    return np.concatenate([crowd.keypoints.min(1), crowd.keypoints.max(1)], 1)


def _kdc(model: nn.Module, head: FieldHead, crowds: Sequence[Crowd], device: str):
    """All fields by the perfect maps of the PoseSeg codec."""
    codec = PoseSegCodec(head.decoder)
    maps = [codec.perfect_maps(crowd, codec.encode(crowd)) for crowd in crowds]
    maps = {name: torch.cat([one[name] for one in maps]).to(device) for name in maps[0]}
    yield head, 'forward', lambda fields, *_: {name: maps[name] for name in fields}


def _associative_embedding(model: nn.Module, head: AssociativeEmbeddingHead,
                           crowds: Sequence[Crowd], device: str):
    """Heatmaps by the codec and tags by the nearest person, at the size that the config decodes.

    Where that is the input's (``restore_heatmap_size``), MMPose enlarges the maps in its flip test
    only, and without one it takes features as a list and not as the tuple that a backbone gives.
    So both are done here; the enlarging itself takes no time.
    """
    codec = head.decoder

    def perfect(output: Tuple[Tensor, Tensor], *_) -> Tuple[Tensor, Tensor]:
        heatmaps, tags = output
        decoded_size = codec.heatmap_size, codec.scale_factor
        size = np.array(heatmaps.shape[:1:-1])
        codec.heatmap_size, codec.scale_factor = tuple(size), np.array(codec.input_size) / size
        encoded = [codec.encode(crowd.keypoints, crowd.visible)['heatmaps'] for crowd in crowds]
        codec.heatmap_size, codec.scale_factor = decoded_size
        stride = codec.input_size[0] / size[0]
        own = [perfect_tags(crowd, heatmaps.shape[1:], stride) for crowd in crowds]
        repeats = tags.shape[1] // heatmaps.shape[1]
        # MMPose's refinement divides by a channel's largest value, which in a network's is not 0
        maps = (torch.as_tensor(np.maximum(encoded, 1e-6)),
                torch.as_tensor(np.stack(own)).repeat(1, repeats, 1, 1))
        return tuple(F.interpolate(one, codec.heatmap_size[::-1], mode='bilinear').to(device)
                     for one in maps)

    yield model, 'extract_feat', lambda feats, *_: list(feats)
    yield head, 'forward', _once(perfect)


def _dekr(model: nn.Module, head: DEKRHead, crowds: Sequence[Crowd], device: str):
    """Heatmaps and displacements by the SPR codec."""
    encoded = [head.decoder.encode(crowd.keypoints, crowd.visible) for crowd in crowds]
    output = tuple(
        torch.as_tensor(np.stack([one[name] for one in encoded]), device=device)
        for name in ('heatmaps', 'displacements'))
    yield head, 'forward', lambda *_: output


def _cid(model: nn.Module, head: CIDHead, crowds: Sequence[Crowd], device: str):
    """Root heatmaps, from which the persons are taken, and each person's heatmaps."""
    encoded = [head.decoder.encode(crowd.keypoints, crowd.visible) for crowd in crowds]
    coupled = torch.as_tensor(
        np.stack([one['heatmaps'] for one in encoded]), device=device).clamp(1e-4, 1 - 1e-4)
    own = torch.as_tensor(encoded[0]['instance_heatmaps'], device=device)
    own = own.unflatten(0, (-1, head.num_keypoints)).clamp(1e-4, 1 - 1e-4)
    yield head.iia_module, 'forward', lambda *_: coupled
    # peaks that nearly coincide merge, and one person can leave two
    yield (head.gfd_module, 'forward',
           lambda heatmaps, *_: own[torch.arange(len(heatmaps), device=device) % len(own)])


def _rtmo(model: nn.Module, head: RTMOHead, crowds: Sequence[Crowd], device: str):
    """Scores and boxes of the nine cells around each person's middle."""
    strides = head.featmap_strides

    def perfect(output, *_):
        scores, boxes, *rest = output
        scores = [torch.full_like(level, -_CERTAIN, dtype=torch.float32) for level in scores]
        boxes = [torch.zeros_like(level, dtype=torch.float32) for level in boxes]
        for image, crowd in enumerate(crowds):
            for x1, y1, x2, y2 in boxes_of(crowd):
                level = int(max(x2 - x1, y2 - y1) > 12 * strides[0]) if len(strides) > 1 else 0
                stride = strides[level]
                height, width = scores[level].shape[2:]
                middle = np.array([x1 + x2, y1 + y2]) / 2
                for step in np.ndindex(_BOXES_PER_SIDE, _BOXES_PER_SIDE):
                    u, v = (middle // stride).astype(int) + step - _BOXES_PER_SIDE // 2
                    if not (0 <= u < width and 0 <= v < height):
                        continue
                    prior = (np.array([u, v]) + 0.5) * stride
                    size = np.log(np.array([x2 - x1, y2 - y1]) / stride)
                    scores[level][image, 0, v, u] = _CERTAIN - np.abs(step).sum()
                    boxes[level][image, :, v, u] = torch.as_tensor(
                        np.concatenate([(middle - prior) / stride, size]))
        return (scores, boxes, *rest)

    yield head, 'forward', _once(perfect)


def _roi_head(model: nn.Module, head: StandardRoIHead, crowds: Sequence[Crowd], device: str):
    """Classes and boxes of nine proposals per person; the masks of what is found follow."""
    per_person = _BOXES_PER_SIDE**2
    coder, background = head.bbox_head.bbox_coder, head.bbox_head.num_classes

    def perfect(output: dict, _, rois: Tensor) -> dict:
        scores = torch.full_like(output['cls_score'], -_CERTAIN, dtype=torch.float32)
        scores[:, background] = _CERTAIN
        deltas = torch.zeros_like(output['bbox_pred'], dtype=torch.float32)
        for image, crowd in enumerate(crowds):
            boxes = torch.as_tensor(boxes_of(crowd), dtype=torch.float32, device=device)
            boxes = boxes.repeat_interleave(per_person, 0)
            rows = torch.nonzero(rois[:, 0] == image)[:len(boxes), 0]
            scores[rows, background] = -_CERTAIN
            scores[rows, 0] = _CERTAIN
            deltas[rows, :4] = coder.encode(rois[rows, 1:].float(), boxes[:len(rows)])
        return dict(output, cls_score=scores, bbox_pred=deltas)

    yield head, '_bbox_forward', _once(perfect)


_REPLACEMENTS = {
    FieldHead: _kdc,
    AssociativeEmbeddingHead: _associative_embedding,
    DEKRHead: _dekr,
    CIDHead: _cid,
    RTMOHead: _rtmo,
    StandardRoIHead: _roi_head,
}


def _once(perfect: Replace) -> Replace:
    """What the first call gives, from then on: the input of a measurement stays the same."""
    kept: List[Any] = []

    def replace(*args):
        if not kept:
            kept.append(perfect(*args))
        return kept[0]

    return replace
