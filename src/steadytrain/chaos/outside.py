"""Breaks a run from outside: signals to its processes, damage to what it has stored.

The run is told nothing: its steps and pids are read from its progress boards, what it has saved
from its folder. Everything here works without privileges.
"""

import contextlib
import os
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from steadytrain import journal, slots
from steadytrain.chaos.kinds import DAMAGES, SIGNALS
from steadytrain.chaos.plan import Planned
from steadytrain.chaos.strikes import FOLDER, Strikes
from steadytrain.errors import CheckpointError
from steadytrain.events import CheckpointFailed
from steadytrain.lab import faults
from steadytrain.progress import Beat

CHECKPOINT = re.compile(r"a\d{4,}-s(\d{8,})")

WRITER = "steadytrain/train/scribe.py"
"""In the command line of a process that writes checkpoints for a rank."""

LONGEST_CURE_SECONDS = 60.0
"""A disk is mended once the run has told of it; or after so long, so that it can go on."""


WAIT_SECONDS = 0.2
"""Until it is looked again whether there is what a fault breaks."""


@dataclass(kw_only=True, slots=True)
class Wound:
    """What is to be undone: after `until`, or once the run has told of it."""

    until: float
    undo: Callable[[], None]
    news: journal.Tail | None = None


@dataclass(kw_only=True)
class Outside:
    """The faults of a trial that this process does.

    Attributes:
        supervisor: pid of the one that runs now; whoever starts another says so.
    """

    home: Path
    trial: Path
    faults: tuple[Planned, ...]
    supervisor: int = 0
    _seen: dict[int, float] = field(default_factory=dict)
    _wounds: list[Wound] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = [one for one in self.faults if one.is_outside]
        self._strikes = Strikes(self.trial)

    def look(self, beats: Mapping[int, Beat]) -> None:
        """Do what is due, undo what is over."""
        now = time.monotonic()
        for wound in list(self._wounds):
            if now >= wound.until or _has_told(wound.news):
                self._wounds.remove(wound)
                wound.undo()
        for one in list(self._left):
            beat = beats.get(one.rank)
            if beat is None or beat.step is None or beat.step < one.step:
                continue
            if now < self._seen.setdefault(one.index, now) + one.delay:
                continue
            if self._may_fall(one):
                self._left.remove(one)
                self._strike(one, {rank: found.pid for rank, found in beats.items()}, beat.step)
            else:
                self._seen[one.index] = now + WAIT_SECONDS

    def close(self) -> None:
        """Undo what has not been undone, for what comes after the trial."""
        while self._wounds:
            self._wounds.pop().undo()

    def _may_fall(self, one: Planned) -> bool:
        """Whether there is what it breaks."""
        if one.kind == "flip-slot":
            return bool(self._sealed(one.rank))
        if one.kind in DAMAGES or one.kind == "disk-full":
            return newest_checkpoint(self.home) is not None
        if one.kind == "kill-writer":
            return bool(self._writers())  # it is started with the first save
        return True

    def _strike(self, one: Planned, pids: Mapping[int, int], step: int) -> None:
        is_at_rank = one.kind in SIGNALS or one.kind in DAMAGES
        pid = pids[one.rank] if is_at_rank else None
        if not self._strikes.claim(one.index, times=1, step=step, pid=pid):
            return
        if one.kind in SIGNALS:
            _send(pids[one.rank], signal.Signals[SIGNALS[one.kind]])
        elif one.kind in DAMAGES:
            for other in pids.values():
                _send(other, signal.SIGSTOP)
            self._damage(one)
            _send(pids[one.rank], signal.SIGKILL)
        else:
            self._strike_whole(one, pids)

    def _strike_whole(self, one: Planned, pids: Mapping[int, int]) -> None:
        seconds = one.seconds or 0.0
        match one.kind:
            case "kill-all":
                for process in carriers(self.trial):
                    _send(process.pid, signal.SIGKILL)
            case "kill-supervisor":
                _send(self.supervisor, signal.SIGKILL)
            case "preempt":
                _send(self.supervisor, signal.SIGTERM)
            case "kill-parent":
                for process in self._children("launch/parent.py"):
                    if process.pid not in pids.values():
                        _send(process.pid, signal.SIGKILL)
            case "kill-writer":
                _send(self._writers()[0].pid, signal.SIGKILL)
            case "pause-supervisor":
                self._pause([self.supervisor], seconds)
            case "pause-all":
                self._pause([process.pid for process in carriers(self.trial)], seconds)
            case "disk-full":
                self._limit_files(pids)
            case "disk-gone":
                self._take_folder_away()

    def _pause(self, pids: list[int], seconds: float) -> None:
        for pid in pids:
            _send(pid, signal.SIGSTOP)

        def undo() -> None:
            for pid in pids:
                _send(pid, signal.SIGCONT)

        self._wounds.append(Wound(until=time.monotonic() + seconds, undo=undo))

    def _limit_files(self, pids: Mapping[int, int]) -> None:
        newest = newest_checkpoint(self.home)
        assert newest is not None
        most = _largest(newest).stat().st_size // 2
        found = [*pids.values(), *(process.pid for process in self._writers())]
        hard = resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE)[1]

        def undo() -> None:
            for pid in found:
                with contextlib.suppress(OSError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

        for pid in found:
            with contextlib.suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))
        self._wounds.append(self._until_told(undo))

    def _take_folder_away(self) -> None:
        folder, away = self.home / "checkpoints", self.home / "checkpoints.away"
        folder.rename(away)
        folder.write_text("no folder any more")

        def undo() -> None:
            folder.unlink()
            away.rename(folder)

        self._wounds.append(self._until_told(undo))

    def _until_told(self, undo: Callable[[], None]) -> Wound:
        news = journal.Tail(self.home)
        news.skip()
        return Wound(until=time.monotonic() + LONGEST_CURE_SECONDS, undo=undo, news=news)

    def _damage(self, one: Planned) -> None:
        chance = random.Random(one.seed)
        if one.kind == "flip-slot":
            _flip_slot(self._sealed(one.rank), chance)
            return
        # As if the host were another: what lay in its memory is gone.
        shutil.rmtree(slots.folder_of(self.home), ignore_errors=True)
        newest = newest_checkpoint(self.home)
        assert newest is not None
        match one.kind:
            case "flip-payload":
                _flip(_largest(newest), chance)
            case "flip-manifest":
                _flip(newest / "manifest.json", chance)
            case "truncate":
                faults.tear(newest, one.seed)
            case "delete-shard":
                _largest(newest).unlink()
            case "leftovers":
                _leave_unfinished(newest)

    def _sealed(self, rank: int) -> list[slots.Slot]:
        """This rank's whole states in shared memory, the newest first."""
        found = []
        for path in slots.folder_of(self.home).glob(f"r{rank}of*.slot"):
            with contextlib.suppress(OSError, CheckpointError):
                slot = slots.Slot.open(path)
                if slot.is_sealed:
                    found.append((slots.key(slot.header()), slot))
        return [slot for _, slot in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def _writers(self) -> list[psutil.Process]:
        return [one for one in carriers(self.trial) if WRITER in " ".join(_words(one))]

    def _children(self, script: str) -> list[psutil.Process]:
        """Of the supervisor, those that run this script."""
        try:
            found = psutil.Process(self.supervisor).children()
        except psutil.NoSuchProcess:
            return []
        return [one for one in found if any(script in word for word in _words(one))]


def carriers(trial: Path) -> list[psutil.Process]:
    """Living processes that were started by this trial, however far down."""
    mark = f"{FOLDER}={trial}\0".encode()
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ = Path(f"/proc/{process.pid}/environ").read_bytes()
            if mark in environ + b"\0" and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def newest_checkpoint(home: Path) -> Path | None:
    """The newest that is finished, as its name says."""
    found = [
        path
        for path in (home / "checkpoints").glob("a*-s*")
        if CHECKPOINT.fullmatch(path.name) and (path / "manifest.json").exists()
    ]
    return max(found, key=lambda path: path.name, default=None)


def _has_told(news: journal.Tail | None) -> bool:
    return news is not None and any(
        isinstance(line.event, CheckpointFailed) for _, line in news.poll()
    )


def _largest(checkpoint: Path) -> Path:
    return max(checkpoint.iterdir(), key=lambda path: (path.stat().st_size, path.name))


def _flip(path: Path, chance: random.Random) -> None:
    """One bit, somewhere."""
    with open(path, "r+b") as file:
        at = chance.randrange(os.fstat(file.fileno()).st_size)
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << chance.randrange(8)]))


def _flip_slot(sealed: list[slots.Slot], chance: random.Random) -> None:
    memory = sealed[0].memory
    at = chance.randrange(sealed[0].payload, len(memory))
    memory[at] ^= 1 << chance.randrange(8)


def _leave_unfinished(newest: Path) -> None:
    """What a process that dies in the middle of a save could leave, and one that never could."""
    name = CHECKPOINT.fullmatch(newest.name)
    assert name is not None
    later = newest.with_name(newest.name.replace(name[1], f"{int(name[1]) + 1:08d}"))
    for path in (later, later.with_name(f"{later.name}.partial")):
        path.mkdir()
        (path / _largest(newest).name).write_bytes(b"half of it")


def _send(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
