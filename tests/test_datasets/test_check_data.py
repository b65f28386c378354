"""tools/dataset_tools/check_data.py and what it finds."""
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from kdc_mm.datasets.check import check_config, largest_overlaps, write_fixed
from tests.conftest import grey_image, person

ROOT = Path(__file__).resolve().parents[2]


def config(files, head='KDCHead', **metric):
    """A config whose training and validation data are those of ``write_coco``."""
    dataset = dict(type='KDCCocoDataset', **files)
    return Config(dict(
        model=dict(head=dict(type=head)), train_dataloader=dict(dataset=dataset),
        val_dataloader=dict(dataset=dataset),
        val_evaluator=dict(type='PersonPoseMetric', ann_file=files['ann_file'], **metric)))


def edit(files, change):
    """Rewrite an annotation file."""
    path = Path(files['ann_file'])
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def files(write_coco):
    """Three images: two persons that touch, one crowd region, nobody."""
    return write_coco([
        (grey_image(), [person(0, 0, 20, 20), person(10, 0, 20, 20)]),
        (grey_image(), [person(5, 5, 30, 30, iscrowd=1)]),
        (grey_image(), []),
    ])


def test_complete_data_are_counted_and_nothing_is_wrong(files):
    train, val = check_config(config(files))
    assert (train.name, val.name) == ('train', 'val')
    for check in (train, val):
        assert check.errors == check.warnings == []
        assert check.counts == {
            'images': 3, 'persons': 2, 'with keypoints': 2, 'with mask': 2, 'crowd regions': 1}
        assert check.persons.tolist() == [2, 0, 0]
        assert check.overlap == pytest.approx([1 / 3, 1 / 3])


def test_a_test_set_that_repeats_validation_is_left_out(files):
    cfg = config(files)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    assert [check.name for check in check_config(cfg)] == ['train', 'val']


def test_data_sets_within_wrappers_are_checked(files):
    cfg = config(files)
    part = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='CombinedDataset', datasets=[part, part])
    assert [check.name for check in check_config(cfg)] == ['train', 'train 2', 'val']


def test_a_missing_annotation_file_is_named_with_where_to_get_it(files):
    Path(files['ann_file']).unlink()
    for check in check_config(config(files)):
        [error] = check.errors
        assert files['ann_file'] in error and 'https://cocodataset.org' in error


def test_a_truncated_annotation_file_is_named(files):
    path = Path(files['ann_file'])
    path.write_text(path.read_text()[:-20])
    [error] = check_config(config(files))[0].errors
    assert str(path) in error and 'download it again' in error


@pytest.mark.parametrize('content', [[], {}, {'images': []}])
def test_a_file_of_another_layout_is_named(files, content):
    Path(files['ann_file']).write_text(json.dumps(content))
    [error] = check_config(config(files))[0].errors
    assert 'lists no images' in error


def test_missing_broken_and_resized_images_are_told_apart_and_named(files):
    folder = Path(files['data_prefix']['img'])
    (folder / '1.png').unlink()
    (folder / '2.png').write_bytes((folder / '2.png').read_bytes()[:60])
    cv2.imwrite(str(folder / '3.png'), np.zeros((10, 10, 3), np.uint8))
    errors = sorted(check_config(config(files))[0].errors, key=lambda text: text[-6:])
    for error, what, name in zip(errors, ('are missing', 'cannot be read', 'another size'), '123'):
        assert error.startswith('1 of 3 images') and what in error and f'{name}.png' in error


def test_images_are_only_looked_for_when_reading_is_switched_off(files):
    folder = Path(files['data_prefix']['img'])
    (folder / '1.png').unlink()
    (folder / '2.png').write_bytes(b'')
    [error] = check_config(config(files), read_images=False)[0].errors
    assert 'are missing: 1.png' in error


@pytest.mark.parametrize('change, kind, words', [
    (dict(keypoints=[1, 1, 2] * 14), 'errors', '14 keypoints, but the data set has 17 (1)'),
    (dict(image_id=9), 'warnings', 'images that are not listed, left out (1)'),
    (dict(bbox=[0, 0, 0, 9]), 'warnings', 'no box in the image, taken from mask or keypoints (1)'),
    (dict(id=2), 'warnings', 'no id of their own from 1 on; all get new ids (2)'),
])
def test_annotations_that_do_not_fit_are_counted_and_named(files, change, kind, words):
    edit(files, lambda content: content['annotations'][0].update(change))
    [line] = getattr(check_config(config(files))[0], kind)
    assert line.startswith(files['ann_file']) and words in line
    assert f'annotation {change.get("id", 1)} of image {change.get("image_id", 1)}' in line


