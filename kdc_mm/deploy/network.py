"""What an exported graph computes: from the bytes of an image to the maps that the host decodes."""
from typing import Dict, List, Tuple

from mmpose.models import BottomupPoseEstimator
from torch import Tensor, nn

from ..models.heads.flip import Fields, merge_flipped


class DeployedNetwork(nn.Module):
    """A pose estimator from BGR images to what :meth:`.PoseSeg.host_maps` names.

    Normalisation and the change to RGB are in the graph, with the numbers that the weights were
    trained with: nobody can get them wrong, and images come as bytes. So are the units of the
    heads, the flip test, and all that decoding computes on the device of the maps, whose only text
    is PyTorch's.

    Args:
        model (BottomupPoseEstimator): With one of KDC's heads, in evaluation mode.
        flip_test (bool): Whether to average with the mirrored image's maps.
    """

    def __init__(self, model: BottomupPoseEstimator, flip_test: bool) -> None:
        super().__init__()
        self.model = model
        self.codec = model.head.decoder
        self.flip_test = flip_test
        #: Names of the outputs, known after a call.
        self.output_names: List[str] = []

    def forward(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Images (B, H, W, 3) uint8 BGR to maps, in the order of ``output_names``."""
        maps = self.maps_of(self._normalised(images))
        self.output_names = list(maps)
        return tuple(maps.values())

    def maps_of(self, inputs: Tensor) -> Dict[str, Tensor]:
        """Maps of normalised inputs (B, 3, H, W)."""
        fields = self._fields(inputs)
        if self.flip_test:
            fields = merge_flipped(fields, self._fields(inputs.flip(-1)), self.codec)
        return self.codec.host_maps({name: field.float() for name, field in fields.items()})

    def _normalised(self, images: Tensor) -> Tensor:
        """What the data preprocessor makes of them, (B, 3, H, W)."""
        preprocessor = self.model.data_preprocessor
        inputs = images.permute(0, 3, 1, 2)
        if preprocessor._channel_conversion:
            inputs = inputs.flip(1)
        inputs = inputs.float()
        if preprocessor._enable_normalize:
            inputs = (inputs - preprocessor.mean) / preprocessor.std
        return inputs

    def _fields(self, inputs: Tensor) -> Fields:
        return self.model.head(self.model.extract_feat(inputs))
