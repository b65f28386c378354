"""What the web page shows of a photo, without the page."""
import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from kdc_mm.apis.photo_viewer import LONGEST_SIDE, PhotoViewer, View
from kdc_mm.visualization.draw import PALETTE, person_colors, zoom_points
from kdc_mm.visualization.fields import field_panels
from kdc_mm.visualization.people import predicted_people

from .test_inferencer import noise

ALL = View(('skeletons', 'masks', 'heatmaps', 'KeyCentroids', 'MaskCentroids'), 0, 0)


@pytest.fixture
def viewer(inferencer, monkeypatch):
    monkeypatch.setitem(inferencer.model.test_cfg, 'output_heatmaps', False)  # is put back
    return PhotoViewer(inferencer)


@pytest.fixture
def photo_file(tmp_path):
    """Function that writes a photo of some size."""

    def write(height, width):
        file = tmp_path / f'photo-{width}.png'
        cv2.imwrite(str(file), noise(height, width))
        return file

    return write


def test_people_are_those_of_the_inferencer_in_pixels_of_the_photo(
        viewer, inferencer, photo_file):
    file = photo_file(1500, 2000)
    photo = viewer.look(file)
    [expected] = inferencer(str(file))
    assert photo.people == expected['predictions'][0] and len(photo.people) > 1
    assert photo.shown_people(View((), 0, 0)) == photo.people
    assert list(photo.milliseconds) == ['load', 'network', 'decode']
    assert all(duration > 0 for duration in photo.milliseconds.values())


def test_a_large_photo_is_drawn_small_with_people_and_fields_in_place(
        viewer, inferencer, photo_file):
    photo = viewer.look(photo_file(1500, 2000))
    factor = LONGEST_SIDE / 2000
    assert photo.image.shape == (960, 1280, 3)
    keypoints = [person['keypoints'] for person in photo.people]
    np.testing.assert_allclose(
        photo.sample.pred_instances.keypoints, zoom_points(keypoints, factor), atol=1e-3)
    for person, mask in zip(photo.people, photo.sample.pred_instances.masks):
        whole = coco_mask.decode(person['mask'])
        np.testing.assert_array_equal(
            coco_mask.decode(mask),
            cv2.resize(whole.astype(np.float32), (1280, 960), interpolation=cv2.INTER_AREA) >= 0.5)

    image = noise(1500, 2000)
    [sample] = inferencer.predict([image])
    people = predicted_people(sample, mask_thr=0)
    expected = field_panels(mmcv.bgr2rgb(image), sample.pred_fields, sample, people.masks,
                            person_colors(len(people.masks)), factor)
    pictures = viewer.draw(photo, ALL)
    for name, panel in zip(('heatmaps', 'KeyCentroids', 'MaskCentroids'), expected):
        difference = np.abs(pictures[name].astype(int) - panel)
        assert difference.mean() < 0.3, name


def test_a_layer_that_is_not_wanted_is_not_drawn(viewer, photo_file):
    photo = viewer.look(photo_file(600, 800))
    plain = viewer.draw(photo, View((), 0, 0))
    assert list(plain) == ['people']
    np.testing.assert_array_equal(plain['people'], photo.image)
    masks = viewer.draw(photo, View(('masks', ), 0, 0))['people']
    union = coco_mask.decode(coco_mask.merge(photo.sample.pred_instances.masks)) > 0
    changed = (masks != photo.image).any(axis=2)
    assert changed.any() and not (changed & ~union).any()
    skeletons = viewer.draw(photo, View(('skeletons', ), 0, 0))['people']
    assert (skeletons != photo.image).any()
    assert (viewer.draw(photo, View(('skeletons', ), 0, 1))['people'] == photo.image).all()
    everything = viewer.draw(photo, ALL)
    assert list(everything) == ['people', 'heatmaps', 'KeyCentroids', 'MaskCentroids']
    for layer in ('heatmaps', 'KeyCentroids', 'MaskCentroids'):
        alone = viewer.draw(photo, View((layer, ), 0, 0))
        assert list(alone) == ['people', layer]
        np.testing.assert_array_equal(alone[layer], everything[layer])


def test_a_person_below_the_threshold_leaves_and_the_others_keep_their_colours(
        viewer, photo_file):
    photo = viewer.look(photo_file(600, 800))
    scores = photo.sample.pred_instances.bbox_scores
    last = int(np.argmin(scores))
    scores[:], scores[last] = 0.2, 0.8
    view = View(('masks', ), 0.5, 0)
    assert photo.shown_people(view) == [photo.people[last]]
    mask = coco_mask.decode(photo.people[last]['mask'])
    inside = cv2.erode(mask, np.ones((9, 9))) > 0
    mean = (viewer.draw(photo, view)['people'][inside] - 0.58 * photo.image[inside]).mean(0) / 0.42
    np.testing.assert_allclose(mean, PALETTE[last], atol=2)


@pytest.mark.parametrize('name, content', [('text.jpg', b'hello'), ('empty.png', b''),
                                           ('cut.jpg', None)])
def test_a_file_that_is_no_photo_is_named_without_its_folder(viewer, tmp_path, name, content):
    Image.fromarray(noise(60, 80)).save(tmp_path / 'whole.jpg')
    whole = (tmp_path / 'whole.jpg').read_bytes()
    (tmp_path / name).write_bytes(whole[:len(whole) // 2] if content is None else content)
    with pytest.raises(OSError, match=f'^{name} cannot be used: .*[.]$') as error:
        viewer.look(tmp_path / name)
    assert str(tmp_path) not in str(error.value)


def test_a_network_without_masks_offers_no_layers_of_them(viewer, monkeypatch):
    forward = viewer.inferencer.model.head.forward
    pose = ('heatmaps', 'key_centroids', 'person_centroids', 'limbs')
    monkeypatch.setattr(viewer.inferencer.model.head, 'forward', lambda feats: {
        name: field for name, field in forward(feats).items() if name in pose})
    assert viewer.layers == list(ALL.layers)
    assert PhotoViewer(viewer.inferencer).layers == ['skeletons', 'heatmaps', 'KeyCentroids']
