"""Copies of states in a neighbour host's memory: a host that is lost is survived without the disk.

Each supervisor has a courier. Its carrier, a thread, sends a state of each rank of this host to the
next host of the round, when the leader has named one; its server takes those of the host before,
and gives states to who needs them when a start begins elsewhere than the one before. Ranks take no
part: a slot that is being read is held (`slots.hold`), and they write into another one.

All hosts copy the same state, and hold their own of it, so that what is left when any of them is
lost fits together, however long a copy takes.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from steadytrain.errors import CheckpointError
from steadytrain.launch.errands import Move, find_moves, find_plan
from steadytrain.launch.letters import Brought, Member, Report, Word
from steadytrain.launch.output import say
from steadytrain.launch.parcels import (
    Channel,
    Kept,
    Letter,
    Listed,
    Offer,
    Question,
    Ready,
    Refused,
    Stranger,
    Wish,
    connect,
)
from steadytrain.launch.stock import Arrival, Key, State, Stock
from steadytrain.slots import Slot, hold

LOOK_SECONDS = 0.1
"""Between two looks at this host's slots, each of which costs a small read a slot."""

NICENESS = 10
"""Of the threads that copy: where processors are short, training goes first."""

MOST_CALLERS = 16

TRIES, TRY_SECONDS = 3, 0.5
"""To ask a host what it has. One that is here was heard of a moment ago."""

WORKS_SECONDS = 0.2


