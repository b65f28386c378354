"""tools/infer.py: what it writes, and what it says of inputs that cannot be used."""
import json
import sys

import cv2
import numpy as np
import pytest
from mmpose.structures import PoseDataSample
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from kdc_mm import cli
from kdc_mm.visualization.draw import PALETTE

from .test_inferencer import noise
from .test_tracking import people


@pytest.fixture
def run(tool, inferencer, monkeypatch, tmp_path, capsys):
    """Function that runs the tool with the untrained network: exit status, folder, what it says."""
    monkeypatch.setattr(tool, 'load_network', lambda args: inferencer)
    out = tmp_path / 'out'

    def call(*arguments):
        status = tool.infer(tool.build_parser().parse_args([*arguments, '--out', str(out)]))
        said = capsys.readouterr()
        return status, out, said.out + said.err

    return call


def load(out):
    """COCO's results file by way of pycocotools."""
    return COCO(str(out / 'images.json')).loadRes(str(out / 'results.json'))


def test_photos_give_pictures_json_files_and_cocos_results(run, inferencer, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    shapes = {7: (60, 80), 12: (120, 50), 300: (97, 97)}
    for number, (height, width) in shapes.items():
        cv2.imwrite(str(folder / f'{number:012d}.png'), noise(height, width, number))
    status, out, said = run(str(folder), '--batch', '2', '--person-thr', '0')
    assert status == 0 and '3 images' in said
    results = load(out)
    assert sorted(results.getImgIds()) == [7, 12, 300]
    for number, shape in shapes.items():
        name = f'{number:012d}'
        described = json.loads((out / f'predictions/{name}.json').read_text())
        rows = results.loadAnns(results.getAnnIds(imgIds=[number]))
        assert len(rows) == len(described) > 0
        [batch] = inferencer(str(folder / f'{name}.png'))
        for row, one, expected in zip(rows, described, batch['predictions'][0]):
            np.testing.assert_allclose(one['keypoints'], expected['keypoints'], atol=1e-4)
            assert one['mask'] == expected['mask']
            np.testing.assert_allclose(
                np.reshape(row['keypoints'], (-1, 3))[:, :2], one['keypoints'], atol=1e-3)
            mask = results.annToMask(row)
            assert mask.shape == shape and row['area'] == mask.sum()
            assert row['category_id'] == 1 and row['score'] == one['bbox_score']
        assert max(cv2.imread(str(out / f'pictures/{name}.jpg')).shape) == 800


def test_what_cannot_be_used_is_named_and_the_others_are_done(run, tmp_path):
    folder = tmp_path / 'odd'
    folder.mkdir()
    photo = Image.fromarray(noise(60, 80))
    turned = Image.Exif()
    turned[0x112] = 6
    photo.save(folder / 'turned.jpg', exif=turned)
    photo.convert('L').save(folder / 'grey.png')
    photo.convert('RGBA').save(folder / 'alpha.png')
    photo.resize((1, 1)).save(folder / 'tiny.png')
    Image.new('1', (20000, 10000)).save(folder / 'huge.png')
    (folder / 'text.jpg').write_text('hello')
    (folder / 'empty.png').touch()
    whole = (folder / 'turned.jpg').read_bytes()
    (folder / 'cut.jpg').write_bytes(whole[:len(whole) // 2])
    status, out, said = run(str(folder))
    assert status == 1
    bad = {'cut', 'empty', 'huge', 'text'}
    assert {line.split(' cannot')[0].rsplit('/')[-1].rsplit('.')[0]
            for line in said.splitlines() if 'Skipped' in line} == bad
    images = json.loads((out / 'images.json').read_text())['images']
    assert {image['file_name']: (image['height'], image['width']) for image in images} == {
        'alpha.png': (60, 80), 'grey.png': (60, 80), 'tiny.png': (1, 1), 'turned.jpg': (80, 60)}
    assert {file.stem for file in (out / 'pictures').iterdir()} == {
        'alpha', 'grey', 'tiny', 'turned'}


def write_video(file, frames):
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'mp4v'), 10, (300, 120))
    for _ in range(frames):
        writer.write(np.full((120, 300, 3), 90, np.uint8))
    writer.release()


def test_in_a_video_ids_and_colours_stay_with_people(run, inferencer, monkeypatch, tmp_path):
    write_video(tmp_path / 'clip.mp4', 6)
    frame = iter(range(6))

    def predict(images):
        samples = []
        for _ in images:
            step = next(frame)
            places = (20 + 4 * step, 200 - 4 * step)
            found = people(*(places[::-1] if step % 2 else places))
            found.set_field(np.full(2, 0.9), 'bbox_scores')
            found.set_field(np.full(2, 0.9), 'mask_scores')
            samples.append(PoseDataSample(pred_instances=found))
        return samples

    monkeypatch.setattr(inferencer, 'predict', predict)
    status, out, _ = run(str(tmp_path / 'clip.mp4'), '--batch', '4')
    assert status == 0
    frames = json.loads((out / 'predictions/clip.json').read_text())
    assert [one['frame_id'] for one in frames] == list(range(6))
    capture = cv2.VideoCapture(str(out / 'pictures/clip.mp4'))
    for step, one in enumerate(frames):
        ids = [person['track_id'] for person in one['instances']]
        assert ids == ([1, 0] if step % 2 else [0, 1])
        picture = capture.read()[1]
        zoom = picture.shape[1] / 300
        for person in one['instances']:
            mask = cv2.resize(coco_mask.decode(person['mask']), picture.shape[1::-1])
            color = PALETTE[person['track_id']]
            others = [PALETTE[i] for i in (0, 1) if i != person['track_id']]
            mean = picture[cv2.erode(mask, np.ones((3, 3))) > 0].mean(0)[::-1]
            assert all(np.abs(mean - color).sum() < np.abs(mean - other).sum()
                       for other in others), (step, zoom)
    assert not capture.read()[0]
    assert sorted(load(out).getImgIds()) == [1, 2, 3, 4, 5, 6]


def test_a_broken_video_is_named_beside_a_good_image(run, tmp_path):
    (tmp_path / 'clip.mp4').write_bytes(b'hello')
    cv2.imwrite(str(tmp_path / 'photo.png'), noise(60, 80))
    status, out, said = run(str(tmp_path / 'clip.mp4'), str(tmp_path / 'photo.png'))
    assert status == 1 and 'clip.mp4 cannot be opened' in said
    assert (out / 'pictures/photo.jpg').is_file()


@pytest.mark.parametrize('arguments, message', [
    (['nothing.jpg'], 'nothing.jpg'),
    (['{photo}', '--config', 'configs/kdc_rn152_coco.py'], '--checkpoint'),
    (['{photo}', '--config', 'nothing.py', '--checkpoint', 'x.pth'], 'nothing.py'),
    (['{photo}', '--checkpoint', 'nothing.pth'], 'nothing.pth does not exist'),
    (['{photo}'], 'docs/bodypix.md'),
    (['{photo}', '--batch', '0'], '--batch'),
])
def test_mistakes_end_in_one_line(tool, monkeypatch, tmp_path, arguments, message):
    cv2.imwrite(str(tmp_path / 'photo.png'), noise(60, 80))
    monkeypatch.setattr(tool, 'CHECKPOINT', tmp_path / 'kdc.pth')
    arguments = [one.format(photo=tmp_path / 'photo.png') for one in arguments]
    monkeypatch.setattr(sys, 'argv', ['infer', *arguments, '--out', str(tmp_path / 'out')])
    with pytest.raises(SystemExit) as end:
        tool.main()
    assert message in str(end.value) and '\n' not in str(end.value)


def test_show_without_a_display_is_refused(tool, monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'linux')
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    with pytest.raises(OSError, match='--show needs a display'):
        tool.infer(tool.build_parser().parse_args(['photo.jpg', '--show']))


def test_the_command_kdc_runs_a_tool_of_the_clone(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['kdc', 'infer', '--help'])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0 and '--person-thr' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', ['kdc', 'fly'])
    with pytest.raises(SystemExit, match='(?s)no tool fly.*usage: kdc .*infer.*test.*train'):
        cli.main()
