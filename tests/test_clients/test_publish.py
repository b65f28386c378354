"""tools/misc/publish_model.py: what it leaves of a checkpoint loads anywhere and predicts alike."""
import copy
import datetime
import hashlib

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmpose.apis import MMPoseInferencer

from kdc_mm.engine import CheckpointError

from ..conftest import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('misc/publish_model')


@pytest.fixture(scope='module')
def cfg(demo_cfg, coco, tmp_path_factory):
    """The demo's config with averaged weights, for two iterations on three images."""
    work_dir = tmp_path_factory.mktemp('run')
    cfg = copy.deepcopy(demo_cfg)
    cfg.train_dataloader.update(batch_size=3, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset.update(
        data_root=f'{coco}/', ann_file='people.json', data_prefix=dict(img='images/'))
    cfg.train_dataloader.dataset.pipeline[1].input_size = (97, 97)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.merge_from_dict(dict(
        work_dir=str(work_dir), experiment_name='publish',
        train_cfg=dict(_delete_=True, by_epoch=False, max_iters=2),
        custom_hooks=[dict(type='EMAHook', momentum=0.5)],
        default_hooks=dict(checkpoint=dict(interval=2, save_best=None))))
    return cfg


@pytest.fixture(scope='module')
def checkpoint(cfg):
    """What MMEngine has saved of it."""
    Runner.from_cfg(cfg).train()
    return f'{cfg.work_dir}/iter_2.pth'


@pytest.fixture(scope='module')
def published(tool, checkpoint, tmp_path_factory):
    return tool.process_checkpoint(checkpoint, str(tmp_path_factory.mktemp('out') / 'kdc.pth'))


@pytest.fixture
def no_safe_globals():
    """PyTorch's own list of classes, as in a program that has not imported kdc_mm."""
    known = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.add_safe_globals(known)


def test_the_name_is_that_of_mmposes_tool(published):
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert published.name == f'kdc-{digest[:8]}_{datetime.date.today():%Y%m%d}.pth'
    assert [path.name for path in published.parent.iterdir()] == [published.name]


def test_it_loads_where_kdc_mm_is_not_imported_and_the_checkpoint_does_not(
        published, checkpoint, no_safe_globals):
    content = torch.load(published, weights_only=True)
    assert content.keys() == {'meta', 'state_dict'}
    assert content['meta']['dataset_meta']['dataset_name'] == 'coco'
    assert 'hook_msgs' not in content['meta']
    with pytest.raises(Exception, match='weights_only'):
        torch.load(checkpoint, weights_only=True)


def test_the_averaged_weights_stay_and_the_optimizer_goes(published, checkpoint):
    whole = torch.load(checkpoint, weights_only=True)
    weights = torch.load(published, weights_only=True)['state_dict']
    assert {'optimizer', 'ema_state_dict', 'message_hub'} <= whole.keys()
    assert weights.keys() == whole['state_dict'].keys()
    name = 'head.pose_head.out.weight'
    assert torch.equal(weights[name], whole['state_dict'][name])
    assert not torch.equal(weights[name], whole['ema_state_dict'][f'module.{name}'])


def test_predictions_are_those_of_the_checkpoint(cfg, published, checkpoint, photos):
    """The head's settings are with the weights, and MMPose draws with the data set's colours."""
    drawn = copy.deepcopy(cfg)
    drawn.visualizer = dict(type='PoseLocalVisualizer')
    drawn.model.head.decoder.update(heatmap_threshold=0.001, keypoint_threshold=1e-4,
                                    person_threshold=1e-6)
    found = []
    for file in (checkpoint, str(published)):
        client = MMPoseInferencer(drawn, file, device='cpu')
        assert client.inferencer.model.head.trained_with['radius'] == 10
        [batch] = client(str(photos / '0.png'), return_vis=True, kpt_thr=0.,
                         skeleton_style='openpose')
        found.append((batch['predictions'][0], batch['visualization'][0]))
    assert found[0][0] == found[1][0]
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_further_keys_are_kept_on_request_and_missing_ones_named(tool, checkpoint, tmp_path):
    kept = tool.process_checkpoint(checkpoint, str(tmp_path / 'all'), ['state_dict', 'optimizer'])
    assert torch.load(kept, weights_only=True).keys() == {'state_dict', 'optimizer'}
    with pytest.raises(CheckpointError, match='iter_2.pth has no nonsense; it has '):
        tool.process_checkpoint(checkpoint, str(tmp_path / 'all'), ['nonsense'])


def test_arrays_and_objects_become_plain(tool):
    class Unknown:
        def __repr__(self):
            return 'unknown'

    value = dict(a=np.arange(2), b=(np.float32(0.5), {1}), c=Unknown(), d=[None, True, 'x'])
    assert tool.plain(value) == dict(a=[0, 1], b=(0.5, [1]), c='unknown', d=[None, True, 'x'])
