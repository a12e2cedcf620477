"""The journal: append-only JSON Lines, one writer per file, the one source of truth.

A run keeps `journal/<writer>.<n>.jsonl`. Each life of a writer begins a new file, so a line torn by
a crash is always the last of its file. No lock, no database: this works on NFS and Lustre, where
SQLite's write-ahead log does not (trackio #555, #495).

A line is the event's JSON with an envelope before it: format version, sequence number, wall clock.
The clock is for people; no judgment reads it.
"""

import errno
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType

import msgspec

from steadytrain import codec
from steadytrain.errors import JournalError
from steadytrain.events import Deed, Event, Judgment, PersonSaid

VERSION = 1
ROTATE_BYTES = 256 * 2**20
"""A new file begins past this size, so that one file stays easy to copy. Source: guess."""

BLOCK_BYTES = 4 * 2**20
"""Read at a time: memory that is used again and again costs no page faults."""

FOLDER = "journal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """An event with its envelope: sequence number and wall clock [seconds since 1970]."""

    seq: int
    at: float
    event: Event


class Journal:
    """The writing end. Each process makes exactly one, for its own writer name.

    Facts are flushed to the operating system; judgments and deeds are also synced to the disk,
    since a remedy must be on record before it is carried out. So is a person's word, whose file is
    moved away then.

    Raises:
        JournalError: the folder cannot be made or written.
    """

    def __init__(
        self,
        home: Path,
        writer: str,
        *,
        clock: Callable[[], float] = time.time,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        self._folder = Path(home) / FOLDER
        self._writer = writer
        self._clock = clock
        self._rotate_bytes = rotate_bytes
        earlier = files(home, writer)
        self._number = _number(earlier[-1]) if earlier else -1
        self._seq = _last_seq(earlier)
        self._file = self._open_next()

    def append(self, event: Event) -> None:
        """Write one event; returns when it would survive the death of this process.

        Raises:
            JournalError: the disk is full or the file cannot be written.
        """
        self._seq += 1
        body = codec.encode(event)
        envelope = f'{{"v":{VERSION},"seq":{self._seq},"at":{self._clock():.6f},'
        line = envelope.encode() + body[1:] + b"\n"
        try:
            self._write_whole(line)
            if isinstance(event, Judgment | Deed | PersonSaid):
                os.fsync(self._file.fileno())
        except OSError as error:
            self._seq -= 1
            # A half line would make every later one unreadable.
            os.ftruncate(self._file.fileno(), self._written)
            self._file.seek(self._written)
            raise _write_error(error, self._file.name) from error
        self._written += len(line)
        if self._written >= self._rotate_bytes:
            self._file.close()
            self._file = self._open_next()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write_whole(self, line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[self._file.write(view) :]

    def _open_next(self) -> FileIO:
        self._number += 1
        self._written = 0
        path = self._folder / f"{self._writer}.{self._number}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Unbuffered: one write call a line, so a killed process tears at most its last line.
            return FileIO(path, "xb")
        except OSError as error:
            raise _write_error(error, str(path)) from error


def files(home: Path, writer: str) -> list[Path]:
    """The writer's files in the order in which they were written."""
    found = (Path(home) / FOLDER).glob(f"{writer}.*.jsonl")
    return sorted((path for path in found if _has_number(path)), key=_number)


def writers(home: Path) -> list[str]:
    """Names of all writers that left a file in this run's journal."""
    found = (Path(home) / FOLDER).glob("*.jsonl")
    return sorted({path.name.rsplit(".", 2)[0] for path in found if _has_number(path)})


def read(home: Path, writer: str = "rank0") -> Iterator[Event]:
    """Every event of a writer, oldest first. A torn last line of a file is dropped.

    Raises:
        JournalError: a line that is not the last of its file cannot be read.
    """
    for path in files(home, writer):
        yield from _read_file(path)


def load(home: Path, writer: str = "rank0") -> list[Event]:
    """All of `read` at once; the fast way to a long journal. For numbers alone: `columns.read`."""
    # A million small tuples make the cyclic collector walk all of them again and again: 2x slower.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        found: list[Event] = []
        for path in files(home, writer):
            for block in whole_lines(path):
                found += decode_lines(path, block)
        return found
    finally:
        if was_enabled:
            gc.enable()


def whole_lines(path: Path, part: tuple[int, int] | None = None) -> Iterator[list[bytes]]:
    """Lines of a file without their newline, some megabytes at a time; a torn last one is left out.

    Args:
        part: these bytes alone, from the beginning of one line to that of another.

    Raises:
        JournalError: the file cannot be read.
    """
    rest = b""
    for block in _blocks(path, part):
        whole = (rest + block).split(b"\n")
        rest = whole.pop()
        yield whole
    # A whole line ends with a newline, so what is left is torn, or nothing.


