"""What annotation tools export is read as the clean file that means the same, by check_data,
training and evaluation alike, or refused in one line that says what to do."""
import copy
import json
import os
from pathlib import Path

import numpy as np
import pycocotools.mask as cocomask
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmpose.registry import DATASETS, METRICS, MODELS

from kdc_mm.datasets import AnnotationError, KDCCocoDataset
from kdc_mm.datasets.check import check_config
from kdc_mm.synth_crowd import make_synth_crowd
from tests.test_datasets import tool_exports
from tests.test_datasets.test_file_kinds import assert_same_rows, rows_by_name
from tests.test_end_to_end.tiny import tiny_config

#: Tools whose exports can be used, and whether they have masks and keypoints.
TOOLS = dict(
    cvat=('keypoints', ),
    roboflow=('keypoints', ),
    supervisely=('keypoints', ),
    label_studio_of_one_person=('keypoints', ),
    label_studio_by_mmpose=('keypoints', 'masks'),
    coco_annotator=('keypoints', 'masks'),
    labelme2coco=('masks', ))


@pytest.fixture(scope='module')
def crowd(tmp_path_factory):
    """People as ``tool_exports`` take them, and the folder of their images."""
    folder = tmp_path_factory.mktemp('synth')
    make_synth_crowd(folder, 'easy', 1, 4, seed=3, size=128, workers=1, progress=False)
    content = json.loads((folder / 'annotations/person_keypoints_val2017.json').read_text())
    people = tool_exports.outlined(content)
    counts = {ann['num_keypoints'] for ann in people['annotations']}
    assert counts == {15, 17} and len(people['annotations']) >= 8
    return people, folder / 'val2017'


def first_persons(people):
    """One person in each image."""
    first = {ann['image_id']: ann for ann in reversed(people['annotations'])}
    return dict(people, annotations=[first[key] for key in sorted(first)])


@pytest.fixture(params=TOOLS)
def exported(request, crowd, tmp_path):
    """The export of a tool, its images, and the clean file of what it means: arguments of a data
    set of each, and what they have."""
    people, images = crowd
    if request.param == 'label_studio_of_one_person':
        export = tool_exports.label_studio(first_persons(people))
    elif request.param == 'label_studio_by_mmpose':
        export = tool_exports.label_studio_by_mmpose(people, tmp_path)
    else:
        export = getattr(tool_exports, request.param)(people)
    for before, image, clean in zip(
            people['images'], export.content['images'], export.means['images']):
        for name in (image['file_name'], clean['file_name']):
            copied = tmp_path / name.replace('\\', '/')
            copied.parent.mkdir(exist_ok=True)
            if not copied.exists():
                os.link(images / before['file_name'], copied)
    settings = []
    for name in ('content', 'means'):
        file = tmp_path / f'{name}.json'
        file.write_text(json.dumps(getattr(export, name)))
        settings.append(dict(ann_file=str(file), data_prefix=dict(img=str(tmp_path))))
    if export.classes:
        settings[0]['metainfo'] = dict(classes=export.classes)
    return *settings, TOOLS[request.param]


def tiny(settings):
    """The demo's config with a data set of its own, for ResNet-18 at 97 px."""
    cfg = tiny_config('demo/kdc_rn18_synthcrowd.py', '.', 'nowhere')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(copy.deepcopy(settings), data_root='')
    for metric in cfg.val_evaluator:
        metric.ann_file = settings['ann_file']
    return cfg


def labelled_rows(settings):
    """:func:`rows_by_name` with keypoints that are not labelled in the corner, wherever they are in
    the file."""
    rows = rows_by_name(**settings)
    for row in rows.values():
        row['table'] = row['table'] * (row['table'][..., 2:] > 0)
    return rows


def test_an_export_is_read_as_the_clean_file_that_means_the_same(exported):
    tool, clean, parts = exported
    wanted = labelled_rows(clean)
    keys = ['table', 'box', 'area', 'ignore', 'crowd'] + ['owner'] * ('masks' in parts)
    assert_same_rows(labelled_rows(tool), wanted, keys)
    assert sum(len(row['box']) for row in wanted.values()) >= 4


def test_check_data_counts_the_same_and_names_the_file(exported):
    tool, clean, parts = exported
    found, wanted = (check_config(one_with(parts, settings)) for settings in (tool, clean))
    for check, other in zip(found, wanted):
        assert check.counts == other.counts
        assert check.errors == [
            line.replace(clean['ann_file'], tool['ann_file']) for line in other.errors]
        assert all(tool['ann_file'] in line for line in check.warnings)
        if 'keypoints' not in parts and check.name == 'train':
            assert 'has a labelled keypoint' in check.errors[0]
        else:
            assert not check.errors


def one_with(parts, settings):
    """A config whose head and evaluators are for what there is of keypoints and masks."""
    cfg = tiny(settings)
    if 'masks' not in parts:
        cfg.model.head.type = 'KDCPoseHead'
    kinds = dict(keypoints='PersonPoseMetric', masks='PersonSegMetric')
    wanted = [kinds[part] for part in parts]
    cfg.val_evaluator = [metric for metric in cfg.val_evaluator if metric.type in wanted]
    cfg.test_evaluator = cfg.val_evaluator
    return cfg


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return MODELS.build(tiny(dict(ann_file='', data_prefix={})).model).eval()


