"""Reading ``.safetensors``: a header of JSON, then the numbers of all tensors. No code in it."""
import json
import math
from pathlib import Path
from typing import Dict, Union

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

#: The format's names of element types.
DTYPES = dict(
    BOOL=torch.bool, U8=torch.uint8, I8=torch.int8, I16=torch.int16, I32=torch.int32,
    I64=torch.int64, F16=torch.float16, BF16=torch.bfloat16, F32=torch.float32, F64=torch.float64)

#: Most bytes of a header, as the format's own library has it.
MAX_HEADER = 100_000_000


def read_safetensors(path: Union[str, Path]) -> Dict[str, Tensor]:
    """The tensors of a file by name.

    Raises:
        ValueError: It is cut short, or its header is no description of tensors in it.
    """
    with open(path, 'rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if length > MAX_HEADER:
            raise ValueError(f'the header would be {length} bytes long')
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    header.pop('__metadata__', None)
    return {name: _tensor(name, data, **entry) for name, entry in header.items()}


def _tensor(name: str, data: bytearray, dtype: str, shape: list, data_offsets: list) -> Tensor:
    """One tensor, a copy of its part of the data."""
    kind, (start, end) = DTYPES[dtype], data_offsets
    if not 0 <= start <= end <= len(data) or math.prod(shape) * kind.itemsize != end - start:
        raise ValueError(f'{name} does not lie within the file')
    return torch.frombuffer(data[start:end] or bytearray(1), dtype=torch.uint8)[:end - start].view(
        kind).reshape(shape)


@CheckpointLoader.register_scheme(prefixes=r'\S.*\.safetensors$')
def load_from_safetensors(filename: str, map_location=None) -> Dict[str, Tensor]:
    """What MMEngine calls for a checkpoint's name with this ending."""
    return {
        name: tensor.to(map_location) if map_location else tensor
        for name, tensor in read_safetensors(Path(filename).expanduser()).items()
    }
