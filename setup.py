"""Packaging of kdc_mm.

Nothing of the PyTorch and OpenMMLab stack is an install requirement: pip would touch the versions
that an environment already has, and mmpose's metadata asks for chumpy, which no longer builds. The
ranges that kdc_mm supports are the extra ``mim``; ``requirements/`` pins the versions that were run
together.
"""
from pathlib import Path

from setuptools import find_packages, setup

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
    packages=find_packages(include=['kdc_mm', 'kdc_mm.*']),
    entry_points={'console_scripts': ['kdc = kdc_mm.cli:main']},
    python_requires='>=3.10,<3.13',
    extras_require={
        'mim': read_requirements('mminstall'),
        'tests': read_requirements('tests'),
    },
    zip_safe=False)
