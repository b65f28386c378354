"""The same people as the export of each annotation tool writes them.

Each function takes a file in COCO's layout, by :func:`outlined`, and gives an :class:`Export`.
"""
import copy
import json
from pathlib import Path
from typing import NamedTuple

import cv2
import mmpose
import numpy as np
import pycocotools.mask as cocomask

from tests.conftest import load_module

#: Keypoints that the persons who have less than all of them lack: the ankles.
LACKING = (15, 16)


class Export(NamedTuple):
    """``content`` as the tool writes it, and what it ``means``: the clean file of what the tool
    keeps of the people. ``classes`` name the persons' category where nothing else does."""
    content: dict
    means: dict
    classes: tuple = None


def outlined(content):
    """People with polygons for masks and keypoints on whole pixels, and those to the right without
    ankles."""
    annotations = []
    for ann in content['annotations']:
        mask = cocomask.decode(ann['segmentation'])
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        ann = dict(ann, segmentation=[one.ravel().tolist() for one in outlines if len(one) > 4])
        table = np.reshape(ann['keypoints'], (-1, 3)).round().astype(int)
        if not ann['segmentation'] or not table[:, 2].all():
            continue
        rle = cocomask.merge(cocomask.frPyObjects(ann['segmentation'], *mask.shape))
        x, y, w, h = cocomask.toBbox(rle).tolist()
        if x > w / 3 and y > h / 9:
            table[LACKING, :] = 0
        ann.update(bbox=[x, y, w, h], area=int(cocomask.area(rle)),
                   keypoints=table.ravel().tolist(), num_keypoints=int((table[:, 2] > 0).sum()))
        annotations.append(ann)
    return dict(content, annotations=annotations)


def renamed(people, name):
    """A copy whose image files have other names, by a pattern."""
    people = copy.deepcopy(people)
    for image in people['images']:
        image['file_name'] = name.format(Path(image['file_name']).stem)
    return people


def each(people, change):
    """A copy with each person as the change says, which is given the person and a copy of it."""
    return dict(people, annotations=[
        dict(change(ann, copy.deepcopy(ann))) for ann in people['annotations']])


def labelled_points(ann):
    table = np.reshape(ann['keypoints'], (-1, 3))
    return table[table[:, 2] > 0, :2]


def box_of_points(ann, pixel=0):
    """x, y, width and height around the labelled keypoints."""
    points = labelled_points(ann)
    return [*points.min(0).tolist(), *(np.ptp(points, axis=0) + pixel).tolist()]


def without_mask(ann, box, area=None):
    """The person as a tool without masks keeps it."""
    ann = dict(ann, bbox=box, area=area)
    del ann['segmentation']
    return ann


def cvat(people):
    """COCO Keypoints 1.0, by Datumaro: boxes around the keypoints, which stand in the order of the
    skeleton's drawing; a point outside keeps its place."""
    people = renamed(people, 'frame_{}.jpg')
    [category] = people['categories']
    order = np.arange(17)[::-1]

    def write(ann, _):
        box = box_of_points(ann)
        table = np.reshape(ann['keypoints'], (-1, 3)).astype(float)
        table[table[:, 2] == 0] = (11.5, 12.25, 0)
        points = [number for x, y, seen in table[order].tolist() for number in (x, y, int(seen))]
        return dict(
            id=ann['id'], image_id=ann['image_id'], category_id=1, segmentation=[],
            area=float(box[2] * box[3]), bbox=[round(float(side), 2) for side in box], iscrowd=0,
            attributes=dict(occluded=False, keyframe=True), keypoints=points,
            num_keypoints=ann['num_keypoints'])

    content = dict(
        licenses=[dict(name='', id=0, url='')],
        info=dict(contributor='', date_created='', description='', url='', version='', year=''),
        categories=[
            dict(id=1, name='person', supercategory='', skeleton=[[1, 2], [2, 3]],
                 keypoints=[category['keypoints'][k] for k in order]),
            dict(id=2, name='outline', supercategory='', keypoints=[], skeleton=[])],
        images=[dict(image, license=0, flickr_url='', coco_url='', date_captured=0)
                for image in people['images']],
        annotations=each(people, write)['annotations'])

    def keep(ann, _):
        box = box_of_points(ann)
        return without_mask(ann, box, box[2] * box[3])

    return Export(content, each(people, keep))


