"""dataset-index.yml and the scripts that it names put files where the configs look for them."""
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
INDEX = yaml.safe_load((ROOT / 'dataset-index.yml').read_text())
CONFIGS = dict(
    coco2017='kdc_rn152_coco.py', crowdpose='kdc_rn152_crowdpose.py',
    ochuman='kdc_rn152_ochuman.py')


def dataset_of(name):
    """Where a config looks for its validation data: root, annotation file, image folder."""
    dataset = Config.fromfile(ROOT / 'configs' / CONFIGS[name]).val_dataloader.dataset
    return dataset.data_root, dataset.ann_file, dataset.data_prefix.img


def test_the_index_names_the_benchmarks_as_mmposes_own_index_does():
    assert INDEX.pop('openxlab') is True and set(INDEX) == set(CONFIGS)
    for name, entry in INDEX.items():
        assert set(entry) == {'dataset', 'download_root', 'data_root', 'script'}
        script = ROOT / entry['script']
        subprocess.run(['bash', '-n', script], check=True)
        assert os.access(script, os.X_OK)
        assert dataset_of(name)[0].rstrip('/') == entry['data_root']


def pack(target, files):
    """Write an archive of empty files."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.parent / 'packed'
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text('')
    if target.suffix == '.zip':
        with zipfile.ZipFile(target, 'w') as archive:
            for file in files:
                archive.write(folder / file, file)
    else:
        with tarfile.open(target, 'w:gz' if target.suffix == '.gz' else 'w') as archive:
            for file in files:
                archive.add(folder / file, file)
    shutil.rmtree(folder)


@pytest.mark.parametrize('name', ['coco2017', 'crowdpose', 'ochuman'])
def test_a_download_is_unpacked_to_where_the_config_looks(tmp_path, monkeypatch, name):
    _, ann_file, images = dataset_of(name)
    if name == 'coco2017':
        raw = tmp_path / 'OpenDataLab___COCO_2017/raw'
        pack(raw / 'Images/val2017.zip', [f'{images}1.jpg'])
        pack(raw / 'Images/train2017.zip', ['train2017/2.jpg'])
        pack(raw / 'Annotations/annotations_trainval2017.zip', [ann_file])
    elif name == 'crowdpose':
        raw = tmp_path / 'OpenDataLab___CrowdPose/raw'
        pack(raw / 'CrowdPose.tar.gz', ['CrowdPose/images/1.jpg'])
        pack(tmp_path / 'crowdpose_annotations.tar',
             [f'crowdpose_annotations/{Path(ann_file).name}'])
        curl = tmp_path / 'bin/curl'  # MMPose's annotations, without the net
        curl.parent.mkdir()
        curl.write_text(f'#!/bin/sh\ncat {tmp_path}/crowdpose_annotations.tar\n')
        curl.chmod(0o755)
        monkeypatch.setenv('PATH', f'{curl.parent}:{os.environ["PATH"]}')
    else:
        raw = tmp_path / 'OpenDataLab___OCHuman/raw'
        pack(raw / 'images.zip', ['images/1.jpg'])
        pack(raw / 'annotations.tar.gz', [f'labels/{Path(ann_file).name}'])
    target = tmp_path / 'target'
    subprocess.run([ROOT / INDEX[name]['script'], tmp_path, target], check=True)
    assert (target / ann_file).is_file() and (target / images / '1.jpg').is_file()
    assert not list(tmp_path.glob('OpenDataLab*'))
