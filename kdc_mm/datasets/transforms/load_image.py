from typing import Dict, Optional

import numpy as np
from mmpose.datasets.transforms import LoadImage
from mmpose.registry import TRANSFORMS
from PIL import Image, ImageOps

#: Pillow's names of grey with alpha, of grey of 16 bits and more, and of what else differs.
_WITH_ALPHA = ('LA', 'La', 'PA')
_GREY_16 = ('I', 'I;16', 'I;16B', 'I;16L', 'I;16N')
_OTHER_MODES = ('F', 'CMYK')
_FORMATS = ('WEBP', 'GIF')


@TRANSFORMS.register_module()
class LoadImage8Bit(LoadImage):
    """MMPose's ``LoadImage``, which gives the same image of 8 bits with Pillow and with OpenCV.

    Without it grey images of 16 bits become white with Pillow; OpenCV cannot read those of 32 bits
    or floats, nor GIF, and does not turn WebP by its EXIF tag; the two differ in CMYK and in grey
    with an alpha channel. Here 16 bits lose their lower 8, alpha is left out, and all are turned.

    Required and added keys and arguments are those of ``LoadImage``.
    """

    def transform(self, results: Dict) -> Optional[dict]:
        """The transform function of :class:`LoadImage8Bit`.

        Args:
            results (dict): The result dict.

        Returns:
            dict: The result dict with the image.
        """
        if 'img' not in results and self.color_type == 'color':
            image = read_unlike(results['img_path'])
            if image is not None:
                results['img'] = image
        return super().transform(results)


def read_unlike(path: str) -> Optional[np.ndarray]:
    """A BGR image (h, w, 3) uint8, if its file is one that Pillow and OpenCV read differently.

    Returns:
        np.ndarray | None: None for all other files, and for those that cannot be read.
    """
    try:
        with Image.open(path) as image:
            mode = image.mode
            if mode not in _WITH_ALPHA + _GREY_16 + _OTHER_MODES and image.format not in _FORMATS:
                return None
            image = ImageOps.exif_transpose(image)
            if mode in _GREY_16:
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            elif mode in _WITH_ALPHA:
                image = image.convert('LA').getchannel('L')
            return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])
    except Exception:  # Pillow's decoders raise what they like; LoadImage names the file
        return None
