"""What a network costs: parameters, multiplications, time of network and decoding, memory.

Time runs from the normalised input tensor to the persons in the original image (640x480), in one
pass without flip test. Reading and resizing the image are left out: they are the same for all.

- *forward* is the time inside the network's modules (the outermost calls of ``Module.forward``);
- *decode* is all the rest: peaks, grouping, suppression, clustering and pasting of masks.

Two-stage networks alternate between the two; the rule holds for them as well. With the people of
:mod:`kdc_mm.benchmarks.network.known_people` both are those of an image with a known number of
persons.
"""
import copy
import logging
import time
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from mmengine.runner import load_checkpoint
from mmpose.structures import PoseDataSample
from torch import Tensor, nn

from kdc_mm.benchmarks.codec.bottomup_codecs import Crowd
from kdc_mm.benchmarks.codec.random_crowds import IMAGE_SIZE, frame_in_input, make_crowd
from kdc_mm.config_types import type_class, type_name

from .known_people import (
    COCO_NAMES,
    Replacement,
    outputs_of_people,
    replaced_method,
    replaced_outputs,
    with_keypoints,
)
from .named_configs import ConfigError, build_model, scope_of

#: Persons in the image, where nothing else is said.
PERSONS = 5


class Times(NamedTuple):
    """One pass over a batch, in ms."""
    forward: float
    total: float


class Contestant:
    """A network on a device, with an input and the people to be found in it.

    Args:
        name (str): What the config was called.
        cfg (Config): The config; its model's flip test is switched off.
        device (str): 'cpu', 'cuda', ...
        batch (int): Images per pass.
        input_size (tuple[int, int], optional): Input [W, H] instead of the config's own, rounded up
            to what the config's resize step rounds to.
        checkpoint (str, optional): Weights; random ones without it.

    Raises:
        ConfigError: The config is neither that of a bottom-up pose network nor of a detector.
    """

    def __init__(self,
                 name: str,
                 cfg: Config,
                 device: str = 'cpu',
                 batch: int = 1,
                 input_size: Optional[Tuple[int, int]] = None,
                 checkpoint: Optional[str] = None) -> None:
        self.name = name
        self.device = device
        self.batch = batch
        self.is_detector = scope_of(cfg) == 'mmdet'
        cfg = copy.deepcopy(cfg)
        if self.is_detector:
            self.image_size, self.input_size = _detector_sizes(name, cfg, input_size)
        else:
            self.image_size = self.input_size = _pose_size(name, cfg, input_size)
            _set_decoder_size(cfg, self.input_size)
            if cfg.model.get('test_cfg'):
                cfg.model.test_cfg.flip_test = False
        self.metainfo = {} if self.is_detector else keypoint_metainfo(cfg)
        self.model = build_model(name, cfg).to(device)
        if checkpoint is not None:
            load_checkpoint(self.model, checkpoint, map_location='cpu')
        generator = torch.Generator().manual_seed(0)
        width, height = self.input_size
        self.inputs = torch.randn(batch, 3, height, width, generator=generator).to(device)

    def samples(self) -> List:
        """Data samples of a batch, as they come from the test pipeline."""
        width, height = self.image_size
        info = dict(img_shape=(height, width), ori_shape=IMAGE_SIZE[::-1])
        if self.is_detector:
            padded = self.input_size[::-1]
            info.update(
                scale_factor=tuple(np.divide(self.image_size, IMAGE_SIZE)),
                batch_input_shape=padded, pad_shape=padded)
            return [DetDataSample(metainfo=info) for _ in range(self.batch)]
        frame = frame_in_input(self.input_size)
        info.update(
            input_size=self.input_size,
            input_center=np.divide(IMAGE_SIZE, 2),
            input_scale=np.divide(self.input_size, frame.scale),
            flip_indices=list(self.metainfo['flip_indices']))
        return [PoseDataSample(metainfo=info) for _ in range(self.batch)]

    def people(self, persons: int) -> Optional[List[Replacement]]:
        """What shows so many persons to the decoder of each image, see
        :func:`.known_people.outputs_of_people`."""
        crowds = [self._crowd(persons, seed) for seed in range(self.batch)]
        return outputs_of_people(self.model, crowds, self.device)

    def _crowd(self, persons: int, seed: int) -> Crowd:
        if self.is_detector:
            crowd = make_crowd(persons, seed, IMAGE_SIZE)
            scale = np.divide(self.image_size, IMAGE_SIZE).astype(np.float32)
            return crowd._replace(keypoints=crowd.keypoints.clip(0, IMAGE_SIZE) * scale)
        crowd = make_crowd(persons, seed, self.input_size)
        names = [self.metainfo['keypoint_id2name'][k]
                 for k in range(self.metainfo['num_keypoints'])]
        return crowd if tuple(names) == COCO_NAMES else with_keypoints(crowd, names)

    @torch.no_grad()
    def run(self, people: Optional[Sequence[Replacement]], amp: bool = False) -> Tuple[Times, List]:
        """One pass: its times and the data samples with their predictions."""
        samples = self.samples()
        autocast = nullcontext()
        if amp:
            kind = torch.device(self.device).type
            autocast = torch.autocast(kind, torch.float16 if kind == 'cuda' else torch.bfloat16)
        with replaced_outputs(people), ForwardClock(self.model, self.device) as clock, autocast:
            start = clock.now()
            found = self.model(self.inputs, samples, mode='predict')
            total = clock.now() - start
        return Times(1e3 * clock.elapsed, 1e3 * total), found

    def parameters_m(self) -> float:
        """Parameters in millions."""
        return sum(weight.numel() for weight in self.model.parameters()) / 1e6

    def gmacs(self) -> float:
        """Multiplications (with additions) of one image in 10⁹, by mmengine's counter.

        It counts convolutions, linear layers, norms and interpolations of mode ``tensor``. What it
        does not know is left out: the deformable convolutions of DEKR. A two-stage detector is
        counted as mmdet does, with all its proposals and 100 masks.
        """
        inputs, samples = self.inputs[:1], self.samples()[:1]
        logger = MMLogger.get_current_instance()
        level = logger.level
        logger.setLevel(logging.ERROR)  # it warns of each kind of operation that costs nothing
        try:
            with replaced_method(self.model, 'forward', _tensors_only(samples)):
                info = get_model_complexity_info(
                    self.model, inputs=(inputs, ), show_table=False, show_arch=False)
        finally:
            logger.setLevel(level)
        return info['flops'] / 1e9

    def peak_memory_mb(self, people: Optional[Sequence[Replacement]], amp: bool = False) -> float:
        """Most memory of PyTorch that weights, input and one pass hold at a time, in 10⁶ bytes."""
        own = sum(tensor.nbytes for tensor in
                  (*self.model.parameters(), *self.model.buffers(), self.inputs))
        peak = _peak_on_cuda if self.device.startswith('cuda') else _peak_on_cpu
        return (own + peak(lambda: self.run(people, amp))) / 1e6