def test_masks_that_were_drawn_as_boxes_are_named(files):
    def draw_as_box(content):
        content['annotations'][1]['segmentation'] = [[30, 0, 10, 0, 10, 20, 30, 20]]

    edit(files, draw_as_box)
    train, _ = check_config(config(files))
    [line] = train.warnings
    assert 'the four corners of their box' in line and '(1): annotation 2 of image 1' in line


def test_persons_without_masks_are_a_warning_where_masks_are_learnt(files):
    edit(files, lambda content: content['annotations'][0].pop('segmentation'))
    train, _ = check_config(config(files))
    assert not train.errors and '1 of 2 persons' in train.warnings[0]
    assert check_config(config(files, head='KDCPoseHead'))[0].warnings == []


def test_data_without_any_mask_are_an_error_where_masks_are_evaluated(files):
    def drop(content):
        for ann in content['annotations']:
            del ann['segmentation']

    edit(files, drop)
    cfg = config(files, head='KDCPoseHead')
    assert not any(check.errors for check in check_config(cfg))
    cfg.val_evaluator = [cfg.val_evaluator,
                         dict(type='PersonSegMetric', ann_file=files['ann_file'])]
    [error] = check_config(cfg)[1].errors
    assert 'No person' in error and 'PersonSegMetric out' in error
    cfg.val_evaluator[1].metric = 'bbox'
    assert not any(check.errors for check in check_config(cfg))


def test_an_evaluator_that_reads_another_file_is_named(files):
    cfg = config(files)
    cfg.val_evaluator.ann_file = 'elsewhere.json'
    [error] = check_config(cfg)[1].errors
    assert 'PersonPoseMetric reads a missing file: elsewhere.json' in error


def test_images_without_a_crowd_index_are_an_error_for_crowdposes_metric(files):
    [error] = check_config(config(files, iou_type='keypoints_crowd'))[1].errors
    assert '3 images' in error and 'crowdIndex' in error


def test_a_list_of_images_will_do_to_write_results(files):
    edit(files, lambda content: content.pop('annotations'))
    cfg = config(files, format_only=True)
    assert check_config(cfg)[1].errors == []
    cfg.val_evaluator.format_only = False
    assert 'format_only=True' in check_config(cfg)[1].errors[0]


def test_overlap_is_the_iou_with_the_box_that_covers_most():
    boxes = [[0, 0, 10, 10], [0, 5, 10, 10], [0, 0, 10, 9], [50, 50, 5, 5]]
    assert largest_overlaps(boxes) == pytest.approx([0.9, 1 / 3, 0.9, 0])
    assert largest_overlaps([[0, 0, 1, 1]]).tolist() == [0]
    assert largest_overlaps([]).shape == (0, )


# Copies in COCO's own form


def as_tools_write(content):
    """Ids from 0, another category, things that are no persons, keys that are missing."""
    content['categories'] = [dict(id=0, name='human'), dict(id=5, name='dog')]
    for number, ann in enumerate(content['annotations']):
        ann.update(id=number, category_id=0)
        del ann['area']
    content['annotations'].append(dict(
        id=9, image_id=3, category_id=5, bbox=[1, 1, 5, 5], segmentation=[[1, 1, 5, 1, 5, 5]]))
    del content['images'][2]['width']
    content['images'].append(dict(id=4, file_name='gone.png', width=80, height=60))


def test_a_fixed_copy_passes_and_what_it_changed_is_listed(files, tmp_path):
    edit(files, as_tools_write)
    assert 'no width and height' in check_config(config(files))[0].errors[0]
    check = check_config(config(files), fill_sizes=True)[0]
    assert len(check.errors) == 1 and 'are missing: gone.png' in check.errors[0]
    copy = tmp_path / 'fixed' / 'copy.json'
    listed = '\n'.join(write_fixed(check, copy))
    for words in ("category 'human', id 0", "category 'dog', left out (1): annotation 9 of image 3",
                  'no area, taken from the mask or the box (3)', 'all get new ids',
                  'width and height, taken from the image files (1): image 3', 'gone.png'):
        assert words in listed

    files['ann_file'] = str(copy)
    train, val = check_config(config(files))
    assert train.errors == train.warnings == val.errors == val.warnings == []
    assert train.counts == {
        'images': 3, 'persons': 2, 'with keypoints': 2, 'with mask': 2, 'crowd regions': 1}
    stock = config(files)
    stock.val_evaluator.type, stock.val_dataloader.dataset.type = 'CocoMetric', 'CocoDataset'
    assert check_config(stock)[1].errors == []


