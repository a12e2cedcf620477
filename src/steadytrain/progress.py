"""The progress board: is a rank moving, and in which phase is it? One small mapped file per rank.

The training side writes `<home>/progress/rank<r>.board` at every change of phase; whoever wants to
know reads it, without asking the training process anything. A liveness thread would prove that a
process exists; only a beat from the training loop proves that training moves.

Two records are written in turn, each with a checksum: a writer that is killed or stopped in the
middle of a beat leaves the beat before it readable, and a reader never takes half a record.

A `Session` beats by itself. A loop of one's own, or a long evaluation inside a guarded one, says

    from steadytrain.progress import beat
    beat("evaluation", step)

which costs a microsecond under `steadytrain run`, and nothing at all without it.

The other way goes one word: `<home>/progress/leave.board`, the step after which to save and leave.
"""

import mmap
import os
import struct
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from steadytrain.errors import SettingError

Phase = Literal[
    "starting",
    "data",
    "forward",
    "step",
    "snapshot",
    "checkpoint",
    "panel",
    "examine",
    "restore",
    "finished",
    "backward",
    "loop",
    "evaluation",
    "sync",
    "peers",
    "download",
    "upload",
]
PHASES: tuple[Phase, ...] = get_args(Phase)

FOLDER = "progress"

HOST = "STEADYTRAIN_HOST"
"""Environment of a rank: the name of its host, where a run has several."""

OWN = ("data", "forward")
"""Phases in which a rank of a data-parallel run does its own work. In the others it may wait for
its peers, so their length says nothing about itself."""

_BODY = struct.Struct("<QIIqdId")  # beats, pid, generation, step, clock, phase, own seconds
_RECORD = struct.Struct(f"<{_BODY.size}sI")  # the body, its CRC-32
_SLOT_BYTES = 64  # a cache line: two records never share one
_NUMBER: dict[str, int] = {phase: number for number, phase in enumerate(PHASES)}
_NO_STEP = -(2**63)
_LEAVE = struct.Struct("<QQ")  # the step, and its complement as a check
_current: "Beacon | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Beat:
    """What a rank said last.

    Attributes:
        generation: the start of all ranks that this process belongs to.
        step: updates made; None if it never said.
        clock: CLOCK_MONOTONIC of this host when it said so. [seconds]
        beats: how many it has given in this life; the first is 1.
        own_seconds: spent in phases `OWN` in this life.
    """

    pid: int
    generation: int
    step: int | None
    phase: Phase
    clock: float
    beats: int
    own_seconds: float = 0.0


