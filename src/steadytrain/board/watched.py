"""One run as the board knows it: its steps as arrays, its other events, how it is."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from steadytrain.board.track import Track
from steadytrain.events import AttemptBegan, Event, Heartbeat, RunBegan
from steadytrain.news import Item, News, Noted, Step
from steadytrain.standing import Standing
from steadytrain.vitals import Vitals

RANK0 = "rank0"
E = TypeVar("E", bound=Event)


@dataclass(slots=True)
class Watched:
    """A run under a folder that is shown. Whoever reads it holds `lock`.

    Attributes:
        id: its folder as seen from the folder that is shown; what a browser asks for.
        epoch: how often it was read from its beginning: a journal was replaced, if more than 1.
        version: counts changes.
        events: all but steps and heartbeats, each writer's in its order; `heartbeats`: the newest
            of each rank.
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
    events: list[Noted] = field(default_factory=list)
    heartbeats: dict[int, Noted] = field(default_factory=dict)
    kept: dict[str, tuple[int, object]] = field(default_factory=dict)
    looked_at: float = 0.0
    vitals: Vitals = field(init=False)

    def __post_init__(self) -> None:
        self.vitals = Vitals(home=self.home)

    @property
    def news(self) -> News:
        return self.vitals.news

    @property
    def standing(self) -> Standing:
        return self.vitals.standing

    @property
    def began(self) -> RunBegan | None:
        return self.standing.began

    @property
    def share_read(self) -> float:
        """0 to 1."""
        known = self.news.bytes_known
        return min(1.0, self.news.bytes_read / known) if known else 1.0

    def catch_up(self, *, seconds: float) -> bool:
        """Read what is new, for about so long; whether anything changed. One thread calls it."""
        until = time.monotonic() + seconds
        before = (self.version, self.problem)
        try:
            self._read(until)
            self.problem = None
        except OSError as error:
            self.problem = f"{self.home / 'journal'}: {error.strerror}"
        self.looked_at = time.monotonic()
        return before != (self.version, self.problem)

    def of(self, *kinds: type[E]) -> Iterator[tuple[Noted, E]]:
        """Events of these kinds with where they stand, each writer's in its order."""
        return ((one, one.event) for one in self.events if isinstance(one.event, kinds))

    def _read(self, until: float) -> None:
        waiting = self.news.unread()
        if self.news.is_replaced:
            self._begin_anew()
            return
        for unread in waiting:
            for found in self.news.read(unread):
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
            self.vitals = Vitals(home=self.home)
            self.track, self.events = Track(), []
            self.heartbeats.clear()
            self.is_read = False
            self.kept.clear()
            self.epoch += 1
            self.version += 1

    def _take(self, found: list[Item]) -> None:
        self.vitals.take(found)
        steps: list[Step] = []
        for one in found:
            if isinstance(one, Step):
                steps.append(one)
                continue
            if isinstance(one.event, Heartbeat):
                self.heartbeats[one.event.rank] = one
                continue
            if isinstance(one.event, AttemptBegan | RunBegan) and one.writer == RANK0:
                self.track.add(steps)
                steps = []
                if isinstance(one.event, RunBegan):
                    self.track.rename(one.event.domains)
                else:
                    self.track.go_back(one.event.step, one.event.attempt)
            self.events.append(one)
        self.track.add(steps)
