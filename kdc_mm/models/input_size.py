"""Whether backbone and neck can do the codec's input size: HRNet's and CSPNeXt's feature maps meet
only where its sides are multiples of 32."""
from typing import List, Optional, Tuple

import torch
from torch import nn

from .heads.field_head import FieldHead

#: Sizes are tried at the multiples of this on both sides of the one that fails, and a pixel more.
_GRID = 32


class InputSizeError(ValueError):
    """The network cannot do the codec's input size; the message names some that it can."""


def check_input_size(model: nn.Module) -> None:
    """Run backbone and neck once on an empty image of the codec's input size.

    Args:
        model (nn.Module): An estimator. Those without a KDC head are left alone.

    Raises:
        InputSizeError: They fail, and at another size they do not.
    """
    if not isinstance(getattr(model, 'head', None), FieldHead):
        return
    size = model.head.decoder.input_size
    error = failure_at(model, size)
    if error is None:
        return
    working = working_sizes(model, size)
    if not working:
        raise error
    parts = [type(getattr(model, name)).__name__ for name in ('backbone', 'neck')
             if getattr(model, name, None) is not None]
    raise InputSizeError(
        f'{" with ".join(parts)} cannot do inputs of {size[0]}x{size[1]} '
        f'({str(error).strip().splitlines()[0].rstrip(".")}), but '
        f'{" or ".join(f"{width}x{height}" for width, height in working)}. Give one of these '
        'input_size to the codec, BottomupRandomAffine and BottomupResize.') from error


@torch.no_grad()
def failure_at(model: nn.Module, size: Tuple[int, int]) -> Optional[Exception]:
    """The error that an empty image of a size [w, h] leads to in backbone and neck, if any."""
    training = model.training
    image = torch.zeros(1, 3, *size[::-1], device=next(model.parameters()).device)
    model.eval()
    try:
        model.extract_feat(image)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the layer says
        return error
    finally:
        model.train(training)
    return None


def working_sizes(model: nn.Module, size: Tuple[int, int]) -> List[Tuple[int, int]]:
    """The nearest sizes [w, h] that backbone and neck can do, smaller and larger."""
    working = []
    for up in (0, 1):
        grid = [tuple(_GRID * max(1, side // _GRID + up) + rest for side in size)
                for rest in (0, 1)]
        working += next(([one] for one in grid if failure_at(model, one) is None), [])
    return working