class Beacon:
    """The writing end, one per rank. Making it is the first beat, of phase "starting".

    Attributes:
        phase: what it said last.

    Raises:
        SettingError: the home cannot hold a mapped file.

    >>> import tempfile
    >>> home = Path(tempfile.mkdtemp())
    >>> beacon = Beacon(home, 0, 3)
    >>> beacon.beat("step", 41)
    >>> beat = read_board(board_path(home, 0))
    >>> beat.generation, beat.phase, beat.step, beat.beats
    (3, 'step', 41, 2)
    """

    __slots__ = (
        "_beats", "_clock", "_generation", "_leave", "_map", "_own_seconds", "_pid", "_step",
        "phase",
    )  # fmt: skip

    def __init__(self, home: Path, rank: int, generation: int) -> None:
        self._pid = os.getpid()
        self._generation = generation
        self._step = _NO_STEP
        self._beats = 0
        self._clock = self._own_seconds = 0.0
        self.phase: Phase = "starting"
        self._leave = _map_old(leave_path(home, os.environ.get(HOST, "")))
        path = board_path(home, rank)
        fresh = path.with_suffix(f".{self._pid}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._map = _map_new(fresh)
            self.beat("starting")
            # A new file, not the old one again: what is left of an earlier life, perhaps still
            # running, must not write on this life's board.
            os.replace(fresh, path)
        except OSError as error:
            raise SettingError(
                f"{path} cannot be made and mapped into memory ({error.strerror}), so nobody could "
                "tell whether this rank moves. Choose a home on a disk that this user can write "
                "and that supports mmap."
            ) from error
        global _current
        _current = self

    def close(self) -> None:
        """Let go of the board; what was said last stays on it."""
        global _current
        if _current is self:
            _current = None
        self._map.close()
        if self._leave is not None:
            self._leave.close()

    def beat(self, phase: Phase, step: int | None = None) -> None:
        """Say which phase begins; `step=None` leaves the step as it was said before."""
        if step is not None:
            self._step = step
        self._beats = beats = self._beats + 1
        now = time.monotonic()
        if self.phase in OWN:
            self._own_seconds += now - self._clock
        self._clock, self.phase = now, phase
        body = _BODY.pack(
            beats, self._pid, self._generation, self._step, now, _NUMBER[phase], self._own_seconds
        )
        _RECORD.pack_into(self._map, beats % 2 * _SLOT_BYTES, body, zlib.crc32(body))

    def is_to_leave(self, step: int) -> bool:
        """Whether this step is the last of this life. Every rank is told alike: `ask_to_leave`."""
        if self._leave is None:
            return False
        last, check = _LEAVE.unpack_from(self._leave)
        return bool(last ^ check == 2**64 - 1 and step >= last)


def beat(phase: Phase, step: int | None = None) -> None:
    """Say which phase of a loop of one's own begins; of no effect without a supervisor.

    Once a script has said a word it is held to it: a rank that then falls silent is hung.
    """
    if _current is None and "STEADYTRAIN_HOME" in os.environ:
        Beacon(
            Path(os.environ["STEADYTRAIN_HOME"]),
            int(os.environ.get("RANK", "0")),
            int(os.environ.get("STEADYTRAIN_GENERATION", "0")),
        )
    if _current is not None:
        _current.beat(phase, step)


def prepare_to_ask(home: Path, host: str = "") -> None:
    """Before a host's ranks start: nobody is asked to leave."""
    path = leave_path(home, host)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(bytes(_LEAVE.size))
    os.replace(fresh, path)


def ask_to_leave(home: Path, step: int, host: str = "") -> None:
    """Ask a host's ranks to save and leave after this step; none may be as far as that yet."""
    with open(leave_path(home, host), "r+b") as file:
        file.write(_LEAVE.pack(step, step ^ (2**64 - 1)))


def leave_path(home: Path, host: str = "") -> Path:
    """Of one host: what is mapped is shared by the processes of a host, not over a network."""
    name = f"leave.{host}.board" if host else "leave.board"
    return Path(home) / FOLDER / name


def board_path(home: Path, rank: int) -> Path:
    return Path(home) / FOLDER / f"rank{rank}.board"


def read_board(path: Path) -> Beat | None:
    """The newest whole record of a board; None if there is none, or it cannot be read now."""
    try:
        block = path.read_bytes()
    except OSError:
        return None
    found = [beat for start in (0, _SLOT_BYTES) if (beat := _read_slot(block, start)) is not None]
    return max(found, key=lambda beat: beat.beats, default=None)


def _read_slot(block: bytes, start: int) -> Beat | None:
    if len(block) < start + _RECORD.size:
        return None
    body, checksum = _RECORD.unpack_from(block, start)
    if zlib.crc32(body) != checksum:
        return None
    beats, pid, generation, step, clock, phase, own_seconds = _BODY.unpack(body)
    return Beat(
        pid=pid,
        generation=generation,
        step=None if step == _NO_STEP else step,
        phase=PHASES[phase],
        clock=clock,
        beats=beats,
        own_seconds=own_seconds,
    )


def _map_new(path: Path) -> mmap.mmap:
    with open(path, "w+b") as file:
        file.truncate(2 * _SLOT_BYTES)
        return mmap.mmap(file.fileno(), 2 * _SLOT_BYTES)


def _map_old(path: Path) -> mmap.mmap | None:
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), _LEAVE.size, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # no supervisor made one
        return None
