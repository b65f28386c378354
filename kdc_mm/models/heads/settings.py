"""What a config may give to KDC's heads: settings that nobody would read are refused by name."""
import inspect
import warnings
from typing import Iterable, Tuple

from mmpose.registry import KEYPOINT_CODECS
from mmpose.utils.typing import ConfigType

from ...codecs.pose_seg import PoseSeg
from ...config_types import build_of_mmpose, type_class

#: Where the keypoints are from that persons are made of.
KEYPOINT_SOURCES = ('decoded', 'annotated')
#: What ``model.test_cfg`` can have: what KDC's heads and MMPose's estimators read, and what
#: MMPose's bottom-up configs have beside it, whose heads may be replaced by ours.
TEST_SETTINGS = (
    'flip_test', 'keypoints', 'output_heatmaps', 'score_thr', 'multiscale_test', 'flip_mode',
    'shift_heatmap', 'shift_coords', 'align_corners', 'restore_heatmap_size', 'blur_kernel_size',
    'max_instances', 'max_num_people', 'nms_dist_thr', 'nms_joints_thr', 'nms_thr', 'input_size')


def refuse_unknown(settings: Iterable[str], builds: type) -> None:
    """
    Args:
        settings (iterable[str]): Names of the settings that a config gives to a class.
        builds (type): The class.

    Raises:
        TypeError: The class does not have one of them.
    """
    known = inspect.signature(builds.__init__).parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in known.values())
    unknown = sorted(set(settings) - known.keys())
    if unknown and not takes_any:
        raise TypeError(
            f'{builds.__name__} has no {", ".join(unknown)}. Where they are those of a config '
            f"below, leave them behind: dict(_delete_=True, type='{builds.__name__}', ...).")


def build_codec(config: ConfigType, head: str) -> PoseSeg:
    """
    Args:
        config (dict): Config of the codec.
        head (str): Whose it is, for the message.

    Raises:
        TypeError: It is of another codec, or has another codec's settings.
    """
    kind = type_class(config, KEYPOINT_CODECS)
    if isinstance(kind, type):
        if not issubclass(kind, PoseSeg):
            raise TypeError(f'{head}: the decoder is {kind.__name__}, whose maps are those of '
                            "another head. Give it decoder=dict(_delete_=True, type='PoseSeg', "
                            '...).')
        refuse_unknown(config.keys() - {'type', '_scope_'}, kind)
    return build_of_mmpose(config, KEYPOINT_CODECS)


def check_test_cfg(test_cfg: ConfigType, head: str) -> None:
    """
    Args:
        test_cfg (dict): The estimator's.
        head (str): Whose it is, for the message.

    Raises:
        ValueError: for a setting that nobody reads, or an unknown kind of ``keypoints``.
    """
    unknown = [name for name in test_cfg if name not in TEST_SETTINGS]
    if unknown:
        raise ValueError(f'{head}: model.test_cfg has {", ".join(map(repr, unknown))}, which '
                         f'nobody reads; it may have {", ".join(TEST_SETTINGS)}.')
    kind = test_cfg.get('keypoints', KEYPOINT_SOURCES[0])
    if kind not in KEYPOINT_SOURCES:
        raise ValueError(f'{head}: model.test_cfg.keypoints must be one of {KEYPOINT_SOURCES}, '
                         f'got {kind!r}.')


def take_old_unit(loss: ConfigType, key: str, setting: str, unit: float) -> Tuple[dict, float]:
    """The config of a loss and the unit of its vectors, which older configs give to the loss.

    Args:
        loss (dict): Config of the loss.
        key (str): Where older configs have the unit: ``unit_px`` or ``radius``.
        setting (str): Setting of the head that has it today, for the warning.
        unit (float): What that setting says, in pixels.

    Raises:
        ValueError: if the unit is not positive.
    """
    loss = dict(loss)
    if key in loss:
        warnings.warn(f'{loss["type"]} has no {key} any more: vectors count in the unit that the '
                      f'head predicts them in, {setting}.')
        unit = loss.pop(key)
    if unit <= 0:
        raise ValueError(f'{setting} must be greater than 0 px, got {unit}.')
    return loss, unit
