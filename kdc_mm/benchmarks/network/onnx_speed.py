"""Networks whose forward pass onnxruntime computes, to be measured as PyTorch's are.

KDC's run as :class:`kdc_mm_runtime.Runtime` has them: from the bytes of an input to people, without
PyTorch. Of others the forward pass is a graph, up to what their head's ``forward`` puts out, and
MMPose decodes.
"""
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec
from kdc_mm.benchmarks.codec.random_crowds import frame_in_input
from kdc_mm.deploy.export import check_packages, export_graph
from kdc_mm.deploy.network import DeployedNetwork
from kdc_mm.models.heads.field_head import FieldHead
from kdc_mm_runtime.decoder import Decoder

from .known_people import Replacement, replaced_method
from .named_configs import ConfigError, scope_of
from .speed import Contestant, Times


class OnnxContestant(Contestant):
    """A bottom-up pose network as a graph of onnxruntime on the CPU, with PyTorch's number of
    threads.

    Its arguments are those of :class:`.Contestant`.

    Raises:
        ConfigError: It is no such network, or cannot be exported.
        ExportError: A package is missing.
    """

    def __init__(self, name: str, cfg: Config, device: str = 'cpu', *args, **kwargs) -> None:
        check_packages()
        if scope_of(cfg) == 'mmdet' or device != 'cpu':
            raise ConfigError(f'{name}: onnxruntime is measured with bottom-up pose networks on '
                              'the CPU.')
        super().__init__(name, cfg, device, *args, **kwargs)
        self._is_kdc = isinstance(self.model.head, FieldHead)
        width, height = self.input_size
        if self._is_kdc:
            codec = self.model.head.decoder
            self._decoder = Decoder(skeleton=codec.skeleton, **codec.settings)
            self._network = DeployedNetwork(self.model, flip_test=False)
            inputs = torch.randint(256, (self.batch, height, width, 3), dtype=torch.uint8)
        else:
            self._network = GraphOfOutputs(self.model)
            inputs = self.inputs
        self._fed = inputs.numpy()
        self._session = open_session(name, self._network, inputs)

    def people(self, persons: int):
        """As of :class:`.Contestant`; of KDC's networks the maps (dict) that the graph would put
        out."""
        if not self._is_kdc:
            return super().people(persons)
        codec = PoseSegCodec(self.model.head.decoder)
        crowds = [self._crowd(persons, seed) for seed in range(self.batch)]
        fields = [codec.perfect_maps(crowd, codec.encode(crowd)) for crowd in crowds]
        fields = {name: torch.cat([one[name] for one in fields]) for name in fields[0]}
        maps = self.model.head.decoder.host_maps(
            {name: fields[name] for name in self._field_names() if name in fields})
        return {name: part.numpy() for name, part in maps.items()}

    def _field_names(self) -> List[str]:
        with torch.no_grad():
            return list(self.model(self.inputs[:1], None, mode='tensor'))

    def run(self, people, amp: bool = False) -> Tuple[Times, List]:
        """One pass, as of :class:`.Contestant`; AMP has no effect."""
        if self._is_kdc:
            return self._run_kdc(people)
        with ExitStack() as stack:
            for owner, name, replace in (
                    Replacement(self.model, 'extract_feat', lambda _: lambda *_: self.inputs),
                    Replacement(self.model.head, 'forward', lambda _: lambda *_: self._outputs())):
                stack.enter_context(replaced_method(owner, name, replace))
            return super().run(people)

    def _run_kdc(self, maps) -> Tuple[Times, List]:
        frames = [frame_in_input(self.input_size)] * self.batch
        start = time.perf_counter()
        put_out = self._session.run(None, dict(images=self._fed))
        middle = time.perf_counter()
        if maps is None:
            maps = dict(zip(self._network.output_names, put_out))
        found = self._decoder.decode_host_maps(maps, frames)
        end = time.perf_counter()
        return Times(1e3 * (middle - start), 1e3 * (end - start)), found

    def _outputs(self):
        """What the head's ``forward`` returns, by the graph."""
        flat = self._session.run(None, dict(images=self._fed))
        return self._network.unflatten([torch.from_numpy(part) for part in flat])

    def peak_memory_mb(self, people, amp: bool = False) -> Optional[float]:
        """Not known of onnxruntime."""


class GraphOfOutputs(nn.Module):
    """A network up to the flat outputs of its head's ``forward``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.output_names: List[str] = []

    def forward(self, inputs: Tensor) -> Tuple[Tensor, ...]:
        flat, self._spec = pytree.tree_flatten(
            self.model.head.forward(self.model.extract_feat(inputs)))
        self._is_tensor = [isinstance(part, Tensor) for part in flat]
        tensors = tuple(part for part in flat if isinstance(part, Tensor))
        self.output_names = [f'output_{number}' for number in range(len(tensors))]
        return tensors

    def unflatten(self, tensors: Sequence[Tensor]):
        """What ``forward`` flattened."""
        rest = iter(tensors)
        return pytree.tree_unflatten(
            [next(rest) if is_tensor else None for is_tensor in self._is_tensor], self._spec)


def open_session(name: str, network: nn.Module, inputs: Tensor):
    """onnxruntime's session of a network with an example of its input.

    Raises:
        ConfigError: It cannot be exported.
    """
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'model.onnx'
        try:
            export_graph(network, inputs, file, any_batch=False)
        except Exception as error:  # networks of others fail in any way
            raise ConfigError(f'{name} cannot be exported to ONNX: {type(error).__name__}: '
                              f'{str(error).strip()[:300]}') from error
        return onnxruntime.InferenceSession(
            str(file), options, providers=['CPUExecutionProvider'])

