"""Files of what was found: pictures, videos, a JSON file per image, COCO's results file."""
import json
from pathlib import Path
from typing import Dict, List, Sequence

import cv2
import numpy as np

from ..datasets.annotations import PERSON_ID
from .sources import Source, Video


class ResultsFolder:
    """A folder with

    - ``pictures/``: a picture per image, a video per video
    - ``predictions/``: a JSON file per image, the people as
      :func:`~kdc_mm.apis.describe_people` says; of a video a list of ``frame_id`` and ``instances``
    - ``results.json``: all people in COCO's results format, ``keypoints``, ``segmentation``,
      ``score`` of the pose and ``mask_score``
    - ``images.json``: the images that its ``image_id`` means, in COCO's layout, to load it with

    An image's id is the number that its name is, as in COCO, where all inputs have such names; else
    images and frames are counted from 1.

    Args:
        folder (str): Made if it does not exist.
        sources (Sequence[Source]): All that will be added.
        dataset_meta (dict): Meta information of the data set that the network was trained on.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, folder: str, sources: Sequence[Source], dataset_meta: dict) -> None:
        self.folder = Path(folder)
        self.dataset_meta = dataset_meta
        self._ids = ids_of_names(sources)
        self._stems = distinct_stems(sources)
        self._images: List[dict] = []
        self._rows: List[dict] = []
        self._frames: Dict[Source, List[dict]] = {}
        self._writers: Dict[Source, cv2.VideoWriter] = {}
        for part in ('pictures', 'predictions'):
            (self.folder / part).mkdir(parents=True, exist_ok=True)

    def add_image(self, source: Source, picture: np.ndarray, shape: Sequence[int],
                  people: List[dict], shown: List[dict]) -> None:
        """Write an image's picture and JSON file.

        Args:
            source (Source): The image.
            picture (np.ndarray): RGB (h, w, 3) uint8.
            shape (Sequence[int]): h, w of the image itself.
            people (list[dict]): All that were found, for COCO's file.
            shown (list[dict]): Those for the JSON file.
        """
        self._add_rows(source, Path(source.name).name, shape, people)
        stem = self._stems[source]
        write_picture(self.folder / 'pictures' / f'{stem}.jpg', picture)
        self._write(f'predictions/{stem}.json', shown)

    def add_frame(self, source: Source, video: Video, picture: np.ndarray, shape: Sequence[int],
                  people: List[dict], shown: List[dict]) -> None:
        """Add a frame to a video's pictures and people; arguments as of :meth:`add_image`."""
        frames = self._frames.setdefault(source, [])
        name = f'{Path(video.name).name}#{len(frames)}'
        self._add_rows(source, name, shape, people)
        frames.append(dict(frame_id=len(frames), instances=shown))
        if source not in self._writers:
            file = str(self.folder / 'pictures' / f'{self._stems[source]}.mp4')
            self._writers[source] = cv2.VideoWriter(
                file, cv2.VideoWriter_fourcc(*'mp4v'), video.fps, picture.shape[1::-1])
            if not self._writers[source].isOpened():
                raise OSError(f'{file} cannot be written.')
        self._writers[source].write(picture[..., ::-1])

    def close(self) -> None:
        """Write what belongs to all images and videos together."""
        for source, writer in self._writers.items():
            writer.release()
            self._write(f'predictions/{self._stems[source]}.json', self._frames[source])
        self._write('results.json', self._rows)
        names = self.dataset_meta['keypoint_id2name']
        category = dict(
            id=PERSON_ID, name='person', keypoints=[names[k] for k in range(len(names))],
            skeleton=[[a + 1, b + 1] for a, b in self.dataset_meta['skeleton_links']])
        self._write('images.json', dict(
            images=self._images, annotations=[], categories=[category]))

    def _add_rows(self, source: Source, name: str, shape: Sequence[int],
                  people: List[dict]) -> None:
        image_id = self._ids.get(source, len(self._images) + 1)
        self._images.append(
            dict(id=image_id, file_name=name, height=int(shape[0]), width=int(shape[1])))
        self._rows += [coco_row(person, image_id) for person in people]

    def _write(self, name: str, content) -> None:
        (self.folder / name).write_text(json.dumps(content))


def ids_of_names(sources: Sequence[Source]) -> Dict[Source, int]:
    """Ids of images whose names are numbers; none unless all names are, each another number."""
    stems = [Path(source.name).stem for source in sources]
    if not all(source.kind == 'image' and stem.isdecimal()
               for source, stem in zip(sources, stems)):
        return {}
    ids = [int(stem) for stem in stems]
    return dict(zip(sources, ids)) if len(set(ids)) == len(ids) else {}


def distinct_stems(sources: Sequence[Source]) -> Dict[Source, str]:
    """Names for results, without folder and ending; those that are taken get a number."""
    stems: Dict[Source, str] = {}
    taken = set()
    for source in sources:
        stem = f'webcam-{source.name}' if source.kind == 'webcam' else Path(source.name).stem
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f'{stem}_{number}'
        taken.add(name)
        stems[source] = name
    return stems


def coco_row(person: dict, image_id: int) -> dict:
    """A person in COCO's results format. There is no box: its area would stand for the mask's.

    Args:
        person (dict): One of :func:`~kdc_mm.apis.describe_people`.
        image_id (int): Of its image.
    """
    keypoints = np.column_stack([person['keypoints'], person['keypoint_scores']])
    row = dict(image_id=image_id, category_id=PERSON_ID,
               keypoints=[round(float(value), 3) for value in keypoints.ravel()],
               score=person['bbox_score'])
    if 'mask' in person:
        row.update(segmentation=person['mask'], mask_score=person['mask_score'])
    return row


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an RGB picture (h, w, 3) uint8.

    Raises:
        OSError: It cannot be written.
    """
    path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1])[1].tobytes())
