"""Try kdc_mm on a machine with a GPU and without a package registry: one command, one JSON.

In this order: install from a carried folder, the tests that need a GPU, decoding on the device
against the CPU, FPS beside AE, CID and RTMO, a training step with its loader, and the demo with its
curve. The JSON names all steps from the start, and is written anew with each: a step has a result,
or an error that says why not. One that fails stops no other, except the installation.

The machine brings PyTorch, numpy and a C++ compiler. The folder holds what it lacks of
``requirements/``, fetched where there is a registry (``pip download --no-deps``): wheels of
mmengine, mmdet, mmpose, numba, pycocotools, pytest and the like, and the source archives of
xtcocotools and mmcv, which are built here.
"""
import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from make_env import MMCV_PROOF, STACK_PROOF, Environment, SetupError, build_settings, run

ROOT = Path(__file__).resolve().parents[2]
CURVE = ('coco/AP', 'coco/segm_mAP')
Step = Tuple[str, Callable[[], Dict]]


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

    def do(self, install: Callable[[], Dict], steps: Sequence[Step]) -> None:
        """Install, and if that goes well do the other steps, each noted in the JSON.

        Args:
            install: The first step.
            steps: Names and what to call.
        """
        names = ['install', *(name for name, _ in steps)]
        self.steps = [dict(name=name, ok=False, error='Not reached.') for name in names]
        self.write()
        if self.step(0, install):
            for i, (_, call) in enumerate(steps, 1):
                self.step(i, call)
        else:
            for step in self.steps[1:]:
                step.update(error='Left out: the installation failed.')
            self.write()

    def step(self, i: int, call: Callable[[], Dict]) -> bool:
        """Do one step and note what it gave, or why it failed."""
        self.steps[i].update(error='Broken off.')
        self.write()
        start = time.monotonic()
        try:
            found = dict(ok=True, error=None, result=call())
        except Exception as error:  # whatever it is, the other steps are worth having
            found = dict(error=str(error) if isinstance(error, SetupError) else repr(error))
        self.steps[i].update(found, seconds=round(time.monotonic() - start, 1))
        self.write()
        return self.steps[i]['ok']

    def write(self) -> None:
        """Bring the JSON up to date; a whole one is there at any moment."""
        whole, partial = self.out / 'gpu_check.json', self.out / 'gpu_check.json.partial'
        report = dict(machine=self.machine(), steps=self.steps)
        partial.write_text(json.dumps(report, indent=1) + '\n')
        partial.replace(whole)

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
                           '--rounds', 1 if self.short else rounds, *more)
        return read_json(output.strip().splitlines()[-1])

    def install(self, packages: Optional[Path], compiler: List[str]) -> Dict:
        """An environment over the machine's own packages, with those of a folder."""
        if packages is not None:
            environment = Environment(self.out / 'venv')
            environment.create('--system-site-packages')
            see_packages_of_this_python(environment)
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
        """Numbers of tests that passed, failed and were skipped, and the reasons for skipping.

        Raises:
            SetupError: Some failed; it names them.
        """
        report = self.out / 'gpu_tests.xml'
        report.unlink(missing_ok=True)
        try:
            self.call('tests', '-m', 'pytest', '-m', 'gpu', '-q', f'--junitxml={report}')
        except SetupError:
            if not report.exists():
                raise
        suite = xml.etree.ElementTree.parse(report).getroot().find('testsuite')
        failed = [test.get('name') for test in suite.iter('testcase')
                  if test.find('failure') is not None or test.find('error') is not None]
        if failed:
            raise SetupError(f'{len(failed)} of {suite.get("tests")} tests failed: '
                             f'{", ".join(failed)}. The whole log: {self.log}')
        tests, skipped = int(suite.get('tests')), int(suite.get('skipped'))
        reasons = sorted({skip.get('message') for skip in suite.iter('skipped')})
        return dict(passed=tests - skipped, skipped=skipped, reasons=reasons)

    def demo(self, minutes: float) -> Dict:
        """Metrics of the demo, and its curve: iteration, keypoint AP and mask AP."""
        folder = self.out / 'demo'
        images = ['--train', '16', '--val', '4', '--pictures', '1'] if self.short else []
        self.call('demo', 'tools/demo.py', '--work-dir', folder, '--data-dir',
                  self.out / 'data/demo', '--minutes', minutes, *images)
        scalars = max(folder.glob('*/vis_data/scalars.json'), key=os.path.getmtime)
        curve, iteration = [], 0
        for line in map(read_json, scalars.read_text().splitlines()):
            if 'loss' in line:
                iteration = line['step']
            elif CURVE[0] in line:
                curve.append([iteration, *(line[key] for key in CURVE)])
        return dict(metrics=read_json((folder / 'metrics.json').read_text()), curve=curve)


def read_json(text: str) -> Dict:
    """What Python's JSON says; NaN and infinities, which others do not read, become strings."""
    return json.loads(text, parse_constant=str)


def see_packages_of_this_python(environment: Environment) -> None:
    """Show an environment the packages of the Python that runs this, be it in one of its own.

    The environment's own packages come first.
    """
    places = {key: sysconfig.get_path(key) for key in ('purelib', 'platlib')}
    inside = sysconfig.get_path('purelib', 'venv', vars=dict(base=str(environment.venv)))
    Path(inside, 'machine.pth').write_text('\n'.join(dict.fromkeys(places.values())) + '\n')


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
    add('--minutes', type=float,
        help='training time of the demo. Defaults to 10, with --short to 1.')
    add('--short', action='store_true',
        help='one round of each step on small inputs, to try this script on a CPU')
    args = parser.parse_args(arguments)
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    check = Check(out, args.device or find_device(sys.executable), args.short)
    compiler = shlex.split(os.environ.get('CXX', 'c++'))
    size, config = [], []
    if args.short:
        size = ['--size', 33]  # without bfloat16 in hardware, AMP takes a CPU ten times as long
        config = ['--config', 'configs/demo/kdc_rn18_synthcrowd.py']
    check.do(lambda: check.install(args.packages, compiler), [
        ('gpu tests', check.gpu_tests),
        ('decode parity', lambda: check.measure('parity', 100)),
        ('speed', lambda: check.measure('speed', 15, *size)),
        ('training step', lambda: check.measure(
            'step', 20, '--data', out / 'data/step', *config)),
        ('demo', lambda: check.demo(args.minutes or (1 if args.short else 10))),
    ])
    for step in check.steps:
        told = json.dumps(step['result']) if step['ok'] else f'FAILED: {step["error"]}'
        print(f'{step["name"]} ({step.get("seconds", 0):.0f} s): {told}')
    print(f'All of it: {out / "gpu_check.json"}')
    return int(not all(step['ok'] for step in check.steps))


if __name__ == '__main__':
    sys.exit(main())
