"""What the docs quote and describe still stands in the code."""
import ast
import importlib
import re

import pytest

from tests.conftest import load_tool
from tests.test_docs.markdown import ROOT, prose

EQUATIONS = range(1, 9)


def texts_of(node):
    """Strings of an expression as one text, … for what is put in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else '…'
    if isinstance(node, ast.JoinedStr):
        return ''.join(map(texts_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return texts_of(node.left) + texts_of(node.right)
    return '…'


@pytest.fixture(scope='module')
def said():
    """All that our packages and tools may say: a text for each string of the sources."""
    found = set()
    for folder in ('kdc_mm', 'kdc_mm_runtime', 'tools'):
        for file in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
                if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)):
                    found.add(re.sub('…+', '…', texts_of(node)))
    return '\n'.join(found)


def test_every_quoted_error_can_still_be_said(said):
    quoted = re.findall(r'^\| `([^`]+)` \|', prose(ROOT / 'docs/troubleshooting.md'), re.MULTILINE)
    assert len(quoted) > 100
    for text in quoted:
        parts = [re.escape(part) for part in text.split('…')]
        pattern = r'.*?'.join(parts)
        assert len(text.replace('…', '').strip()) > 10, f'{text!r} says too little'
        assert re.search(pattern, said), f'docs/troubleshooting.md: nothing says {text!r} any more'


def equations_named(docstring):
    """The numbers of equations in a docstring: "eq. 2", "eqs. 6 and 7", "eqs. 5 to 7"."""
    named = set()
    for numbers in re.findall(r'eqs?\.\s+(\d(?:\s*(?:,|and|to)\s+\d)*)', docstring):
        ends = [int(number) for number in re.findall(r'\d', numbers)]
        named.update(range(ends[0], ends[-1] + 1) if 'to' in numbers else ends)
    return named


def test_each_equation_of_the_paper_has_a_function_that_names_it():
    rows = re.findall(r'^\| \((\d)\) \|.*\| `(kdc_mm[\w.]+)` \|$',
                      prose(ROOT / 'docs/method.md'), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(EQUATIONS)
    for number, path in rows:
        module, _, name = path.rpartition('.')
        function = getattr(importlib.import_module(module), name)
        assert int(number) in equations_named(function.__doc__), f'{path} does not name {number}'


def test_every_name_of_the_method_page_exists():
    for path in set(re.findall(r'`(kdc_mm\.[\w.]+)`', prose(ROOT / 'docs/method.md'))):
        module, _, name = path.rpartition('.')
        assert hasattr(importlib.import_module(module), name), path


def test_numbers_of_equations_are_read_in_all_their_forms():
    assert equations_named('smooth (eq. 2), then eqs. 5\n to 7, and eqs. 3 and 8.') == {
        2, 3, 5, 6, 7, 8}


def test_the_page_of_settings_is_that_of_the_docstrings():
    page = load_tool('misc/settings_table').page()
    assert (ROOT / 'docs/configs.md').read_text(encoding='utf-8') == page, (
        'run: python tools/misc/settings_table.py --out docs/configs.md')


def test_every_setting_of_a_class_has_a_description():
    tool = load_tool('misc/settings_table')
    for file in (ROOT / 'kdc_mm').rglob('*.py'):
        for entry in tool.entries_of(ast.parse(file.read_text(encoding='utf-8'))):
            for setting in entry.settings:
                assert setting.what or setting.default is not None, (
                    f'{file}: {entry.name} does not say what {setting.name} is')


def test_roles_types_and_defaults_of_docstrings_become_a_row():
    tool = load_tool('misc/settings_table')
    node = ast.parse('''
class A:
    """A class.

    Args:
        size (tuple[int, int]): Size [w, h]; see :class:`~kdc_mm.codecs.PoseSeg` or
            :func:`.merge.merge_votes`. Defaults to 4.
        a, b (float | None): Two. Defaults to ``None``.

    Raises:
        ValueError: never.
    """

    def __init__(self, size=4., a=None, *, b: float):
        pass
''').body[0]
    assert tool.settings_of(node) == [
        ('size', '4.0', 'Size [w, h]; see `PoseSeg` or `merge.merge_votes`.'),
        ('a', 'None', 'Two.'), ('b', None, 'Two. Defaults to `None`.')]
