"""Make a checkpoint fit to be published: weights and plain facts, the file named by its checksum.

The arguments and names are those of MMPose's own tool, which cannot read MMEngine's checkpoints
with PyTorch's ``weights_only`` on. What this one writes loads with it, in any program.
"""
import argparse
import hashlib
import sys
from datetime import date
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the kdc_mm beside this file

import kdc_mm  # noqa: E402, F401  (allows what MMEngine's checkpoints hold)
from kdc_mm.engine.checkpoint import CheckpointError, check_checkpoint  # noqa: E402
from kdc_mm.engine.faults import end  # noqa: E402

#: What MMEngine notes of a run's folders.
_PRIVATE = ('hook_msgs', )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description='Process a checkpoint to be published')
    parser.add_argument('in_file', help='input checkpoint filename')
    parser.add_argument('out_file', help='output checkpoint filename; gets a checksum and the date')
    parser.add_argument(
        '--save-keys', nargs='+', default=['meta', 'state_dict'],
        help='keys to save in published checkpoint (default: meta state_dict)')
    return parser


def process_checkpoint(in_file: str, out_file: str,
                       save_keys: Sequence[str] = ('meta', 'state_dict')) -> Path:
    """Write what is to be published of a checkpoint.

    With an EMA hook ``state_dict`` holds the averaged weights, those that validation has judged.

    Args:
        in_file (str): The checkpoint.
        out_file (str): Name of the published file, to which the first eight digits of its SHA-256
            and the date are added: ``out-0123abcd_20240131.pth``.
        save_keys (Sequence[str]): What to keep. Settings that heads store with their weights stay
            with them.

    Returns:
        Path: The published file.

    Raises:
        CheckpointError: The file cannot serve as a checkpoint, or lacks one of the keys.
    """
    check_checkpoint(in_file)
    checkpoint = torch.load(in_file, map_location='cpu', weights_only=True)
    lacking = [key for key in save_keys if key not in checkpoint]
    if lacking:
        raise CheckpointError(f'{in_file} has no {", ".join(lacking)}; it has '
                              f'{", ".join(checkpoint)}. Name what to keep with --save-keys.')
    dropped = [key for key in checkpoint if key not in save_keys]
    if dropped:
        print(f'Left out: {", ".join(dropped)}. --save-keys keeps them.')
    published = {key: plain(checkpoint[key]) for key in save_keys if key != 'state_dict'}
    for key in _PRIVATE:
        published.get('meta', {}).pop(key, None)
    if 'state_dict' in save_keys:
        published['state_dict'] = checkpoint['state_dict']

    stem = out_file[:-len('.pth')] if out_file.endswith('.pth') else out_file
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    unnamed = Path(f'{stem}.unnamed.pth')
    torch.save(published, unnamed)
    digest = hashlib.sha256(unnamed.read_bytes()).hexdigest()
    return unnamed.rename(f'{stem}-{digest[:8]}_{date.today():%Y%m%d}.pth')


def plain(value: Any) -> Any:
    """The same of what PyTorch loads without being told of further classes: arrays become lists,
    and other objects their text."""
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, (list, set)):
        return list(map(plain, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    return str(value)


def main() -> None:
    args = build_parser().parse_args()
    try:
        print(process_checkpoint(args.in_file, args.out_file, args.save_keys))
    except (CheckpointError, OSError) as error:
        end(error)


if __name__ == '__main__':
    main()
