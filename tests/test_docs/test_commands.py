"""Every command of the docs: what it starts, its arguments, and the files that it names."""
import os
import re
import subprocess
import sys
from functools import lru_cache

import pytest
from mmengine.config import Config

from kdc_mm.cli import TOOLS, find_tools
from kdc_mm.engine.cfg_options import unread_options
from kdc_mm.synth_crowd import make_synth_crowd
from tests.conftest import load_tool
from tests.test_docs.markdown import ROOT, Command, all_commands, code_blocks, name_of, pages
from tests.test_docs.stand_ins import (
    NOT_RUN,
    PLACEHOLDERS,
    RUNS,
    reason_not_to_run,
    with_stand_ins,
)

#: Options of the command line that a config need not have had before.
FREE_KEYS = ('load_from', 'model.test_cfg.keypoints', 'model.head.decoder.')
COMMANDS = [one for one in all_commands() if reason_not_to_run(one.text) is None]


def words_of(command):
    """The words of a command, its placeholders, settings of the environment and the shell's
    variables replaced."""
    text = with_stand_ins(command.text, command.page)
    for name, value in variables_of(command.page).items():
        text = text.replace(f'${name}', value)
    words = Command(text, command.page, command.line).words
    while re.match(r'[A-Z_]+=', words[0]):
        words = words[1:]
    return words


@lru_cache(maxsize=None)
def variables_of(page):
    """What the shell blocks of a page assign: ``data=...``."""
    return dict(re.findall(r'^(\w+)=(\S+)', '\n'.join(
        block.text for block in code_blocks(ROOT / page) if block.language == 'shell'),
        re.MULTILINE))


def tool_of(words):
    """The tool that a command starts, as ``'misc/picture_grid'``, and its arguments; None for
    other commands."""
    if words[0] == 'python' and words[1].startswith('tools/'):
        return words[1][len('tools/'):-len('.py')], words[2:]
    if words[0] == 'kdc' and words[1] not in ('--help', 'TOOL'):
        return str(find_tools()[words[1]].relative_to(TOOLS).with_suffix('')), words[2:]
    launched = re.fullmatch(r'tools/(dist|slurm)_(train|test)\.sh', words[1]) \
        if words[0] == 'bash' else None
    if launched is None:
        return None
    if launched[1] == 'slurm':  # PARTITION JOB CONFIG WORK_DIR, or CHECKPOINT for a test
        config, other, *rest = words[4:]
        return launched[2], [config, *(
            ['--work-dir', other] if launched[2] == 'train' else [other]), *rest]
    gpus = 3 if launched[2] == 'train' else 4  # CONFIG GPUS, or CONFIG CHECKPOINT GPUS
    assert words[gpus].isdecimal(), f'{words} name no number of GPUs'
    return launched[2], words[2:gpus] + words[gpus + 1:]


def is_known(command):
    """Whether a command is one of those that the tests here look at."""
    words = words_of(command)
    return (tool_of(words) is not None
            or words[0] in ('make', 'kdc')
            or words[:2] in (['python', '-c'], ['python', 'my/join_masks.py'],
                             ['python', 'my/from_label_studio.py'])
            or re.fullmatch(r'\w+=\S+', command.text) is not None)


@lru_cache(maxsize=None)
def tool(name):
    assert (ROOT / f'tools/{name}.py').is_file(), f'there is no tool {name}'
    return load_tool(name)


def parse(name, arguments, monkeypatch):
    """The arguments of a tool as it reads them."""
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', *arguments])
    module = tool(name)
    return module.build_parser().parse_args() if hasattr(module, 'build_parser') else (
        module.parse_args())


def place(command):
    return f'{command.page}:{command.line}'


def test_every_command_is_run_or_parsed_or_listed_with_a_reason():
    unknown = [f'{place(one)}: {one.text}' for one in COMMANDS if not is_known(one)]
    assert not unknown, 'neither run nor listed in stand_ins.NOT_RUN:\n' + '\n'.join(unknown)


def test_every_entry_of_the_tables_stands_in_the_docs():
    texts = [one.text for one in all_commands()]
    for pattern in [*NOT_RUN, *(run.command for run in RUNS)]:
        assert any(re.fullmatch(pattern, text, re.DOTALL) for text in texts), (
            f'no command of the docs is {pattern}')
    for page, patterns in PLACEHOLDERS.items():
        of_page = [one.text for one in all_commands() if page in ('', one.page)]
        for pattern in patterns:
            assert any(re.search(pattern, text) for text in of_page), (
                f'no command of {page or "the docs"} has {pattern}')


@pytest.mark.parametrize('page', pages(), ids=name_of)
def test_tools_take_the_arguments_that_a_page_gives_them(page, monkeypatch, capsys):
    monkeypatch.setenv('LOCAL_RANK', '0')
    for command in COMMANDS:
        if command.page != name_of(page) or tool_of(words_of(command)) is None:
            continue
        name, arguments = tool_of(words_of(command))
        try:
            parse(name, arguments, monkeypatch)
        except SystemExit as end:
            said = capsys.readouterr()
            assert '--help' in arguments and end.code == 0, (
                f'{place(command)}: {command.text}\n{said.err}')


@pytest.mark.parametrize('page', pages(), ids=name_of)
def test_what_commands_of_a_page_name_of_the_repository_exists(page):
    targets = re.findall(r'^([\w-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
    for command in COMMANDS:
        if command.page != name_of(page):
            continue
        words = words_of(command)
        if words[0] == 'make':
            made = [word for word in words[1:] if '=' not in word]
            assert set(made) <= set(targets), f'{place(command)}: {command.text}'
        for word in words:
            if re.match(r'(configs|tools)/', word):
                assert (ROOT / word).exists(), f'{place(command)}: there is no {word}'


def test_options_of_the_docs_change_what_is_read(monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in COMMANDS:
        found = tool_of(words_of(command))
        if found is None or '--cfg-options' not in found[1]:
            continue
        args = parse(*found, monkeypatch)
        cfg = Config.fromfile(args.config)
        assert unread_options(cfg, args.cfg_options) == {}, f'{place(command)}: {command.text}'
        before = cfg.to_dict()
        for key in args.cfg_options:
            node = before
            for part in key.split('.'):
                node = node[int(part)] if isinstance(node, (list, tuple)) else node.get(part)
                if node is None:
                    break
            assert node is not None or key.startswith(FREE_KEYS), (
                f'{place(command)}: the config has no {key}')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a little of all that the docs speak of, beside what a clone holds."""
    folder = tmp_path_factory.mktemp('docs')
    for name in ('configs', 'tools', 'kdc_mm'):
        (folder / name).symlink_to(ROOT / name)
    make_synth_crowd(folder / 'data/coco', 'easy', 4, 2, size=128, workers=1, progress=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('run', RUNS, ids=[run.command.replace('\\', '') for run in RUNS])
def test_a_command_of_the_docs_runs_to_its_end(run, folder):
    command = next(one for one in all_commands() if re.fullmatch(run.command, one.text))
    done = subprocess.run(
        [sys.executable, *words_of(command)[1:], *run.more],
        cwd=folder,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', MPLBACKEND='agg'),
        capture_output=True,
        text=True)
    assert done.returncode == 0, f'{place(command)}: {command.text}\n{done.stderr[-3000:]}'
    if run.writes is not None:
        assert (folder / run.writes).stat().st_size > 0
