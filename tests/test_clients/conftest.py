"""A network of known people, for the inferencers of MMPose, and data for its tools."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from kdc_mm.benchmarks.codec.bottomup_codecs import PoseSegCodec
from kdc_mm.benchmarks.codec.random_crowds import make_crowd

ROOT = Path(__file__).resolve().parents[2]
SIZE = (97, 97)
#: Height, width, and the person's box (x, y, w, h) of each image.
IMAGES = [(150, 200, (30, 40, 60, 90)), (140, 90, (20, 20, 50, 100)), (160, 160, (60, 30, 50, 110))]


@pytest.fixture(scope='session')
def demo_cfg():
    """The demo's config at 97 px."""
    cfg = Config.fromfile(ROOT / 'configs/demo/kdc_rn18_synthcrowd.py')
    cfg.model.backbone.init_cfg = None
    cfg.model.head.decoder.input_size = SIZE
    cfg.test_dataloader.dataset.pipeline[1].input_size = SIZE
    return cfg


@pytest.fixture(scope='session')
def show_people():
    """Function that makes an estimator see the same three people in every image: two with poses,
    and one of whom there is only a mask."""

    def change(model):
        head = model.head
        codec = PoseSegCodec(head.decoder)
        crowd = make_crowd(3, 4, codec.input_size)
        crowd.visible[:] = 1
        crowd.visible[1] = 0
        maps = codec.perfect_maps(crowd, codec.encode(crowd))
        head.forward = lambda feats: {
            name: field.expand(len(feats[-1]), *field.shape[1:]) for name, field in maps.items()}
        return model

    return change


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """A folder with three soft images of the same size, and something else."""
    folder = tmp_path_factory.mktemp('photos')
    for number in range(3):
        coarse = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(folder / f'{number}.png'), image)
    return folder


@pytest.fixture(scope='session')
def clip(photos, tmp_path_factory):
    """A video of these images."""
    file = tmp_path_factory.mktemp('clip') / 'clip.mp4'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'mp4v'), 5, (160, 120))
    for number in range(3):
        writer.write(cv2.imread(str(photos / f'{number}.png')))
    writer.release()
    return file


@pytest.fixture(autouse=True)
def one_thread():
    """Small tensors are quickest with one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def keypoints_in(box, num_keypoints):
    """Keypoints of which the outermost lie in the corners of the box."""
    x, y, w, h = box
    share = np.random.default_rng(0).uniform(0.1, 0.9, (num_keypoints, 2))
    # of both data sets these are joined by limbs
    share[[-1, -2, -5, -6]] = [(0.02, 0.02), (0.98, 0.98), (0.02, 0.98), (0.98, 0.02)]
    points = share * (w - 1, h - 1) + (x, y)
    return np.column_stack([points, np.full(num_keypoints, 2)]).ravel().tolist()


@pytest.fixture(scope='session')
def write(tmp_path_factory):
    """Function that writes a data set of bright rectangles, each of which is a person."""

    def write_data(num_keypoints, with_masks):
        folder = tmp_path_factory.mktemp('data')
        (folder / 'images').mkdir()
        images, annotations = [], []
        for number, (height, width, (x, y, w, h)) in enumerate(IMAGES, 1):
            image = np.zeros((height, width, 3), np.uint8)
            image[y:y + h, x:x + w] = 200
            assert cv2.imwrite(str(folder / f'images/{number}.png'), image)
            images.append(dict(id=number, file_name=f'{number}.png', height=height, width=width,
                               crowdIndex=0.))
            annotations.append(dict(
                id=number, image_id=number, category_id=1, iscrowd=0, bbox=[x, y, w, h],
                area=w * h, num_keypoints=num_keypoints,
                keypoints=keypoints_in((x, y, w, h), num_keypoints)))
            if with_masks:
                annotations[-1]['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        content = dict(images=images, annotations=annotations,
                       categories=[dict(id=1, name='person')])
        (folder / 'people.json').write_text(json.dumps(content))
        return folder

    return write_data


@pytest.fixture(scope='session')
def coco(write):
    return write(17, True)


@pytest.fixture(scope='session')
def crowdpose(write):
    return write(14, False)
