"""The dataset browsers of MMPose and mmdet show KDC's data sets where the people are."""
import random
import runpy
import sys
from pathlib import Path

import cv2
import mmdet
import mmpose
import numpy as np
import pytest
from mmengine.config import Config
from mmpose.registry import DATASETS

from .conftest import IMAGES, ROOT

MMPOSE = Path(mmpose.__file__).parent / '.mim/tools/misc/browse_dataset.py'
MMDET = Path(mmdet.__file__).parent / '.mim/tools/analysis_tools/browse_dataset.py'
def options(place, folder):
    return {f'{place}.data_root': f'{folder}/', f'{place}.ann_file': 'people.json',
            f'{place}.data_prefix.img': 'images/'}


def browse(tool, config, changes, out, monkeypatch, *flags):
    """Run a tool; its pictures (RGB) by name."""
    monkeypatch.chdir(ROOT)
    settings = [f'{key}={value}' for key, value in changes.items()]
    monkeypatch.setattr(sys, 'argv', [
        str(tool), config, '--not-show', '--output-dir', str(out), *flags, '--cfg-options',
        *settings])
    seed()
    runpy.run_path(str(tool), run_name='__main__')
    return {path.relative_to(out).as_posix(): cv2.imread(str(path))[..., ::-1]
            for path in sorted(out.rglob('*.png'))}


def seed():
    random.seed(0)
    np.random.seed(0)


def network_inputs(config, phase, changes):
    """Where the people are in what the pipeline makes of each image: (h, w) bool."""
    cfg = Config.fromfile(ROOT / config)
    cfg.merge_from_dict(changes)
    dataset = DATASETS.build(cfg[f'{phase}_dataloader'].dataset)
    seed()
    return [dataset[i]['inputs'].numpy().max(0) > 100 for i in range(len(dataset))]


def drawn_on(picture):
    """The pixels that have a colour."""
    return np.ptp(picture.astype(int), axis=-1) > 20


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def ends(mask):
    """First and last row and column."""
    return np.array([[index.min(), index.max()] for index in np.nonzero(mask)])


def check_masks(pictures, people):
    """The pictures show masks where the people are, and nothing elsewhere."""
    assert len(pictures) == len(people) == len(IMAGES)
    for picture, person in zip(pictures, people):
        assert picture.shape[:2] == person.shape
        assert iou(drawn_on(picture), person) > 0.9


def check_skeletons(pictures, people):
    """The pictures show skeletons that reach as far as the people, without masks."""
    assert len(pictures) == len(people) == len(IMAGES)
    for picture, person in zip(pictures, people):
        drawn = drawn_on(picture)
        assert picture.shape[:2] == person.shape and iou(drawn, person) < 0.8
        assert (np.abs(ends(drawn) - ends(person)) <= 0.02 * max(person.shape) + 2).all()


@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('kind, config', [
    ('coco', 'configs/kdc_rn152_coco.py'), ('crowdpose', 'configs/kdc_rn152_crowdpose.py')])
def test_mmposes_browser_shows_what_the_pipeline_makes_of_people(
        request, kind, config, phase, tmp_path, monkeypatch):
    changes = options(f'{phase}_dataloader.dataset', request.getfixturevalue(kind))
    people = network_inputs(config, phase, changes)
    pictures = browse(MMPOSE, config, changes, tmp_path, monkeypatch, '--phase', phase)
    check = check_masks if kind == 'coco' else check_skeletons
    check(list(pictures.values()), people)


@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('kind, config', [
    ('coco', 'configs/kdc_rn152_coco.py'), ('crowdpose', 'configs/kdc_rn152_crowdpose.py')])
def test_mmposes_browser_shows_skeletons_on_the_images_themselves(
        request, kind, config, phase, tmp_path, monkeypatch):
    folder = request.getfixturevalue(kind)
    changes = options(f'{phase}_dataloader.dataset', folder)
    pictures = browse(MMPOSE, config, changes, tmp_path, monkeypatch, '--phase', phase, '--mode',
                      'original')
    people = [cv2.imread(str(folder / 'images' / name)).max(-1) > 100 for name in pictures]
    check_skeletons(list(pictures.values()), people)


@pytest.mark.parametrize('kind, config', [
    ('coco', 'configs/kdc_rn152_coco.py'), ('crowdpose', 'configs/kdc_rn152_crowdpose.py')])
def test_mmdets_browser_shows_what_the_pipeline_makes_of_people(
        request, kind, config, tmp_path, monkeypatch):
    changes = options('train_dataloader.dataset', request.getfixturevalue(kind))
    people = network_inputs(config, 'train', changes)
    pictures = browse(MMDET, config, changes, tmp_path, monkeypatch)
    check = check_masks if kind == 'coco' else check_skeletons
    check(list(pictures.values()), people)


@pytest.mark.parametrize('mode', ['original', 'transformed'])
def test_mmposes_browser_shows_several_data_sets(coco, crowdpose, mode, tmp_path, monkeypatch):
    config = 'configs/mix/kdc_rn50-fpn_coco-crowdpose-ochuman.py'
    changes = {}
    for number, folder in enumerate((coco, crowdpose, coco)):
        changes.update(options(f'train_dataloader.dataset.datasets.{number}', folder))
    pictures = browse(MMPOSE, config, changes, tmp_path, monkeypatch, '--mode', mode)
    names = {f'{name}/{number}.png' for name in ('coco', 'crowdpose', 'ochuman')
             for number in (1, 2, 3)}
    assert pictures.keys() == names
    for name, picture in pictures.items():
        drawn = drawn_on(picture)
        bright = picture.max(-1) > 100
        assert drawn.any() and (drawn & bright).sum() > 0.5 * drawn.sum()
        if mode == 'original':
            person = cv2.imread(str(coco / 'images' / Path(name).name)).max(-1) > 100
            assert (np.abs(ends(drawn) - ends(person)) <= 6).all()
