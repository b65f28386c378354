"""The command ``kdc``: ``kdc infer ...`` is ``python tools/infer.py ...`` from any folder."""
import runpy
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def main() -> None:
    """Run the tool that the first argument names, with the others."""
    tools = sorted(tool.stem for tool in TOOLS.glob('*.py'))
    if not tools:
        sys.exit(f'There is no {TOOLS}: kdc runs the tools of a clone, see "Install" in README.md.')
    if len(sys.argv) < 2 or sys.argv[1] not in tools:
        sys.exit(f'usage: kdc {{{",".join(tools)}}} ...')
    tool = str(TOOLS / f'{sys.argv.pop(1)}.py')
    sys.argv[0] = tool
    runpy.run_path(tool, run_name='__main__')
