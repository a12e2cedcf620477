"""Follows the journal of one run: what is new in any of its files, decoded once.

Steps come as `Step`, a few numbers of each; every other event as it is. A line that cannot be read
is counted and told, not a reason to show nothing: a board is opened most often when something went
wrong.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from steadytrain import codec, journal
from steadytrain.board.track import Step
from steadytrain.events import Event, Heartbeat, JudgeState, StepRecord

BLOCK_BYTES = 1 << 20
"""Decoded at a time: about 2,000 steps, 10 ms in which no request is answered."""

_STEP = codec.mark_of(StepRecord)
_STATE, _HEARTBEAT = codec.mark_of(JudgeState), codec.mark_of(Heartbeat)
"""A judge's memory is large, and heartbeats are many; the last of each rank is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """An event with where it stands: its writer, the clock of its line, its number there."""

    writer: str
    seq: int
    at: float
    event: Event


@dataclass(frozen=True, kw_only=True, slots=True)
class Bad:
    """A line that is no event."""

    file: str
    offset: int
    why: str


Found = Step | Noted


class _Envelope(msgspec.Struct):
    at: float = 0.0
    seq: int = -1


_steps = msgspec.json.Decoder(Step)
_envelopes = msgspec.json.Decoder(_Envelope)


@dataclass(slots=True)
class Source:
    """All files of a run's journal, each with how far it was read.

    Attributes:
        bytes_read, bytes_known: of all files.
        newest: time of the last change of a file. [seconds since 1970]
        bad: lines that are no events, the first of them; `num_bad` counts all.
        heartbeats: the newest of each rank.
    """

    home: Path
    bytes_read: int = 0
    bytes_known: int = 0
    newest: float = 0.0
    num_bad: int = 0
    bad: list[Bad] = field(default_factory=list)
    heartbeats: dict[int, Noted] = field(default_factory=dict)
    _places: dict[str, tuple[int, int]] = field(default_factory=dict)

    def look(self) -> list[tuple[str, Path, int, int]]:
        """Files that hold something unread, as (writer, path, first byte, end), in their order.

        Raises:
            FileNotFoundError: a file was replaced or lost what was read: begin anew.
        """
        waiting = []
        known = 0
        for writer, number, path, found in _files(self.home / journal.FOLDER):
            del number
            known += found.st_size
            self.newest = max(self.newest, found.st_mtime)
            inode, place = self._places.get(path.name, (found.st_ino, 0))
            if inode != found.st_ino or found.st_size < place:
                raise FileNotFoundError(path)
            self._places[path.name] = (inode, place)
            if found.st_size > place:
                waiting.append((writer, path, place, found.st_size))
        self.bytes_known = known
        return waiting

    def read(self, writer: str, path: Path, first: int, end: int) -> Iterator[list[Found]]:
        """What stands in these bytes of a file, some at a time; a torn last line stays unread."""
        with open(path, "rb") as file:
            file.seek(first)
            rest = b""
            while first < end and (block := file.read(min(BLOCK_BYTES, end - first))):
                first += len(block)
                *lines, rest = (rest + block).split(b"\n")
                found = self._decode(writer, path, lines, first - len(rest))
                inode, _ = self._places[path.name]
                self.bytes_read += sum(map(len, lines)) + len(lines)
                self._places[path.name] = (inode, first - len(rest))
                yield found

    def _decode(self, writer: str, path: Path, lines: list[bytes], end: int) -> list[Found]:
        found: list[Found] = []
        decode, mark = _steps.decode, codec.NONFINITE_MARK
        for line in lines:
            try:
                if codec.is_of(line, _STEP):
                    found.append(_odd_step(line) if mark in line else decode(line))
                elif codec.is_of(line, _STATE):
                    continue
                else:
                    noted = _noted(writer, line)
                    if codec.is_of(line, _HEARTBEAT):
                        self.heartbeats[getattr(noted.event, "rank", 0)] = noted
                    else:
                        found.append(noted)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                self.num_bad += 1
                if len(self.bad) < 20:
                    self.bad.append(Bad(file=path.name, offset=end, why=str(error)))
        return found


def has_journal(home: Path) -> bool:
    """Whether a folder is the home of a run."""
    return any(True for _ in _files(home / journal.FOLDER))


def _files(folder: Path) -> list[tuple[str, int, Path, os.stat_result]]:
    """A journal's files as (writer, number, path, state), each writer's in order."""
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
    return sorted(found, key=lambda one: one[:2])


def _noted(writer: str, line: bytes) -> Noted:
    envelope = _envelopes.decode(line)
    return Noted(writer=writer, seq=envelope.seq, at=envelope.at, event=codec.decode(line))


def _odd_step(line: bytes) -> Step:
    return msgspec.convert(json.loads(line, object_hook=codec.read_nonfinite), Step)