class ForwardClock:
    """Sums the wall time inside the network's modules, in seconds.

    As a context it puts itself around the ``forward`` of all modules. The parts of a backbone and
    of a neck are left out, whose own ``forward`` is around them.
    """

    def __init__(self, model: nn.Module, device: str) -> None:
        self.elapsed = 0.
        self._inside = False
        self._synchronize = torch.cuda.synchronize if device.startswith('cuda') else lambda: None
        self._modules = [
            module for name, module in model.named_modules()
            if name and not name.startswith(('backbone.', 'neck.', 'data_preprocessor'))
        ]

    def __enter__(self) -> 'ForwardClock':
        self._stack = ExitStack()
        for module in self._modules:
            self._stack.enter_context(replaced_method(module, 'forward', self._timed))
        return self

    def __exit__(self, *error) -> None:
        self._stack.close()

    def now(self) -> float:
        """Seconds, once the device is done."""
        self._synchronize()
        return time.perf_counter()

    def _timed(self, forward: Callable) -> Callable:

        def timed(*args, **kwargs):
            if self._inside:
                return forward(*args, **kwargs)
            self._inside = True
            start = self.now()
            try:
                return forward(*args, **kwargs)
            finally:
                self.elapsed += self.now() - start
                self._inside = False

        return timed


def measure_speed(contestants: Sequence[Contestant],
                  rounds: int,
                  amp: bool = False,
                  persons: int = PERSONS,
                  after_run: Callable[[], None] = lambda: None) -> List[Dict]:
    """Measure networks side by side: they take turns, so that whatever else the machine does meets
    all of them. Times are medians over the rounds.

    Args:
        contestants (sequence[Contestant]): The networks.
        rounds (int): Passes of each.
        amp (bool): float16 on a GPU, bfloat16 on a CPU.
        persons (int): Persons in each image.
        after_run (callable): Called after each pass, for a progress bar.

    Returns:
        list[dict]: per network ``config``, ``params_m`` [10⁶], ``gmacs`` [10⁹ per image],
        ``forward_ms``, ``decode_ms``, ``total_ms`` per batch, ``fps`` [images per second] and
        ``peak_mem_mb`` [10⁶ bytes].

    Raises:
        ConfigError: A network cannot run as it is asked to.
    """
    people = [contestant.people(persons) for contestant in contestants]
    warm_up(contestants, people, amp)
    jobs = list(zip(contestants, people))
    all_times = take_turns(jobs, rounds, amp, after_run)
    results = []
    for (contestant, shown), times in zip(jobs, all_times):
        forward, total = np.array(times).T
        results.append(dict(
            config=contestant.name,
            params_m=contestant.parameters_m(),
            gmacs=contestant.gmacs(),
            forward_ms=float(np.median(forward)),
            decode_ms=float(np.median(total - forward)),
            total_ms=float(np.median(total)),
            fps=float(1e3 * contestant.batch / np.median(total)),
            peak_mem_mb=contestant.peak_memory_mb(shown, amp)))
    return results


