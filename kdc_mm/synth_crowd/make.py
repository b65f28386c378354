"""Writes a SynthCrowd data set in COCO's layout, images side by side in worker processes."""
import json
import multiprocessing
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import cv2
import numpy as np
from rich.progress import track

from .body import KEYPOINT_NAMES, SKELETON
from .scene import PRESETS, crowding, render_scene

MANIFEST = 'synth_crowd.json'
# Part of a data set's identity: raise it whenever the same arguments give other pictures.
RENDERER_VERSION = 4
_SPLITS = ('train2017', 'val2017')


def make_synth_crowd(out_dir: Union[str, Path], preset: str, num_train: int, num_val: int,
                     seed: int = 0, size: int = 256, workers: Optional[int] = None,
                     progress: bool = True, overwrite: bool = False) -> Dict:
    """Write ``out_dir``/{train2017,val2017}/\\*.jpg and
    annotations/person_keypoints_{train2017,val2017}.json.

    Picture i of a split comes from its own random stream, keyed by (seed, split, i): the same
    arguments give the same bytes whatever the number of workers, and train and val share no stream.
    ``synth_crowd.json``, written last, marks a finished data set and holds its arguments and
    statistics; the same arguments again return them at once, and go on after an interruption.

    Args:
        preset: A name of ``PRESETS``.
        num_train, num_val: Number of pictures, positive.
        seed: Not negative.
        size: Side of the square pictures, px, at least 64.
        workers: Processes; all available cores by default.
        overwrite: Replace a SynthCrowd data set of other arguments. A folder of anything else is
            never touched.

    Returns:
        dict: ``arguments``; ``splits``, for each split ``images``, ``persons``,
        ``persons_per_image``, ``crowding`` (mean over persons of the largest IoU of the annotated
        box with another person's) and ``occluded_share`` (of the labelled keypoints); ``reused``,
        whether the data set was there already.

    Raises:
        ValueError: On an unknown preset, a count, size or worker number that is not positive, or a
            negative seed.
        FileExistsError: If ``out_dir`` holds something else.
    """
    if preset not in PRESETS:
        raise ValueError(f'unknown preset {preset!r}; there are {", ".join(PRESETS)}')
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    for name, value, lowest in (('num_train', num_train, 1), ('num_val', num_val, 1),
                                ('seed', seed, 0), ('size', size, 64), ('workers', workers, 1)):
        if value < lowest:
            raise ValueError(f'{name} must be at least {lowest}, not {value}')
    arguments = dict(preset=preset, num_train=num_train, num_val=num_val, seed=seed, size=size,
                     version=RENDERER_VERSION)
    out_dir = Path(out_dir)
    manifest = _claim(out_dir, arguments, overwrite)
    if 'splits' in manifest:
        return dict(manifest, reused=True)

    splits = {}
    for index, (split, num) in enumerate(zip(_SPLITS, (num_train, num_val))):
        (out_dir / split).mkdir(parents=True, exist_ok=True)
        job = partial(_write_picture, out_dir / split, preset, seed, index, size)
        found = _run(job, num, workers, f'SynthCrowd {preset} {split}', progress)
        _write_json(out_dir / 'annotations' / f'person_keypoints_{split}.json',
                    _coco(found, size, arguments))
        splits[split] = _statistics(found)
    manifest = dict(arguments=arguments, splits=splits)
    _write_json(out_dir / MANIFEST, manifest)
    return dict(manifest, reused=False)


def _claim(out_dir: Path, arguments: Dict, overwrite: bool) -> Dict:
    """The folder's manifest: a finished one of the same arguments, or a new one without
    statistics."""
    manifest = dict(arguments=arguments)
    if (out_dir / MANIFEST).is_file():
        found = json.loads((out_dir / MANIFEST).read_text())
        if found['arguments'] == arguments and not overwrite:
            return found
        if not overwrite:
            raise FileExistsError(
                f'{out_dir} holds a SynthCrowd data set made with {found["arguments"]}, not '
                f'{arguments}; choose another folder, or overwrite it')
        _write_json(out_dir / MANIFEST, manifest)
        for name in (*_SPLITS, 'annotations'):
            shutil.rmtree(out_dir / name, ignore_errors=True)
    elif out_dir.exists() and any(out_dir.iterdir()):
        raise FileExistsError(
            f'{out_dir} is not empty and is no SynthCrowd data set; choose another folder')
    _write_json(out_dir / MANIFEST, manifest)
    return manifest


def _run(job, num: int, workers: int, title: str, progress: bool) -> List[Tuple[str, List[Dict]]]:
    if workers == 1:
        return list(track(map(job, range(num)), title, num, disable=not progress))
    threads = cv2.getNumThreads()
    # Here, not in the workers: a forked process can neither use nor stop OpenCV's threads.
    cv2.setNumThreads(1)
    try:
        with multiprocessing.Pool(min(workers, num)) as pool:
            return list(track(pool.imap(job, range(num), chunksize=4), title, num,
                              disable=not progress))
    finally:
        cv2.setNumThreads(threads)


def _write_picture(folder: Path, preset: str, seed: int, split: int, size: int,
                   index: int) -> Tuple[str, List[Dict]]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split, index)))
    picture, annotations = render_scene(rng, PRESETS[preset], size)
    name = f'{index + 1:012d}.jpg'
    quality = int(rng.integers(82, 97))
    _, encoded = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    (folder / name).write_bytes(encoded.tobytes())
    return name, annotations


def _coco(found: List[Tuple[str, List[Dict]]], size: int, arguments: Dict) -> Dict:
    images, annotations = [], []
    for image_id, (name, people) in enumerate(found, start=1):
        images.append(dict(id=image_id, file_name=name, width=size, height=size))
        for person in people:
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image_id, category_id=1, **person))
    category = dict(id=1, name='person', supercategory='person', keypoints=KEYPOINT_NAMES,
                    skeleton=SKELETON)
    return dict(info=dict(description='SynthCrowd', **arguments), licenses=[], images=images,
                annotations=annotations, categories=[category])


def _statistics(found: List[Tuple[str, List[Dict]]]) -> Dict:
    people = [person for _, persons in found for person in persons]
    nearest = np.concatenate([crowding([p['bbox'] for p in persons]) for _, persons in found])
    visibility = np.array([p['keypoints'][2::3] for p in people])
    return dict(images=len(found), persons=len(people),
                persons_per_image=round(len(people) / len(found), 3),
                crowding=round(float(nearest.mean()), 4),
                occluded_share=round(float((visibility == 1).sum() / (visibility > 0).sum()), 4))


def _write_json(path: Path, content: Dict) -> None:
    """Write so that the file is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(content, separators=(',', ':')))
    part.replace(path)
