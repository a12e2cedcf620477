"""Follows a run's journal and tells people: reads, applies the rules, hands on to the couriers.

The order in which things are made sure:

    a line of the journal -> notes -> "sending" is on record -> it goes out -> "sent" is on record

A teller that is killed before "sending" reads the line again. One that is killed after it does not
know whether the message arrived, and sends it again: the same words, the same id, and a remark.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from steadytrain import acknowledgements
from steadytrain.errors import JournalError
from steadytrain.events import AlertSent
from steadytrain.tell.box import Box
from steadytrain.tell.courier import Courier
from steadytrain.tell.ledger import Ledger
from steadytrain.tell.message import clean
from steadytrain.tell.notes import Note, Threads
from steadytrain.tell.rules import Rules
from steadytrain.tell.vigil import Vigil
from steadytrain.tell.ways import Way
from steadytrain.tell.words import Lang
from steadytrain.vitals import Vitals, exists

POLL_SECONDS = 1.0

LAST_SECONDS = 20.0
"""At the end, for what is under way. Source: shorter than the 30 s of Kubernetes and Slurm."""

VANISHED_SECONDS = 15.0
"""A supervisor that ends writes why; a network's disk takes seconds to show it. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """When the clock alone says something; None: by the run's own pace. [seconds]"""

    escalate_after: float = 1800.0
    silent_after: float | None = None
    no_checkpoint_after: float | None = None


@dataclass(kw_only=True)
class Teller:
    """One run, some channels.

    Args:
        link: where people can look, put into every message.
        beside: the process of the supervisor: its end without a word is told.
        stays: go on when the run has ended.
    """

    home: Path
    ways: Sequence[Way]
    ledger: Ledger
    blot: Callable[[str], str]
    lang: Lang = "en"
    link: str = ""
    patience: Patience = field(default_factory=Patience)
    beside: int | None = None
    stays: bool = False
    clock: Callable[[], float] = time.time
    is_stopped: bool = False
    couriers: list[Courier] = field(default_factory=list)
    _gone_since: float | None = None

    def __post_init__(self) -> None:
        self.vitals = Vitals(home=self.home, clock=self.clock)
        self.threads = Threads(lang=self.lang)
        self._rules = Rules(home=self.home, threads=self.threads)
        self._vigil = Vigil(
            home=self.home,
            threads=self.threads,
            escalate_after=self.patience.escalate_after,
            silent_after=self.patience.silent_after,
            no_checkpoint_after=self.patience.no_checkpoint_after,
        )

    def begin(self) -> None:
        """Take up where an earlier life stopped; nothing is sent yet."""
        now = self.clock()
        for way in self.ways:
            self.couriers.append(self._courier(way, now))
        self._vigil.since = min((one.box.since for one in self.couriers), default=now)
        for sent, at in self.ledger.past:
            self._vigil.restore(sent, at)
        notes = self._read()
        for courier in self.couriers:
            courier.box.settle_given_up(self.threads.by_id.values())
        self._hand_on(notes)
        for courier in self.couriers:
            courier.box.forget_old()
            courier.box.resume(now, self.threads.get)

    def look(self) -> None:
        """One look at the journal, the words of people, and the clock."""
        self._hear_people()
        notes = self._read()
        notes += self._vigil.tick(self.clock(), self.vitals, vanished=self._vanished())
        self._hand_on(notes)

    def run(self) -> bool:
        """Until the run has ended and everything is told, or `is_stopped` is set.

        Whether all went as it should: a courier that died on a bug of ours ends it all, so that
        nobody takes its silence for good news.
        """
        self.begin()
        for courier in self.couriers:
            courier.start()
        try:
            while not self.is_stopped:
                self.look()
                if self._is_done() or not all(one.is_alive for one in self.couriers):
                    break
                time.sleep(POLL_SECONDS)
        finally:
            end, are_alive = time.monotonic() + LAST_SECONDS, True
            for courier in self.couriers:
                are_alive &= courier.is_alive
                courier.stop(max(0.1, end - time.monotonic()))
        return are_alive

    def _courier(self, way: Way, now: float) -> Courier:
        name = way.channel.name
        past = [(sent, at) for sent, at in self.ledger.past if sent.channel == name]
        box = Box(
            channel=name,
            run=clean(self.home.absolute().name).replace("\n", " "),
            manners=way.manners,
            lang=self.lang,
            link=self.link,
            salt=str(self.home.absolute()),
            since=now,
        )
        if not past:
            self.ledger.write(AlertSent(channel=name, state="begun"))
        for sent, at in past:
            box.restore(sent, at)
        return Courier(
            channel=way.channel, box=box, ledger=self.ledger, blot=self.blot, clock=self.clock
        )

    def _read(self) -> list[Note]:
        notes: list[Note] = []
        for item in self.vitals.news.poll():
            self.vitals.note(item)
            notes += self._rules.hear(item, self.vitals)
        self.vitals.refresh_ranks()
        return notes

    def _hand_on(self, notes: Sequence[Note]) -> None:
        if not self.stays and (self.vitals.standing.has_ended or self._is_settled()):
            for courier in self.couriers:
                courier.box.hurries = True  # what was gathered has nothing to wait for
        for note in notes:
            thread = self.threads.by_id[note.thread]
            for courier in self.couriers:
                courier.put(note, thread)

    def _hear_people(self) -> None:
        for word in acknowledgements.waiting(self.home):
            try:
                self.ledger.acknowledge(word)
                acknowledgements.take(self.home, word.id)
            except (JournalError, OSError):
                return  # the file stays, and is read again

    def _vanished(self) -> int | None:
        """The supervisor's process, if it is gone without a word."""
        if self.beside is None or exists(self.beside) or self._has_said_why():
            self._gone_since = None
            return None
        now = self.clock()
        self._gone_since = self._gone_since or now
        return self.beside if now - self._gone_since >= VANISHED_SECONDS else None

    def _has_said_why(self) -> bool:
        return self.vitals.standing.has_ended or self.vitals.gave_up is not None

    def _is_done(self) -> bool:
        """The run has ended, or is down for good and somebody knows; all of it is told."""
        if self.stays or not all(one.is_idle for one in self.couriers):
            return False
        return self.vitals.standing.has_ended or self._is_settled()

    def _is_settled(self) -> bool:
        """The run is down for good, and somebody knows or does not want to."""
        is_down = self.vitals.gave_up is not None or self.threads.open("vanished-")
        return bool(is_down) and not self._vigil.waits