def measure_against_persons(contestants: Sequence[Contestant],
                            persons: Sequence[int],
                            rounds: int,
                            amp: bool = False,
                            after_run: Callable[[], None] = lambda: None) -> List[List[float]]:
    """Median time of a whole pass in ms, per network and per number of persons in the image."""
    jobs = [(contestant, contestant.people(count))
            for contestant in contestants for count in persons]
    warm_up(*zip(*jobs), amp)
    times = take_turns(jobs, rounds, amp, after_run)
    totals = np.median([[one.total for one in job] for job in times], axis=1)
    return totals.reshape(len(contestants), len(persons)).tolist()


def warm_up(contestants: Sequence[Contestant], people: Sequence, amp: bool) -> None:
    """Run each once: compilers run, and what cannot run is named.

    Raises:
        ConfigError: A network cannot run as it is asked to.
    """
    for contestant, shown in zip(contestants, people):
        try:
            contestant.run(shown, amp)
        except Exception as error:  # networks of others fail in any way
            width, height = contestant.input_size
            raise ConfigError(
                f'{contestant.name} does not run with {contestant.batch} images of '
                f'{width}x{height}{" under AMP" if amp else ""} on {contestant.device}: '
                f'{type(error).__name__}: {str(error).strip()[:300]}') from error


def take_turns(jobs: Sequence[Tuple[Contestant, Any]], rounds: int, amp: bool,
               after_run: Callable[[], None]) -> List[List[Times]]:
    """Times of each job in each round; every round runs all jobs."""
    times: List[List[Times]] = [[] for _ in jobs]
    for _ in range(rounds):
        for noted, (contestant, people) in zip(times, jobs):
            noted.append(contestant.run(people, amp)[0])
            after_run()
    return times


def keypoint_metainfo(cfg: Config) -> Dict:
    """What a config's test data set says of its keypoints (``keypoint_id2name``, ...)."""
    dataset = test_dataset(cfg)
    while 'dataset' in dataset or 'datasets' in dataset:
        dataset = dataset.get('dataset') or dataset['datasets'][0]
    with DATASETS.switch_scope_and_registry(scope_of(cfg)) as registry:
        return type_class(dataset, registry)._load_metainfo(dataset.get('metainfo'))


def test_dataset(cfg: Config) -> Dict:
    """Settings of the data set on which a config tests."""
    return cfg.test_dataloader.dataset


def _test_steps(cfg: Config) -> Dict[str, Dict]:
    """The steps of the test pipeline by type."""
    return {type_name(step): step for step in test_dataset(cfg).get('pipeline', [])}


def _pose_size(name: str, cfg: Config, wanted: Optional[Tuple[int, int]]) -> Tuple[int, int]:
    resize = _test_steps(cfg).get('BottomupResize')
    if resize is None:
        raise ConfigError(
            f'{name} has no BottomupResize in its test pipeline. What can be measured are '
            'bottom-up and one-stage pose networks, and the detectors of mmdet.')
    return _rounded_up(wanted or resize['input_size'], resize.get('size_factor', 32))


def _detector_sizes(name: str, cfg: Config, wanted: Optional[Tuple[int, int]]):
    """Size of the resized image, and of the input that it is padded to."""
    divisor = cfg.model.get('data_preprocessor', {}).get('pad_size_divisor', 1)
    if wanted is not None:
        return tuple(wanted), _rounded_up(wanted, divisor)
    resize = _test_steps(cfg).get('Resize')
    if resize is None:
        raise ConfigError(f'{name} has no Resize in its test pipeline: say the input size.')
    longest, shortest = max(resize['scale']), min(resize['scale'])
    factor = min(longest / max(IMAGE_SIZE), shortest / min(IMAGE_SIZE))
    image = tuple(int(side * factor + 0.5) for side in IMAGE_SIZE)
    return image, _rounded_up(image, divisor)


def _rounded_up(size: Sequence[int], factor: int) -> Tuple[int, int]:
    return tuple(-(-side // factor) * factor for side in size)


def _set_decoder_size(cfg: Config, size: Tuple[int, int]) -> None:
    """Give the head's codec another input size, and maps in proportion."""
    decoder = cfg.model.head.get('decoder')
    if decoder is None or 'input_size' not in decoder:
        return
    if 'heatmap_size' in decoder:
        decoder.heatmap_size = tuple(
            side * new // old
            for side, new, old in zip(decoder.heatmap_size, size, decoder.input_size))
    decoder.input_size = size


def _tensors_only(samples: List) -> Callable[[Callable], Callable]:
    """A ``forward`` that mmengine's counter can trace: of the input alone, to a tuple of tensors.
    """
    return lambda forward: lambda inputs: tuple(_tensors(forward(inputs, samples, mode='tensor')))


def _tensors(output) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (dict, list, tuple)):
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)


def _peak_on_cuda(call: Callable) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def _peak_on_cpu(call: Callable) -> int:
    """Most bytes that a call holds at a time in tensors, from the profiler's list of allocations.
    """
    with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events()
              if event.name() == '[memory]']
    events.sort(key=lambda event: event.start_ns())
    held = np.cumsum([event.nbytes() for event in events])
    return max(int(held.max(initial=0)), 0)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Untrained layers can leave numbers so small that a CPU slows down; trained ones do not."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
