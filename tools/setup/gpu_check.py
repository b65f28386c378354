"""Try kdc_mm on a machine with a GPU and without a package registry: one command, one JSON.

In this order: install from a carried folder, the tests that need a GPU, decoding on the device
against the CPU, FPS beside AE, CID and RTMO, a training step with its loader, and the demo with its
curve. A step that fails is told in the JSON and the others go on, except without an installation.

The machine brings PyTorch, numpy and a C++ compiler. The folder holds what it lacks, fetched where
there is a registry (``pip download --no-deps``): wheels of mmengine, mmdet, mmpose, pycocotools and
the like, and the source archives of xtcocotools and mmcv, which are built here.
"""
import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Callable, Dict, List, Optional

from make_env import MMCV_PROOF, STACK_PROOF, Environment, SetupError, build_settings, run

ROOT = Path(__file__).resolve().parents[2]
CURVE = ('coco/AP', 'coco/segm_mAP')


class Check:
    """Steps and what they gave.

    Args:
        out: Folder of all results.
        device: Such as ``cuda``.
        short: Whether a little of each step has to do, to try the script itself.
    """

    def __init__(self, out: Path, device: str, short: bool):
        self.out = out
        self.device = device
        self.short = short
        self.log = out / 'gpu_check.log'
        self.python = sys.executable
        self.env = dict(os.environ, PYTHONPATH=str(ROOT))
        self.steps: List[Dict] = []

    def step(self, name: str, call: Callable[[], Dict]) -> bool:
        """Do one step and note what it gave, or why it failed; the JSON is written each time."""
        start = time.monotonic()
        try:
            found = dict(ok=True, result=call())
        except (SetupError, OSError, ValueError) as error:
            found = dict(ok=False, error=str(error))
        found.update(name=name, seconds=round(time.monotonic() - start, 1))
        self.steps.append(found)
        report = dict(machine=self.machine(), steps=self.steps)
        (self.out / 'gpu_check.json').write_text(json.dumps(report, indent=1) + '\n')
        return found['ok']

    def machine(self) -> Dict:
        return dict(
            device=self.device, python=platform.python_version(), processor=platform.machine(),
            cores=len(os.sched_getaffinity(0)), short=self.short)

    def call(self, label: str, *command: object) -> str:
        """Output of a Python program.

        Raises:
            SetupError: It failed.
        """
        return run(label, [self.python, *map(str, command)], self.log, self.env)

    def measure(self, what: str, rounds: int, *more: object) -> Dict:
        """What gpu_measure.py prints."""
        output = self.call(what, 'tools/setup/gpu_measure.py', what, '--device', self.device,
                           '--rounds', 2 if self.short else rounds, *more)
        return json.loads(output.strip().splitlines()[-1])

    def install(self, packages: Optional[Path], compiler: List[str]) -> Dict:
        """An environment over the machine's own packages, with those of a folder."""
        if packages is not None:
            environment = Environment(self.out / 'venv')
            environment.create('--system-site-packages')
            self.python = environment.python
            self.env = dict(environment.env, PYTHONPATH=str(ROOT))
            settings = build_settings(environment.venv, compiler, cuda=False)
            for label, file in carried(packages):
                environment.pip(label, '--no-index', '--no-deps', '--no-build-isolation', str(file),
                                env=settings)
        self.call('mmcv', '-c', MMCV_PROOF)
        self.call('kernels of decoding', '-m', 'kdc_mm.compile_kernels')
        versions = self.call('the stack', '-c', STACK_PROOF).strip().splitlines()[-1]
        return dict(versions=versions)

    def gpu_tests(self) -> Dict:
        """Numbers of tests that passed, failed and were skipped."""
        report = self.out / 'gpu_tests.xml'
        try:
            self.call('tests', '-m', 'pytest', '-m', 'gpu', '-q', f'--junitxml={report}')
        finally:
            suite = xml.etree.ElementTree.parse(report).getroot().find('testsuite').attrib
            counts = {key: int(suite[key]) for key in ('tests', 'failures', 'errors', 'skipped')}
        return counts

    def demo(self, minutes: float) -> Dict:
        """Metrics of the demo, and its curve: iteration, keypoint AP and mask AP."""
        folder = self.out / 'demo'
        images = ['--train', '16', '--val', '4', '--pictures', '1'] if self.short else []
        self.call('demo', 'tools/demo.py', '--work-dir', folder, '--data-dir',
                  self.out / 'data/demo', '--minutes', minutes, *images)
        scalars = max(folder.glob('*/vis_data/scalars.json'), key=os.path.getmtime)
        curve, iteration = [], 0
        for line in map(json.loads, scalars.read_text().splitlines()):
            if 'loss' in line:
                iteration = line['step']
            elif CURVE[0] in line:
                curve.append([iteration, *(line[key] for key in CURVE)])
        return dict(metrics=json.loads((folder / 'metrics.json').read_text()), curve=curve)


def carried(folder: Path) -> List:
    """Labels and files of a folder in the order of their installation: wheels, then archives that
    are built against them, mmcv last.

    Raises:
        SetupError: There are none.
    """
    wheels = sorted(folder.glob('*.whl'))
    archives = sorted(folder.glob('*.tar.gz'), key=lambda file: file.name.startswith('mmcv'))
    if not wheels + archives:
        raise SetupError(f'{folder} holds no wheels (.whl) and no source archives (.tar.gz).')
    return [(file.name.split('-')[0], file) for file in wheels + archives]


def find_device(python: str) -> str:
    """``cuda`` where PyTorch sees a GPU, else ``cpu``."""
    probe = 'import torch; print("cuda" if torch.cuda.is_available() else "cpu")'
    return subprocess.check_output([python, '-c', probe], text=True).strip()


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--packages', type=Path, help='the carried folder; without it, what is installed is used')
    add('--out', type=Path, default=Path('work_dirs/gpu_check'), help='folder for all results')
    add('--device', help='default: cuda where PyTorch sees a GPU')
    add('--minutes', type=float, default=10, help='training time of the demo. Defaults to 10.')
    add('--short', action='store_true',
        help='two rounds of each step on small inputs, to try this script')
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    check = Check(out, args.device or find_device(sys.executable), args.short)
    compiler = shlex.split(os.environ.get('CXX', 'c++'))
    if check.step('install', lambda: check.install(args.packages, compiler)):
        check.step('gpu tests', check.gpu_tests)
        check.step('decode parity', lambda: check.measure('parity', 100))
        size = ['--size', '129'] if args.short else []
        check.step('speed', lambda: check.measure('speed', 15, *size))
        config = ['--config', 'configs/demo/kdc_rn18_synthcrowd.py'] if args.short else []
        check.step('training step', lambda: check.measure(
            'step', 20, '--data', out / 'data/step', *config))
        check.step('demo', lambda: check.demo(args.minutes))
    for step in check.steps:
        told = json.dumps(step['result']) if step['ok'] else f'FAILED: {step["error"]}'
        print(f'{step["name"]} ({step["seconds"]:.0f} s): {told}')
    print(f'All of it: {out / "gpu_check.json"}')
    return int(not all(step['ok'] for step in check.steps))


if __name__ == '__main__':
    sys.exit(main())
