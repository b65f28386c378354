"""Packaging of kdc_mm.

Nothing of the PyTorch and OpenMMLab stack is an install requirement: pip would touch the versions
that an environment already has, and mmpose's metadata asks for chumpy, which no longer builds. The
ranges that kdc_mm supports are the extra ``mim``; ``requirements/`` pins the versions that were run
together. What kdc_mm needs beside that stack is required in any version.
"""
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent


def read_requirements(name: str) -> list:
    """The requirement lines of ``requirements/{name}.txt``."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def read_version() -> str:
    """The version, from kdc_mm/version.py without importing kdc_mm."""
    scope = {}
    exec((ROOT / 'kdc_mm' / 'version.py').read_text(), scope)
    return scope['__version__']


class BuildWithMim(build_py):
    """Also puts what mim looks for into ``kdc_mm/.mim``, as the OpenMMLab packages do: copies in a
    wheel, links in an editable installation."""

    PARTS = ('configs', 'tools', 'model-index.yml', 'dataset-index.yml')

    def run(self) -> None:
        super().run()
        package = ROOT if self.editable_mode else Path(self.build_lib)
        mim = package / 'kdc_mm' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        mim.mkdir(parents=True)
        for part in self.PARTS:
            if self.editable_mode:
                (mim / part).symlink_to(Path('../..') / part)
            elif (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, mim / part,
                                ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
            else:
                shutil.copy(ROOT / part, mim / part)


class EditableForMim(editable_wheel):
    """Tells mim and MMEngine where an editable installation is. They look beside the metadata for
    ``kdc_mm``, which is not there, and then for the first name in ``top_level.txt``; joining an
    absolute one gives the clone's package."""

    def _ensure_dist_info(self) -> None:
        super()._ensure_dist_info()
        (Path(self.dist_info_dir) / 'top_level.txt').write_text(f'{ROOT / "kdc_mm"}\nkdc_mm\n')


setup(
    name='kdc_mm',
    version=read_version(),
    description='Keypoints as Dynamic Centroids for MMPose: pose and person masks, bottom-up',
    long_description=(ROOT / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.11',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=['kdc_mm', 'kdc_mm.*', 'kdc_mm_runtime']),
    cmdclass=dict(build_py=BuildWithMim, editable_wheel=EditableForMim),
    entry_points={'console_scripts': ['kdc = kdc_mm.cli:main']},
    python_requires='>=3.10,<3.13',
    install_requires=['matplotlib', 'numba', 'pycocotools', 'pyyaml', 'rich', 'scipy'],
    extras_require={
        'mim': read_requirements('mminstall'),
        'tests': read_requirements('tests'),
        'web': ['gradio>=6.31,<7'],
        'deploy': read_requirements('deploy'),
    },
    zip_safe=False)
