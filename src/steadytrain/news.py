"""What is new in a run's journal, for those who look on: people, terminals, monitoring.

Unlike `journal.Tail`, a reader that must not fail where the run does not: a line that cannot be
read is counted and passed over, kinds of a later version are passed over, and of a run's steps only
a few numbers are read, so that a million of them take seconds.
"""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from steadytrain import codec, journal
from steadytrain.events import Event, JudgeState, StepRecord

_STEP, _STATE = codec.mark_of(StepRecord), codec.mark_of(JudgeState)

WRITERS = ("rank0", "supervisor", "tell")


class Step(msgspec.Struct, gc=False):
    """What is read of every StepRecord."""

    seq: int
    at: float
    step: int
    tokens: tuple[int, ...] = ()
    committed: bool = True
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One line: a `Step`, or the event. The last steps of a look are there as StepRecords too."""

    writer: str
    at: float
    seq: int
    event: Event | Step


_steps = msgspec.json.Decoder(Step)


class _Envelope(msgspec.Struct):
    seq: int
    at: float


_envelopes = msgspec.json.Decoder(_Envelope)


class News:
    """Follows the writers of a run; safe to start before the run does.

    Args:
        num_records: steps of each look that are read whole.

    Attributes:
        num_damaged: lines that could not be read.
        num_unknown: lines of kinds that this version does not know.
    """

    def __init__(
        self, home: Path, *, writers: tuple[str, ...] = WRITERS, num_records: int = 1
    ) -> None:
        self._home = Path(home)
        self._writers = writers
        self._num_records = num_records
        self._positions: dict[Path, int] = {}
        self.num_damaged = 0
        self.num_unknown = 0

    def poll(self) -> list[Item]:
        """What came since the last look, each writer's in order, merged by wall clock."""
        found: list[Item] = []
        for writer in self._writers:
            for path in journal.files(self._home, writer):
                found += self._fresh(writer, path)
        found.sort(key=lambda item: item.at)
        return found

    def _fresh(self, writer: str, path: Path) -> Iterator[Item]:
        last: deque[bytes] = deque(maxlen=self._num_records)
        for block in self._blocks(path):
            for raw in block:
                if codec.is_of(raw, _STATE):
                    continue  # the judge's memory: large, and nothing to look at
                if codec.is_of(raw, _STEP):
                    item = self._step(writer, raw)
                    if item is not None:
                        last.append(raw)
                else:
                    item = self._event(writer, raw)
                if item is not None:
                    yield item
        for raw in last:
            if (whole := self._event(writer, raw)) is not None:
                yield whole

    def _blocks(self, path: Path) -> Iterator[list[bytes]]:
        """Whole new lines; a last one without its end is left for the next look."""
        start = self._positions.get(path, 0)
        try:
            if os.stat(path).st_size < start:  # put back from a copy
                start = 0
            with open(path, "rb") as file:
                file.seek(start)
                rest = b""
                while block := file.read(journal.BLOCK_BYTES):
                    lines = (rest + block).split(b"\n")
                    rest = lines.pop()
                    start += sum(map(len, lines)) + len(lines)
                    self._positions[path] = start
                    yield lines
        except OSError:
            return  # a network file system hiccups; the next look reads it

    def _step(self, writer: str, raw: bytes) -> Item | None:
        try:
            step = _steps.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._odd_step(writer, raw)
        return Item(writer, step.at, step.seq, step)

    def _odd_step(self, writer: str, raw: bytes) -> Item | None:
        """A step with a spelled-out NaN where a plain number is read, or a damaged line."""
        whole = self._event(writer, raw)
        if whole is None or not isinstance(whole.event, StepRecord):
            return whole
        one = whole.event
        light = Step(whole.seq, whole.at, one.step, one.tokens, one.committed, one.seconds)
        return Item(writer, whole.at, whole.seq, light)

    def _event(self, writer: str, raw: bytes) -> Item | None:
        try:
            envelope = _envelopes.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.num_damaged += bool(raw)
            return None
        try:
            event = codec.decode(raw)
        except (msgspec.DecodeError, ValueError):
            self.num_unknown += 1
            return None
        return Item(writer, envelope.at, envelope.seq, event)
