"""The watch over the ranks of one host of several: it reports to the leader, and obeys it.

The leader (leader.py) is the first host of a round, and one more thing that its supervisor does.
A host that hears nothing of the others ends its own ranks before they may go on without it, and
then looks for them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from steadytrain.deaths import REQUEUE
from steadytrain.errors import SettingError
from steadytrain.events import ProcessExited
from steadytrain.launch.book import Book
from steadytrain.launch.courier import Courier
from steadytrain.launch.ears import PREEMPTIONS
from steadytrain.launch.homes import insist_on_one_home, show_home
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.keeper import WATCH_SECONDS, Keeper
from steadytrain.launch.leader import Leader
from steadytrain.launch.letters import Appointment, Order, Report
from steadytrain.launch.line import Line, Patient
from steadytrain.launch.meeting import Ended, Meeting, OpenStore, Round
from steadytrain.launch.output import say
from steadytrain.launch.stacks import take_stands
from steadytrain.launch.verdicts import CAUTION
from steadytrain.launch.workers import POLL_SECONDS, Start, View
from steadytrain.progress import HOST, ask_to_leave

LINGER_SECONDS = 3.0
"""How long a host that leaves waits for the others to have read why."""


class Allies(Keeper):
    """The keeper of one host of several.

    Args:
        open_book: the run's journal, while this host leads; one life of its writer each time.
        open_store: makes or joins a store.
        token: of this supervisor.
        courier: copies states to a neighbour host, and has them brought; None: nobody does.
        settings: those of a `Keeper`.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        nproc: int,
        token: str,
        open_book: Callable[[], Book],
        open_store: OpenStore,
        env: Mapping[str, str],
        courier: Courier | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(None, env={**env, HOST: hosts.name}, **settings)
        self._host = hosts.name
        self._hosts, self._open_book, self._open_store = hosts, open_book, open_store
        self._courier = courier
        self._meeting = Meeting(
            hosts,
            token=token,
            nproc=nproc,
            open_store=open_store,
            is_to_leave=lambda: bool(self.ears.heard),
            copies_port=0 if courier is None else courier.port,
        )
        self._round: Round | None = None
        self._before: Round | None = None
        self._line: Line | None = None
        self._leader: Leader | None = None
        self._server: Any = None
        self._appointment: Appointment | None = None
        self._start = 0
        self._report = Report()
        self._may_restart = False
        self._exits: dict[int, ProcessExited] = {}
        self._leave_step: int | None = None
        self._asked_at: float | None = None
        self._is_out = False

    @property
    def _ally(self) -> Line:
        assert self._line is not None
        return self._line

    def meet(self) -> Start | None:
        """Agree with the other hosts on a start; None: this host leaves, as `status` says.

        Raises:
            SettingError: the hosts do not share the home.
        """
        self.ears.listen()
        while not self.ears.heard:
            if self._round is None and not self._gather():
                return None
            try:
                found = self._appoint()
            except RuntimeError as error:  # the leader's new store is gone already
                self.dissolve(str(error).splitlines()[0])
                continue
            except SettingError:
                self._say_goodbye()
                raise
            if found is not None:
                return found
            if self._is_out:
                return None
        self._say_goodbye()
        return None

    def dissolve(self, why: str) -> None:
        """The others cannot be reached: end the ranks here before anybody goes on without them."""
        say(f"{why}: this host ends its ranks and looks for the others")
        self._kill()
        line, age = self._ally, min(self._ally.word_age(), self._hosts.silent_seconds)
        if line.age > CAUTION * self._hosts.silent_seconds:
            self._meeting.lose(line.why_broken or "it does not answer")
        else:
            self._meeting.end_round(None)
        self._leave_round()
        if age > 0.5 * self._hosts.silent_seconds:
            self._wait(self._hosts.silent_seconds - age)

    def close(self) -> None:
        """Leave the others."""
        self._leave_round()
        self._meeting.close()
        if self._courier is not None:
            self._courier.close()
        if self._book is not None:
            self._book.close()

    def _gather(self) -> bool:
        is_first = self._before is None
        seconds = self._hosts.join_seconds if is_first else self._hosts.rejoin_seconds
        match self._meeting.gather(seconds, is_new=is_first):
            case Round() as found:
                self._enter(found)
                return True
            case Ended(status):
                say("the run ended while this host waited to be let in")
                self.status = status
            case None if self.ears.heard:
                self.status = self.ears.status()
            case None:
                self.status = REQUEUE
                say(
                    f"fewer than {self._hosts.least} hosts met within {seconds:g} s: this one "
                    "leaves, and asks to be started again"
                )
        return False

    def _enter(self, found: Round) -> None:
        names = [one.name for one in found.members]
        say(f"{len(names)} hosts go on together: {', '.join(names)}; {names[0]} leads")
        self._round, self._start = found, 0
        self._line = Line(found.store, found.path, rank=found.rank, members=found.members)
        if self._book is not None:
            self._book.close()
            self._book = None
        if found.leads:
            self._book = self._open_book()
            self._leader = Leader(
                self._book,
                found,
                self._line,
                self._meeting,
                hosts=self._hosts,
                tell=self._tell,
                grace_seconds=self._grace_seconds,
            )
            if self._before is not None:
                self._leader.note_the_missing(self._before, self._meeting.lost)
        self._before = found
        if self._courier is not None:
            self._courier.enter(found.members, found.rank, lambda: bool(self.ears.heard))

    def _appoint(self) -> Start | None:
        """The store of the next start; None: the round is over before it began."""
        assert self._round is not None
        self._tell_leader(Report(ready=self._start, obeyed=self._start - 1))
        found = self._call(self._leader) if self._leader is not None else self._hear()
        if found is None:
            return None
        self._appointment = found
        if self._leader is None:
            # Another word meanwhile: that start is over already, and its file removed.
            insist_on_one_home(
                self._home, found.token, self._round.members[0].name,
                is_over=lambda: self._ally.word.appointment != found,
            )  # fmt: skip
            self._server = self._open_store(
                found.address, found.port, False, self._hosts.silent_seconds
            )
        return Start(
            store=Patient(self._server, 2 * self._hosts.silent_seconds),
            rank=self._round.rank,
            world=len(self._round.members),
            address=found.address,
            port=found.port,
        )

    def _call(self, leader: Leader) -> Appointment | None:
        """As the leader: wait until every host is ready, then name a time and a place."""
        assert self._round is not None
        while not leader.are_ready(self._start):
            why = leader.missing()
            if self.ears.heard:
                return None
            if self._ally.why_broken is not None:
                self.dissolve(self._ally.why_broken)
                return None
            if why is not None:
                leader.order("regroup", words=why)
                self._follow()
                return None
            time.sleep(POLL_SECONDS)
        self._wait(leader.wait_seconds)
        leader.wait_seconds = 0.0
        self._server = self._open_store("localhost", 0, True, self._hosts.silent_seconds)
        me = self._round.members[0]
        found = leader.call(self._start, me.address, self._server.port)
        show_home(self._home, found.token)
        return found

    def _hear(self) -> Appointment | None:
        """As another host: wait for the leader's word."""
        while not self.ears.heard:
            word = self._ally.word
            if word.start > self._start:
                self._start = word.start
                self._tell_leader(Report(ready=self._start, obeyed=self._start - 1))
            if word.start == self._start and word.order is not None:
                self._obey(word.order)
                self._is_out = not self._may_restart
                return None
            if word.start == self._start and word.appointment is not None:
                return word.appointment
            if self._ally.word_age() > CAUTION * self._hosts.silent_seconds:
                self.dissolve(self._ally.why_broken or "the leader is silent")
                return None
            time.sleep(POLL_SECONDS)
        return None

    def _copied(self) -> tuple[int | None, float | None]:
        return (None, None) if self._leader is None else self._leader.copying.copied()

    def _take_generation(self) -> int:
        assert self._appointment is not None
        return self._appointment.generation

    def _note_start(self) -> None:
        self._exits, self._leave_step = {}, None
        pids = tuple(self._present.pids.values())
        self._tell_leader(msgspec.structs.replace(self._report, start=self._start, pids=pids))

    def _tell_leader(self, report: Report) -> None:
        if self._courier is not None:
            self._courier.follow(self._ally.word)
            report = self._courier.fill_in(report)
        self._report = report
        self._ally.tell(report)

    def watch(self) -> View:
        """Look at this host's ranks, and hear of the others, for a while."""
        end = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < end:
            if self.ears.heard and not self._can_ask_to_leave():
                self._say_goodbye()
                return "failed"
            self._report_ranks()
            if self._leader is not None:
                self._leader.lead()
            found = self._follow()
            if found is not None:
                return found
            time.sleep(POLL_SECONDS)
        return "healthy"

    def may_restart(self) -> bool:
        """After "failed": shall the ranks be started again?"""
        return self._may_restart

    def stop(self) -> None:
        """End the ranks, if any run."""
        self._kill()

    def _report_ranks(self) -> None:
        exits = self._present.exits()
        self._observe(ended=[one.rank for one in exits])
        for one in exits:
            if one.code != 0 and one.rank not in self._exits:
                self._exits[one.rank] = self._fact_of(one)
        is_over = len(exits) == len(self._ranks)
        report = msgspec.structs.replace(
            self._report,
            seen=tuple(self._silence.seen()),
            exits=tuple(self._exits.values()),
            has_finished=is_over and not self._exits,
            has_left=is_over,
            wants_out=bool(self.ears.heard),
        )
        word = self._ally.word
        if word.start == self._start and word.asks > report.answered:
            stands = take_stands(self._home, self._present.pids)
            places = {rank: stand.place for rank, stand in stands.items()}
            report = msgspec.structs.replace(report, answered=word.asks, places=places)
        self._tell_leader(report)

    def _follow(self) -> View | None:
        """Do what the leader says; None: the ranks go on."""
        word = self._ally.word
        if word.start > self._start:  # the order of this start was missed
            self._kill()
            self._start, self._may_restart = word.start, True
            return "failed"
        if word.start == self._start and word.order is not None:
            return self._obey(word.order)
        if word.start == self._start and word.leave_step != self._leave_step:
            assert word.leave_step is not None
            self._leave_step = word.leave_step
            ask_to_leave(self._home, word.leave_step, self._host)
        if self._ally.word_age() <= CAUTION * self._hosts.silent_seconds:
            return None
        why = self._ally.why_broken or "the leader is silent"
        if self._report.has_finished:
            say(f"all ranks of this host have finished; {why}")
            self._kill()
            self.status = 0
            return "succeeded"
        self.dissolve(why)
        self._may_restart = True
        return "failed"

    def _obey(self, order: Order) -> View:
        if order.words and self._leader is None:
            say(order.words)
        self._kill()
        is_unwanted = self._round is not None and order.without == self._round.rank
        is_leaving = bool(self.ears.heard) or is_unwanted
        mine = msgspec.structs.replace(self._report, obeyed=self._start, is_going=is_leaving)
        self._tell_leader(mine)
        self._may_restart = order.what != "end" and not is_leaving
        if order.what == "again" and not is_leaving:
            self._start += 1
        elif order.what == "regroup" and not is_leaving:
            self._linger()
            self._leave_round()
        else:
            elsewhere = self.ears.status() if self.ears.heard else REQUEUE
            self.status = order.status if order.what == "end" else elsewhere
            self._linger()
            if self.status == 0:
                return "succeeded"
        return "failed"

    def _leave_round(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = self._round = self._leader = self._server = None

    def _linger(self) -> None:
        """Stay until the others have read the order: they may read it from this host's store."""
        end = time.monotonic() + LINGER_SECONDS
        while time.monotonic() < end and self._ally.why_broken is None:
            if self._leader is None:
                if self._ally.word.is_over or not self._meeting.serves:
                    return
            elif self._leader.is_obeyed(self._start):
                self._leader.release()
                time.sleep(0.2)
                return
            time.sleep(POLL_SECONDS)

    def _can_ask_to_leave(self) -> bool:
        """Whether all ranks of all hosts may still save and leave together."""
        if self.ears.heard[0] not in PREEMPTIONS or len(self.ears.heard) > 1:
            return False
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        return time.monotonic() - self._asked_at < self._grace_seconds

    def _say_goodbye(self) -> None:
        """Leave at once; the others need not wait to find out."""
        self._kill()
        self.status = self.ears.status()
        self._may_restart = False
        if self._line is None:
            return
        self._tell_leader(msgspec.structs.replace(self._report, is_going=True))
        if self._leader is not None and self._ally.word.order is None:
            self._leader.order("regroup", words=f"host {self._host} leaves")
            self._linger()
        else:
            time.sleep(0.2)
