"""The flip test: fields of an image and of its mirror image, averaged."""
from typing import Dict

import torch
from torch import Tensor

from ...codecs.pose_seg import PoseSeg

#: What KDC's heads put out: maps (B, C, h, w) by name.
Fields = Dict[str, Tensor]


def merge_flipped(fields: Fields, mirrored: Fields, codec: PoseSeg) -> Fields:
    """Average the fields of an image with those of its mirror image.

    Channels swap with their mirrored keypoint or limb, and vectors change the sign of x. A limb
    without a mirror image in the skeleton keeps the original's field.

    Args:
        fields (dict): Fields of the image, as :meth:`PoseSeg.batch_decode` takes them.
        mirrored (dict): Fields of the mirrored image.
        codec (PoseSeg): Whose skeleton tells left from right, and whose strides the fields have.

    Returns:
        dict: merged fields.
    """
    keypoints, limbs = codec.skeleton.flip_indices, codec.skeleton.mirrored_edges
    # of each field: numbers per channel, stride, and the channel that shows the mirror image
    layout = dict(
        heatmaps=(1, codec.heatmap_stride, keypoints),
        key_centroids=(2, codec.heatmap_stride, keypoints),
        person_centroids=(2, codec.heatmap_stride, keypoints),
        limbs=(2, codec.heatmap_stride, limbs),
        semantic=(1, codec.mask_stride, [0]),
        mask_centroids=(2, codec.mask_stride, [0]),
        log_bandwidth=(1, codec.mask_stride, [0]))
    merged = {}
    for name, field in fields.items():
        dims, stride, source = layout[name]
        values = field.unflatten(1, (-1, dims))
        back = _mirror(mirrored[name], codec.input_size[0], stride).unflatten(1, (-1, dims))
        back = back[:, list(source)]
        if dims == 2:
            back = back * back.new_tensor([-1, 1])[:, None, None]
        lacking = torch.tensor([channel < 0 for channel in source], device=field.device)
        back = torch.where(lacking[:, None, None, None], values, back)
        merged[name] = ((values + back) / 2).flatten(1, 2)
    return merged


def _mirror(maps: Tensor, input_width: int, stride: int) -> Tensor:
    """Mirror maps (B, C, h, w) so that cells lie again on input pixels s·u.

    Cell u of the mirrored image shows pixel W − 1 − s·u. At W = s·n + 1 that is a cell again; else
    cells are off by ((W − 1) mod s) / s and are interpolated.
    """
    maps = maps.flip(-1)
    rest = (input_width - 1) % stride / stride
    if rest:
        before = torch.cat([maps[..., :1], maps[..., :-1]], -1)
        maps = maps * (1 - rest) + before * rest
    return maps
