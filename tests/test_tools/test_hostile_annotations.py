"""Annotation files that would take all memory, or a stack: lines of check_data, and bounded memory.
"""
import json
import resource
import sys
from pathlib import Path

import pytest

from tests.conftest import grey_image, load_tool, person

ROOT = Path(__file__).resolve().parents[2]
GIGABYTE = 2**30
FAR = 10**9


def with_person(**fields):
    """Change the first annotation."""
    return lambda content: content['annotations'][0].update(fields)


def with_image(**fields):
    """Change the first image."""
    return lambda content: content['images'][0].update(fields)


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


CHANGED = {
    'polygon far away': with_person(segmentation=[[0, 0, FAR, 0, FAR, FAR]]),
    'polygon beyond all numbers': with_person(segmentation=[[0, 0, 1e308, 0, 1e308, 1e308]]),
    'polygon of no numbers': with_person(segmentation=[[float('nan')] * 6]),
    'nested polygon': with_person(segmentation=nested(300)),
    'nested keypoints': with_person(keypoints=nested(300)),
    'nested box': with_person(bbox=nested(300)),
    'keypoints far away': with_person(keypoints=[FAR, -FAR, 2] * 17),
    'keypoints at infinity': with_person(keypoints=[float('inf'), 1, 2] * 17),
    'box far away': with_person(bbox=[-FAR, -FAR, 2 * FAR, 2 * FAR]),
    'box beyond all numbers': with_person(bbox=[0, 0, 1e308, 1e308]),
    'area beyond all numbers': with_person(area=1e308),
    'area of 400 digits': with_person(area=10**400),
    'annotation id of 400 digits': with_person(id=10**400),
    'annotation id of lines': with_person(id='1\nerror', iscrowd=None),
    'image name of lines': with_image(file_name='1.png\nerror'),
    'image name of no text': with_image(file_name='\ud800.png'),
    'image name with a null byte': with_image(file_name='1\0.png'),
    'RLE of a huge size': with_person(segmentation=dict(size=[FAR, FAR], counts=[0, FAR])),
    'RLE of a huge run': with_person(segmentation=dict(size=[60, 80], counts=[0, 10**15])),
    'RLE of a huge text': with_person(segmentation=dict(size=[60, 80], counts='oooooooooooo0')),
    'RLE of negative runs': with_person(segmentation=dict(size=[60, 80], counts=[-5, 4805])),
    'image of a huge size': with_image(height=FAR, width=FAR),
    'image of a size beyond all numbers': with_image(height=1e308, width=1e308),
    'image of no size': with_image(height=0, width=0),
    'image of a negative size': with_image(height=-60, width=-80),
}
WRITTEN = {
    'deep lists': '[' * 100_000,
    'deep objects': '{"images":' * 100_000,
    'a number of ten thousand digits': '{"images": [{"id": 1' + '0' * 10_000 + '}]}',
    'a list of numbers': '[1, 2]',
    'half of a file': '{"images": [{"id": 1, "file_na',
}


@pytest.fixture
def bounded_memory():
    """At most a gigabyte more than now."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + GIGABYTE, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.fixture
def check_data(tmp_path, monkeypatch, capsys):
    """Function that runs tools/dataset_tools/check_data.py on a file and returns its status and
    what it said."""
    tool = load_tool('dataset_tools/check_data')

    def run(ann_file):
        dataset = dict(type='KDCCocoDataset', ann_file=str(ann_file),
                       data_prefix=dict(img=f'{tmp_path}/'), pipeline=[])
        config = tmp_path / 'config.py'
        config.write_text(
            "default_scope = 'mmpose'\n"
            "model = dict(head=dict(type='KDCHead'))\n"
            f'train_dataloader = dict(dataset={dataset!r})\n')
        monkeypatch.setattr(sys, 'argv', [
            'check_data.py', str(config), '--out', str(tmp_path / 'data.png')])
        capsys.readouterr()
        return tool.main(), capsys.readouterr().out

    return run


@pytest.fixture
def content(write_coco):
    """A right file of two images with a person each, and its path."""
    people = [person(5, 2, 50, 40)]
    ann_file = Path(write_coco([(grey_image(), people), (grey_image(), people)])['ann_file'])
    return ann_file, json.loads(ann_file.read_text())


@pytest.mark.parametrize('kind', [*CHANGED, *WRITTEN])
def test_a_hostile_file_is_judged_in_lines_and_bounded_memory(
        kind, content, check_data, bounded_memory):
    ann_file, right = content
    if kind in CHANGED:
        CHANGED[kind](right)
        ann_file.write_text(json.dumps(right))
    else:
        ann_file.write_text(WRITTEN[kind])
    status, said = check_data(ann_file)
    assert status in (0, 1) and 'Traceback' not in said
    named = [line for line in said.splitlines() if line.startswith(('error', 'warning'))]
    assert all(str(ann_file.parent) in line for line in named)
    if kind in WRITTEN:
        assert status == 1 and len(named) == 1
