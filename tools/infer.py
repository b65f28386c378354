"""Find people, their poses and masks, on your own photos and videos."""
import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

import mmcv
import numpy as np
from mmengine.structures import InstanceData
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the kdc_mm beside this file

from kdc_mm.apis import PersonTracker, PoseSegInferencer, describe_people  # noqa: E402
from kdc_mm.apis.results import ResultsFolder  # noqa: E402
from kdc_mm.apis.sources import Source, Video, check_image, list_sources  # noqa: E402
from kdc_mm.engine.config_files import find_config  # noqa: E402
from kdc_mm.engine.faults import FAULTS, end  # noqa: E402
from kdc_mm.visualization.draw import PALETTE, draw_people, zoom_for  # noqa: E402

CONFIG = ROOT / 'configs/bodypix/kdc_mobilenet-075_coco-401.py'
#: Where docs/bodypix.md puts it: in the clone, or of an installed wheel in the working folder.
CHECKPOINT = Path('' if ROOT.name == '.mim' else ROOT) / 'data/bodypix/kdc.pth'


class Frame(NamedTuple):
    """An image, or a frame of a video."""
    source: Source
    image: np.ndarray
    """BGR (h, w, 3) uint8."""
    video: Optional[Video]


class FPSColumn(ProgressColumn):
    """Images per second, of the last half minute."""

    def render(self, task) -> Text:
        speed = task.finished_speed or task.speed
        return Text('' if speed is None else f'{speed:.1f} FPS')


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='infer', description=__doc__)
    add = parser.add_argument
    add('inputs', nargs='+', metavar='INPUT',
        help='images, folders, patterns in quotes, videos, or the number of a webcam')
    add('--config', default=str(CONFIG), help='config file (default: that of BodyPix)')
    add('--checkpoint', help=f'checkpoint of this config (default: {CHECKPOINT})')
    add('--out', help='folder for pictures and files (default: work_dirs/infer; none with --show)')
    add('--device', help='such as cpu or cuda:0 (default: a GPU if there is one)')
    add('--batch', type=int, default=1, help='images at a time (default: 1)')
    add('--person-thr', type=float, default=0.1,
        help='leave out people of a lower score, which is the OKS to expect (default: 0.1); '
        'results.json has all')
    add('--kpt-thr', type=float, default=0.2,
        help='draw no keypoints of a lower score (default: 0.2)')
    add('--flip-test', action=argparse.BooleanOptionalAction, default=None,
        help='look at the mirrored image too (default: as the config says)')
    add('--show', action='store_true', help='show pictures in a window')
    return parser


def load_network(args: argparse.Namespace) -> PoseSegInferencer:
    """The network that the command line names.

    Raises:
        OSError: The checkpoint is missing.
        ConfigError: The config is missing.
        CheckpointError: The checkpoint cannot be used, or is of another network.
    """
    config = find_config(args.config)
    if args.checkpoint is None and config != CONFIG:
        raise OSError(f'Name a checkpoint of {args.config} with --checkpoint.')
    if args.checkpoint is None and not CHECKPOINT.exists():
        raise OSError(f'{CHECKPOINT} does not exist: docs/bodypix.md says how to get it. Or name '
                      'a network of yours with --config and --checkpoint.')
    inferencer = PoseSegInferencer(str(config), args.checkpoint or str(CHECKPOINT), args.device)
    if args.flip_test is not None:
        inferencer.model.test_cfg['flip_test'] = args.flip_test
    return inferencer


