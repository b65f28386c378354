"""Every Python block of the docs: scripts and configs are written, run and looked at."""
import ast
import inspect
import json
import runpy
import shutil
import sys

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from mmpose.registry import DATASETS, MODELS

from kdc_mm.datasets.annotations import read_annotations
from kdc_mm.synth_crowd import make_synth_crowd
from kdc_mm.synth_crowd.body import KEYPOINT_NAMES
from tests.conftest import load_tool
from tests.test_apis.conftest import inferencer, small_cfg  # noqa: F401
from tests.test_docs.markdown import ROOT, all_commands, code_blocks, pages, spans
from tests.test_docs.stand_ins import SMALL_TRAIN
from tests.test_models.samples import narrow_hrnet
from tests.test_runtime.conftest import exported  # noqa: F401

#: What tells a block from the others, and the test that runs it.
TESTED = {
    'head = dict(\n': 'test_the_head_of_the_readme_builds',
    'extra=...': 'test_a_config_with_our_head_builds',
    "_base_ = 'kdc_mm::": 'test_a_config_of_any_folder_starts_from_ours',
    'from mmdeploy.apis import': 'test_the_steps_of_mmdeploy_can_be_called',
    'annToMask(results': 'test_results_of_the_tool_load_as_the_page_says',
    'runtime = Runtime(': 'test_the_runtime_is_called_as_the_page_says',
    'for batch in inferencer(': 'test_the_inferencer_is_called_as_the_page_says',
    '# my/join_masks.py': 'test_masks_of_cvat_join_the_keypoints_that_they_hold',
    '# my/from_label_studio.py': 'test_an_export_of_label_studio_becomes_cocos_layout',
    '# my/config.py': 'test_a_config_of_own_data_trains_on_five_keypoints',
    '# my/keypoints.py': 'test_a_config_of_own_data_trains_on_five_keypoints',
    '# my/config_5.py': 'test_a_config_of_own_data_trains_on_five_keypoints',
}
#: A narrow HRNet, of as many channels at stride 4 as docs/own_config.md has.
EXTRA = narrow_hrnet(32, 16, 16, 16)
#: COCO's keypoints that are those of docs/own_data.md.
FIVE = (0, 9, 10, 15, 16)


def python_blocks():
    return [block for page in pages() for block in code_blocks(page) if block.language == 'python']


def block_with(text):
    """The only block that has a text."""
    [block] = [one for one in python_blocks() if text in one.text]
    return block.text


def command_with(text):
    """The words of the first command that has a text."""
    return next(one for one in all_commands() if text in one.text).words


def test_every_python_block_has_a_test():
    for block in python_blocks():
        tests = [test for text, test in TESTED.items() if text in block.text]
        assert tests, f'{block.page}:{block.line}: no test of {__name__} runs this block'
        assert all(test in globals() for test in tests)
    for text in TESTED:
        block_with(text)


def test_python_in_a_command_compiles_and_its_names_exist():
    for command in all_commands():
        if command.words[:2] == ['python', '-c'] and command not in spans(ROOT / command.page):
            if '$' in command.words[2]:
                continue
            code = command.words[2]
            imports = [line for line in code.split('; ') if line.startswith('from ')]
            assert imports, command.text
            exec('\n'.join(imports), {})
            compile(code, command.page, 'exec')


def test_the_head_of_the_readme_builds():
    names = {}
    exec(block_with('head = dict(\n'), names)
    head = MODELS.build(names['head'])
    assert head.decoder.radius == 40 and head.num_keypoints == 14


