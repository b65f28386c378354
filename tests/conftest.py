"""Fixtures shared by all tests: where sample data lies, and tiny COCO data sets written on the fly.
"""
import importlib.util
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

ROOT = Path(__file__).resolve().parents[1]
NUM_KEYPOINTS = 17


def load_module(file):
    """The module of a Python file that is in no package."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_tool(name):
    """The module of a command-line tool: ``'train'``, ``'misc/picture_grid'``."""
    return load_module(ROOT / f'tools/{name}.py')


def pytest_runtest_setup(item):
    """Tests that need a GPU are skipped where there is none."""
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a CUDA device')


@pytest.fixture(scope='session', autouse=True)
def mmpose_scope():
    """Configs of the tests name MMPose's classes and this package's."""
    import kdc_mm  # noqa: F401
    init_default_scope('mmpose')


@pytest.fixture(scope='session')
def data_root():
    """Folder of the sample data (coco-mini, mm-samples), ``KDC_DATA_ROOT`` or ../shared/data."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    root = Path(os.environ.get('KDC_DATA_ROOT', default))
    if not root.is_dir():
        pytest.skip(f'no sample data at {root}; set KDC_DATA_ROOT to where they are')
    return root


def person(x, y, w, h, **fields):
    """A COCO annotation: a box-shaped person, outlined by five points, all keypoints in its centre.

    Args:
        x, y, w, h (float): The box in pixels, pixel 0 spanning 0 to 1.
        **fields: Replace or add keys; those set to None are left out.
    """
    centre = [x + w / 2 - 0.5, y + h / 2 - 0.5, 2]
    ann = dict(
        category_id=1,
        bbox=[x, y, w, h],
        area=w * h,
        iscrowd=0,
        num_keypoints=NUM_KEYPOINTS,
        keypoints=centre * NUM_KEYPOINTS,
        segmentation=[[x, y, x + w / 2, y, x + w, y, x + w, y + h, x, y + h]])
    ann.update(fields)
    return {key: value for key, value in ann.items() if value is not None}


@pytest.fixture
def write_coco(tmp_path):
    """Function that writes a COCO data set under ``tmp_path``.

    ``write_coco([(image, annotations), ...], height=None, width=None)`` takes BGR images (h, w, 3)
    uint8 and annotations made by :func:`person`, writes lossless images 1.png, 2.png, ... and
    returns the arguments ``ann_file`` and ``data_prefix`` of a data set. ``height`` and ``width``
    replace the images' true ones in the annotation file.
    """

    def write(samples, height=None, width=None):
        images, annotations = [], []
        for image_id, (image, anns) in enumerate(samples, 1):
            name = f'{image_id}.png'
            assert cv2.imwrite(str(tmp_path / name), image)
            h, w = image.shape[:2]
            images.append(
                dict(id=image_id, file_name=name, height=height or h, width=width or w))
            for ann in anns:
                annotations.append(dict(ann, id=len(annotations) + 1, image_id=image_id))
        ann_file = tmp_path / 'person_keypoints.json'
        ann_file.write_text(
            json.dumps(
                dict(
                    images=images,
                    annotations=annotations,
                    categories=[dict(id=1, name='person')])))
        return dict(ann_file=str(ann_file), data_prefix=dict(img=str(tmp_path)))

    return write


def grey_image(h=60, w=80):
    """A BGR image (h, w, 3) uint8 of one colour."""
    return np.full((h, w, 3), 128, dtype=np.uint8)
