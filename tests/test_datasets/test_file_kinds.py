"""Kinds of annotation files that tools, mergers and converters write: each is either read as the
clean file that means the same, by training and evaluation alike, or refused in one line."""
import copy
import json
import math
import os.path as osp

import numpy as np
import pycocotools.mask as cocomask
import pytest
from mmengine.evaluator import Evaluator
from mmpose.registry import METRICS

from kdc_mm.datasets import AnnotationError, BottomupGetPersonMasks, KDCCocoDataset
from kdc_mm.datasets.annotations import (
    clean_annotations,
    load_annotations,
    read_annotations,
)

NAMES = ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder',
         'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist', 'left_hip',
         'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle')
WIDTH, HEIGHT = 120, 90


def clean_file():
    """Three images with two persons each, one of them with a crowd region too, and one without."""
    rng = np.random.default_rng(0)
    annotations = []
    for image_id in (1, 2, 3):
        for x, y in ((5, 8), (65, 12)):
            angle = np.arange(12) * math.pi / 6
            outline = np.stack([x + 22 + 20 * np.cos(angle), y + 32 + 30 * np.sin(angle)], 1)
            polygon = outline.round(2).ravel().tolist()
            points = np.array([x, y]) + rng.uniform(8, [36, 56], (17, 2))
            visible = rng.choice([0, 1, 2, 2, 2], 17)
            keypoints = np.c_[points.round(1), visible] * (visible > 0)[:, None]
            rle = cocomask.merge(cocomask.frPyObjects([polygon], HEIGHT, WIDTH))
            annotations.append(dict(
                id=len(annotations) + 1, image_id=image_id, category_id=1, iscrowd=0,
                bbox=cocomask.toBbox(rle).tolist(), area=int(cocomask.area(rle)),
                segmentation=[polygon], keypoints=keypoints.ravel().tolist(),
                num_keypoints=int((visible > 0).sum())))
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    crowd[75:, :40] = 1
    annotations.append(dict(
        id=7, image_id=2, category_id=1, iscrowd=1, bbox=[0, 75, 40, 15], area=600,
        keypoints=[0] * 51, num_keypoints=0, segmentation=runs_of(crowd)))
    images = [dict(id=number, file_name=f'{number}.jpg', width=WIDTH, height=HEIGHT)
              for number in (1, 2, 3, 4)]
    return dict(images=images, annotations=annotations, categories=[
        dict(id=1, name='person', keypoints=list(NAMES), skeleton=[])])


def runs_of(mask):
    """Uncompressed RLE of a (h, w) mask."""
    pixels = np.r_[0, mask.ravel('F'), 1]
    changes = np.flatnonzero(np.diff(pixels))
    counts = np.diff(changes, prepend=0)[:len(changes)]
    return dict(size=list(mask.shape), counts=[*map(int, counts)] if mask.any() else [mask.size])


def mask_of(ann):
    segmentation = ann['segmentation']
    rles = cocomask.frPyObjects(segmentation, HEIGHT, WIDTH)
    return cocomask.merge(rles) if isinstance(segmentation, list) else rles


CLEAN = clean_file()


def each(change):
    """A mutation of every annotation, which is changed in place or replaced."""
    def mutate(content):
        content['annotations'] = [change(ann) or ann for ann in content['annotations']]
    return mutate


def set_all(**values):
    return each(lambda ann: ann.update(values))


def drop(*keys):
    return each(lambda ann: [ann.pop(key, None) for key in keys] and None)


def persons_only(change):
    return each(lambda ann: None if ann['iscrowd'] else change(ann))


def set_segmentation(make):
    return persons_only(lambda ann: ann.update(segmentation=make(ann['segmentation'][0], ann)))


def rename_ids(images=lambda key: key, annotations=lambda key: key, category=1):
    def mutate(content):
        for image in content['images']:
            image['id'] = images(image['id'])
        for ann in content['annotations']:
            ann.update(id=annotations(ann['id']), image_id=images(ann['image_id']),
                       category_id=category)
        content['categories'][0]['id'] = category
    return mutate