def roboflow(people):
    """Its project is a category of its own; ids count from 0, files are named by their content."""
    people = renamed(people, '{}_jpg.rf.0f3c9a.jpg')

    def write(ann, _):
        x, y, w, h = ann['bbox']
        return dict(id=ann['id'] - 1, image_id=ann['image_id'] - 1, category_id=1,
                    bbox=[x, y, w, h], area=w * h, segmentation=[], iscrowd=0,
                    keypoints=ann['keypoints'])

    names = people['categories'][0]['keypoints']
    content = dict(
        info=dict(year='2024', version='1', description='Exported from roboflow.com',
                  contributor='', url='', date_created='2024-04-03T14:35:24+00:00'),
        licenses=[dict(id=1, url='', name='CC BY 4.0')],
        categories=[
            dict(id=0, name='people', supercategory='none'),
            dict(id=1, name='person', supercategory='people', keypoints=names,
                 skeleton=[[1, 2], [2, 3]])],
        images=[dict(id=image['id'] - 1, license=1, file_name=image['file_name'],
                     height=image['height'], width=image['width'],
                     date_captured='2024-04-03T14:35:24+00:00', extra=dict(name='photo.jpg'))
                for image in people['images']],
        annotations=each(people, write)['annotations'])
    return Export(content, each(people, lambda ann, _: without_mask(
        ann, ann['bbox'], ann['bbox'][2] * ann['bbox'][3])))


def supervisely(people):
    """Export COCO Keypoints: all that is labelled is seen; areas reach from a lacking keypoint's
    place, the corner of the image."""
    people = renamed(people, 'IMG {}.jpg')

    def seen(ann):
        return [min(2, 2 * value) if k % 3 == 2 else value
                for k, value in enumerate(ann['keypoints'])]

    def write(ann, _):
        table = np.reshape(ann['keypoints'], (-1, 3))[:, :2]
        return dict(
            segmentation=[], area=int(np.prod(np.ptp(table, axis=0))), iscrowd=0,
            image_id=ann['image_id'] + 20934000, category_id=1, id=ann['id'],
            bbox=[float(side) for side in box_of_points(ann, pixel=1)], keypoints=seen(ann),
            num_keypoints=17)

    [category] = people['categories']
    content = dict(
        info=dict(description='', url='None', version='1.0', year=2024, contributor='me',
                  date_created='2024-05-14T08:41:24.591Z'),
        licenses=[dict(url='None', id=0, name='None')],
        images=[dict(image, id=image['id'] + 20934000, license='None', url='None',
                     date_captured='2024-05-14T08:41:24.591Z') for image in people['images']],
        annotations=each(people, write)['annotations'],
        categories=[dict(supercategory='person', id=1, name='person', skeleton=[[1, 2], [2, 3]],
                         keypoints=category['keypoints'])])

    def keep(ann, _):
        tight = box_of_points(ann)
        area = tight[2] * tight[3] if ann['num_keypoints'] == 17 else None
        return dict(without_mask(ann, box_of_points(ann, pixel=1), area), keypoints=seen(ann))

    return Export(content, each(people, keep))


def coco_annotator(people):
    """Rows of its database. Of each image the last person has keypoints alone, the first one was
    drawn as a box."""
    people = renamed(people, '{}.jpg')
    kinds = {}
    for ann in people['annotations']:
        of_image = kinds.setdefault(ann['image_id'], [])
        of_image.append(ann['id'])

    def write(ann, _):
        x, y, w, h = ann['bbox']
        ids = kinds[ann['image_id']]
        row = dict(
            id=ann['id'], image_id=ann['image_id'], category_id=5, width=128, height=128,
            area=ann['area'], segmentation=ann['segmentation'], bbox=ann['bbox'],
            metadata={}, iscrowd=False, isbbox=False, creator='me', color='#037fc6',
            keypoints=ann['keypoints'], num_keypoints=ann['num_keypoints'])
        if ann['id'] == ids[0]:
            corners = [x + w, y, x + w, y + h, x, y + h, x, y]
            row.update(isbbox=True, segmentation=[corners], area=int(w * h))
        elif ann['id'] == ids[-1]:
            row.update(segmentation=[], area=0, bbox=[0, 0, 0, 0])
        return row

    content = dict(
        images=[dict(image, dataset_id=2, category_ids=[], annotated=False, annotating=[],
                     num_annotations=len(kinds.get(image['id'], [])), metadata={}, deleted=False,
                     milliseconds=0, events=[], regenerate_thumbnail=False, is_modified=False,
                     path=f'/datasets/mine/{image["file_name"]}') for image in people['images']],
        categories=[dict(
            id=5, name='human', supercategory='', color='#4287f5', metadata={}, creator='me',
            keypoint_colors=['#bf5c4d'] * 17, keypoints=people['categories'][0]['keypoints'],
            skeleton=[[1, 2], [2, 3]])],
        annotations=each(people, write)['annotations'])

    def keep(ann, _):
        ids = kinds[ann['image_id']]
        if ann['id'] == ids[0]:
            return without_mask(ann, ann['bbox'], int(ann['bbox'][2] * ann['bbox'][3]))
        return without_mask(ann, None) if ann['id'] == ids[-1] else ann

    return Export(content, each(people, keep))


def labelme2coco(people):
    """Outlines alone: points are not taken over."""
    people = renamed(people, '{}.jpg')
    content = dict(
        images=people['images'],
        categories=[dict(id=0, name='person', supercategory='person')],
        annotations=each(people, lambda ann, _: dict(
            iscrowd=0, image_id=ann['image_id'], bbox=ann['bbox'],
            segmentation=ann['segmentation'], category_id=0, id=ann['id'],
            area=ann['area']))['annotations'])
    return Export(content, each(people, lambda ann, _: dict(
        ann, keypoints=[0] * 51, num_keypoints=0)))