class Inference:
    """Goes through all inputs, and notes what cannot be used.

    Args:
        args (argparse.Namespace): The command line.
        inferencer (PoseSegInferencer): The network.
        sources (list[Source]): The inputs.
        progress (Progress): Where to report.
    """

    def __init__(self, args: argparse.Namespace, inferencer: PoseSegInferencer,
                 sources: List[Source], progress: Progress) -> None:
        self.args = args
        self.inferencer = inferencer
        self.sources = sources
        self.progress = progress
        self.faults: List[str] = []
        self.num_images = self.num_people = 0
        self.results = None
        if args.out:
            self.results = ResultsFolder(args.out, sources, inferencer.model.dataset_meta)
        self._tracked: Optional[Source] = None
        self._tracker: Optional[PersonTracker] = None

    def run(self) -> None:
        """Predict, draw and write; what is done stays when the user breaks off."""
        total = sum(source.kind == 'image' for source in self.sources)
        self.task = self.progress.add_task('', total=total)
        frames = self._frames()
        try:
            while batch := list(itertools.islice(frames, self.args.batch)):
                samples = self.inferencer.predict([frame.image for frame in batch])
                for frame, sample in zip(batch, samples):
                    self._handle(frame, sample.pred_instances)
        except KeyboardInterrupt:
            pass
        finally:
            if self.results:
                self.results.close()

    def _frames(self) -> Iterator[Frame]:
        for source in self.sources:
            try:
                if source.kind == 'image':
                    check_image(source.name)
                    yield Frame(source, self.inferencer.load_image(source.name), None)
                    continue
                video = Video(source)
                total = self.progress.tasks[0].total
                endless = total is None or source.kind == 'webcam'
                self.progress.update(self.task, total=None if endless else total + video.length)
                for image in video:
                    yield Frame(source, image, video)
            except OSError as error:
                self.faults.append(str(error))
                total = self.progress.tasks[0].total
                if source.kind == 'image' and total is not None:
                    self.progress.update(self.task, total=total - 1)
                self.progress.console.print(
                    f'Skipped: {error}', markup=False, highlight=False, soft_wrap=True)

    def _handle(self, frame: Frame, found: InstanceData) -> None:
        is_shown = found.bbox_scores >= self.args.person_thr
        shown, people = found[is_shown], describe_people(found)
        described = list(itertools.compress(people, is_shown))
        colors = list(range(len(described)))
        if frame.video:
            colors = self._track(frame.source, shown)
            for person, track_id in zip(described, colors):
                person['track_id'] = track_id
        picture = draw_people(
            mmcv.bgr2rgb(frame.image), shown.keypoints, shown.keypoint_scores,
            shown.get('masks'), self.inferencer.model.dataset_meta['skeleton_links'],
            self.args.kpt_thr, [PALETTE[color % len(PALETTE)] for color in colors],
            zoom_for(frame.image))
        shape = frame.image.shape[:2]
        if self.results and frame.video:
            self.results.add_frame(frame.source, frame.video, picture, shape, people, described)
        elif self.results:
            self.results.add_image(frame.source, picture, shape, people, described)
        if self.args.show:
            self.inferencer.visualizer.show(
                picture, win_name=frame.source.name, wait_time=1e-5 if frame.video else 0)
        self.num_images += 1
        self.num_people += len(described)
        self.progress.advance(self.task)

    def _track(self, source: Source, people: InstanceData) -> List[int]:
        """Ids of the people of a video's next frame, which count anew in each video."""
        if source != self._tracked:
            sigmas = self.inferencer.model.dataset_meta['sigmas']
            self._tracked, self._tracker = source, PersonTracker(sigmas)
        return self._tracker.update(people)


def infer(args: argparse.Namespace) -> int:
    """Do what the command line says; the exit status, 1 if something could not be used."""
    if args.show and sys.platform == 'linux' and not (
            os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
        raise OSError('--show needs a display, and there is none here: name a folder with --out.')
    if args.out is None and not args.show:
        args.out = 'work_dirs/infer'
    sources = list_sources(args.inputs)
    inferencer = load_network(args)
    progress = Progress(
        TextColumn('{task.completed:.0f} images'), BarColumn(), FPSColumn(),
        TimeRemainingColumn(), console=Console(stderr=True))
    with progress:
        inference = Inference(args, inferencer, sources, progress)
        inference.run()
    where = f' in {args.out}' if args.out else ''
    skipped = f'; skipped {len(inference.faults)}' if inference.faults else ''
    print(f'{inference.num_people} people on {inference.num_images} images{where}{skipped}')
    return 1 if inference.faults else 0


def main() -> None:
    args = build_parser().parse_args()
    if args.batch < 1:
        sys.exit(f'--batch must be at least 1, got {args.batch}.')
    try:
        sys.exit(infer(args))
    except FAULTS as error:
        end(error)


if __name__ == '__main__':
    main()
