"""A short hash of plain content, to tell whether it is the same on another day or machine."""
import hashlib
import json


def digest_of(content) -> str:
    """16 hexadecimal digits of what JSON can write; the order of a dict's keys does not count, and
    other values count as their text."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
