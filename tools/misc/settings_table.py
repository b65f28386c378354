"""Write docs/configs.md: the settings of every class that a config can name, from their docstrings.

`python tools/misc/settings_table.py --out docs/configs.md` after a docstring has changed. The
sources are read and not imported, so that it runs anywhere in a second.
"""
import argparse
import ast
import re
import textwrap
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

ROOT = Path(__file__).resolve().parents[2]

INTRO = """\
# Settings

Made from the docstrings by `python tools/misc/settings_table.py --out docs/configs.md`; a test
compares. What a config of the repository sets, `python tools/train.py CONFIG` prints at its start.

- Settings of the **codec** stand once, in `model.head.decoder`. The head draws its targets by them
  and decodes by them.
- Settings of a **head's part** stand in `model.head.pose_head` and `model.head.seg_head`.
- `model.test_cfg` has `flip_test` (look at the mirrored image too), `output_heatmaps` (keep the
  fields, for pictures), `score_thr` (leaves out people of a lower score; nobody by default) and
  `keypoints`: `'decoded'`, or `'annotated'` for masks around annotated poses.
- On the command line: `--cfg-options model.head.decoder.radius=16`. A key that nothing reads is
  refused with the one that works.
- A **—** under default: the setting has to be given.
"""

#: Where classes and functions with settings are.
PACKAGES = ('kdc_mm', 'kdc_mm_runtime')

#: Headings, and the folders or files whose classes stand under them.
CHAPTERS: Dict[str, Tuple[str, ...]] = {
    'Codec': ('kdc_mm/codecs', 'kdc_mm_runtime'),
    'Heads': ('kdc_mm/models/heads', ),
    'Losses': ('kdc_mm/models/losses', ),
    'Backbones and necks': ('kdc_mm/models/backbones', 'kdc_mm/models/necks'),
    'Data sets': ('kdc_mm/datasets', ),
    'Transforms': ('kdc_mm/datasets/transforms', ),
    'Metrics and evaluators': ('kdc_mm/evaluation', ),
    'Hooks and visualizers': ('kdc_mm/visualization', 'kdc_mm/engine'),
    'Inference': ('kdc_mm/apis', ),
    'Studies': ('kdc_mm/benchmarks', ),
    'mmdeploy': ('kdc_mm/mmdeploy.py', ),
}

#: What configs set without naming it.
UNNAMED = ('grouping_tolerance', 'Refinement', 'FieldHead', 'PersonRowsMixin')

#: Bases without settings.
BARE = ('BaseTransform', 'Hook')

Definition = Union[ast.ClassDef, ast.FunctionDef]


class Setting(NamedTuple):
    """``name``, its ``default`` as in the source or None, and ``what`` it does."""
    name: str
    default: Optional[str]
    what: str


class Entry(NamedTuple):
    """A class or function: ``name``, registry names beside it, ``bases``, first paragraph of its
    docstring and its settings."""
    name: str
    aliases: List[str]
    bases: List[str]
    summary: str
    settings: List[Setting]


def registered_names(node: Definition) -> Optional[List[str]]:
    """The names under which a class is registered; None if it is not."""
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith(
                '.register_module'):
            named = [ast.literal_eval(one.value) for one in decorator.keywords if one.arg == 'name']
            names = named[0] if named else node.name
            return [names] if isinstance(names, str) else list(names)
    return None


def as_markdown(text: str) -> str:
    """One line of Markdown of reStructuredText."""
    text = re.sub(r':\w+:`~?\.?([^`]*)`',
                  lambda role: f'`{role[1].rsplit(".", 1)[-1] if "~" in role[0] else role[1]}`',
                  ' '.join(text.split()))
    return text.replace('``', '`').replace('|', '\\|')


def first_paragraph(docstring: str) -> str:
    return as_markdown(docstring.strip().split('\n\n')[0])


def described_arguments(docstring: str) -> Dict[str, str]:
    """What the section Args of a docstring says, by the names of the arguments; without that
    section its list of ``- ``name``: ...``."""
    if 'Args:\n' not in docstring:
        return {name: what for name, what in re.findall(
            r'^- ``(\w+)``: (.*?)(?=\n- ``|\n\n|\Z)', docstring, re.DOTALL | re.MULTILINE)}
    section = re.split(r'\n(?=\S)', docstring.split('Args:\n', 1)[1])[0]
    found = {}
    for entry in re.split(r'\n(?=\S)', textwrap.dedent(section)):
        head = re.match(r'([\w*, ]+?)(?: \([^:]*\))?: (.*)', entry, re.DOTALL)
        if head is not None:
            found.update({name.strip(): head[2] for name in head[1].split(',')})
    return found


