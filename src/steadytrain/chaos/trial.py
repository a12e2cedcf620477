"""One run under `steadytrain run`, broken as planned, started again as a scheduler would."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steadytrain import slots
from steadytrain.chaos import strikes
from steadytrain.chaos.outside import Outside, carriers
from steadytrain.chaos.plan import Planned
from steadytrain.chaos.strikes import Strike, Strikes
from steadytrain.deaths import REQUEUE
from steadytrain.errors import SettingError
from steadytrain.launch.forks import Program, read_command
from steadytrain.progress import Beat, board_path, read_board

POLL_SECONDS = 0.004
"""Between two looks at the boards; a step of a small model takes 20 ms."""

GONE_SECONDS = 10.0
"""How long what a run has started may outlive it: the guard of one that was killed cleans up."""

HOME_WORD = "{home}"
"""In a command: this trial's home, for a script that wants to be told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What all runs of a campaign have in common.

    Attributes:
        command: what every rank runs.
        hang_after: as of `steadytrain run`. [seconds]
        longest: a run that takes longer has failed. [seconds]
    """

    command: tuple[str, ...]
    nproc: int
    hang_after: float
    longest: float


@dataclass(kw_only=True, slots=True)
class Life:
    """What rank 0's board said in one life of the run.

    Attributes:
        began, first_step: its first step, and when it was said. [CLOCK_MONOTONIC]
        advanced: when the first update of this life was made.
        updates: made in it, with those that a rollback made again.
    """

    pid: int
    began: float
    first_step: int | None = None
    last_step: int | None = None
    advanced: float | None = None
    updates: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What was seen of a run from outside.

    Attributes:
        statuses: exit statuses of `steadytrain run`, one for each time that it was started.
        orphans: command lines of what outlived it.
        leaked: its folder in shared memory, where that outlived it.
        is_late: it was ended because it took too long.
    """

    home: Path
    statuses: tuple[int, ...]
    lives: tuple[Life, ...]
    strikes: tuple[Strike, ...]
    orphans: tuple[str, ...]
    leaked: Path | None
    is_late: bool
    seconds: float

    @property
    def updates(self) -> int:
        return sum(life.updates for life in self.lives)

    @property
    def last_step(self) -> int | None:
        found = [life.last_step for life in self.lives if life.last_step is not None]
        return found[-1] if found else None


@dataclass
class Follower:
    """Counts lives and updates, from what the board says."""

    lives: list[Life] = field(default_factory=list)

    def look(self, beat: Beat | None) -> None:
        if beat is None:
            return
        if not self.lives or self.lives[-1].pid != beat.pid:
            self.lives.append(Life(pid=beat.pid, began=beat.clock))
        life = self.lives[-1]
        if beat.step is None or beat.step == life.last_step:
            return
        if life.last_step is None:
            life.first_step, life.began = beat.step, beat.clock
        else:
            # A rollback leads back to a step from which all is made again.
            life.updates += max(0, beat.step - life.last_step)
            life.advanced = life.advanced or beat.clock
        life.last_step = beat.step


def run(settings: Settings, folder: Path, faults: Sequence[Planned]) -> Observed:
    """Start it, break it, start it again while a scheduler would, and clean up."""
    folder = folder.absolute()
    home = folder / "run"
    strikes.save(tuple(faults), folder)
    outside = Outside(home=home, trial=folder, faults=tuple(faults))
    command = [*_supervised(settings, home), *_inside(settings.command, faults)]
    command = [word.replace(HOME_WORD, str(home)) for word in command]
    follower, began = Follower(), time.monotonic()
    statuses: list[int] = []
    is_late = False
    while len(statuses) <= 2 * len(faults) and not is_late:
        process = _start(command, folder)
        outside.supervisor = process.pid
        try:
            while process.poll() is None and not is_late:
                beats = _beats(home, settings.nproc)
                follower.look(beats.get(0))
                outside.look(beats)
                is_late = time.monotonic() - began > settings.longest
                time.sleep(POLL_SECONDS)
        finally:
            outside.close()
            _end(process)
        follower.look(_beats(home, settings.nproc).get(0))
        statuses.append(process.returncode)
        if process.returncode != REQUEUE and process.returncode >= 0:
            break
    orphans = _clean_up(folder)
    shared = slots.folder_of(home)
    return Observed(
        home=home,
        statuses=tuple(statuses),
        lives=tuple(follower.lives),
        strikes=Strikes(folder).read(),
        orphans=orphans,
        leaked=shared if shared.exists() else None,
        is_late=is_late,
        seconds=time.monotonic() - began,
    )


def _supervised(settings: Settings, home: Path) -> list[str]:
    words = [sys.executable, "-m", "steadytrain", "run", "--home", str(home)]
    words += ["--nproc", str(settings.nproc), "--hang-after", str(settings.hang_after), "--"]
    return words


def insist_on_python(command: Sequence[str], fault: str) -> Program:
    """The command, taken apart so that a rank can be started through what breaks it.

    Raises:
        SettingError: it is no Python.
    """
    found = read_command(command)
    if isinstance(found, str):
        raise SettingError(
            f"{fault} is done inside a rank, which needs a Python script or module, and {found}. "
            "Write -- train.py, or choose faults from outside such as sigkill without a phase."
        )
    return found


def _inside(command: Sequence[str], faults: Sequence[Planned]) -> list[str]:
    """The command, started through what breaks it from within where that is asked for."""
    inner = [one for one in faults if not one.is_outside]
    if not inner:
        return list(command)
    found = insist_on_python(command, inner[0].kind)
    is_of_numbers = any(one.of.where == "numbers" for one in inner)
    through = "steadytrain.chaos.numbers" if is_of_numbers else "steadytrain.chaos.inside"
    module = [] if found.module is None else ["-m"]
    return [*found.interpreter, "-m", through, *module, *found.argv]


def _start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with open(folder / "output.log", "ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, strikes.FOLDER: str(folder)},
            start_new_session=True,
            preexec_fn=_hear_interrupts,
        )


def _hear_interrupts() -> None:
    """What a shell starts in the background ignores SIGINT, and every rank would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _beats(home: Path, nproc: int) -> dict[int, Beat]:
    found = ((rank, read_board(board_path(home, rank))) for rank in range(nproc))
    return {rank: beat for rank, beat in found if beat is not None}


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=GONE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def _clean_up(folder: Path) -> tuple[str, ...]:
    """What outlived the run, after it had time to go; killed here."""
    end = time.monotonic() + GONE_SECONDS
    while (left := carriers(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    found = []
    for process in left:
        found.append(f"{process.pid} {process.name()}")
        process.kill()
    return tuple(found)