def category(**values):
    return lambda content: content['categories'][0].update(values)


def add_dog(content, **values):
    """A dog over the first person, with a mask."""
    dog = dict(copy.deepcopy(content['annotations'][0]), id=90, category_id=18, **values)
    if not values:
        del dog['keypoints'], dog['num_keypoints']
    content['annotations'].insert(1, dog)
    content['categories'].append(dict(id=18, name='dog'))


def remove(key):
    return lambda content: content.pop(key)


def shuffled_keypoints(content):
    order = np.random.default_rng(3).permutation(17)
    content['categories'][0]['keypoints'] = [NAMES[k].replace('_', ' ').title() for k in order]
    for ann in content['annotations']:
        ann['keypoints'] = np.reshape(ann['keypoints'], (17, 3))[order].ravel().tolist()


def as_superclass(content):
    """Roboflow's: the project is a category of its own, which nothing is annotated as."""
    content['categories'].insert(0, dict(id=0, name='people-Qg7R', supercategory='none'))


def add_undrawn(content):
    """COCO Annotator's: an annotation that was begun and not drawn."""
    content['annotations'].append(dict(
        id=50, image_id=1, category_id=1, segmentation=[], area=0, bbox=[0, 0, 0, 0],
        iscrowd=False, color='#037fc6', metadata={}))


def repeat_rows(content):
    content['images'] += copy.deepcopy(content['images'][:2])
    content['annotations'] += copy.deepcopy(content['annotations'][:2])


def without_numbers(ann):
    ann['keypoints'] = [None if value == 0 and k % 3 < 2 else value
                        for k, value in enumerate(ann['keypoints'])]


def not_a_number(ann):
    table = np.reshape(ann['keypoints'], (17, 3)).astype(float)
    table[table[:, 2] == 0, :2] = np.nan
    ann['keypoints'] = table.ravel().tolist()


