"""What is new in a run's journal, for those who look on: people, terminals, boards, monitoring.

Unlike `journal.Tail`, a reader that must not fail where the run does not: people look most often
when something went wrong. A line that cannot be read is counted, told and passed over, so are kinds
of a later version; of a step only the numbers that are drawn are read, so that a million of them
take seconds.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from steadytrain import codec, journal
from steadytrain.events import Event, JudgeState, StepRecord

BLOCK_BYTES = 1 << 20
"""Decoded at a time: about 2,000 steps, 10 ms in which a board answers no request."""

MOST_BAD = 20
"""Lines that cannot be read whose place is kept; the others are counted."""

_STEP, _STATE = codec.mark_of(StepRecord), codec.mark_of(JudgeState)


class Step(msgspec.Struct, gc=False):
    """What is read of a `StepRecord`, and the wall clock of its line."""

    at: float
    attempt: int
    step: int
    draw_end: int
    loss: float
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    committed: bool = True
    grad_norm: float | None = None
    update: float | None = None
    lr: float | None = None
    lr_planned: float | None = None
    seconds: float | None = None
    corrupt: tuple[int, ...] = ()
    repeated: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """An event with where it stands: its writer, the wall clock of its line, its number there."""

    writer: str
    seq: int
    at: float
    event: Event


Item = Step | Noted


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """Bytes of a writer's file that were not read yet."""

    writer: str
    path: Path
    first: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Bad:
    """A line that is no event of this version, in the block of a file that ends at `offset`."""

    file: str
    offset: int
    why: str


class News:
    """Follows the writers of a run; safe to start before the run does.

    Args:
        writers: those to follow; all if None.

    Attributes:
        bytes_read, bytes_known: of all files.
        newest: time of the last change of a file. [seconds since 1970]
        is_replaced: a file is another one than before, or lost what was read.
        num_damaged, num_unknown: lines that could not be read, and those of kinds that this version
            does not know; `bad`: the first of both.
    """

    def __init__(self, home: Path, *, writers: tuple[str, ...] | None = None) -> None:
        self._folder = Path(home) / journal.FOLDER
        self._writers = writers
        self._places: dict[str, tuple[int, int]] = {}
        self.bytes_read = 0
        self.bytes_known = 0
        self.newest = 0.0
        self.is_replaced = False
        self.num_damaged = 0
        self.num_unknown = 0
        self.bad: list[Bad] = []

    @property
    def num_bad(self) -> int:
        return self.num_damaged + self.num_unknown

    def poll(self) -> list[Item]:
        """What came since the last look, each writer's in order, merged by wall clock."""
        found: list[Item] = []
        for unread in self.unread():
            try:
                for block in self.read(unread):
                    found += block
            except OSError:
                continue  # a network file system hiccups; the next look reads it
        found.sort(key=lambda item: item.at)
        return found

    def unread(self) -> list[Unread]:
        """Files that hold something new, each writer's in their order."""
        waiting = []
        self.bytes_known = 0
        for writer, path, state in _files(self._folder):
            if self._writers is not None and writer not in self._writers:
                continue
            self.bytes_known += state.st_size
            self.newest = max(self.newest, state.st_mtime)
            inode, place = self._places.get(path.name, (state.st_ino, 0))
            self.is_replaced |= inode != state.st_ino or state.st_size < place
            if state.st_size < place:  # put back from a copy
                place = 0
            self._places[path.name] = (state.st_ino, place)
            if state.st_size > place:
                waiting.append(Unread(writer=writer, path=path, first=place, end=state.st_size))
        return waiting

    def read(self, unread: Unread) -> Iterator[list[Item]]:
        """Whole lines, some at a time; a last one without its end is left for the next look.

        Raises:
            OSError: the file cannot be read.
        """
        first, rest = unread.first, b""
        with open(unread.path, "rb") as file:
            file.seek(first)
            while first < unread.end and (block := file.read(min(BLOCK_BYTES, unread.end - first))):
                first += len(block)
                *lines, rest = (rest + block).split(b"\n")
                place = first - len(rest)
                inode, _ = self._places[unread.path.name]
                self._places[unread.path.name] = (inode, place)
                self.bytes_read += sum(map(len, lines)) + len(lines)
                yield self._decode(unread, lines, place)

    def _decode(self, unread: Unread, lines: list[bytes], end: int) -> list[Item]:
        found: list[Item] = []
        decode, mark = _steps.decode, codec.NONFINITE_MARK
        for line in lines:
            try:
                if codec.is_of(line, _STEP):
                    found.append(_odd_step(line) if mark in line else decode(line))
                elif line and not codec.is_of(line, _STATE):  # the judge's memory: large
                    found.append(_noted(unread.writer, line))
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                self._pass_over(unread, line, end, error)
        return found

    def _pass_over(self, unread: Unread, line: bytes, end: int, error: Exception) -> None:
        try:
            _envelopes.decode(line)
            self.num_unknown += 1
        except (msgspec.DecodeError, ValueError):
            self.num_damaged += 1
        if len(self.bad) < MOST_BAD:
            self.bad.append(Bad(file=unread.path.name, offset=end, why=str(error)))


def has_journal(home: Path) -> bool:
    """Whether a folder is the home of a run."""
    return any(True for _ in _files(Path(home) / journal.FOLDER))


class _Envelope(msgspec.Struct):
    seq: int
    at: float


_steps = msgspec.json.Decoder(Step)
_envelopes = msgspec.json.Decoder(_Envelope)


def _files(folder: Path) -> list[tuple[str, Path, os.stat_result]]:
    """A journal's files as (writer, path, state), each writer's in order."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                parts = entry.name.rsplit(".", 2)
                if len(parts) == 3 and parts[2] == "jsonl" and parts[1].isdigit():
                    state = os.stat(entry.path) if entry.is_file() else None
                    if state is not None:
                        found.append((parts[0], int(parts[1]), Path(entry.path), state))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found.sort(key=lambda one: one[:2])
    return [(writer, path, state) for writer, _, path, state in found]


def _noted(writer: str, line: bytes) -> Noted:
    envelope = _envelopes.decode(line)
    return Noted(writer=writer, seq=envelope.seq, at=envelope.at, event=codec.decode(line))


def _odd_step(line: bytes) -> Step:
    """A step with a spelled-out NaN where a plain number is read."""
    return msgspec.convert(json.loads(line, object_hook=codec.read_nonfinite), Step)