def test_a_config_with_our_head_builds(tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(block_with('extra=...').replace('extra=...', f'extra={EXTRA}'))
    cfg = Config.fromfile(file)
    head = MODELS.build(cfg.model).head
    assert head.decoder.input_size == (512, 512)
    assert head.field_channels['heatmaps'] == 14  # CrowdPose's
    assert cfg.custom_imports.imports == ['kdc_mm']


def test_a_config_of_any_folder_starts_from_ours(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(block_with("_base_ = 'kdc_mm::"))
    assert Config.fromfile(file).model == Config.fromfile(ROOT / 'configs/kdc_rn152_coco.py').model


def test_the_steps_of_mmdeploy_can_be_called():
    apis = pytest.importorskip('mmdeploy.apis', reason='mmdeploy is not installed')
    code = block_with('from mmdeploy.apis import')
    for name in ('torch2onnx', 'inference_model', 'visualize_model'):
        call = next(node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)
                    and getattr(node.func, 'id', None) == name)
        inspect.signature(getattr(apis, name)).bind(
            *call.args, **{keyword.arg: keyword.value for keyword in call.keywords})


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder to work in with ``photo.jpg`` and ``holiday/``."""
    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    (tmp_path / 'holiday').mkdir()
    for name in ('photo.jpg', 'holiday/000000000785.jpg', 'holiday/000000000786.jpg'):
        cv2.imwrite(name, picture)
    video = cv2.VideoWriter('clip.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 25, (80, 60))
    for _ in range(2):
        video.write(picture)
    video.release()
    return tmp_path


def infer(words, monkeypatch, network):
    """Run a command of tools/infer.py with another network."""
    tool = load_tool('infer')
    monkeypatch.setattr(tool, 'load_network', lambda args: network)
    assert tool.infer(tool.build_parser().parse_args(words[2:])) == 0


def test_photos_folders_and_videos_give_the_files_of_the_page(
        photos, inferencer, monkeypatch):  # noqa: F811
    infer(command_with('infer.py photo.jpg holiday/ clip.mp4'), monkeypatch, inferencer)
    written = {path.relative_to(photos / 'out').as_posix()
               for path in photos.glob('out/**/*')}
    assert written >= {'pictures/photo.jpg', 'pictures/clip.mp4', 'predictions/clip.json',
                       'predictions/000000000785.json', 'results.json', 'images.json'}


def test_results_of_the_tool_load_as_the_page_says(
        photos, inferencer, monkeypatch):  # noqa: F811
    infer(['python', 'tools/infer.py', 'holiday', '--out', 'out'], monkeypatch, inferencer)
    names = {}
    exec(block_with('annToMask(results'), names)
    assert names['mask'].shape == (60, 80)


def test_the_inferencer_is_called_as_the_page_says(
        photos, inferencer, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr('kdc_mm.apis.PoseSegInferencer', lambda config, weights: inferencer)
    exec(block_with('for batch in inferencer('), {})
    assert capsys.readouterr().out.count('[60, 80]') >= 2
    assert len(list(photos.glob('out/**/*.jpg'))) == 2


def test_the_runtime_is_called_as_the_page_says(photos, exported):  # noqa: F811
    (photos / 'exported').symlink_to(exported)
    names = dict(one='photo.jpg', another=np.zeros((30, 20, 3), np.uint8))
    exec(block_with('runtime = Runtime('), names)
    people = names['people']
    assert len(people.masks()) == len(people.scores) > 0
    assert people.masks().shape[1:] == (60, 80)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder to work in with the configs of the clone, the scripts and configs of
    docs/own_data.md, and small data in data/mine."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'my').mkdir()
    for block in python_blocks():
        first = block.text.splitlines()[0]
        if first.startswith('# my/'):
            (tmp_path / first[2:]).write_text(block.text)
    made = tmp_path / 'made'
    make_synth_crowd(made, 'easy', 4, 2, size=96, workers=1, progress=False)
    mine = tmp_path / 'data/mine'
    (mine / 'annotations').mkdir(parents=True)
    (mine / 'images').mkdir()
    for split, name in (('train2017', 'train'), ('val2017', 'val')):
        content = json.loads((made / f'annotations/person_keypoints_{split}.json').read_text())
        for image in content['images']:
            image['file_name'] = shutil.copy(
                made / split / image['file_name'], mine / f'images/{name}{image["id"]}.jpg').name
        (mine / f'annotations/{name}.json').write_text(json.dumps(content))
    return tmp_path


def run_script(name, monkeypatch):
    """Run a script of docs/own_data.md as its command there does."""
    words = command_with(name)
    monkeypatch.setattr(sys, 'argv', words[1:])
    runpy.run_path(words[1], run_name='__main__')


def two_people():
    """Keypoints (2, 17, 3) of two people side by side, of whom one has three, and their boxes."""
    poses = np.zeros((2, 17, 3))
    for person in range(2):
        x = np.linspace(10, 30, 17) + 40 * person
        poses[person] = np.stack([x, np.linspace(10, 80, 17), np.full(17, 2)], axis=1)
    poses[1, 3:] = 0
    boxes = [[5, 5, 30, 80], [45, 5, 30, 80]]
    return poses, boxes


def test_masks_of_cvat_join_the_keypoints_that_they_hold(clone, monkeypatch, capsys):
    poses, boxes = two_people()
    images = [dict(id=1, file_name='train1.jpg', width=96, height=96)]
    rows = [dict(id=j + 1, image_id=1, category_id=1, iscrowd=0, bbox=[0, 0, 1, 1], area=1,
                 keypoints=poses[j].ravel().tolist(), num_keypoints=17) for j in range(2)]
    (clone / 'person_keypoints_default.json').write_text(json.dumps(dict(
        images=images, annotations=rows, categories=[dict(id=1, name='person')])))
    shapes = [dict(id=9 - j, image_id=5, category_id=2, iscrowd=0, area=2400., bbox=[x, y, w, h],
                   segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
              for j, (x, y, w, h) in reversed(list(enumerate(boxes)))]
    (clone / 'instances_default.json').write_text(json.dumps(dict(
        images=[dict(images[0], id=5)], annotations=shapes,
        categories=[dict(id=2, name='body')])))
    run_script('my/join_masks.py', monkeypatch)
    joined = json.loads((clone / 'data/mine/annotations/train.json').read_text())
    assert [ann['bbox'] for ann in joined['annotations']] == boxes
    assert [ann['segmentation'][0][0] for ann in joined['annotations']] == [5, 45]
    assert [ann['keypoints'] for ann in joined['annotations']] == [
        pose.ravel().tolist() for pose in poses]


def test_an_export_of_label_studio_becomes_cocos_layout(clone, monkeypatch):
    poses, boxes = two_people()
    of_image = dict(original_width=96, original_height=96)

    def percent(*sides):
        return [side / 96 * 100 for side in sides]

    regions = []
    for j, (pose, box) in enumerate(zip(poses, boxes)):
        x, y, w, h = percent(*box)
        regions.append(dict(
            of_image, id=f'person{j}', type='rectanglelabels',
            value=dict(x=x, y=y, width=w, height=h, rectanglelabels=['person'])))
        regions.append(dict(
            of_image, id=f'mask{j}', type='polygonlabels', parentID=f'person{j}',
            value=dict(points=[[x, y], [x + w, y], [x + w, y + h]], polygonlabels=['person'])))
        for k, (px, py, visible) in enumerate(pose):
            if visible:
                at = percent(px, py)
                regions.append(dict(
                    of_image, id=f'point{j}-{k}', type='keypointlabels', parentID=f'person{j}',
                    value=dict(x=at[0], y=at[1], width=0.5, keypointlabels=[KEYPOINT_NAMES[k]])))
    (clone / 'export.json').write_text(json.dumps([
        dict(id=3, data=dict(image='/data/upload/1/a-photo.jpg'),
             annotations=[dict(result=regions)]),
        dict(id=4, data=dict(image='/data/upload/1/b.jpg'), annotations=[])]))
    run_script('my/from_label_studio.py', monkeypatch)
    read = read_annotations(str(clone / 'data/mine/annotations/train.json')).content
    assert [image['file_name'] for image in read['images']] == ['a-photo.jpg']
    for ann, pose, box in zip(read['annotations'], poses, boxes, strict=True):
        np.testing.assert_allclose(np.reshape(ann['keypoints'], (17, 3)), pose, atol=1e-6)
        np.testing.assert_allclose(ann['bbox'], box, atol=1e-6)
        assert len(ann['segmentation'][0]) == 6


def keep_five(file):
    """Leave an annotation file of COCO's keypoints those of docs/own_data.md."""
    content = json.loads(file.read_text())
    for ann in content['annotations']:
        kept = np.reshape(ann['keypoints'], (-1, 3))[list(FIVE)]
        ann.update(keypoints=kept.ravel().tolist(), num_keypoints=int((kept[:, 2] > 0).sum()))
    content['categories'] = [dict(id=1, name='person', keypoints=[
        'head', 'left_wrist', 'right_wrist', 'left_ankle', 'right_ankle'])]
    file.write_text(json.dumps(content))


def test_a_config_of_own_data_trains_on_five_keypoints(clone, monkeypatch, capsys):
    cfg = Config.fromfile('my/config.py')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset) == 4 and dataset.metainfo['num_keypoints'] == 17

    for name in ('train', 'val'):
        keep_five(clone / f'data/mine/annotations/{name}.json')
    check = load_tool('dataset_tools/check_data')
    monkeypatch.setattr(sys, 'argv', ['check_data.py', 'my/config_5.py'])
    assert check.main() == 0, capsys.readouterr().out

    train = load_tool('train')
    args = train.build_parser().parse_args([
        'my/config_5.py', '--cfg-options', *SMALL_TRAIN, 'randomness.seed=0',
        f'visualizer.name={clone.name}', f'experiment_name={clone.name}'])
    runner = Runner.from_cfg(train.merge_arguments(Config.fromfile(args.config), args))
    runner.train()
    assert runner.model.head.pose_head.field_channels['heatmaps'] == 5
    assert (clone / 'work_dirs/config_5/epoch_1.pth').is_file()
    metrics = runner.val_loop.run()
    assert 0 <= metrics['coco/AP'] <= 1 and 0 <= metrics['coco/segm_mAP'] <= 1
