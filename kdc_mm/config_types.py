"""What a config builds: its ``type`` is a name, a name with a scope, or in MMEngine's new style the
class itself."""
from typing import Any, Dict, List

from mmengine.config import Config
from mmengine.registry import Registry


def type_name(config: Dict[str, Any]) -> str:
    """Name of the class that a config builds, without its scope: 'KDCHead' for 'mmpose.KDCHead'."""
    kind = config['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def type_class(config: Dict[str, Any], registry: Registry) -> type:
    """The class that a config builds, None if nobody has registered it."""
    kind = config['type']
    return registry.get(kind) if isinstance(kind, str) else kind


def build_of_mmpose(config: Dict[str, Any], registry: Registry) -> Any:
    """Build a part whose name is MMPose's, whatever the default scope: in mmdet's configs names
    without a scope are mmdet's."""
    return registry.build({'_scope_': 'mmpose', **config})


def evaluators_of(cfg: Config, part: str) -> List[Dict[str, Any]]:
    """Evaluators of 'val' or 'test' as a list, those of several data sets together; none for
    'train'."""
    found = cfg.get(f'{part}_evaluator') or []
    if isinstance(found, dict):
        found = found.get('metrics', [found])
    return [found] if isinstance(found, dict) else list(found)
