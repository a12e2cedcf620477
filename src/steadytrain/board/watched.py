"""One run as the board knows it: its steps as arrays, its other events, how it stands."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from steadytrain.board.source import Found, Noted, Source
from steadytrain.board.track import Step, Track
from steadytrain.events import AttemptBegan, Event, RunBegan
from steadytrain.standing import Standing

RANK0 = "rank0"
E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class Watched:
    """A run under a folder that is shown. Whoever reads it holds `lock`.

    Attributes:
        id: its folder as seen from the folder that is shown; what a browser asks for.
        epoch: how often it was read from its beginning: a journal was replaced, if more than 1.
        version: counts changes.
        events: all but steps, each writer's in its order.
        is_read: everything that stood there when it was first looked at is in.
        problem: why it cannot be read, None while it can.
    """

    id: str
    home: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    epoch: int = 1
    version: int = 0
    is_read: bool = False
    problem: str | None = None
    track: Track = field(default_factory=Track)
    standing: Standing = field(default_factory=Standing)
    events: list[Noted] = field(default_factory=list)
    last_at: float = 0.0
    first_at: float | None = None
    kept: dict[str, tuple[int, object]] = field(default_factory=dict)
    looked_at: float = 0.0
    source: Source = field(init=False)

    def __post_init__(self) -> None:
        self.source = Source(self.home)

    @property
    def began(self) -> RunBegan | None:
        return self.standing.began

    @property
    def share_read(self) -> float:
        """0 to 1."""
        known = self.source.bytes_known
        return min(1.0, self.source.bytes_read / known) if known else 1.0

    def catch_up(self, *, seconds: float) -> bool:
        """Read what is new, for about so long; whether anything changed. One thread calls it."""
        until = time.monotonic() + seconds
        before = (self.version, self.problem)
        try:
            self._read(until)
            self.problem = None
        except FileNotFoundError:
            self._begin_anew()
        except OSError as error:
            self.problem = f"{self.home / 'journal'}: {error.strerror}"
        self.looked_at = time.monotonic()
        return before != (self.version, self.problem)

    def of(self, *kinds: type[E]) -> Iterator[tuple[Noted, E]]:
        """Events of these kinds with where they stand, each writer's in its order."""
        return ((one, one.event) for one in self.events if isinstance(one.event, kinds))

    def _read(self, until: float) -> None:
        for writer, path, first, end in self.source.look():
            for found in self.source.read(writer, path, first, end):
                if found:
                    with self.lock:
                        self._take(found)
                        self.version += 1
                if time.monotonic() > until:
                    return
        if not self.is_read:
            self.is_read = True
            self.version += 1

    def _begin_anew(self) -> None:
        with self.lock:
            self.source = Source(self.home)
            self.track, self.standing, self.events = Track(), Standing(), []
            self.is_read, self.first_at, self.last_at = False, None, 0.0
            self.kept.clear()
            self.epoch += 1
            self.version += 1

    def _take(self, found: list[Found]) -> None:
        steps: list[Step] = []
        for one in found:
            if isinstance(one, Step):
                steps.append(one)
                continue
            if isinstance(one.event, AttemptBegan | RunBegan) and one.writer == RANK0:
                self._add(steps)
                steps = []
                if isinstance(one.event, RunBegan):
                    self.track.rename(one.event.domains)
                else:
                    self.track.go_back(one.event.step, one.event.attempt)
            self.events.append(one)
            self._see(one.at)
            if one.writer == RANK0:
                self.standing.note(one.event)
        self._add(steps)

    def _add(self, steps: list[Step]) -> None:
        if not steps:
            return
        self.track.add(steps)
        self.standing.step, self.standing.draw = steps[-1].step, steps[-1].draw_end
        self._see(steps[0].at)
        self._see(steps[-1].at)

    def _see(self, at: float) -> None:
        self.first_at = at if self.first_at is None else min(at, self.first_at)
        self.last_at = max(at, self.last_at)
