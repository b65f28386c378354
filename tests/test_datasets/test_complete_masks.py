"""Masks for annotated persons that have keypoints and none."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from pycocotools import mask as cocomask

from kdc_mm.datasets.complete_masks import (
    BAD_BOX,
    COMPLETED,
    NO_KEYPOINTS,
    WITH_MASK,
    complete_masks,
    masks_by_id,
)
from tests.conftest import grey_image, person

ROOT = Path(__file__).resolve().parents[2]


def rle_of(x, y, w, h, size=(60, 80)):
    mask = np.zeros(size, np.uint8)
    mask[y:y + h, x:x + w] = 1
    return cocomask.encode(np.asfortranarray(mask))


def test_who_has_keypoints_and_no_mask_gets_the_one_that_fits_the_box():
    bare = dict(segmentation=None)
    annotations = [
        person(0, 0, 20, 20, id=1), person(20, 0, 20, 20, id=2, **bare),
        person(40, 0, 20, 20, id=3, **bare), person(60, 0, 20, 20, id=4, **bare),
        person(0, 30, 20, 20, id=5, iscrowd=1, **bare)]
    masks = {1: rle_of(0, 0, 5, 5), 2: rle_of(21, 0, 18, 20), 3: rle_of(40, 0, 20, 10),
             5: rle_of(0, 30, 20, 20)}
    before = [dict(ann) for ann in annotations]
    counts = complete_masks(annotations, masks, min_box_iou=0.6)
    assert counts == {WITH_MASK: 1, COMPLETED: 1, BAD_BOX: 1, NO_KEYPOINTS: 1}
    assert [i for i in range(5) if annotations[i] != before[i]] == [1]
    added = json.loads(json.dumps(annotations[1]['segmentation']))
    assert cocomask.area(added) == 18 * 20 and added['size'] == [60, 80]


def sample_of(annotations, masks):
    sample = PoseDataSample(metainfo=dict(img_path='a.jpg', raw_ann_info=annotations))
    sample.pred_instances = InstanceData(masks=masks)
    return sample


def test_masks_belong_to_the_annotations_with_labelled_keypoints():
    annotations = [person(0, 0, 9, 9, id=7), person(0, 0, 9, 9, id=8, keypoints=[0] * 51),
                   person(9, 9, 9, 9, id=9)]
    assert masks_by_id(sample_of(annotations, ['a', 'b'])) == {7: 'a', 9: 'b'}
    assert masks_by_id(sample_of(None, [])) == {}
    with pytest.raises(ValueError, match='a.jpg: 2 persons have keypoints, and 1 masks'):
        masks_by_id(sample_of(annotations, ['a']))


def test_the_tool_writes_a_file_with_more_masks(write_coco, tmp_path):
    """Whether or not an untrained network's masks fit their boxes, they are whole."""
    files = write_coco([(grey_image(), [person(5, 5, 20, 20), person(30, 5, 20, 30,
                                                                     segmentation=None)]),
                        (grey_image(), [])])
    checkpoint, out = tmp_path / 'net.pth', tmp_path / 'out' / 'completed.json'
    config = 'configs/demo/kdc_rn18_synthcrowd.py'
    model = MODELS.build(Config.fromfile(ROOT / config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    options = [f'test_dataloader.dataset.ann_file={files["ann_file"]}',
               f'test_dataloader.dataset.data_prefix.img={files["data_prefix"]["img"]}']
    command = [sys.executable, 'tools/dataset_tools/complete_masks.py', config, str(checkpoint),
               str(out), '--min-box-iou', '0', '--cfg-options', *options]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert '1 persons with a mask' in run.stdout
    first, second = json.loads(out.read_text())['annotations']
    assert isinstance(first['segmentation'], list)
    if '1 masks added' in run.stdout:
        assert cocomask.area(second['segmentation']) > 0
    else:
        assert f'1 {BAD_BOX}' in run.stdout and 'segmentation' not in second
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.strip().endswith('name another file.')