def decode_lines(path: Path, lines: Sequence[bytes]) -> list[Event]:
    """The events of whole lines of this file.

    Raises:
        JournalError: one of them is not an event; the message has its number in the file.
    """
    try:
        return codec.decode_all(lines)
    except (msgspec.DecodeError, ValueError):
        # Once more line by line, for the number of the one that is to blame.
        for _ in _read_lines(path):
            pass
        raise


def lines(home: Path, writer: str = "rank0") -> Iterator[Line]:
    """Like `read`, with the envelope."""
    for path in files(home, writer):
        for raw, event in _read_lines(path):
            yield _with_envelope(raw, event)


class Tail:
    """Follows all writers of a run while they write; `poll` returns what is new.

    Holds a byte position per file and re-reads nothing. Safe to start before the run does.
    """

    def __init__(self, home: Path) -> None:
        self._home = Path(home)
        self._positions: dict[Path, int] = {}

    def poll(self) -> list[tuple[str, Line]]:
        """New complete lines as (writer, line), each writer's in order, merged by wall clock."""
        fresh: list[tuple[str, Line]] = []
        for writer in writers(self._home):
            for path in files(self._home, writer):
                fresh += [(writer, line) for line in self._poll_file(path)]
        return sorted(fresh, key=lambda pair: pair[1].at)

    def skip(self) -> None:
        """Pass over every line that stands there now, without reading all of them."""
        for writer in writers(self._home):
            for path in files(self._home, writer):
                self._positions[path] = _end_of_lines(path)

    def _poll_file(self, path: Path) -> Iterator[Line]:
        start = self._positions.get(path, 0)
        with open(path, "rb") as file:
            file.seek(start)
            block = file.read()
        end = block.rfind(b"\n") + 1
        self._positions[path] = start + end
        for raw in block[:end].splitlines():
            yield _with_envelope(raw, codec.decode(raw))


def _read_file(path: Path) -> Iterator[Event]:
    for _, event in _read_lines(path):
        yield event


def _read_lines(path: Path) -> Iterator[tuple[bytes, Event]]:
    decode = codec.decode
    number = 0
    for block in whole_lines(path):
        for raw in block:
            number += 1
            try:
                event = decode(raw)
            except (msgspec.DecodeError, ValueError) as error:
                raise JournalError(
                    f"line {number} of {path} is not an event ({error}), so what follows it cannot "
                    "be trusted: only a last line may be torn. Restore the file from a copy, or "
                    "move it away to start the run afresh."
                ) from error
            yield raw, event


def _blocks(path: Path, part: tuple[int, int] | None = None) -> Iterator[bytes]:
    first, stop = part or (0, sys.maxsize)
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(first)
            while block := file.read(min(BLOCK_BYTES, stop - first)):
                first += len(block)
                yield block
    except OSError as error:
        raise JournalError(
            f"{path} cannot be read ({error.strerror}), so the run's history is unknown. "
            "Make the file readable for this user."
        ) from error


class _Envelope(msgspec.Struct):
    seq: int
    at: float


_envelopes = msgspec.json.Decoder(_Envelope)


def _with_envelope(raw: bytes, event: Event) -> Line:
    envelope = _envelopes.decode(raw)
    return Line(seq=envelope.seq, at=envelope.at, event=event)


def _last_seq(paths: list[Path]) -> int:
    for path in reversed(paths):
        whole = path.read_bytes().rsplit(b"\n", 2)
        if len(whole) >= 2 and whole[-2]:
            return _envelopes.decode(whole[-2]).seq
    return -1


def _end_of_lines(path: Path) -> int:
    """Where the next line begins: after the last newline."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - BLOCK_BYTES)
            file.seek(begin)
            at = file.read(end - begin).rfind(b"\n")
            if at >= 0:
                return begin + at + 1
            end = begin
    return 0


def _has_number(path: Path) -> bool:
    parts = path.name.rsplit(".", 2)
    return len(parts) == 3 and parts[1].isdigit()


def _number(path: Path) -> int:
    return int(path.name.rsplit(".", 2)[1])


def _write_error(error: OSError, path: str) -> JournalError:
    if error.errno == errno.ENOSPC:
        why, mend = "the disk is full", "Free some space; the run resumes from its last checkpoint"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        why, mend = "this user may not write there", "Choose another home for the run"
    else:
        why, mend = str(error.strerror), "Choose a home on a disk that works"
    return JournalError(
        f"the journal {path} cannot be written: {why}. Without it no judgment is on record and no "
        f"remedy may be carried out. {mend}."
    )
