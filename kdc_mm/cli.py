"""The command ``kdc``: ``kdc infer ...`` is ``python tools/infer.py ...``, from any folder."""
import ast
import re
import runpy
import sys
import textwrap
from pathlib import Path
from typing import Dict

PACKAGE = Path(__file__).resolve().parent
#: What a wheel carries of the clone, or the clone.
TOOLS = next((folder for folder in (PACKAGE / '.mim/tools', PACKAGE.parent / 'tools')
              if folder.is_dir()), None)
#: Tools for the clone itself.
LEFT_OUT = 'setup'


def find_tools() -> Dict[str, Path]:
    """The tools by their names, whatever folder they are in; as listed, the outer ones first."""
    if TOOLS is None:
        sys.exit(f'There are no tools beside {PACKAGE}, where a clone has them, nor in it, where a '
                 'wheel has them: install kdc_mm anew.')
    files = [file for file in TOOLS.rglob('*.py') if file.parent.name != LEFT_OUT]
    return {file.stem: file
            for file in sorted(files, key=lambda file: (len(file.parts), file))}


def summary(tool: Path) -> str:
    """The first sentence of a tool's docstring."""
    doc = ast.get_docstring(ast.parse(tool.read_text(encoding='utf-8'))) or ''
    first = re.split(r'\.\s+(?=[A-Z])|\n\n', doc)[0].rstrip('.')
    return textwrap.shorten(first, 100, placeholder=' ...')


def usage(tools: Dict[str, Path]) -> str:
    """All tools, one a line."""
    width = max(map(len, tools))
    return '\n'.join([
        'usage: kdc TOOL ...', '',
        *(f'  {name:{width}}  {summary(tool)}' for name, tool in tools.items()), '',
        'kdc TOOL --help says more. Configs are named as files, or as those of kdc_mm: '
        'kdc_rn152_coco.py.'])


def main() -> None:
    """Run the tool that the first argument names, with the others."""
    tools = find_tools()
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name in ('-h', '--help'):
        print(usage(tools))
        return
    if name not in tools:
        sys.exit(f'There is no tool {name}.\n{usage(tools)}')
    tool = str(tools[name])
    sys.argv[:2] = [tool]
    runpy.run_path(tool, run_name='__main__')