class Courier:
    """This host's part.

    Args:
        folder: of the run in shared memory.
        secret: of the run.

    Attributes:
        port: where other couriers reach this one.
    """

    def __init__(self, folder: Path, secret: bytes) -> None:
        self._stock = Stock(folder)
        self._secret = secret
        self._members: Sequence[Member] = ()
        self._at = self._world = 0
        self._ranks: range = range(0)
        self._wards: range = range(0)
        self._word = Word()
        self._report = Report()
        self._brought: Brought | None = None
        self._holds: dict[Key, contextlib.ExitStack] = {}
        self._has_tidied = self._is_closed = False
        self._lock = threading.Lock()
        self._arriving = threading.Lock()
        self._callers = threading.Semaphore(MOST_CALLERS)
        self._door = _listen()
        self.port = int(self._door.getsockname()[1])
        self._threads = [
            threading.Thread(target=work, daemon=True) for work in (self._serve, self._carry_on)
        ]
        for thread in self._threads:
            thread.start()

    def enter(self, members: Sequence[Member], at: int, is_to_leave: Callable[[], bool]) -> None:
        """A round begins: these hosts, of which this is number `at`; no rank runs on any.

        Returns when the newest state that every rank can have is here, or cannot be had.
        """
        firsts = [sum(one.nproc for one in members[:number]) for number in range(len(members))]
        ranks = [
            range(first, first + one.nproc) for first, one in zip(firsts, members, strict=True)
        ]
        with self._lock:
            self._members, self._at = members, at
            self._world = sum(one.nproc for one in members)
            self._ranks, self._wards = ranks[at], ranks[at - 1] if len(members) > 1 else range(0)
            self._word, self._report, self._brought = Word(), Report(), None
            self._has_tidied = False
        self._stock.forget_no_room()
        self._brought = self._bring(is_to_leave)

    def follow(self, word: Word) -> None:
        """The leader's word: which state is to be copied, and which is safe."""
        self._word = word

    def fill_in(self, report: Report) -> Report:
        """A report of this host, with what is to be said of its copies."""
        with self._lock:
            mine = self._report
        return msgspec.structs.replace(
            report, keys=mine.keys, copied=mine.copied, lacks=mine.lacks, missed=mine.missed,
            brought=self._brought,
        )  # fmt: skip

    def close(self) -> None:
        """Take nothing more, and let go of what is held."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)  # to close it would wake nobody who waits at it
        self._door.close()
        self._threads[1].join(timeout=2 * LOOK_SECONDS)

    def _bring(self, is_to_leave: Callable[[], bool]) -> Brought:
        began = time.monotonic()
        stocks = {at: self._ask(at, is_to_leave) for at in range(len(self._members))}
        plan = find_plan(list(stocks.values()), self._world)
        if plan is None:
            return Brought(step=None, why=_why_none(stocks, self._world))
        done: list[Move] = []
        why: str | None = None
        for move in find_moves(stocks, plan, here=self._at, mine=self._ranks):
            found = self._try_to_fetch(move, is_to_leave)
            if found is None:
                done.append(move)
            else:
                why = f"rank {move.state.rank}, from {self._members[move.at].name}: {found}"
                say(f"this state could not be had: {why}")
        return Brought(
            step=plan.key[1],
            ranks=tuple(one.state.rank for one in done),
            hosts=tuple(self._members[one.at].name for one in done),
            bytes=sum(one.state.size for one in done if one.at != self._at),
            seconds=round(time.monotonic() - began, 3),
            why=why,
        )

    def _ask(self, at: int, is_to_leave: Callable[[], bool]) -> list[State]:
        """What a host has; nothing if it cannot be asked."""
        if at == self._at:
            return [*self._stock.own(), *self._stock.copies()]
        member = self._members[at]
        for _ in range(TRIES if member.copies_port else 0):
            if is_to_leave():
                break
            try:
                with self._reach(member) as channel:
                    channel.send(Question())
                    answer = channel.receive()
                    if isinstance(answer, Listed):
                        return answer.states
            except OSError as error:
                say(f"{member.name} does not tell what states it has: {_words_of(error)}")
            time.sleep(TRY_SECONDS)
        return []

    def _try_to_fetch(self, move: Move, is_to_leave: Callable[[], bool]) -> str | None:
        """Why it could not be had; None if it is here."""
        why = "this host was asked to leave"
        for _ in range(TRIES):  # it may have been moved on its own host just now
            if is_to_leave():
                break
            try:
                self._fetch(move)
                return None
            except (OSError, CheckpointError) as error:
                why = _words_of(error)
            time.sleep(TRY_SECONDS)
        return why

    def _fetch(self, move: Move) -> None:
        state = move.state
        if move.at == self._at:
            self._stock.move_in(state)
            return
        with self._arriving, self._reach(self._members[move.at]) as channel:
            channel.send(Wish(rank=state.rank, world=state.world, key=state.key))
            match channel.receive():
                case Ready(there):
                    with self._expected(there, safe=there.key) as arrival:
                        if not channel.receive_state(arrival, there):
                            raise CheckpointError("it came with a changed bit")
                        self._stock.keep_own(arrival, there.rank, there.world)
                case Refused(why):
                    raise CheckpointError(why)

    @contextlib.contextmanager
    def _reach(self, member: Member) -> Iterator[Channel]:
        channel = connect(member.address, member.copies_port, self._secret)
        try:
            yield channel
        finally:
            channel.close()

    @contextlib.contextmanager
    def _expected(self, state: State, *, safe: Key | None) -> Iterator[Arrival]:
        arrival = self._stock.expect(state.rank, state.world, state.size, safe=safe)
        try:
            yield arrival
        finally:
            arrival.close()

    def _carry_on(self) -> None:
        """The carrier: until the courier is closed."""
        _step_back()
        while not self._is_closed:
            with self._lock:
                word, members = self._word, self._members
                ranks, world = self._ranks, self._world
            self._tell(members, keys=self._survey(ranks, world))
            self._hold_and_let_go(word, ranks, world)
            if word.copy is not None and word.copy != self._report.copied:
                missed, lacks = self._carry(word.copy, members)
                self._tell(members, copied=word.copy, missed=missed, lacks=lacks)
            if word.safe is not None and not self._has_tidied:
                self._has_tidied = True
                self._stock.tidy(world, mine=ranks, wards=self._wards)
            time.sleep(LOOK_SECONDS)
        for one in self._holds.values():
            one.close()

    def _tell(self, members: Sequence[Member], **changes: Any) -> None:
        with self._lock:
            if self._members is members:  # else it is about a round that is over
                self._report = msgspec.structs.replace(self._report, **changes)

    def _survey(self, ranks: range, world: int) -> tuple[Key, ...]:
        """Which states all ranks of this host have."""
        keys: dict[Key, set[int]] = {}
        for one in self._stock.own():
            if one.world == world and one.rank in ranks:
                keys.setdefault(one.key, set()).add(one.rank)
        return tuple(sorted(key for key, there in keys.items() if len(there) == len(ranks)))

    def _hold_and_let_go(self, word: Word, ranks: range, world: int) -> None:
        """Hold what is safe and what is to be copied; of what was held before, the newest."""
        wanted = {word.safe, word.copy}
        if word.safe is None:
            wanted.add(max(self._holds, default=None))
        for key in [one for one in self._holds if one not in wanted]:
            self._holds.pop(key).close()
        if word.copy is not None and word.copy not in self._holds:
            self._holds[word.copy] = contextlib.ExitStack()
            for one in self._stock.own():
                if one.key == word.copy and one.world == world and one.rank in ranks:
                    self._hold(self._stock.path(one), self._holds[word.copy])

    def _hold(self, path: Path, held: contextlib.ExitStack) -> None:
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
                if stack.enter_context(hold(path)):
                    held.push(stack.pop_all())
                    return
            time.sleep(0.001)  # its writer asked just now whether it is held

    def _carry(self, key: Key, members: Sequence[Member]) -> tuple[bool, str]:
        """Whether a state was no longer here; why the neighbour does not have it, "" if it does."""
        mine = {
            one.rank: one
            for one in self._stock.own()
            if one.key == key and one.world == self._world and one.rank in self._ranks
        }
        if len(mine) < len(self._ranks):
            return True, ""
        why = self._stock.why_no_room()
        if why is not None:
            return False, f"this host has no room to hold states: {why}"
        neighbour = members[(self._at + 1) % len(members)]
        if len(members) == 1:
            return False, "there is no other host"
        if not neighbour.copies_port:
            return False, f"{neighbour.name} takes no copies: --neighbour-copies is missing there"
        try:
            for state in mine.values():
                with self._reach(neighbour) as channel:
                    self._hand_over(channel, state)
        except (OSError, CheckpointError) as error:
            return False, f"{neighbour.name}: {_words_of(error)}"
        return False, ""

    def _hand_over(self, channel: Channel, state: State) -> None:
        channel.send(Offer(state))
        match channel.receive():
            case Ready():
                channel.send_state(Slot.open(self._stock.path(state)))
            case Refused(why):
                raise CheckpointError(why)
        match channel.receive():
            case Refused(why):
                raise CheckpointError(why)

    def _serve(self) -> None:
        """The server: a thread for each caller."""
        while not self._is_closed:
            try:
                line, _ = self._door.accept()
            except OSError:
                if not self._is_closed:
                    time.sleep(WORKS_SECONDS)  # no descriptor is left just now
                continue
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        _step_back()
        with self._callers, line:
            try:
                channel = Channel(line, self._secret, serves=True)
                match channel.receive():
                    case Question():
                        channel.send(Listed([*self._stock.own(), *self._stock.copies()]))
                    case Wish(rank, world, key):
                        self._give(channel, rank, world, key)
                    case Offer(state):
                        channel.send(self._take(channel, state))
            except Stranger as error:
                say(f"a caller at the port for copies was turned away: {error}")
            except OSError:
                pass  # it went away: what it brought does not count

    def _give(self, channel: Channel, rank: int, world: int, key: Key) -> None:
        for one in (*self._stock.own(), *self._stock.copies()):
            if (one.rank, one.world, one.key) == (rank, world, key):
                with hold(self._stock.path(one)):
                    channel.send(Ready(one))
                    channel.send_state(Slot.open(self._stock.path(one)))
                return
        channel.send(Refused("it is no longer there"))

    def _take(self, channel: Channel, state: State) -> Letter:
        """Keep what is offered; what to say when it is over."""
        why = self._stock.why_no_room()
        if why is not None:
            return Refused(f"it has no room for copies: {why}")
        try:
            with self._arriving, self._expected(state, safe=self._word.safe) as arrival:
                channel.send(Ready(state))
                if not channel.receive_state(arrival, state):
                    return Refused("a bit has changed under way, or in the memory it lay in")
                self._stock.keep_copy(arrival, state.rank, state.world)
        except CheckpointError as error:
            return Refused(f"it has no room for copies: {error}")
        return Kept()


def _listen() -> socket.socket:
    """On every address of this host, as PyTorch's store does; a free port."""
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _step_back() -> None:
    """This thread comes after the others. Of Linux alone: elsewhere it would be the process."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _words_of(error: OSError | CheckpointError) -> str:
    return str(getattr(error, "strerror", None) or error)


def _why_none(stocks: dict[int, list[State]], world: int) -> str | None:
    """Why there is nothing to begin from; None if nobody has a state at all."""
    states = [one for stock in stocks.values() for one in stock]
    others = {one.world for one in states} - {world}
    if others and not any(one.world == world for one in states):
        return (
            f"the states in memory are each a part of {min(others)} ranks' and this start has "
            f"{world}"
        )
    return "no state in memory is there for every rank" if states else None