def losses(model, settings):
    """Of a training step on all images."""
    cfg = Config(dict(tiny(settings).train_dataloader.dataset))
    dataset = DATASETS.build(cfg)
    np.random.seed(0)
    batch = model.data_preprocessor(
        pseudo_collate([dataset[index] for index in range(len(dataset))]), training=True)
    return {name: value.item() for name, value in model(**batch, mode='loss').items()}


def test_a_training_step_on_an_export_has_the_losses_of_the_clean_file(exported, model):
    tool, clean, parts = exported
    wanted = losses(model, clean)
    assert losses(model, tool) == pytest.approx(wanted, rel=1e-4)
    assert ('keypoints' in parts) == (wanted['loss_limb'] > 0)
    assert ('masks' in parts) == (wanted['loss_semantic'] > 0)


def figures(settings, parts, truth):
    """AP of people that are found a little beside where they are."""
    dataset = KDCCocoDataset(test_mode=True, serialize_data=False, **settings)
    metrics = dict(
        keypoints=dict(type='PersonPoseMetric', nms_mode='none', score_mode='bbox'),
        masks=dict(type='PersonSegMetric', metric=['segm', 'bbox']))
    evaluator = Evaluator([
        METRICS.build(dict(metrics[part], ann_file=settings['ann_file'])) for part in parts])
    evaluator.dataset_meta = dataset.metainfo
    rng, names = np.random.default_rng(0), {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        names[Path(info['img_path']).name] = info
    for name, info in sorted(names.items()):
        number = next(i for i, image in enumerate(truth['images'])
                      if Path(image['file_name']).stem in name)
        anns = [ann for ann in truth['annotations'] if ann['image_id'] == number + 1]
        points = np.array([ann['keypoints'] for ann in anns], float).reshape(-1, 17, 3)[..., :2]
        masks = [np.roll(cocomask.decode(cocomask.merge(cocomask.frPyObjects(
            ann['segmentation'], 128, 128))), rng.integers(-3, 4, 2), (0, 1)) for ann in anns]
        scores = rng.random(len(anns))
        for metric in evaluator.metrics:
            metric.process({}, [dict(
                id=[], img_id=info['img_id'], img_path=info['img_path'], gt_instances={},
                ori_shape=(128, 128), pred_instances=dict(
                    keypoints=points + rng.normal(0, 2, points.shape),
                    keypoint_scores=np.ones(points.shape[:2]), bboxes=np.zeros((len(anns), 4)),
                    labels=np.zeros(len(anns), int), scores=scores, bbox_scores=scores,
                    masks=[cocomask.encode(np.asfortranarray(mask)) for mask in masks]))])
    return evaluator.evaluate(len(dataset))


def test_evaluation_on_an_export_has_the_figures_of_the_clean_file(exported, crowd):
    tool, clean, parts = exported
    found = figures(tool, parts, crowd[0])
    assert found == pytest.approx(figures(clean, parts, crowd[0]), abs=1e-9)
    assert all(0.05 < found[dict(keypoints='coco/AP', masks='coco/segm_mAP')[part]] < 1
               for part in parts)


@pytest.fixture
def write(tmp_path):
    """Function that writes an annotation file; its path."""
    def write(content):
        (tmp_path / 'export.json').write_text(json.dumps(content))
        return str(tmp_path / 'export.json')
    return write


def refusal(ann_file, **settings):
    """The line with which an annotation file is refused, by training and evaluation."""
    lines = set()
    for test_mode in (False, True):
        with pytest.raises(AnnotationError) as info:
            KDCCocoDataset(ann_file=ann_file, test_mode=test_mode, **settings)
        lines.add(str(info.value))
    [line] = lines
    assert line.startswith(ann_file) and '\n' not in line
    return line


def test_vias_points_of_nobody_are_refused(crowd, write):
    assert '1 keypoints, but the data set has 17' in refusal(write(tool_exports.via(crowd[0])))


@pytest.mark.parametrize('name, classes', [('human', None), ('person', ('default', ))])
def test_label_studios_one_skeleton_for_all_people_of_an_image_is_refused(
        crowd, write, name, classes):
    content = tool_exports.label_studio(crowd[0], person=name).content
    line = refusal(write(content), metainfo=dict(classes=classes) if classes else None)
    assert 'all keypoints of an image' in line and 'Export as JSON' in line


def test_boxes_and_keypoints_of_two_categories_ask_for_the_persons(crowd, write):
    content = tool_exports.label_studio(first_persons(crowd[0])).content
    line = refusal(write(content))
    assert "'default', 'person'" in line and "classes=('NAME', )" in line


def test_an_area_that_no_box_holds_is_not_believed(crowd):
    """Supervisely's, where keypoints lack."""
    rows = tool_exports.supervisely(crowd[0]).content['annotations']
    shares = [ann['area'] / np.prod(ann['bbox'][2:]) for ann in rows if 0 in ann['keypoints'][2::3]]
    assert min(shares) > 1.2
