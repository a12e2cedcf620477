"""The line between a host and the leader: a thread that carries letters through the store.

A store operation over a link that is down does not come back for minutes. So a thread of its own
makes them all, and what tells that the others cannot be reached is that no round trip came back.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import msgspec

from steadytrain.launch.letters import (
    Member,
    Report,
    Word,
    read_member,
    read_report,
    read_word,
    write,
)
from steadytrain.launch.verdicts import Heard

TICK_SECONDS = 0.05
"""Between two round trips; a thousand hosts make one a second each, so that the store keeps up."""

BEAT_SECONDS = 0.5
"""A letter that has not changed is sent again so often, as a sign of life."""


class Store(Protocol):
    """The part of torch's stores that hosts use. All of it raises RuntimeError when it is lost."""

    def set(self, key: str, value: bytes | str, /) -> None: ...
    def get(self, key: str, /) -> bytes: ...
    def add(self, key: str, amount: int, /) -> int: ...
    def check(self, keys: list[str], /) -> bool: ...
    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes: ...
    def multi_get(self, keys: list[str], /) -> list[bytes]: ...
    def clone(self) -> Self: ...


class Patient:
    """A store whose every call ends: one that takes too long raises as a lost one does."""

    def __init__(self, store: Store, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*given: Any) -> Any:
            found: list[Any] = []
            failed: list[RuntimeError] = []

            def work() -> None:
                try:
                    found.append(method(*given))
                except RuntimeError as error:
                    failed.append(error)

            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            thread.join(self._seconds)
            if failed:
                raise failed[0]
            if not found:
                raise RuntimeError(f"the rendezvous did not answer for {self._seconds:g} s")
            return found[0]

        return call


class Line:
    """One host's end of it, for one round.

    Args:
        path: what the round's keys begin with.
        rank: of this host; 0 leads.
        members: the hosts of the round.
    """

    def __init__(self, store: Store, path: str, *, rank: int, members: Sequence[Member]) -> None:
        self._store = store
        self._path = path
        self._rank = rank
        self._members = members
        self._lock = threading.Lock()
        self._report, self._word = Report(), Word()
        self._known: dict[int, tuple[bytes, Report, float]] = {}
        self._waiting: dict[str, tuple[int, float]] = {}
        self._touched_at = time.monotonic()
        self._began_at = self._touched_at
        self._why_broken: str | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def age(self) -> float:
        """Since the last round trip; infinite once the store is lost. [seconds]"""
        if self._why_broken is not None:
            return float("inf")
        return time.monotonic() - self._touched_at

    @property
    def why_broken(self) -> str | None:
        return self._why_broken

    @property
    def word(self) -> Word:
        """What the leader said last."""
        return self._word

    def word_age(self) -> float:
        """Since the leader was heard of. [seconds]"""
        return self.age if self._rank == 0 else max(self.age, self._age_of(-1))

    def heard(self) -> list[Heard]:
        """What each host said last; for the leader."""
        found = []
        for at in range(len(self._members)):
            if at == self._rank:
                found.append(Heard(report=self._report, age=0.0))
                continue
            known = self._known.get(at)
            report = known[1] if known is not None else Report(ready=-1)
            found.append(Heard(report=report, age=self._age_of(at)))
        return found

    def waiting(self) -> list[str]:
        """Names of hosts that wait to be let in; for the leader."""
        now = time.monotonic()
        return [
            name for name, (_, at) in list(self._waiting.items()) if now - at < 4 * BEAT_SECONDS
        ]

    def tell(self, report: Report) -> None:
        """Give the leader a new report."""
        with self._lock:
            self._report = report

    def speak(self, word: Word) -> None:
        """Give all hosts a new word; for the leader."""
        with self._lock:
            self._word = word

    def close(self) -> None:
        """Say nothing more; what stands in the store stays there."""
        self._is_closed = True
        self._thread.join(timeout=2 * BEAT_SECONDS)

    def _age_of(self, at: int) -> float:
        known = self._known.get(at)
        return time.monotonic() - (known[2] if known is not None else self._began_at)

    def _follow(self) -> None:
        tick = max(TICK_SECONDS, 0.001 * len(self._members))
        sent: tuple[Report, Word] | None = None
        sent_at = surveyed_at = 0.0
        beat = 0
        try:
            store = self._store.clone()
            while not self._is_closed:
                now = time.monotonic()
                with self._lock:
                    mine = self._report, self._word
                if mine != sent or now - sent_at > BEAT_SECONDS:
                    beat += 1
                    self._send(store, *mine, beat)
                    sent, sent_at = mine, now
                if self._rank == 0:
                    self._read_reports(store)
                    if now - surveyed_at > 2 * BEAT_SECONDS:
                        surveyed_at = now
                        self._survey(store)
                else:
                    self._read_word(store)
                self._touched_at = time.monotonic()
                time.sleep(tick)
        except (RuntimeError, msgspec.DecodeError) as error:
            self._why_broken = str(error).splitlines()[0] if str(error) else type(error).__name__

    def _send(self, store: Store, report: Report, word: Word, beat: int) -> None:
        letter = msgspec.structs.replace(report, beat=beat)
        store.set(f"{self._path}/report/{self._rank}", write(letter))
        if self._rank == 0:
            store.set(f"{self._path}/word", write(msgspec.structs.replace(word, beat=beat)))

    def _read_reports(self, store: Store) -> None:
        others = [at for at in range(len(self._members)) if at != self._rank]
        keys = {at: f"{self._path}/report/{at}" for at in others}
        # To get a key that is not there yet would wait for it.
        there = [at for at in others if at in self._known or store.check([keys[at]])]
        bodies = store.multi_get([keys[at] for at in there]) if there else []
        for at, body in zip(there, bodies, strict=True):
            known = self._known.get(at)
            if known is None or known[0] != body:
                self._known[at] = (body, read_report(body), time.monotonic())
        store.check([f"{self._path}/word"])  # a round trip, where there are no others

    def _read_word(self, store: Store) -> None:
        key = f"{self._path}/word"
        if not store.check([key]):
            return
        body = store.get(key)
        known = self._known.get(-1)
        if known is None or known[0] != body:
            self._word = read_word(body)
            self._known[-1] = (body, Report(), time.monotonic())

    def _survey(self, store: Store) -> None:
        """Who has come since the round began."""
        inside = {one.token for one in self._members}
        for number in range(1, store.add(f"{self._path}/joined", 0) + 1):
            key = f"{self._path}/member/{number}"
            if not store.check([key]):
                continue
            one = read_member(store.get(key))
            if one.token in inside:
                continue
            known = self._waiting.get(one.name)
            if known is None or known[0] != one.beat:
                self._waiting[one.name] = (one.beat, time.monotonic())
