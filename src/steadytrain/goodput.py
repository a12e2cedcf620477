"""Where a run's time went, from its journal alone: a closed account.

Each second belongs to one of `PARTS` and to no other, in whole microseconds, so that the parts are
the whole by construction. What passed within a life of the training process is known from clocks
that never jump (`StepRecord.seconds` and the durations in other facts); what passed between two
lives only the wall clock of the lines knows. If that jumps back, nothing passed; if it jumps ahead,
the account says "idle".
"""

import operator
import statistics
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from steadytrain.absences import ENDING, MOST_SILENT, TELLING, Mark, absence
from steadytrain.events import (
    AttemptBegan,
    BatchExamined,
    CheckpointSaved,
    Event,
    Heartbeat,
    PanelRecord,
    RemedyDone,
    RunEnded,
    TrialDone,
)
from steadytrain.news import Step
from steadytrain.stints import BLOCK, MICRO, PARTS, Books, Part, whole


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Seconds of each of `PARTS`, and what was made in them.

    Attributes:
        running: of the whole, in lives of the training process. [seconds]
        clock: by the wall clock, from the first line to the last. [seconds]
        updates, updates_lost, updates_held: made in all lives; undone; held back by the gate.
        tokens, tokens_lost: of the present branch; of updates that were undone.
        failures: times that the processes had to be started again.
        checkpoints: that were saved; `blocked` and `written`: how long each held up the loop, and
            how long it took until it was durable, in the mean. [seconds]
    """

    seconds: Mapping[Part, float]
    running: float
    clock: float
    updates: int
    updates_lost: int
    updates_held: int
    tokens: int
    tokens_lost: int
    failures: int
    checkpoints: int
    blocked: float | None
    written: float | None

    @property
    def wall(self) -> float:
        """All parts together. [seconds]"""
        return sum(self.seconds.values())

    @property
    def goodput(self) -> float | None:
        """The productive share; None before anything happened."""
        return self.share("productive") if self.wall > 0 else None

    def share(self, part: Part) -> float:
        """0 to 1; 0 before anything happened."""
        return self.seconds[part] / self.wall if self.wall > 0 else 0.0


@dataclass(slots=True)
class Timesheet:
    """A fold over a journal: each writer's lines in their order, the writers in any.

    Attributes:
        num_updates, num_skipped: made in all lives, and those of them held back by the gate.
        num_lost, tokens_lost: of updates that a rollback or a restart undid.
        tokens: that the present branch was trained on.
        num_failures: times that the processes had to be started again.
        first_at, last_at: wall clock of the earliest and the latest line. [seconds since 1970]
    """

    num_updates: int = 0
    num_skipped: int = 0
    num_lost: int = 0
    tokens: int = 0
    tokens_lost: int = 0
    num_failures: int = 0
    first_at: float | None = None
    last_at: float | None = None
    # Of the present branch, a row an update; its time is raw until its block is settled.
    _steps: "array[int]" = field(default_factory=lambda: array("q"))
    _sums: "array[int]" = field(default_factory=lambda: array("q"))
    _micros: "array[int]" = field(default_factory=lambda: array("q"))
    _landed: bytearray = field(default_factory=bytearray)
    _settled: int = 0
    _books: "Books" = field(default_factory=lambda: Books())
    _running: int = 0
    _has_moved: bool = False
    _moved_at: float | None = None
    _line_at: float | None = None
    _gap_from: float | None = None
    _gaps: list[tuple[float | None, float]] = field(default_factory=list)
    # By writer: wall clock of its first line, of its last one, and of that if it ends a life.
    _firsts: dict[str, float] = field(default_factory=dict)
    _lasts: dict[str, float] = field(default_factory=dict)
    _endings: dict[str, float] = field(default_factory=dict)
    _marks: list[Mark] = field(default_factory=list)
    _beats: "array[float]" = field(default_factory=lambda: array("d"))
    _blocked: list[float] = field(default_factory=list)
    _written: list[float] = field(default_factory=list)

    def add(self, steps: Sequence[Step]) -> None:
        """Updates of one attempt, in their order."""
        at = 0
        while at < len(steps):
            self._undo(steps[at].step - 1)
            end = _rising(steps, at)
            self._add_rising(steps[at:end])
            at = end

    def note(self, writer: str, at: float, event: Event) -> None:
        """Any other line."""
        self._see(writer, at)
        if isinstance(event, Heartbeat):
            self._beats.append(at)
            return
        if isinstance(event, TELLING):
            self._marks.append(Mark(at, event))
            self._endings.pop(writer, None)
            if isinstance(event, ENDING):
                self._endings[writer] = at
        if writer != "rank0":
            return
        match event:
            case AttemptBegan():
                self._begin(event)
                return
            case CheckpointSaved():
                self._tell("checkpoints", event.blocked_seconds)
                self._blocked.append(event.blocked_seconds)
                self._written.append(event.seconds)
            case PanelRecord():
                self._tell("panel", event.seconds)
            case BatchExamined() | TrialDone() | RemedyDone():
                self._tell("examination", event.seconds)
            case RunEnded():
                pass
            case _:
                return  # perhaps of the next life, which reads a checkpoint before it begins
        self._line_at = at

    def account(self) -> Account:
        """Up to the last line that says something."""
        books = self._books.copied()
        tail = self._tail() if self._has_moved else 0
        books.settle(self._micros[self._settled :], self._landed[self._settled :], tail=tail)
        # Of two at one moment the supervisor's counts first, in whichever order they were read.
        marks = sorted(self._marks, key=lambda one: (one.at, isinstance(one.event, AttemptBegan)))
        beats = sorted(self._beats)
        for begin, end, is_start in self._absences():
            for part, seconds in absence(begin, end, marks, beats, is_start=is_start):
                books.spent[part] += whole(seconds)
        running = self._running + sum(self._micros[self._settled :]) + tail
        return Account(
            seconds={part: books.spent[part] / MICRO for part in PARTS},
            running=running / MICRO,
            clock=max(self._lasts.values(), default=0.0) - min(self._firsts.values(), default=0.0),
            updates=self.num_updates,
            updates_lost=self.num_lost,
            updates_held=self.num_skipped,
            tokens=self.tokens,
            tokens_lost=self.tokens_lost,
            failures=self.num_failures,
            checkpoints=len(self._blocked),
            blocked=_mean(self._blocked),
            written=_mean(self._written),
        )

    def _see(self, writer: str, at: float) -> None:
        self._firsts.setdefault(writer, at)
        self._lasts[writer] = at
        self.first_at = at if self.first_at is None else min(at, self.first_at)
        self.last_at = at if self.last_at is None else max(at, self.last_at)

    def _add_rising(self, steps: Sequence[Step]) -> None:
        clocks = [one.at for one in steps]
        for at in (clocks[0], min(clocks), max(clocks), clocks[-1]):
            self._see("rank0", at)
        micros = self._passed(steps)
        if not self._has_moved:
            self._has_moved = self._books.is_first = True
            self._gaps.append((self._gap_from, steps[0].at - micros[0] / MICRO))
        tokens = [sum(one.tokens) for one in steps]
        landed = bytes([one.committed for one in steps])
        self.num_updates += len(steps)
        self.num_skipped += len(steps) - sum(landed)
        self.tokens += sum(tokens)
        self._steps.extend([one.step for one in steps])
        self._sums.extend(tokens)
        self._micros.extend(micros)
        self._landed += landed
        self._moved_at = self._line_at = steps[-1].at
        while len(self._steps) - self._settled >= BLOCK:
            self._settle(BLOCK)

    def _passed(self, steps: Sequence[Step]) -> list[int]:
        """Microseconds of each update; by the wall clock where it does not say."""
        told = [one.seconds for one in steps if one.seconds is not None]
        if len(told) == len(steps):
            return list(map(whole, told))
        before = [self._moved_at if self._has_moved else None, *(one.at for one in steps)]
        return [
            whole(one.seconds if one.seconds is not None else one.at - (then or one.at))
            for one, then in zip(steps, before, strict=False)
        ]

    def _tell(self, part: Part, seconds: float | None) -> None:
        self._books.told[part] += whole(seconds or 0.0)

    def _begin(self, event: AttemptBegan) -> None:
        tail = 0
        if event.cause != "rollback":
            if self._has_moved:
                self._gap_from = self._line_at
                tail = self._tail()
            self._has_moved = False
            self.num_failures += event.cause == "restart"
        self._settle(len(self._steps) - self._settled, tail=tail)
        self._undo(event.step)

    def _settle(self, count: int, *, tail: int = 0) -> None:
        first, end = self._settled, self._settled + count
        raw = self._micros[first:end]
        self._running += sum(raw) + tail
        self._micros[first:end] = self._books.settle(raw, self._landed[first:end], tail=tail)
        self._settled = end

    def _undo(self, kept: int) -> None:
        """Updates after this one are no part of the branch any more."""
        if not self._steps or self._steps[-1] <= kept:
            return
        self._settle(len(self._steps) - self._settled)
        while self._steps and self._steps[-1] > kept:
            self._steps.pop()
            tokens, micros = self._sums.pop(), self._micros.pop()
            self.num_lost += 1
            self.tokens -= tokens
            self.tokens_lost += tokens
            self._books.move(micros, "productive" if self._landed.pop() else "held", "repeated")
        self._settled = len(self._steps)

    def _tail(self) -> int:
        """Microseconds from a life's last update to the last line about its work."""
        assert self._line_at is not None
        assert self._moved_at is not None
        known = sum(self._books.told.values()) + whole(MOST_SILENT)
        return min(known, whole(self._line_at - self._moved_at))

    def _absences(self) -> Iterable[tuple[float, float, bool]]:
        """(begin, end, whether there was no life before) of the times between lives."""
        for begin, end in self._gaps:
            yield self._since(begin, end), end, begin is None
        if self._has_moved:
            assert self._line_at is not None
            yield self._line_at, max([self._line_at, *self._endings.values()]), False
        elif self._lasts:
            begin, end = self._gap_from, max(self._lasts.values())
            yield self._since(begin, end), end, begin is None

    def _since(self, begin: float | None, end: float) -> float:
        """Where a time begins; the first one with the first line of whoever was there first."""
        known = [at for at in self._firsts.values() if at < end]
        return begin if begin is not None else min(known, default=end)


def _rising(steps: Sequence[Step], first: int) -> int:
    """Where the run of ever higher steps that begins here ends."""
    numbers = [one.step for one in steps[first:]]
    rises = list(map(operator.lt, numbers, numbers[1:]))
    return len(steps) if all(rises) else first + rises.index(False) + 1


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