def label_studio(people, person='person'):
    """COCO: ids count from 0, paths are Windows'; box and outline of a person are two rows, and the
    keypoints of an image, of whomever, a third one of a category of their own."""
    people = renamed(people, 'a1b2c3d4-{}.jpg')
    rows = []
    for image in people['images']:
        keypoints = [0] * 51
        for ann in people['annotations']:
            if ann['image_id'] != image['id']:
                continue
            row = dict(image_id=image['id'] - 1, category_id=0, segmentation=[], bbox=ann['bbox'],
                       ignore=0, iscrowd=0, area=ann['bbox'][2] * ann['bbox'][3])
            rows += [row, dict(row, segmentation=ann['segmentation'], area=float(ann['area']))]
            keypoints = [new or old for new, old in zip(ann['keypoints'], keypoints)]
        table = dict(keypoints=keypoints)
        rows.append(dict(image_id=image['id'] - 1, category_id=1, keypoints=keypoints,
                         num_keypoints=int(np.count_nonzero(keypoints[2::3])),
                         bbox=box_of_points(table), iscrowd=0))
    content = dict(
        images=[dict(width=image['width'], height=image['height'], id=image['id'] - 1,
                     file_name=f'images\\{image["file_name"]}') for image in people['images']],
        categories=[dict(id=0, name=person),
                    dict(id=1, name='default', supercategory='default', skeleton=[],
                         keypoints=people['categories'][0]['keypoints'])],
        annotations=[dict(row, id=number) for number, row in enumerate(rows)],
        info=dict(year=2025, version='1.0', description='', contributor='Label Studio', url='',
                  date_created='2025-07-01 10:11:12.131415'))
    return Export(content, each(people, lambda ann, _: without_mask(ann, box_of_points(ann))),
                  ('default', ))


def label_studio_by_mmpose(people, folder):
    """Label Studio's JSON through MMPose's own labelstudio2coco.py."""
    people = renamed(people, 'a1b2c3d4-{}.jpg')
    tasks = []
    for image in people['images']:
        width, height = image['width'], image['height']
        result = []

        def add(kind, **value):
            result.append(dict(
                type=kind, original_width=width, original_height=height,
                value={**value, kind: ['person']}))

        for ann in people['annotations']:
            if ann['image_id'] != image['id']:
                continue
            for x, y, _ in np.reshape(ann['keypoints'], (-1, 3)).tolist():
                add('keypointlabels', x=100 * x / width, y=100 * y / height, width=0.5)
            add('polygonlabels', points=[
                [100 * x / width, 100 * y / height]
                for x, y in np.reshape(ann['segmentation'][0], (-1, 2)).tolist()])
        tasks.append(dict(id=image['id'] + 100, file_upload=image['file_name'],
                          annotations=[dict(result=result)]))
    (folder / 'tasks.json').write_text(json.dumps(tasks))
    (folder / 'interface.xml').write_text(
        '<View><KeyPointLabels name="kp" toName="img"><Label value="person"/></KeyPointLabels>'
        '<Image name="img" value="$img"/></View>')
    tool = load_module(Path(mmpose.__file__).parent
                       / '.mim/tools/dataset_converters/labelstudio2coco.py')
    tool.LSConverter(str(folder / 'interface.xml')).convert_to_coco(
        str(folder / 'tasks.json'), str(folder / 'coco.json'))

    def keep(ann, _):
        x, y = np.reshape(ann['segmentation'][0], (-1, 2)).T.astype(float)
        area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
        seen = [min(2, 2 * value) if k % 3 == 2 else value
                for k, value in enumerate(ann['keypoints'])]
        return dict(ann, segmentation=ann['segmentation'][:1], area=area, keypoints=seen,
                    bbox=[x.min(), y.min(), np.ptp(x), np.ptp(y)])

    return Export(json.loads((folder / 'coco.json').read_text()), each(people, keep))


def via(people):
    """VIA 2: each point is an annotation of its own."""
    people = renamed(people, '{}.jpg')
    rows = []
    for ann in people['annotations']:
        common = dict(image_id=ann['image_id'], category_id=1, iscrowd=0)
        x, y, w, h = ann['bbox']
        rows.append(dict(common, segmentation=ann['segmentation'][:1], bbox=[x, y, w, h],
                         area=w * h))
        rows += [dict(common, segmentation=[[]], area=[], bbox=[], keypoints=[*point, 2],
                      num_keypoints=1) for point in labelled_points(ann).tolist()]
    return dict(
        info=dict(year=2024, version='1.0', description='VIA project', contributor='', url='',
                  date_created=''),
        images=[dict(image, license=0, flickr_url='', coco_url='', date_captured='')
                for image in people['images']],
        annotations=[dict(row, id=number) for number, row in enumerate(rows, 1)],
        licenses=[dict(id=0, name='Unknown License', url='')],
        categories=[dict(supercategory='kind', id=1, name='person')])
