"""What is behind the names that a user gives."""
import cv2
import pytest

from kdc_mm.apis.results import distinct_stems, ids_of_names
from kdc_mm.apis.sources import Source, Video, check_image, list_sources
from tests.conftest import grey_image


@pytest.fixture
def folder(tmp_path):
    for name in ('2.jpg', '10.JPG', 'b/2.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = cv2.imencode(name.lower()[-4:], grey_image())[1]
        (tmp_path / name).write_bytes(image.tobytes())
    (tmp_path / 'clip.mp4').write_bytes(b'no video')
    (tmp_path / 'notes.txt').write_text('hello')
    return tmp_path


def names(folder, *inputs):
    return [(kind, name.removeprefix(f'{folder}/')) for kind, name in list_sources(inputs)]


def test_folders_patterns_files_and_webcams(folder):
    assert names(folder, str(folder)) == [
        ('image', '10.JPG'), ('image', '2.jpg'), ('video', 'clip.mp4')]
    assert names(folder, f'{folder}/**/2.*') == [('image', '2.jpg'), ('image', 'b/2.png')]
    assert names(folder, '0', f'{folder}/2.jpg', f'{folder}/*.jpg') == [
        ('webcam', '0'), ('image', '2.jpg')]


@pytest.mark.parametrize('name', ['nothing.jpg', '*.gif', 'empty'])
def test_a_name_with_nothing_behind_it_is_an_error(folder, name):
    (folder / 'empty').mkdir()
    with pytest.raises(OSError, match=name.replace('*', r'\*')):
        list_sources([f'{folder}/{name}'])


def test_images_that_are_cut_short_or_none_are_named(folder):
    whole = (folder / '2.jpg').read_bytes()
    (folder / 'cut.jpg').write_bytes(whole[:-20])
    check_image(str(folder / '2.jpg'))
    for name, reason in (('cut.jpg', '.*truncated'), ('notes.txt', '.*no image')):
        with pytest.raises(OSError, match=name + reason):
            check_image(str(folder / name))


def test_a_video_that_cannot_be_opened_is_named(folder):
    with pytest.raises(OSError, match='clip.mp4'):
        list(Video(Source('video', f'{folder}/clip.mp4')))


def test_images_whose_names_are_numbers_have_them_as_ids():
    coco = [Source('image', 'a/000000000785.jpg'), Source('image', 'a/12.png')]
    assert ids_of_names(coco) == {coco[0]: 785, coco[1]: 12}
    for other in (Source('image', 'dog.jpg'), Source('image', 'b/012.jpg'), Source('video', '7')):
        assert ids_of_names([*coco, other]) == {}


def test_results_of_equal_names_do_not_overwrite_each_other():
    sources = [Source('image', name) for name in ('a/1.jpg', 'b/1.jpg', '1.png', '2.png')]
    assert list(distinct_stems(sources).values()) == ['1', '1_2', '1_3', '2']
