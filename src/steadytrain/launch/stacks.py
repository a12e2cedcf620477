"""Stacks of ranks that do not move: asked for before the kill, and read for who waits for whom.

In a collective all ranks fall silent together. The one that keeps the others waiting is the one
whose stack does not end in a collective, or that was stopped and has no say at all.
"""

import contextlib
import linecache
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from steadytrain.launch.silence import Seen

FOLDER = "stacks"

PATIENCE_SECONDS = 0.3
"""For faulthandler to write the stacks of a hang; 20 threads take it less than a hundredth."""

CALM_SECONDS = 0.03
"""A dump that has not grown for so long is whole."""

_FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)')
_WAITING = (
    ("torch/distributed/", ""),
    ("torch/nn/parallel/distributed.py", ""),
    ("torch/autograd/graph.py", "_engine_run_backward"),  # DDP and FSDP reduce inside it
    ("torch/cuda/", "synchronize"),
)
_WRAPPERS = ("torch/_ops.py", "torch/utils/_contextlib.py", "/contextlib.py")
_WORK = re.compile(r"\.wait\(")
"""A wait without a frame of its own is not Python's: that of a collective's or a send's handle."""
_LIBRARY = ("/site-packages/", "/lib/python", "<frozen ", "<string>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    file: str
    line: int
    function: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What is told of where a silent rank stands.

    Attributes:
        is_stopped: by SIGSTOP or a debugger.
        is_waiting: for the other ranks, in a collective.
        words: for a person; None if nothing is known.
    """

    is_stopped: bool = False
    is_waiting: bool = False
    words: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """Where a silent rank stands.

    Attributes:
        is_stopped: by SIGSTOP or a debugger.
        frames: of its main thread, the innermost first; empty if it could not be asked.
    """

    is_stopped: bool = False
    frames: tuple[Frame, ...] = ()

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for the other ranks."""
        if self.is_stopped or not self.frames:
            return False
        inner = next(
            (one for one in self.frames if not one.file.endswith(_WRAPPERS)), self.frames[0]
        )
        is_known = any(part in inner.file and name in inner.function for part, name in _WAITING)
        return is_known or _WORK.search(linecache.getline(inner.file, inner.line)) is not None

    @property
    def place(self) -> Place:
        return Place(is_stopped=self.is_stopped, is_waiting=self.is_waiting, words=self.describe())

    def describe(self) -> str | None:
        """In words for a person; None if nothing is known."""
        if self.is_stopped:
            return "stopped by a signal"
        if not self.frames:
            return None
        own = [one for one in self.frames if not any(part in one.file for part in _LIBRARY)]
        at = own[0] if own else self.frames[0]
        where = f"in {at.function}, {Path(at.file).name}:{at.line}"
        return f"waiting for other ranks {where}" if self.is_waiting else where


def take_stands(home: Path, pids: Mapping[int, int]) -> dict[int, Stand]:
    """Ask every rank for its stacks; returns where each stands. The stacks stay on disk."""
    stopped = {rank: _field(pid, "State").startswith(("T", "t")) for rank, pid in pids.items()}
    asked = [rank for rank, pid in pids.items() if catches(pid, signal.SIGUSR2)]
    for rank in asked:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[rank], signal.SIGUSR2)
            if stopped[rank]:
                # The handler runs before anything else does, but only once the rank may run.
                os.kill(pids[rank], signal.SIGCONT)
    paths = {rank: home / FOLDER / f"rank{rank}.txt" for rank in asked}
    _wait_for(list(paths.values()))
    return {
        rank: Stand(
            is_stopped=stopped[rank],
            frames=read_frames(_read(paths[rank])) if rank in paths else (),
        )
        for rank in pids
    }


def find_guilty(stuck: Sequence[Seen], places: Mapping[int, Place | Stand]) -> Seen:
    """Of ranks that may hold up the others, the one that does; `stuck` has the likeliest first."""
    nowhere = Place()
    stopped = [rank for rank in stuck if places.get(rank.number, nowhere).is_stopped]
    at_work = [rank for rank in stuck if not places.get(rank.number, nowhere).is_waiting]
    return (stopped or at_work or list(stuck))[0]


def read_frames(text: str) -> tuple[Frame, ...]:
    """Frames of the main thread in what faulthandler wrote, the innermost first.

    The main thread is the last block: it is the oldest.

    >>> read_frames('Current thread 0x1 (most recent call first):\\n  File "a.py", line 3 in f\\n')
    (Frame(file='a.py', line=3, function='f'),)
    """
    frames: list[Frame] = []
    for line in text.splitlines():
        if line.startswith(("Thread 0x", "Current thread 0x")):
            frames = []
        elif (found := _FRAME.fullmatch(line)) is not None:
            frames.append(
                Frame(
                    file=found["file"], line=int(found["line"]), function=found["function"].strip()
                )
            )
    return tuple(frames)


def catches(pid: int, signum: int) -> bool:
    """Whether a process has a handler for a signal that would end it otherwise."""
    try:
        return bool(int(_field(pid, "SigCgt"), 16) >> (signum - 1) & 1)
    except ValueError:  # it is gone, or this is not Linux
        return False


def keep_stacks(home: Path, generation: int) -> None:
    """The next start writes its stacks to the same files."""
    for path in (home / FOLDER).glob("rank*.txt"):
        if path.stem.count(".") == 0 and path.stat().st_size:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, path.with_name(f"{path.stem}.{generation}.txt"))


def _wait_for(paths: Sequence[Path]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    sizes: list[int] = []
    calm_since = time.monotonic()
    while (now := time.monotonic()) < end:
        before, sizes = sizes, [len(_read(path)) for path in paths]
        if sizes != before or not all(sizes):
            calm_since = now
        elif now - calm_since > CALM_SECONDS:
            return
        time.sleep(0.005)


def _field(pid: int, name: str) -> str:
    """A field of /proc/PID/status."""
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