def test_a_copy_overwrites_nothing(files):
    check = check_config(config(files))[0]
    before = Path(files['ann_file']).read_text()
    with pytest.raises(FileExistsError):
        write_fixed(check, Path(files['ann_file']))
    assert Path(files['ann_file']).read_text() == before


def test_who_reads_an_odd_file_as_it_is_is_named(files):
    edit(files, lambda content: content['annotations'][0].update(id=0))
    cfg = config(files)
    assert not any(check.errors for check in check_config(cfg))
    cfg.val_dataloader.dataset.type, cfg.val_evaluator.type = 'CocoDataset', 'CocoMetric'
    errors = check_config(cfg)[1].errors
    assert ['CocoDataset reads' in errors[0], 'CocoMetric reads' in errors[1]] == [True, True]
    cfg.val_dataloader.dataset.type = 'KDCCocoDataset'
    cfg.val_evaluator.pop('ann_file')
    [error] = check_config(cfg)[1].errors
    assert 'CocoMetric reads' in error


def test_an_image_id_of_two_files_is_an_error(files):
    def merge(content):
        content['images'] += [dict(content['images'][0], file_name='b.png')]

    edit(files, merge)
    [error] = check_config(config(files))[0].errors
    assert 'two images each' in error and 'image 1, 1.png and b.png' in error


def test_data_without_persons_or_labelled_keypoints_are_an_error(files):
    def unlabel(content):
        for ann in content['annotations']:
            ann['keypoints'] = [0] * 51

    edit(files, unlabel)
    for check in check_config(config(files)):
        assert 'labelled keypoint' in check.errors[0]
    edit(files, lambda content: content.update(annotations=[]))
    assert 'no person to train on' in check_config(config(files))[0].errors[0]


@pytest.mark.parametrize('tag, size, level, words', [
    (3, (80, 60), 'warnings', 'turned by their EXIF tag: see'),
    (6, (60, 80), 'errors', 'annotated as they are stored'),
    (6, (80, 60), None, ''),
    (1, (80, 60), None, ''),
])
def test_images_that_their_exif_tag_turns_are_named(files, tag, size, level, words):
    """The file annotates 80x60 pixels; by tag 6 an image stored as 60x80 is shown as that."""
    path = Path(files['data_prefix']['img']) / '1.png'
    exif = Image.Exif()
    exif[0x0112] = tag
    stored = size if tag != 6 else size[::-1]
    Image.new('RGB', stored).save(path, exif=exif)
    if level == 'errors':
        edit(files, lambda content: content['images'][0].update(
            width=stored[0], height=stored[1]))
    check = check_config(config(files))[0]
    if level is None:
        assert check.errors == check.warnings == []
    else:
        [line] = [line for line in getattr(check, level) if 'EXIF' in line]
        assert words in line and '1.png' in line


def test_the_tool_prints_numbers_writes_a_picture_and_tells_by_its_status(data_root, tmp_path):
    folder = f'{data_root}/mm-samples/coco/'
    options = []
    for part in ('train', 'val', 'test'):
        options += [f'{part}_dataloader.dataset.data_root={folder}',
                    f'{part}_dataloader.dataset.ann_file=test_coco.json',
                    f'{part}_dataloader.dataset.data_prefix.img=']
    options += [f'{part}_evaluator.{i}.ann_file={folder}test_coco.json'
                for part in ('val', 'test') for i in (0, 1)]
    picture = tmp_path / 'data.png'
    command = [sys.executable, 'tools/dataset_tools/check_data.py', 'configs/kdc_rn152_coco.py',
               '--out', picture, '--cfg-options', *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'The data are complete' in done.stdout and cv2.imread(str(picture)) is not None
    broken = [*command, 'train_dataloader.dataset.ann_file=no.json']
    done = subprocess.run(broken, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and 'no.json does not exist' in done.stdout