def defaults_of(node: Definition) -> Dict[str, Optional[str]]:
    """Names of the arguments, or of a dataclass's fields, and their defaults."""
    if isinstance(node, ast.ClassDef):
        fields = {one.target.id: ast.unparse(one.value) for one in node.body
                  if isinstance(one, ast.AnnAssign) and one.value is not None}
        made = [one for one in node.body
                if isinstance(one, ast.FunctionDef) and one.name == '__init__']
        if not made:
            return fields
        node = made[0]
    given = node.args
    names = [one.arg for one in given.args]
    values = [None] * (len(names) - len(given.defaults)) + given.defaults
    pairs = [*zip(names, values), *zip((one.arg for one in given.kwonlyargs), given.kw_defaults)]
    return {name: value and ast.unparse(value) for name, value in pairs if name != 'self'}


def settings_of(node: Definition) -> List[Setting]:
    """The settings that a docstring describes, in its order."""
    defaults = defaults_of(node)
    settings = []
    for name, what in described_arguments(ast.get_docstring(node) or '').items():
        default = '' if name.startswith('*') else defaults.get(name)
        text = as_markdown(what)
        settings.append(Setting(name, default, without_default(text, default or '')))
    return settings


def without_default(text: str, default: str) -> str:
    """The text without the sentence that says what the column of defaults says."""
    alike = {default, default.removesuffix('.0')} - {''}
    for one in alike:
        text = re.sub(r' ?Defaults to `?' + re.escape(one) + r'`?\.(?!\d)', '', text)
    return text.strip()


def entries_of(tree: ast.Module) -> Iterator[Entry]:
    """The classes and functions of a module that configs set something of."""
    for node in tree.body:
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            continue
        names = registered_names(node)
        if names is None and node.name not in UNNAMED:
            continue
        bases = [ast.unparse(base) for base in getattr(node, 'bases', [])]
        yield Entry(node.name, [name for name in names or [] if name != node.name], bases,
                    first_paragraph(ast.get_docstring(node)), settings_of(node))


def section(entry: Entry, known: List[str]) -> str:
    """An entry as Markdown; ``known`` have sections of their own."""
    others = [name for name in known if name != entry.name]

    def link(text: str) -> str:
        return re.sub(r'`(\w+)`', lambda code: f'[{code[0]}](#{code[1].lower()})'
                      if code[1] in others else code[0], text)

    lines = [f'### {entry.name}', '', link(entry.summary)]
    if entry.aliases:
        lines += ['', 'Older names: ' + ', '.join(f'`{name}`' for name in entry.aliases) + '.']
    if entry.settings:
        lines += ['', '| setting | default | what |', '| --- | --- | --- |']
        for name, default, what in entry.settings:
            shown = '—' if default is None else f'`{default}`' if default else ''
            lines.append(f'| `{name}` | {shown} | {link(what)} |')
    theirs = [link(f'`{base}`') for base in entry.bases if base not in BARE]
    if theirs and not entry.settings:
        lines += ['', f'Settings of its base{"s" * (len(theirs) > 1)}: {", ".join(theirs)}.']
    return '\n'.join(lines)


def page(root: Path = ROOT) -> str:
    """The text of docs/configs.md."""
    chapters: Dict[str, List[Entry]] = {title: [] for title in CHAPTERS}
    longest_first = sorted(
        ((folder, title) for title, folders in CHAPTERS.items() for folder in folders),
        key=lambda pair: -len(pair[0]))
    files = [file for package in PACKAGES for file in sorted((root / package).rglob('*.py'))]
    for file in files:
        inside = file.relative_to(root)
        for entry in entries_of(ast.parse(file.read_text(encoding='utf-8'))):
            titles = [title for place, title in longest_first if inside.is_relative_to(place)]
            if not titles:
                raise SystemExit(f'{file}: no chapter of {Path(__file__).name} takes {entry.name}; '
                                 'add its folder to CHAPTERS.')
            chapters[titles[0]].append(entry)
    known = [entry.name for entries in chapters.values() for entry in entries]
    parts = [INTRO.strip()]
    for title, entries in chapters.items():
        main_first = sorted(entries, key=lambda entry: entry.name in UNNAMED)
        parts += [f'## {title}', *(section(entry, known) for entry in main_first)]
    return '\n\n'.join(parts) + '\n'


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, metavar='F.md', help='page to write')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    args.out.write_text(page(), encoding='utf-8')
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
