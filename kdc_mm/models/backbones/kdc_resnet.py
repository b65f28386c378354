from mmpose.models.backbones import ResNet
from mmpose.registry import MODELS


@MODELS.register_module()
class KDCResNet(ResNet):
    """MMPose's ResNet with a chosen output stride and all stages as outputs.

    Stages that would pass the output stride keep their resolution and dilate instead, so that
    torchvision's ImageNet weights load unchanged.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        output_stride (int): Stride of the last stage: 8, 16 or 32. Defaults to 16.
        out_indices (sequence[int]): Stages to put out. Defaults to all four.
        **kwargs: Everything else that MMPose's ResNet takes.

    Raises:
        ValueError: if the output stride is none of the three.
    """

    def __init__(self, depth: int, output_stride: int = 16, out_indices=(0, 1, 2, 3), **kwargs):
        if output_stride not in (8, 16, 32):
            raise ValueError(f'KDCResNet: output_stride must be 8, 16 or 32, got {output_stride}.')
        strides, dilations, stride, dilation = [1], [1], 4, 1
        for _ in range(3):
            if stride < output_stride:
                stride *= 2
                strides.append(2)
            else:
                dilation *= 2
                strides.append(1)
            dilations.append(dilation)
        super().__init__(
            depth,
            strides=tuple(strides),
            dilations=tuple(dilations),
            out_indices=out_indices,
            **kwargs)

    def train(self, mode: bool = True) -> 'KDCResNet':
        """As in torch, returns the module; MMPose's ResNet returns None."""
        super().train(mode)
        return self
