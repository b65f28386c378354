"""How far the runs of a study are, for the person who waits."""
import subprocess
import time
from typing import Callable, Dict, List, Optional

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .configs import CHOICE, Run
from .run_folder import RunFolder
from .study import Study

#: Seconds between two looks at a run.
LOOK_S = 0.5
#: Seconds between two lines where there is no terminal.
LINE_S = 60


class Watch:
    """Shows how far a study's runs are, and how long they may take.

    Args:
        study (Study): The study.
        console (Console): Where it is shown.
    """

    def __init__(self, study: Study, console: Console) -> None:
        self.study, self.console = study, console
        self.pace: Dict[str, float] = {}  # seconds per iteration, by entry

    def follow(self, process: subprocess.Popen, run: Run, folder: RunFolder, left: List[Run],
               unplanned: int, is_late: Callable[[], bool]) -> None:
        """Show how far a run is until it ends or the time is up.

        Args:
            process (Popen): What does the run.
            run (Run): The run.
            folder (RunFolder): Its folder.
            left (list[Run]): What is to be run, this one too.
            unplanned (int): Runs besides, whose learning rate is not chosen yet.
            is_late (callable): Whether the time is up.
        """
        started, said = time.monotonic(), 0.
        first: Optional[int] = None
        columns = (SpinnerColumn(), TextColumn('{task.description}'), BarColumn(),
                   TextColumn('{task.completed}/{task.total}'), TimeElapsedColumn(),
                   TextColumn('{task.fields[state]}'))
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(run.name, total=None, state='')
            while process.poll() is None and not is_late():
                time.sleep(LOOK_S)
                progress = folder.progress()
                if not progress:
                    continue
                done, total = progress['iteration'], progress['max_iters']
                first = done if first is None else first
                if done > first:
                    self.pace[run.entry] = (time.monotonic() - started) / (done - first)
                state = self.state(run, progress, left, unplanned)
                bar.update(task, completed=done, total=total, state=state)
                if not self.console.is_terminal and time.monotonic() > said + LINE_S:
                    said = time.monotonic()
                    self.console.print(f'{run.name} {done}/{total}  {state}', markup=False)

    def state(self, run: Run, progress: Dict, left: List[Run], unplanned: int) -> str:
        """The last figures, and how long it may take to the end of all."""
        minutes = self.minutes(run, progress, left, unplanned)
        rest = '' if minutes is None else f'{minutes:.0f} min left'
        return '  '.join(filter(None, [last_figures(progress['curve']), rest]))

    def minutes(self, run: Run, progress: Dict, left: List[Run],
                unplanned: int) -> Optional[float]:
        """How long all may take from here; ``None`` before there is a pace to tell by."""
        pace = self.pace.get(run.entry)
        if pace is None:
            return None
        usual = sum(self.pace.values()) / len(self.pace)
        seconds = pace * (progress['max_iters'] - progress['iteration'])
        seconds += sum(self.pace.get(one.entry, usual) * self.iterations(one)
                       for one in left if one != run)
        seconds += unplanned * usual * (self.study.iterations() or 0)
        return seconds / 60

    def iterations(self, run: Run) -> int:
        """Iterations of a run to come; 0 where that is not known."""
        if self.study.entry(run.entry).decodes is not None:
            return 0  # a test takes as long as a few of them
        share = self.study.choice_share if run.part == CHOICE else 1.
        return self.study.iterations(share) or 0


def last_figures(curve: List[Dict]) -> str:
    """'keypoints AP 71.3  segm AP 73.5', the end of a run's curve; '' before there is any."""
    figures = curve[-1]['figures'] if curve else {}
    return '  '.join(f'{task} AP {found["AP"]:.1f}' for task, found in figures.items()
                     if 'AP' in found)
