"""What a page of the docs holds: code blocks, commands, links, anchors."""
import re
import shlex
from pathlib import Path
from typing import List, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
#: Programs by whose names a code span in running text is known as a command.
_PROGRAMS = ('python', 'bash', 'make', 'kdc')


class Block(NamedTuple):
    """A fenced code block: its ``language`` and ``text``, ``page`` and ``line`` of its fence."""
    language: str
    text: str
    page: str
    line: int


class Command(NamedTuple):
    """A command as a shell reads it, comments and continued lines taken away."""
    text: str
    page: str
    line: int

    @property
    def words(self) -> List[str]:
        return shlex.split(self.text)


def pages() -> List[Path]:
    """README.md and docs/*.md."""
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code_blocks(page: Path) -> List[Block]:
    """The fenced blocks of a page, in their order."""
    blocks, language, start, lines = [], None, 0, []
    for number, line in enumerate(page.read_text(encoding='utf-8').splitlines(), 1):
        if not line.startswith('```'):
            lines.append(line)
        elif language is None:
            language, start, lines = line[3:].strip(), number, []
        else:
            blocks.append(Block(language, '\n'.join(lines) + '\n', name_of(page), start))
            language = None
    assert language is None, f'{page}: the fence of line {start} is not closed'
    return blocks


def prose(page: Path) -> str:
    """A page without its fenced blocks; lines keep their numbers."""
    kept, inside = [], False
    for line in page.read_text(encoding='utf-8').splitlines():
        fence = line.startswith('```')
        inside = inside != fence
        kept.append('' if inside or fence else line)
    return '\n'.join(kept)


def commands_of_block(block: Block) -> List[Command]:
    """The commands of a shell block; a loop is one command."""
    commands, held, start = [], '', None
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        line = re.sub(r'(^|\s)#\s.*$', '', line).rstrip()
        start = start or number
        held += line[:-1] if line.endswith('\\') else line
        open_loop = held.startswith('for ') and not held.endswith('done')
        if line.endswith('\\'):
            continue
        if open_loop:
            held += '\n'
        elif held.strip():
            commands.append(Command(' '.join(held.split(' ')).strip(), block.page, start))
            held, start = '', None
        else:
            held, start = '', None
    assert not held.strip(), f'{block.page}: the last command of line {block.line} does not end'
    return commands


def spans(page: Path) -> List[Command]:
    """Commands in running text: code spans that begin with a program and go on."""
    found = []
    for number, line in enumerate(prose(page).splitlines(), 1):
        for text in re.findall(r'(?<!`)`([^`]+)`(?!`)', line):
            if text.split(' ')[0] in _PROGRAMS and ' ' in text:
                found.append(Command(text, name_of(page), number))
    return found


def all_commands() -> List[Command]:
    """Every command of every page, in shell blocks and in running text."""
    found = []
    for page in pages():
        for block in code_blocks(page):
            if block.language == 'shell':
                found += commands_of_block(block)
        found += spans(page)
    return found


def anchors(page: Path) -> List[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: List[str] = []
    for line in prose(page).splitlines():
        if re.match(r'#+ ', line):
            title = re.sub(r'[`*\\]', '', line.lstrip('#').strip()).lower()
            slug = re.sub(r'[^\w\- ]', '', title).replace(' ', '-')
            repeated = found.count(slug)
            found.append(f'{slug}-{repeated}' if repeated else slug)
    return found


class Link(NamedTuple):
    """``target`` of a link, without its anchor, which is ``anchor`` or ''."""
    target: str
    anchor: str
    page: str
    line: int


def links(page: Path) -> List[Link]:
    """The links and pictures of a page that lead to files of the repository."""
    found = []
    for number, line in enumerate(prose(page).splitlines(), 1):
        for target in re.findall(r'\]\(([^)\s]+)\)', line):
            if not re.match(r'[a-z]+:', target):
                path, _, anchor = target.partition('#')
                found.append(Link(path, anchor, name_of(page), number))
    return found
