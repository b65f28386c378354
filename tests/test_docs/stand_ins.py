"""What takes the place of placeholders in the docs' commands, and which of them nothing runs."""
import re
from typing import Dict, List, NamedTuple, Optional

#: Words of the docs that stand for what the reader has, by page ('' for all pages), in this order.
PLACEHOLDERS: Dict[str, Dict[str, str]] = {
    '': {
        r'\bCONFIG \.\.\.$': 'CONFIG',
        r'\bCONFIG\b': 'configs/kdc_rn152_coco.py',
        r'\bCHECKPOINT\b': 'work_dirs/kdc_rn152_coco/epoch_1.pth',
        r'\bepoch_400\.pth': 'epoch_1.pth',
        r'\bBOARD\.yml': 'configs/boards/demo.yml',
        r'\bSTUDY\.yml': 'configs/studies/paper_ablations.yml',
    },
    'docs/results.md': {r'\[(--noise 2)\]': r'\1'},
}

#: Commands that nothing runs or parses, by a regular expression of the whole command, and why.
NOT_RUN: Dict[str, str] = {
    r'apt install .*': 'changes the machine',
    r'git clone .*': 'network',
    r'pip install -e \. .*': 'changes the environment',
    r'pip install --no-deps (mmdeploy|openmim)==.*': 'changes the environment',
    r'pip install aenum .*': 'changes the environment',
    r'pip install -r requirements/deploy\.txt': 'changes the environment',
    r'pip install numpy numba .*': 'changes the environment',
    r'pip install --no-deps kdc_mm-\*\.whl': 'changes the environment',
    r'python mmdeploy/tools/deploy\.py .*': 'in the repository of mmdeploy, not in its wheel',
    r'printf .* > /tmp/c\+\+20 .*': 'a compiler for the next line',
    r'CXX=.* pip install .*': 'compiles mmcv for minutes',
    r'mkdir -p data/coco && cd data/coco': 'a folder for the downloads',
    r'for part in zips/.*': 'network',
    r'mkdir -p data/bodypix && .* curl .*': 'network',
    r'base=https:.*': 'the address of a download',
    r'names="import json.*': 'for the download',
    r'for name in \$\(python.* curl .*': 'network',
    r'python -m venv failed': 'the text of an error',
}

#: Options that make a run of COCO's configs small: inputs of 97 px, one iteration or two.
SMALL_TRAIN = [
    'model.backbone.depth=18', 'model.backbone.init_cfg=None',
    'model.neck.in_channels=[64,128,256,512]', 'model.head.decoder.input_size=(97,97)',
    'model.head.decoder.radius=8', 'model.head.pose_head.feat_channels=16',
    'model.head.seg_head.feat_channels=16', 'model.test_cfg.flip_test=False',
    'train_dataloader.dataset.pipeline.1.input_size=(97,97)',
    'val_dataloader.dataset.pipeline.1.input_size=(97,97)',
    'test_dataloader.dataset.pipeline.1.input_size=(97,97)',
    'train_dataloader.dataset.indices=4', 'val_dataloader.dataset.indices=2',
    'test_dataloader.dataset.indices=2',
    *(f'{part}_dataloader.{key}' for part in ('train', 'val', 'test')
      for key in ('num_workers=0', 'persistent_workers=False')),
    'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
    'default_hooks.checkpoint.interval=1',
]


class Run(NamedTuple):
    """A command that is run end to end: a regular expression of it as it stands in the docs,
    ``more`` arguments that make it small, and the file below the folder that it ``writes``."""
    command: str
    more: List[str]
    writes: Optional[str] = None


#: Runs in a folder with a little of all that the docs speak of, in this order: later ones take what
#: earlier ones wrote. The rest is parsed, and what it names looked for.
RUNS: List[Run] = [
    Run(r'python tools/dataset_tools/make_synth_crowd\.py OUT .*',
        ['--train', '2', '--val', '2', '--size', '96', '--workers', '1'],
        'OUT/annotations/person_keypoints_val2017.json'),
    Run(r'python tools/dataset_tools/check_data\.py CONFIG', ['--no-read'], 'data.png'),
    Run(r'python tools/misc/browse_dataset\.py configs/kdc_rn152_coco\.py .*',
        ['--max-item-per-dataset', '1'], 'out/000000000001.jpg'),
    Run(r'python tools/train\.py configs/kdc_rn152_coco\.py', ['--cfg-options', *SMALL_TRAIN],
        'work_dirs/kdc_rn152_coco/epoch_1.pth'),
    Run(r'python tools/train\.py configs/kdc_rn152_coco\.py --resume',
        ['--cfg-options', *SMALL_TRAIN, 'train_cfg.max_epochs=2'],
        'work_dirs/kdc_rn152_coco/epoch_2.pth'),
    Run(r'python tools/test\.py configs/kdc_rn152_coco\.py work_dirs/kdc_rn152_coco/epoch_400\.pth',
        ['--cfg-options', *SMALL_TRAIN]),
    Run(r'python tools/misc/picture_grid\.py CONFIG CHECKPOINT --out grid\.png',
        ['--num', '1', '--cfg-options', *SMALL_TRAIN], 'grid.png'),
    Run(r'python tools/run_study\.py \$study --list', []),
    Run(r'python tools/run_study\.py \$study --print-config radius-16', []),
    Run(r'python tools/analysis_tools/codec_ceiling\.py configs/kdc_rn152-paper_coco\.py .*',
        ['--limit', '1', '--ann-file', 'data/coco/annotations/person_keypoints_val2017.json']),
    Run(r'python tools/misc/draw_method\.py --out method', ['--only', 'eq1'], 'method/eq1.jpg'),
]


def with_stand_ins(text: str, page: str) -> str:
    """A command of a page with its placeholders replaced."""
    for patterns in (PLACEHOLDERS[''], PLACEHOLDERS.get(page, {})):
        for pattern, stand_in in patterns.items():
            text = re.sub(pattern, stand_in, text)
    return text


def reason_not_to_run(text: str) -> Optional[str]:
    """Why a command is neither run nor parsed; None if it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.fullmatch(pattern, text, re.DOTALL)),
                None)
