"""What is said of an annotation file: what was changed in reading it, and what is refused."""
import re
from typing import Any, Dict, List, Sequence

from ..segmentations import as_numbers

#: Id of the only category of what was read.
PERSON_ID = 1

#: Examples named per kind of problem.
NUM_EXAMPLES = 3

#: Ids up to this size are exact where evaluation puts them into floats.
_MAX_ID = 2**53

#: Characters of a name in a message.
_MAX_SHOWN = 160

Changes = Dict[str, List[str]]


class AnnotationError(ValueError):
    """An annotation file that cannot be used as it is.

    Attributes:
        problems (list[str]): A line for each kind of problem.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(' '.join(problems))
        self.problems = list(problems)


def describe(path: str, changes: Changes) -> List[str]:
    """A line for each kind of change or problem in a file."""
    return [f'{path}: {what} ({len(found)}): {examples(found)}.' for what, found in changes.items()]


def examples(names: Sequence) -> str:
    """The first few names, and how many more there are."""
    rest = len(names) - NUM_EXAMPLES
    return ', '.join(map(shown, names[:NUM_EXAMPLES])) + (f' and {rest} more' if rest > 0 else '')


def shown(name: Any) -> str:
    """What a file holds, as part of a line: printable and not long."""
    text = str(name)
    if len(text) > _MAX_SHOWN:
        text = f'{text[:_MAX_SHOWN]}…'
    return ''.join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def raise_refused(path: str, refused: Changes) -> None:
    if refused:
        raise AnnotationError(describe(path, refused))


def place_of(ann: dict) -> str:
    return f'annotation {ann.get("id")} of image {ann.get("image_id")}'


def as_id(value: Any) -> Any:
    """An id as an integer if it is one, however it is written; others are words or None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    elif isinstance(value, str) and re.fullmatch(r'\s*-?\d{1,18}(\.0)?\s*', value):
        value = int(float(value)) if '.' in value else int(value)
    if value is None or isinstance(value, str) \
            or type(value) is int and abs(value) <= _MAX_ID:
        return value
    return repr(value)


def is_labelled(ann: dict) -> bool:
    """Whether an annotation as it is in a file has a labelled keypoint."""
    try:
        values = as_numbers(ann.get('keypoints') or []).ravel()
    except ValueError:
        return True  # the reading will refuse it, if it is a person's
    return bool((values[2::3] > 0).any())