def unlabelled(ann):
    """-1 for not labelled, as some converters have it."""
    ann['keypoints'] = [-1 if ann['keypoints'][k // 3 * 3 + 2] == 0 else value
                        for k, value in enumerate(ann['keypoints'])]


def compressed(polygon, ann):
    rle = mask_of(ann)
    return dict(rle, counts=rle['counts'].decode())


def uncompressed(polygon, ann):
    return runs_of(cocomask.decode(mask_of(ann)))


def points_of(polygon):
    return [polygon[k:k + 2] for k in range(0, len(polygon), 2)]


#: Files that mean the same as the clean one.
SAME = {
    'untouched': lambda content: None,
    'category id 9': rename_ids(category=9),
    'category id 0': rename_ids(category=0),
    'category id as string': rename_ids(category='1'),
    'category human': category(name='human'),
    'category Person, id 3': lambda content: (rename_ids(category=3)(content),
                                              category(name='Person')(content)),
    'no categories': remove('categories'),
    'categories null': lambda content: content.update(categories=None),
    'no category of annotations': drop('category_id'),
    'category null (VIA with names for ids)': set_all(category_id=None),
    'category not listed': set_all(category_id=0),
    'a superclass (Roboflow)': as_superclass,
    'a dog with a mask': add_dog,
    'a chair category without annotations': lambda content: content['categories'].append(
        dict(id=62, name='chair')),
    'annotation ids from 0': rename_ids(annotations=lambda key: key - 1),
    'annotation ids all 0': rename_ids(annotations=lambda key: 0),
    'annotation ids missing': drop('id'),
    'annotation ids null': set_all(id=None),
    'annotation ids that repeat': rename_ids(annotations=lambda key: 1 + key % 3),
    'annotation ids as strings': rename_ids(annotations=str),
    'annotation ids as floats': rename_ids(annotations=float),
    'annotation ids of 400 digits': rename_ids(annotations=lambda key: key * 10**400),
    'image ids of 400 digits': rename_ids(images=lambda key: key * 10**400),
    'areas of 400 digits': set_all(area=10**400),
    'areas larger than the image': set_all(area=10 * WIDTH * HEIGHT),
    'num_keypoints all 0': set_all(num_keypoints=0),
    'num_keypoints of 400 digits': set_all(num_keypoints=10**400),
    'annotation ids as words': rename_ids(annotations=lambda key: f'a7{key}f'),
    'image ids from 0': rename_ids(images=lambda key: key - 1),
    'image ids as strings': rename_ids(images=lambda key: f'{key:012d}'),
    'image ids as floats': rename_ids(images=float),
    'image ids as words': rename_ids(images=lambda key: f'img_{key}'),
    'image ids as strings in images only': lambda content: [
        image.update(id=str(image['id'])) for image in content['images']],
    'image ids beyond 32 bits': rename_ids(images=lambda key: key + 2**40),
    'image sizes as strings': lambda content: [
        image.update(width=str(WIDTH), height=f'{HEIGHT}.0') for image in content['images']],
    'rows listed twice': repeat_rows,
    'annotations of other images': lambda content: content['annotations'].append(
        dict(content['annotations'][0], id=99, image_id=77)),
    'an undrawn annotation (COCO Annotator)': add_undrawn,
    'annotations that are no objects': lambda content: content['annotations'].append(None),
    'iscrowd missing': persons_only(lambda ann: ann.pop('iscrowd') and None),
    'iscrowd null': persons_only(lambda ann: ann.update(iscrowd=None)),
    'iscrowd bool (COCO Annotator)': each(lambda ann: ann.update(iscrowd=bool(ann['iscrowd']))),
    'iscrowd as string': each(lambda ann: ann.update(iscrowd=str(ann['iscrowd']))),
    'area missing': drop('area'),
    'area null': set_all(area=None),
    'area 0': set_all(area=0),
    'area as string': each(lambda ann: ann.update(area=str(ann['area']))),
    'num_keypoints missing': drop('num_keypoints'),
    'num_keypoints null': set_all(num_keypoints=None),
    'keypoints null where nobody is labelled': each(
        lambda ann: ann.update(keypoints=None) if ann['iscrowd'] else None),
    'keypoints [] where nobody is labelled': each(
        lambda ann: ann.update(keypoints=[]) if ann['iscrowd'] else None),
    'keypoints missing where nobody is labelled': each(
        lambda ann: ann['iscrowd'] and ann.pop('keypoints') and None),
    'unlabelled keypoints null': each(without_numbers),
    'unlabelled keypoints NaN': each(not_a_number),
    'unlabelled keypoints -1': each(unlabelled),
    'keypoints as strings': each(
        lambda ann: ann.update(keypoints=[str(value) for value in ann['keypoints']])),
    'keypoints as triples': each(lambda ann: ann.update(
        keypoints=np.reshape(ann['keypoints'], (17, 3)).tolist())),
    'keypoints in another order': shuffled_keypoints,
    'box missing': drop('bbox'),
    'box null': set_all(bbox=None),
    'box []': set_all(bbox=[]),
    'box of zeros': set_all(bbox=[0, 0, 0, 0]),
    'box with NaN': set_all(bbox=[math.nan, 0, 5, 5]),
    'box outside': set_all(bbox=[500, 500, 20, 20]),
    'box as strings': each(lambda ann: ann.update(bbox=[str(value) for value in ann['bbox']])),
    'box nested': each(lambda ann: ann.update(bbox=[ann['bbox']])),
    'box drawn from the lower right corner': each(lambda ann: ann.update(
        bbox=[ann['bbox'][0] + ann['bbox'][2], ann['bbox'][1] + ann['bbox'][3],
              -ann['bbox'][2], -ann['bbox'][3]])),
    'polygon flat (VIA)': set_segmentation(lambda polygon, ann: polygon),
    'polygon of points (labelme)': set_segmentation(lambda polygon, ann: points_of(polygon)),
    'polygons of points': set_segmentation(lambda polygon, ann: [points_of(polygon)]),
    'contours of OpenCV': set_segmentation(
        lambda polygon, ann: [[[point] for point in points_of(polygon)]]),
    'polygon of x and y': set_segmentation(
        lambda polygon, ann: [dict(x=x, y=y) for x, y in points_of(polygon)]),
    'polygon as string': set_segmentation(lambda polygon, ann: json.dumps([polygon])),
    'polygon numbers as strings': set_segmentation(
        lambda polygon, ann: [[str(value) for value in polygon]]),
    'a polygon of two points more': set_segmentation(
        lambda polygon, ann: [[1, 1, 5, 5], polygon, [3, 3], [], [7]]),
    'a polygon without area more': set_segmentation(
        lambda polygon, ann: [[1, 1, 9, 9, 5, 5], [math.nan] * 6, polygon]),
    'RLE compressed': set_segmentation(compressed),
    'RLE uncompressed': set_segmentation(uncompressed),
    'RLE as the text of bytes': set_segmentation(
        lambda polygon, ann: dict(size=[HEIGHT, WIDTH], counts=str(mask_of(ann)['counts']))),
    'RLE without size': set_segmentation(
        lambda polygon, ann: dict(counts=uncompressed(polygon, ann)['counts'])),
    'RLE in a list': set_segmentation(lambda polygon, ann: [uncompressed(polygon, ann)]),
}

#: Files whose persons lack masks: poses are the same, masks are not missed.
NO_MASK = {
    'segmentation missing': None,
    'segmentation null': lambda polygon: None,
    'segmentation []': lambda polygon: [],
    'segmentation [[]]': lambda polygon: [[]],
    'segmentation {}': lambda polygon: {},
    'segmentation empty string': lambda polygon: '',
    'segmentation false': lambda polygon: False,
    'a polygon of two points': lambda polygon: [polygon[:4]],
    'a polygon of one point (RectLabel)': lambda polygon: [polygon[:2]],
    'a polygon on a line': lambda polygon: [[1, 1, 9, 9, 5, 5]],
    'an odd polygon': lambda polygon: [polygon[:7]],
    'a polygon with null': lambda polygon: [[None, *polygon[1:]]],
    'a polygon outside': lambda polygon: [[value + 900 for value in polygon]],
    'RLE of nothing': lambda polygon: dict(size=[HEIGHT, WIDTH], counts=[HEIGHT * WIDTH]),
    'RLE that is too long': lambda polygon: dict(
        size=[HEIGHT, WIDTH], counts=[10, 20, HEIGHT * WIDTH]),
    'RLE that is cut': lambda polygon: dict(size=[HEIGHT, WIDTH], counts=[10, 20, 30]),
    'RLE of negative runs': lambda polygon: dict(
        size=[HEIGHT, WIDTH], counts=[-10, 20, HEIGHT * WIDTH - 10]),
    'RLE of another alphabet': lambda polygon: dict(size=[HEIGHT, WIDTH], counts='\u00e9$!'),
    'RLE without counts': lambda polygon: dict(size=[HEIGHT, WIDTH]),
    'text': lambda polygon: 'POLYGON((1 1, 9 9))',
}


def turned(content):
    for ann in content['annotations']:
        if isinstance(ann['segmentation'], dict):
            ann['segmentation']['size'].reverse()


def several_with_keypoints(content):
    content['annotations'][0]['category_id'] = 2
    content['categories'].append(dict(id=2, name='cyclist'))


def dogs_only(content):
    content['categories'] = [dict(id=18, name='dog'), dict(id=62, name='chair')]
    for ann in content['annotations']:
        del ann['keypoints'], ann['num_keypoints']
        ann['category_id'] = 18


def merged_without_new_ids(content):
    other = copy.deepcopy(content)
    for image in other['images']:
        image['file_name'] = f'b{image["file_name"]}'
    content['images'] += other['images']
    content['annotations'] += other['annotations']


def one_category_per_keypoint(content):
    """RectLabel's: each keypoint is an annotation of a category of its own."""
    content['categories'] = [dict(id=k + 1, name=name) for k, name in enumerate(NAMES)]
    content['annotations'] = [
        dict(id=k + 1, image_id=1, category_id=k + 1, segmentation=[[9, 9]], bbox=[9, 9, 1, 1],
             area=0, iscrowd=0) for k in range(17)]


#: Files that are refused, and what the line says of file, image and annotation.
REFUSED = {
    'several categories with keypoints': (
        several_with_keypoints, "keypoints in several categories: 'cyclist', 'person'.*classes="),
    'a dog with keypoints': (
        lambda content: add_dog(content, score=1), "several categories: 'dog', 'person'"),
    'no category of persons': (dogs_only, "no category of persons.*'dog', 'chair'"),
    'a category per keypoint (RectLabel)': (
        one_category_per_keypoint, "no category of persons.*'nose'"),
    'merged files that share image ids': (
        merged_without_new_ids, r'two images each.*\(4\): image 1, 1.jpg and b1.jpg'),
    'RLE of a turned size': (turned, '90x120 pixels.* 120x90.*: annotation 7 of image 2'),
    'keypoints of another number': (
        lambda content: content['annotations'][2].update(keypoints=[0] * 42),
        r'14 keypoints.* 17 \(1\): annotation 3 of image 2'),
    'keypoints without visibility': (
        lambda content: content['annotations'][0].update(keypoints=[1.] * 34),
        r'11.3333 keypoints.*: annotation 1 of image 1'),
    'keypoints as words': (
        lambda content: content['annotations'][0].update(keypoints=['x'] * 51),
        'no list of numbers.*: annotation 1 of image 1'),
    'keypoints of a foot as a ragged list': (
        lambda content: content['annotations'][1].update(foot_kpts=[[1, 2, 2], [3]]),
        'no list of numbers.*: annotation 2 of image 1'),
    'keypoints of another skeleton': (
        lambda content: content['categories'][0].update(
            keypoints=['head', *reversed(NAMES[1:])]), 'another order than the data set'),
    'images without size': (
        lambda content: content['images'][1].pop('width'), r'no width.*: image 2, 2.jpg'),
    'images of size 0 (VIA)': (
        lambda content: content['images'][1].update(width=0), r'no width and height.*: image 2'),
    'images without name': (lambda content: content['images'][0].pop('file_name'), 'file name'),
    'images without id': (lambda content: content['images'][0].pop('id'), 'lack an id'),
    'no images': (lambda content: content.update(images=[]), 'lists no images'),
    'annotations by name': (lambda content: content.update(annotations={}), 'list of annotations'),
}


@pytest.fixture
def write(tmp_path):
    """Write content as an annotation file; returns its path."""
    def write(content, name='odd.json', **options):
        path = tmp_path / name
        path.write_text(json.dumps(content, **options))
        return str(path)
    return write


def mutated(mutation):
    content = copy.deepcopy(CLEAN)
    mutation(content)
    return content


def rows_by_name(ann_file, **settings):
    """What training gets of each image, by the image's name: keypoints, boxes, areas, masks."""
    dataset = KDCCocoDataset(ann_file=ann_file, serialize_data=False, **settings)
    rows = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        info['ori_shape'] = info['ann_img_shape']
        drawn = BottomupGetPersonMasks()(info)
        rows[osp.basename(info['img_path'])] = dict(
            table=drawn['keypoint_table'], box=info['bbox'], area=info['area'],
            owner=drawn.get('mask_owner'), ignore=drawn['heatmap_ignore'],
            crowd=np.array(info['iscrowd']))
    return rows


def planted(dataset, seed=0):
    """Predictions with errors for each image of a data set in test mode, by the images' names."""
    rng = np.random.default_rng(seed)
    found = {}
    for image in CLEAN['images']:
        anns = [ann for ann in CLEAN['annotations']
                if ann['image_id'] == image['id'] and not ann['iscrowd']]
        points = np.array([ann['keypoints'] for ann in anns]).reshape(-1, 17, 3)[..., :2]
        masks = [np.roll(cocomask.decode(mask_of(ann)), rng.integers(-4, 5, 2), (0, 1))
                 for ann in anns]
        found[image['file_name']] = dict(
            keypoints=points + rng.normal(0, 1.5, points.shape),
            keypoint_scores=np.ones(points.shape[:2]),
            bboxes=np.zeros((len(anns), 4)), labels=np.zeros(len(anns), int),
            scores=rng.random(len(anns)), bbox_scores=rng.random(len(anns)),
            masks=[cocomask.encode(np.asfortranarray(mask)) for mask in masks])
    samples = []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        samples.append(dict(
            id=[], img_id=info['img_id'], img_path=info['img_path'], gt_instances={},
            ori_shape=(HEIGHT, WIDTH), pred_instances=found[osp.basename(info['img_path'])]))
    return samples


def scores(ann_file, **settings):
    """AP of planted predictions as a validation would log it, all figures."""
    dataset = KDCCocoDataset(
        ann_file=ann_file, test_mode=True, serialize_data=False, **settings)
    evaluator = Evaluator([
        METRICS.build(dict(type='PersonPoseMetric', ann_file=ann_file, nms_mode='none',
                           score_mode='bbox')),
        METRICS.build(dict(type='PersonSegMetric', ann_file=ann_file, metric=['segm', 'bbox']))])
    evaluator.dataset_meta = dataset.metainfo
    samples = planted(dataset)
    for sample in samples:
        for metric in evaluator.metrics:
            metric.process({}, [sample])
    return evaluator.evaluate(len(samples))


@pytest.fixture(scope='module')
def right(tmp_path_factory):
    """Rows and scores of the clean file."""
    path = tmp_path_factory.mktemp('clean') / 'clean.json'
    path.write_text(json.dumps(CLEAN))
    found = scores(str(path))
    assert 0.2 < found['coco/AP'] < 0.9 and 0.2 < found['coco/segm_mAP'] < 0.9
    return rows_by_name(str(path)), found


def assert_same_rows(found, wanted, keys):
    assert found.keys() == wanted.keys()
    for name, row in wanted.items():
        for key in keys:
            np.testing.assert_allclose(
                np.float64(found[name][key]), np.float64(row[key]), atol=1e-3, err_msg=key)


@pytest.mark.parametrize('kind', SAME)
def test_a_file_that_means_the_same_trains_and_scores_the_same(kind, write, right):
    ann_file = write(mutated(SAME[kind]))
    rows, wanted = right
    assert_same_rows(rows_by_name(ann_file), rows, rows['1.jpg'])
    assert scores(ann_file) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize('kind', SAME)
def test_what_was_read_is_in_cocos_form_and_reads_as_itself(kind, write):
    metainfo = KDCCocoDataset(lazy_init=True).metainfo
    reading = read_annotations(write(mutated(SAME[kind])), metainfo)
    assert bool(reading.changes) == (kind not in (
        'untouched', 'a superclass (Roboflow)', 'a chair category without annotations',
        'image ids from 0', 'image ids beyond 32 bits', 'RLE compressed', 'RLE uncompressed',
        'iscrowd bool (COCO Annotator)', 'num_keypoints missing', 'num_keypoints null',
        'num_keypoints of 400 digits'))
    again = read_annotations(write(reading.content, 'again.json'), metainfo)
    assert again.content == reading.content and not again.changes


@pytest.mark.parametrize('kind', NO_MASK)
def test_persons_whose_mask_cannot_be_drawn_are_ignored_as_masks_only(kind, write, right):
    """The second person of the first image has no mask; the others are learnt and evaluated."""
    def mutate(content):
        ann = content['annotations'][1]
        polygon = ann.pop('segmentation')[0]
        if NO_MASK[kind] is not None:
            ann['segmentation'] = NO_MASK[kind](polygon)

    ann_file = write(mutated(mutate))
    rows, wanted = right
    found = rows_by_name(ann_file)
    assert_same_rows(found, rows, ['table', 'box', 'area'])
    x, y, w, h = CLEAN['annotations'][1]['bbox']
    box = np.s_[math.ceil(y):int(y + h), math.ceil(x):int(x + w)]
    assert (found['1.jpg']['owner'][box] == 255).all()
    assert (found['1.jpg']['owner'] == 1).sum() == (rows['1.jpg']['owner'] == 1).sum()
    logged = scores(ann_file)
    poses = {name: value for name, value in wanted.items() if 'segm' not in name}
    assert {name: logged[name] for name in poses} == pytest.approx(poses, abs=1e-9)
    without = mutated(lambda content: content['annotations'][1].update(
        iscrowd=1, segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
    assert logged['coco/segm_mAP'] == pytest.approx(scores(write(without))['coco/segm_mAP'])


@pytest.mark.parametrize('kind', REFUSED)
def test_a_file_that_could_mean_two_things_is_refused_in_one_line(kind, write):
    mutation, words = REFUSED[kind]
    ann_file = write(mutated(mutation))
    for settings in (dict(), dict(test_mode=True)):
        with pytest.raises(AnnotationError, match=words) as info:
            KDCCocoDataset(ann_file=ann_file, serialize_data=False, **settings)
        assert '\n' not in str(info.value) and str(info.value).startswith(ann_file)
    metainfo = KDCCocoDataset(lazy_init=True).metainfo
    for name in ('PersonPoseMetric', 'PersonSegMetric'):
        with pytest.raises(AnnotationError):
            METRICS.build(dict(type=name, ann_file=ann_file)).dataset_meta = metainfo


# Encodings


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32'])
def test_any_unicode_encoding_is_read(encoding, tmp_path):
    content = dict(CLEAN, info='Größe 図')
    path = tmp_path / 'odd.json'
    path.write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    assert load_annotations(str(path)) == content
    assert scores(str(path))['coco/AP'] > 0.2


@pytest.mark.parametrize('text, words', [
    ('Größe'.encode('latin-1').join([b'{"images": [{"id": 1}], "info": "', b'"}']),
     'not encoded as UTF-8'),
    (b'', 'no JSON file'),
    (b'[' * 100000, 'no JSON file'),
    (b'{"images": [1, 2,', 'no JSON file'),
    (b'[]', 'lists no images'),
    (b'{"images": {"1": {}}}', 'lists no images'),
])
def test_what_is_no_annotation_file_is_refused_in_one_line(text, words, tmp_path):
    path = tmp_path / 'odd.json'
    path.write_bytes(text)
    with pytest.raises(AnnotationError, match=words) as info:
        load_annotations(str(path))
    assert '\n' not in str(info.value)


# Whatever else a file may hold

ODD = [None, True, False, 0, -1, 1.5, 1e9, -1e9, 1e300, math.nan, math.inf, -math.inf, 10**30,
       10**400, '', 'x', '1', 'nan', [], [[]], [None], {}, dict(a=1), [1, 2],
       [[1, 2], [3, 4], [5, 6]], [{}], '[1,2', '[[1,1,5,1,5,5]]', dict(counts=[5], size=[1, 5]),
       dict(counts='abc', size=['a', 2]), dict(counts=None), dict(counts={}, size={}),
       dict(counts=[math.inf], size=[math.inf, 1]), [[1e9, 0, 2e9, 1, 1e9, 1e9]], [1] * 51]


def places(node, at=()):
    """The paths to all parts of a file, the first 60 of each list."""
    if at:
        yield at
    parts = node.items() if isinstance(node, dict) else enumerate(node[:60]) \
        if isinstance(node, list) else ()
    for key, part in parts:
        yield from places(part, (*at, key))


def with_odd_parts(seed):
    rng = np.random.default_rng(seed)
    content = copy.deepcopy(CLEAN)
    for _ in range(rng.integers(1, 4)):
        found = list(places(content))
        depth = rng.choice([1, 2, 3, 3, 3, 4, 4, 5])
        *way, last = found[rng.choice([k for k, path in enumerate(found) if len(path) == depth]
                                      or len(found))]
        node = content
        for key in way:
            node = node[key]
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[last]
        else:
            node[last] = copy.deepcopy(ODD[rng.integers(len(ODD))])
    return content


def test_a_file_with_odd_parts_is_read_for_good_or_refused_in_one_line(write):
    metainfo = KDCCocoDataset(lazy_init=True).metainfo
    outcomes = []
    for seed in range(500):
        ann_file = write(with_odd_parts(seed))
        try:
            reading = read_annotations(ann_file, metainfo)
        except AnnotationError as error:
            assert '\n' not in str(error) and str(error).startswith(ann_file)
            outcomes.append('refused')
            continue
        again = read_annotations(write(reading.content, 'again.json'), metainfo)
        assert not again.changes
        outcomes.append('read')
    assert min(map(outcomes.count, ('read', 'refused'))) > 100


# What the user says


@pytest.mark.parametrize('keypoints', [[1, 2], [[1, 2], [3]], 'text', None])
def test_a_reader_without_keypoints_of_its_own_leaves_out_who_has_nothing_else(keypoints):
    content = clean_file()
    for key in ('bbox', 'segmentation'):
        del content['annotations'][0][key]
    content['annotations'][0]['keypoints'] = keypoints
    read = clean_annotations(content, 'persons.json', {})
    assert [ann['id'] for ann in read.content['annotations']] == [2, 3, 4, 5, 6, 7]
    assert read.changes['annotations have no box, mask or keypoint in the image, left out'] == [
        'annotation 1 of image 1']


def test_the_users_classes_say_which_categories_are_persons(write, right):
    def two(content):
        several_with_keypoints(content)
        add_dog(content)

    ann_file = write(mutated(two))
    settings = dict(metainfo=dict(classes=('Person', 'cyclist')))
    rows, wanted = right
    assert_same_rows(rows_by_name(ann_file, **settings), rows, rows['1.jpg'])
    assert scores(ann_file, **settings) == pytest.approx(wanted)
    only = rows_by_name(ann_file, metainfo=dict(classes=('person', )))
    assert len(only['1.jpg']['table']) == 1
    with pytest.raises(AnnotationError, match="no category 'rider'.*'person', 'cyclist', 'dog'"):
        KDCCocoDataset(ann_file=ann_file, metainfo=dict(classes='rider'))


def test_a_data_set_can_have_another_name_than_its_class():
    dataset = KDCCocoDataset(lazy_init=True, metainfo=dict(dataset_name='mine'))
    assert dataset.metainfo['dataset_name'] == 'mine'
    assert dataset.metainfo['num_keypoints'] == 17


# What cannot be trained or evaluated on


def test_a_file_without_persons_is_refused_for_training_and_evaluation(write):
    for annotations in ([], None):
        ann_file = write(dict(CLEAN, annotations=annotations))
        with pytest.raises(AnnotationError, match='no person to train on'):
            KDCCocoDataset(ann_file=ann_file)
        for name in ('PersonPoseMetric', 'PersonSegMetric'):
            with pytest.raises(AnnotationError, match='no annotations of persons'):
                METRICS.build(dict(type=name, ann_file=ann_file))


def test_poses_are_not_evaluated_where_no_keypoint_is_labelled(write):
    ann_file = write(mutated(set_all(keypoints=[0] * 51)))
    with pytest.raises(AnnotationError, match='labelled keypoint.*PersonPoseMetric out of'):
        METRICS.build(dict(type='PersonPoseMetric', ann_file=ann_file))


# Part of the images


def test_a_validation_with_indices_scores_these_images_only(write, right):
    ann_file = write(CLEAN)
    cut = mutated(lambda content: content.update(
        images=content['images'][:2],
        annotations=[ann for ann in content['annotations'] if ann['image_id'] < 3]))
    assert scores(ann_file, indices=2) == pytest.approx(scores(write(cut, 'cut.json')))
    assert scores(ann_file, indices=2) != pytest.approx(right[1])


def test_predictions_on_images_that_the_file_does_not_list_are_refused(write):
    metric = METRICS.build(dict(type='PersonPoseMetric', ann_file=write(CLEAN)))
    dataset = KDCCocoDataset(
        ann_file=write(CLEAN), test_mode=True, serialize_data=False)
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [dict(sample, img_id=f'img_{sample["img_id"]}')
                        for sample in planted(dataset)])
    with pytest.raises(AnnotationError, match='no image with the id img_1'):
        metric.evaluate(4)
