"""Files that are given as checkpoints and are none, or would run code: each a function of a path
and of a file that its code would make."""
import io
import json
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

WEIGHTS = dict(state_dict=OrderedDict(weight=torch.ones(300, 10)))
RUN = dict(meta=dict(epoch=1, iter=2), message_hub=dict(log_scalars={}), **WEIGHTS)


class Calls:
    """Unpickled without safety, it calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def holding(*call, legacy=False):
    """A run's checkpoint with one more entry, a call."""
    return lambda path, made: torch.save(
        dict(RUN, more=Calls(*(part(made) if callable(part) and part.__name__ == '<lambda>' else
                               part for part in call))), path,
        _use_new_zipfile_serialization=not legacy)


def shell(made):
    return f'touch {made}'


def changed(change, **settings):
    """A run's checkpoint with other bytes."""

    def write(path, made):
        torch.save(RUN, path, **settings)
        data = bytearray(path.read_bytes())
        path.write_bytes(change(data))

    return write


def flipped(at):
    """One bit is another, ``at`` of the way through the file."""

    def change(data):
        data[int(at * len(data))] ^= 4
        return data

    return change


def pickled(protocol):
    return lambda path, made: path.write_bytes(
        pickle.dumps(Calls(os.system, shell(made)), protocol))


def own_pickle(text):
    """A zip as PyTorch writes it, whose pickle is this."""

    def write(path, made):
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('archive/data.pkl', text(made))
            archive.writestr('archive/version', '3\n')

    return write


def compressed(path, made):
    """A zip of a few KB that unpacks to 8 MB."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', bytes(8_000_000))


def safetensors(header, data=b''):
    def write(path, made):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, 'little') + text + data)

    return write


def entry(shape, *offsets, dtype='F32'):
    return dict(weight=dict(dtype=dtype, shape=shape, data_offsets=offsets))


def another_zip(path, made):
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    path.write_bytes(buffer.getvalue())


def whole_module(path, made):
    torch.save(torch.nn.Linear(2, 2), path)


#: Name of the file and what writes it.
HOSTILE = {
    'os.system': ('a.pth', holding(os.system, lambda made: shell(made))),
    'os.system in the old format': ('a.pth', holding(os.system, lambda made: shell(made),
                                                     legacy=True)),
    'eval': ('a.pth', holding(eval, lambda made: f"open('{made}', 'w')")),
    'exec': ('a.pth', holding(exec, lambda made: f"open('{made}', 'w')")),
    'subprocess': ('a.pth', holding(subprocess.Popen, lambda made: ['touch', str(made)])),
    'open': ('a.pth', holding(open, lambda made: str(made), 'w')),
    'a way around the list': ('a.pth', holding(getattr, HistoryBuffer.update, '__globals__')),
    'torch.load within': ('a.pth', holding(torch.load, lambda made: str(made))),
    'bytes of 2^40': ('a.pth', holding(bytearray, 2**40)),
    'bytes of 2^40 in the old format': ('a.pth', holding(bytearray, 2**40, legacy=True)),
    'a whole module': ('a.pth', whole_module),
    'pickle 2': ('a.pth', pickled(2)),
    'pickle 5': ('a.pth', pickled(5)),
    'pickle 0': ('a.pth', pickled(0)),
    'its own opcodes': ('a.pth', own_pickle(
        lambda made: f'cposix\nsystem\n(S"{shell(made)}"\ntR.')),
    'deep lists': ('a.pth', own_pickle(lambda made: b'\x80\x02' + b']' * 3000 + b'.')),
    'compressed': ('a.pth', compressed),
    'a zip of something else': ('a.pth', another_zip),
    'cut': ('a.pth', changed(lambda data: data[:len(data) // 2])),
    'cut by a byte': ('a.pth', changed(lambda data: data[:-1])),
    'cut in the old format': ('a.pth', changed(lambda data: data[:len(data) // 2],
                                               _use_new_zipfile_serialization=False)),
    'a bit of the pickle': ('a.pth', changed(flipped(0.02))),
    'a bit of the weights': ('a.pth', changed(flipped(0.5))),
    'a bit of the directory': ('a.pth', changed(flipped(0.975))),
    'zeros': ('a.pth', changed(lambda data: bytes(len(data)))),
    'empty': ('a.pth', lambda path, made: path.touch()),
    'missing': ('a.pth', lambda path, made: None),
    'a directory': ('a.pth', lambda path, made: path.mkdir()),
    'a web page': ('a.pth', lambda path, made: path.write_text('<html>404</html>')),
    'an image': ('a.pth', lambda path, made: path.write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(99))),
    'a number': ('a.pth', lambda path, made: torch.save(3, path)),
    'weights of no tensors': ('a.pth', lambda path, made: torch.save(dict(state_dict=dict(a=1)),
                                                                     path)),
    'safetensors of a huge header': ('a.safetensors', lambda path, made: path.write_bytes(
        (2**62).to_bytes(8, 'little') + b'{}')),
    'safetensors of no JSON': ('a.safetensors', safetensors(b'no JSON')),
    'safetensors of deep JSON': ('a.safetensors', safetensors(b'[' * 100_000)),
    'safetensors of a list': ('a.safetensors', safetensors([1, 2])),
    'safetensors of no tensors': ('a.safetensors', safetensors({})),
    'safetensors beyond its end': ('a.safetensors', safetensors(entry([2], 0, 8), bytes(4))),
    'safetensors of a huge shape': ('a.safetensors', safetensors(entry([10**12], 0, 4), bytes(4))),
    'safetensors of an unknown type': ('a.safetensors', safetensors(
        entry([1], 0, 4, dtype='object'), bytes(4))),
    'a pickle called safetensors': ('a.safetensors', pickled(2)),
}
