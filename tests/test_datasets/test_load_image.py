"""Images of all pixel formats are the same with Pillow and with OpenCV."""
import numpy as np
import pytest
from PIL import Image

from kdc_mm.datasets import LoadImage8Bit

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY, ALPHA = COLOUR[..., 0], COLOUR[..., 1]
DEEP = (GREY.astype(np.uint16) << 8) + 77

#: Name of a file, the image and what is read of it, in grey or RGB.
FORMATS = {
    'grey.png': (GREY, GREY),
    'grey of 16 bits.png': (DEEP, GREY),
    'grey of 16 bits.tif': (DEEP, GREY),
    'grey of 32 bits.tif': (DEEP.astype(np.int32), GREY),
    'grey of floats.tif': (GREY.astype(np.float32), GREY),
    'grey with alpha.png': (Image.fromarray(np.dstack([GREY, ALPHA]), 'LA'), GREY),
    'colour.png': (COLOUR, COLOUR),
    'colour with alpha.png': (np.dstack([COLOUR, ALPHA]), COLOUR),
    'colour.webp': (COLOUR, COLOUR),
    'black and white.png': (Image.fromarray(GREY > 128), 255 * np.uint8(GREY > 128)),
}


def load(path, backend):
    return LoadImage8Bit(imdecode_backend=backend)(dict(img_path=str(path)))['img'][..., ::-1]


@pytest.mark.parametrize('name', FORMATS)
def test_a_format_is_read_as_8_bits_by_both_backends(name, tmp_path):
    image, right = FORMATS[name]
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(tmp_path / name, **(dict(lossless=True) if name.endswith('webp') else {}))
    right = np.dstack([right] * 3) if right.ndim == 2 else right
    for backend in ('pillow', 'cv2'):
        found = load(tmp_path / name, backend)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize('name', ['a.gif', 'palette.png', 'printed.jpg'])
def test_formats_with_losses_are_the_same_by_both_backends(name, tmp_path):
    image = Image.fromarray(COLOUR)
    image = image.convert('CMYK') if name == 'printed.jpg' else image.quantize(16)
    image.save(tmp_path / name)
    np.testing.assert_array_equal(load(tmp_path / name, 'pillow'), load(tmp_path / name, 'cv2'))


@pytest.mark.parametrize('kind', ['png', 'webp', 'tif'])
def test_images_are_turned_by_their_exif_tag_by_both_backends(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f'turned.{kind}'
    Image.fromarray(COLOUR).save(
        path, exif=exif, **(dict(lossless=True) if kind == 'webp' else {}))
    for backend in ('pillow', 'cv2'):
        np.testing.assert_array_equal(load(path, backend), np.rot90(COLOUR, -1))


@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_what_is_no_image_is_named(backend, tmp_path):
    path = tmp_path / 'page.png'
    path.write_text('<html>404</html>')
    with pytest.raises(Exception, match='page.png'):
        load(path, backend)
