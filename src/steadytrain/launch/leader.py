"""The leader of a round: hears of all hosts, writes the run's journal, says what all do next."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from steadytrain.deaths import DO_NOT_REQUEUE, REQUEUE
from steadytrain.events import (
    GiveUp,
    HostGone,
    HostsWaiting,
    Judgment,
    ProcessExited,
    Restart,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.launch.book import Book
from steadytrain.launch.copying import Copying
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.keeper import MARGIN_STEPS, announce
from steadytrain.launch.letters import Appointment, Order, Word
from steadytrain.launch.line import Line
from steadytrain.launch.meeting import Meeting, Round
from steadytrain.launch.output import say
from steadytrain.launch.silence import Seen, find_slowest
from steadytrain.launch.stacks import Place
from steadytrain.launch.verdicts import (
    CAUTION,
    Alone,
    Ask,
    Died,
    Distrusted,
    Finished,
    Gone,
    Heard,
    Hung,
    Left,
    conclude,
)

MARGIN_SECONDS = 1.0
"""How far ahead the step lies at which all ranks leave: the word must have reached every host."""


class Leader:
    """What one host does for all, in one round.

    Args:
        tell: writes down in passing how all ranks look.
        grace_seconds: how long ranks have to save and leave.
    """

    def __init__(
        self,
        book: Book,
        found: Round,
        line: Line,
        meeting: Meeting,
        *,
        hosts: Hosts,
        tell: Callable[[Sequence[Seen]], None],
        grace_seconds: float,
    ) -> None:
        self.wait_seconds = 0.0
        self._book = book
        self._members = found.members
        self._line = line
        self._meeting = meeting
        self._hosts = hosts
        self._tell = tell
        self._grace_seconds = grace_seconds
        self._generation = 0
        self.copying = Copying(book, self._members)
        self._begin(0)

    def _begin(self, start: int) -> None:
        self._start = start
        self._is_noted = self._is_asking = False
        self._death_at: float | None = None
        self._leave_by: float | None = None
        self._made: tuple[float, int] | None = None
        self._steps_per_second = 0.0

    def note_the_missing(self, before: Round, lost: str | None) -> None:
        """What the last leader could not write down: it was lost itself, or the rendezvous was."""
        tally = self._book.tally
        if tally.generation is None or tally.is_judged:
            return
        tokens = {one.token for one in self._members}
        gone = [at for at, one in enumerate(before.members) if one.token not in tokens]
        ranks = _ranks_of(before)
        named = [(before.members[at].name, ranks[at]) for at in gone]
        for name, numbers in named or [(lost or "of the rendezvous", ())]:
            self._book.note(
                HostGone(
                    generation=tally.generation,
                    host=name,
                    ranks=numbers,
                    why="silent",
                    silent_seconds=self._hosts.silent_seconds,
                )
            )

    def missing(self) -> str | None:
        """Which hosts do not come back for the next start."""
        heard = self._line.heard()
        lost = [
            self._members[at].name
            for at, one in enumerate(heard)
            if one.age > self._hosts.silent_seconds or one.report.is_going
        ]
        return f"{', '.join(lost)} did not come back" if lost else self._line.why_broken

    def are_ready(self, start: int) -> bool:
        """Whether no host has ranks of an earlier start left."""
        return all(one.report.ready >= start for one in self._line.heard())

    def call(self, start: int, address: str, port: int) -> Appointment:
        """Name the next start's time and place to all."""
        self._begin(start)
        self._generation = self._book.next_generation
        self._book.next_generation += 1
        found = Appointment(
            generation=self._generation,
            address=address,
            port=port,
            token=f"{self._members[0].token[:12]}-{self._generation}",
        )
        mind = self.copying.errand
        self._line.speak(Word(start=start, appointment=found, copy=mind.copy, safe=mind.safe))
        return found

    def lead(self) -> None:
        """One look at all reports, and what follows."""
        word, heard = self._line.word, self._line.heard()
        if word.order is not None or not (self._is_noted or self._note_start(heard)):
            return
        now = time.monotonic()
        if self._death_at is None and any(one.report.exits for one in heard):
            self._death_at = now
        verdict = conclude(
            heard,
            # With one endpoint, or etcd, who has it is never the part that was cut off.
            least=self._hosts.least if self._hosts.can_split else 1,
            silent_seconds=self._hosts.silent_seconds,
            asks=word.asks if self._is_asking else 0,
            death_seconds=0.0 if self._death_at is None else now - self._death_at,
            is_leaving=word.leave_step is not None,
        )
        self._is_asking &= isinstance(verdict, Ask | Hung)  # else what was answered is old
        match verdict:
            case Alone():
                say("too few hosts are heard of: this one may be cut off, and ends its ranks")
                self.order("regroup", words="too few hosts are heard of")
            case Gone(lost):
                self._part(heard, lost)
            case Distrusted(host):
                self._leave_behind(host, heard)
            case Died(exits):
                self._settle(exits)
            case Ask() if not self._is_asking:
                self._is_asking = True
                self._line.speak(msgspec.structs.replace(word, asks=word.asks + 1))
            case Hung(rank, place):
                self._settle([self._fact_of(rank, place, heard)])
            case Finished():
                self._book.note(WorkersFinished(generation=self._generation))
                self.order("end")
            case Left():
                self._part(heard)
            case None if self._leave_by is None:
                self._look_on(heard)
            case None if now > (self._leave_by or now):
                say("some ranks did not leave in time, and are ended")
                self._part(heard)

    def order(
        self,
        what: Literal["again", "regroup", "end"],
        *,
        status: int = 0,
        words: str = "",
        without: int | None = None,
    ) -> None:
        """How the present start ends, for every host."""
        order = Order(what=what, status=status, words=words, without=without)
        self._line.speak(msgspec.structs.replace(self._line.word, order=order))

    def is_obeyed(self, start: int) -> bool:
        """Whether every other host that is heard of has read the order."""
        near = CAUTION * self._hosts.silent_seconds
        return all(one.report.obeyed >= start or one.age > near for one in self._line.heard()[1:])

    def release(self) -> None:
        """Tell who keeps the store that nobody needs it any more."""
        self._line.speak(msgspec.structs.replace(self._line.word, is_over=True))

    def _note_start(self, heard: Sequence[Heard]) -> bool:
        """Write the start down once every host has begun, or one cannot any more."""
        reports = [one.report for one in heard]
        is_whole = all(one.start == self._start for one in reports)
        is_late = any(one.age > CAUTION * self._hosts.silent_seconds for one in heard)
        if not (is_whole or is_late or any(one.exits or one.is_going for one in reports)):
            return False
        pids: list[int] = []
        for member, report in zip(self._members, reports, strict=True):
            pids += report.pids if report.start == self._start else [0] * member.nproc
        self._is_noted = True
        self._book.note(
            WorkersStarted(
                generation=self._generation,
                pids=tuple(pids),
                step=self._book.step,
                hosts=tuple(one.name for one in self._members for _ in range(one.nproc)),
            )
        )
        if self._start == 0:
            self.copying.note_brought(self._generation, reports)
        return True

    def _look_on(self, heard: Sequence[Heard]) -> None:
        """Nothing is wrong: tell how the ranks are, and whether hosts come or go."""
        seen = [rank for one in heard for rank in one.report.seen]
        if not seen:
            return
        self._tell(seen)
        slowest = find_slowest(seen).step
        self._measure(slowest)
        reports = [one.report for one in heard]
        if all(one.start == self._start for one in reports):
            mind = self.copying.look(self._generation, reports, slowest=slowest)
            word = msgspec.structs.replace(self._line.word, copy=mind.copy, safe=mind.safe)
            if word != self._line.word:
                self._line.speak(word)
        if any(one.report.wants_out for one in heard):
            if any(one.step is None for one in seen):
                self._part(heard)  # nobody has anything to save
            else:
                self._have_all_leave(seen)
            return
        room = self._hosts.most - len(self._members)
        waiting = self._line.waiting()[:room] if room > 0 else []
        # Not before this start has come further: a host that comes and goes must not stop the run.
        if waiting and self._steps_per_second > 0.0 and self._has_progressed(seen):
            step = find_slowest(seen).step
            judgment = self._book.note(
                HostsWaiting(generation=self._generation, hosts=tuple(waiting), step=step)
            )
            if isinstance(judgment, Restart):
                say(judgment.cause)
                self._have_all_leave(seen)

    def _has_progressed(self, seen: Sequence[Seen]) -> bool:
        return (find_slowest(seen).step or 0) > self._book.tally.best

    def _measure(self, step: int | None) -> None:
        now = time.monotonic()
        if step is None:
            return
        if self._made is None:
            self._made = now, step
        elif now - self._made[0] > MARGIN_SECONDS:
            self._steps_per_second = max(0, step - self._made[1]) / (now - self._made[0])
            self._made = now, step

    def _have_all_leave(self, seen: Sequence[Seen]) -> None:
        self._leave_by = time.monotonic() + self._grace_seconds
        margin = MARGIN_STEPS + round(self._steps_per_second * MARGIN_SECONDS)
        last = max(one.step or 0 for one in seen) + margin
        self._line.speak(msgspec.structs.replace(self._line.word, leave_step=last))

    def _part(self, heard: Sequence[Heard], lost: Sequence[int] = ()) -> None:
        """Go on with the hosts that stay, and with those that wait."""
        reports = [one.report for one in heard]
        leaving = [at for at, one in enumerate(reports) if one.is_going or one.wants_out]
        stay = len(self._members) - len({*lost, *leaving}) + len(self._line.waiting())
        if leaving and not lost and stay < self._hosts.least:
            names = ", ".join(self._members[at].name for at in leaving)
            self.order("end", status=REQUEUE, words=f"{names} leaves, and {stay} hosts are too few")
            return
        step = max((rank.step or 0 for one in reports for rank in one.seen), default=0)
        judgment: Judgment | None = None
        ranks = _ranks_of_members([one.nproc for one in self._members])
        for at in sorted({*lost, *leaving}):
            is_silent = at not in leaving
            found = self._book.note(
                HostGone(
                    generation=self._generation,
                    host=self._members[at].name,
                    ranks=ranks[at],
                    why="silent" if is_silent else "left",
                    silent_seconds=round(heard[at].age, 3) if is_silent else None,
                    step=step or None,
                )
            )
            judgment = judgment or found
        if isinstance(judgment, GiveUp):
            self._give_up(judgment)
            return
        words = judgment.cause if isinstance(judgment, Restart) else ""
        if words:
            say(f"{words}; the others go on")
        self._meeting.end_round(stay)
        self.order("regroup", words=words)

    def _leave_behind(self, host: int, heard: Sequence[Heard]) -> None:
        """Go on without a host that a rank of its own does not trust, if the others are enough."""
        stay = len(self._members) - 1 + len(self._line.waiting())
        exits = heard[host].report.exits
        if stay < self._hosts.least:
            self._settle(exits)
            return
        judgment = self._book.note(
            HostGone(
                generation=self._generation,
                host=self._members[host].name,
                ranks=_ranks_of_members([one.nproc for one in self._members])[host],
                why="distrusted",
                step=max((one.step or 0 for one in exits), default=0) or None,
            )
        )
        if isinstance(judgment, GiveUp):
            self._give_up(judgment)
            return
        words = judgment.cause if isinstance(judgment, Restart) else ""
        say(f"{words}; the others go on")
        self._meeting.end_round(stay)
        self.order("regroup", words=words, without=host)

    def _settle(self, facts: Sequence[ProcessExited]) -> None:
        """Write down which ranks ended, and have all hosts do what follows."""
        found = [self._book.note(fact) for fact in facts]
        judgment = next((one for one in found if one is not None), None)
        announce(facts[0], judgment)
        match judgment:
            case GiveUp():
                self._give_up(judgment)
            case Restart(wait_seconds=seconds):
                self.wait_seconds = seconds
                self.order("again", words=f"rank {facts[0].rank}: {judgment.cause}")
            case _:
                self.order("again")

    def _give_up(self, judgment: GiveUp) -> None:
        status = REQUEUE if judgment.requeue else DO_NOT_REQUEUE
        self.order("end", status=status, words=f"{judgment.cause}. Given up: {judgment.why}")

    def _fact_of(self, rank: Seen, place: Place | None, heard: Sequence[Heard]) -> ProcessExited:
        pids = {
            one.number: pid
            for at in heard
            for one, pid in zip(at.report.seen, at.report.pids, strict=False)
        }
        return ProcessExited(
            generation=self._generation,
            rank=rank.number,
            pid=pids.get(rank.number, 0),
            signal="SIGKILL",
            hung=True,
            phase=rank.phase,
            silent_seconds=round(rank.seconds, 3),
            step=rank.step,
            error=None if place is None else place.words,
        )


def _ranks_of(found: Round) -> list[tuple[int, ...]]:
    return _ranks_of_members([one.nproc for one in found.members])


def _ranks_of_members(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Ranks of each host, from the numbers of them.

    >>> _ranks_of_members([2, 1])
    [(0, 1), (2,)]
    """
    begins = [sum(numbers[:at]) for at in range(len(numbers))]
    return [tuple(range(at, at + many)) for at, many in zip(begins, numbers, strict=True)]
