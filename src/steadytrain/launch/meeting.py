"""Where the hosts of a run find each other: a rendezvous in PyTorch's store, one round at a time.

Every host writes itself down at the present round. The first one closes the list when all that are
expected have come, or the least number has and the last call is over. Who comes later waits for the
next round. A round ends when a host sets the number of the next.

PyTorch's own c10d rendezvous stands on the same store. It compares the clocks of hosts with each
other (one that is wrong by 15 s is dead to the others), looks once a second, waits for the last
call at every restart, and cannot move to another endpoint; hence this one.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import psutil

from steadytrain.errors import SettingError
from steadytrain.launch.etcd import EtcdStore
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.letters import Member, read_member, read_members, read_word, write
from steadytrain.launch.line import BEAT_SECONDS, Patient, Store
from steadytrain.launch.output import say

PROBE_SECONDS = 1.0
"""For an endpoint to take a connection."""

LOOK_SECONDS = 0.1

STALE_SECONDS = 4 * BEAT_SECONDS
"""A host that wants to join and has said nothing for so long has gone again."""

ELSEWHERE_SECONDS = 2.0
"""Between two looks at the other endpoints while too few are here."""

OpenStore = Callable[[str, int, bool, float], Store]
"""Address, port, whether to serve it, seconds -> a store. Raises RuntimeError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Hosts that go on together.

    Attributes:
        path: what the keys of this round begin with.
        rank: of this host among `members`; 0 leads.
        store: for a line of its own.
    """

    path: str
    rank: int
    members: list[Member]
    store: Store

    @property
    def leads(self) -> bool:
        return self.rank == 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The run ended while this host waited to be let in."""

    status: int


class Meeting:
    """This host's part in it.

    Args:
        open_store: makes or joins a store.
        is_to_leave: whether a signal asked for the end meanwhile.
        copies_port: where this host takes copies of others' states; 0: it does not.

    Attributes:
        lost: the endpoint that was lost last.
    """

    def __init__(
        self,
        hosts: Hosts,
        *,
        token: str,
        nproc: int,
        open_store: OpenStore,
        is_to_leave: Callable[[], bool],
        copies_port: int = 0,
    ) -> None:
        self.lost: str | None = None
        self._hosts = hosts
        self._open_store = open_store if hosts.backend != "etcd" else self._open_etcd
        self._is_to_leave = is_to_leave
        self._me = Member(
            token=token,
            name=hosts.name,
            address=hosts.reach,
            nproc=nproc,
            place=hosts.place,
            copies_port=copies_port,
        )
        self._root = f"steadytrain/{hosts.run_id}"
        self._server: Store | None = None
        self._at: int | None = None
        self._store: Any = None
        self._first = 0
        self._done = -1

    @property
    def serves(self) -> bool:
        """Whether this host keeps the store of the rendezvous."""
        return self._server is not None and self._at in self._mine

    def gather(self, seconds: float, *, is_new: bool) -> Round | Ended | None:
        """Meet the others; None if too few came in time, or a signal did.

        Raises:
            SettingError: etcd does not let this host in; another host has its place.
        """
        self._me = msgspec.structs.replace(self._me, is_new=is_new)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._is_to_leave():
            try:
                if self._store is None and not self._connect(end):
                    continue
                found = self._join(end)
                if found is not None:
                    return found
            except RuntimeError as error:
                self.lose(str(error).splitlines()[0])
        return None

    def lose(self, why: str) -> None:
        """The endpoint cannot be reached any more: try the next one first."""
        if self._at is None:
            return
        address, port = self._hosts.endpoints[self._at]
        self.lost = f"{address}:{port}"
        say(f"the rendezvous at {self.lost} is lost: {why}")
        self._first = (self._at + 1) % len(self._hosts.endpoints)
        self._let_go()

    def end_round(self, expected: int | None) -> None:
        """Have all hosts meet anew; `expected`: when so many have come, nobody else is awaited."""
        if self._store is None:
            return
        try:
            if expected is not None:
                self._store.set(f"{self._root}/{self._done + 1}/expected", str(expected))
            self._advance(self._done)
        except RuntimeError as error:
            self.lose(str(error).splitlines()[0])

    def close(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        self._store = self._server = self._at = None

    @property
    def _mine(self) -> list[int]:
        """Endpoints that this host may serve."""
        if self._hosts.backend == "etcd":
            return []
        if self._hosts.place is not None:
            return [0] if self._hosts.place == 0 else []
        return [at for at, (address, _) in enumerate(self._hosts.endpoints) if self._is_me(address)]

    def _is_me(self, address: str) -> bool:
        if self._hosts.address is not None:
            return address == self._hosts.address
        if address in (socket.gethostname(), socket.getfqdn()):
            return True
        try:
            there = {one[4][0] for one in socket.getaddrinfo(address, None)}
        except OSError:
            return False
        here = {one.address for card in psutil.net_if_addrs().values() for one in card}
        return bool(there & here)

    def _connect(self, end: float) -> bool:
        """Join the first endpoint that answers, or serve one of our own when none does."""
        number = len(self._hosts.endpoints)
        order = [(self._first + at) % number for at in range(number)]
        began = time.monotonic()
        while time.monotonic() < end and not self._is_to_leave():
            for at in order:
                if self._answers(at) and self._enter(at, serve=False):
                    return True
            for at in self._mine:
                # Who serves a later endpoint gives the host of an earlier one time to begin.
                patience = order.index(at) * self._hosts.silent_seconds
                if time.monotonic() - began >= patience and self._enter(at, serve=True):
                    return True
            time.sleep(LOOK_SECONDS)
        return False

    def _answers(self, at: int) -> bool:
        address, port = self._hosts.endpoints[at]
        try:
            socket.create_connection((address, port), timeout=PROBE_SECONDS).close()
        except OSError:
            return False
        return True

    def _enter(self, at: int, *, serve: bool) -> bool:
        address, port = self._hosts.endpoints[at]
        seconds = self._hosts.silent_seconds
        try:
            if serve:
                self._server = self._open_store(address, port, True, seconds)
            store = self._server or self._open_store(address, port, False, seconds)
            self._store, self._at = Patient(store, seconds), at
            if serve:
                say(f"the hosts meet at {address}:{port}, on this host")
            self._store.compare_set(f"{self._root}/round", "", "0")
        except RuntimeError:  # another supervisor of this machine serves it, or it died just now
            self._let_go()
            return False
        self._done = -1
        return True

    def _join(self, end: float) -> Round | Ended | None:
        """Write this host down and wait for the list; None: the round is over, or time is."""
        store = self._store
        number = self._round()
        if number <= self._done:
            number = self._advance(number)
        path = f"{self._root}/{number}"
        mine = store.add(f"{path}/joined", 1)
        beat, told_at, looked_at = 0, 0.0, time.monotonic()
        watch = _Watch()
        least_at: float | None = None
        while not self._is_to_leave():
            now = time.monotonic()
            if now - told_at >= BEAT_SECONDS:
                beat, told_at = beat + 1, now
                member = msgspec.structs.replace(self._me, beat=beat)
                store.set(f"{path}/member/{mine}", write(member))
            if store.check([f"{path}/list"]):
                members = read_members(store.get(f"{path}/list"))
                tokens = [one.token for one in members]
                if self._me.token in tokens:
                    self._done = number
                    return Round(
                        path=path, rank=tokens.index(self._me.token), members=members,
                        store=store.clone(),
                    )  # fmt: skip
                self._insist_on_my_place(members, watch)
                ended = self._stand_by(path, watch)
                if ended is not None:
                    return ended
            elif now > end:
                return None
            elif mine == 1:
                found = self._present(path, watch)
                least_at = (least_at or now) if len(found) >= self._hosts.least else None
                if self._is_complete(path, len(found), least_at):
                    chosen = sorted(found[: self._hosts.most], key=_order_of)
                    store.set(f"{path}/list", write(chosen))
                    continue
            elif watch.age(store, f"{path}/member/1") > self._hosts.silent_seconds:
                self._advance(number)
            if self._round() != number:
                return None
            if now - looked_at > ELSEWHERE_SECONDS:
                looked_at = now
                if self._is_better_elsewhere():
                    return None
            time.sleep(LOOK_SECONDS)
        return None

    def _stand_by(self, path: str, watch: "_Watch") -> Ended | None:
        """The round began without this host: the run goes on, ends, or is left by all."""
        key = f"{path}/word"
        if watch.age(self._store, key) > self._hosts.silent_seconds:
            self._advance(self._round())
            return None
        word = read_word(self._store.get(key)) if self._store.check([key]) else None
        # etcd still holds the last word of a run that was over before this host came.
        is_for_me = self._hosts.backend != "etcd" or watch.has_changed(key)
        if is_for_me and word is not None and word.order and word.order.what == "end":
            return Ended(word.order.status)
        return None

    def _present(self, path: str, watch: "_Watch") -> list[Member]:
        """Who has come and is still here, in the order of coming."""
        found = []
        for number in range(1, self._store.add(f"{path}/joined", 0) + 1):
            key = f"{path}/member/{number}"
            if self._store.check([key]) and watch.age(self._store, key) < STALE_SECONDS:
                found.append(read_member(self._store.get(key)))
        if self._hosts.place is None:
            return found
        return list({one.place: one for one in found}.values())  # the last that came to each

    def _insist_on_my_place(self, members: list[Member], watch: "_Watch") -> None:
        """The one who has it is not this host's life before: the others would have missed that."""
        if self._hosts.place is None or watch.seconds() <= 2.0 * self._hosts.silent_seconds:
            return
        other = next((one.name for one in members if one.place == self._hosts.place), "a host")
        raise SettingError(
            f"{other} trains as --node-rank {self._hosts.place} already, so this host has no place "
            "in the run. Write another --node-rank on each host, 0 to "
            f"{self._hosts.most - 1}, or stop that one first."
        )

    def _is_complete(self, path: str, number: int, least_at: float | None) -> bool:
        if least_at is None:
            return False
        key = f"{path}/expected"
        waited = time.monotonic() - least_at
        if not self._store.check([key]):
            return number >= self._hosts.most or waited >= self._hosts.last_call_seconds
        # Those that are expected were alive a moment ago: they only have to end their ranks.
        expected = min(int(self._store.get(key)), self._hosts.most)
        return number >= expected or waited >= self._hosts.silent_seconds

    def _is_better_elsewhere(self) -> bool:
        """Too few are here: does the run go on, or do others wait, at another endpoint?"""
        here = self._at
        if not self._hosts.can_split:
            return False
        for at, (address, port) in enumerate(self._hosts.endpoints):
            if at == here or not self._answers(at):
                continue
            try:
                store = self._open_store(address, port, False, PROBE_SECONDS)
                other: Any = Patient(store, PROBE_SECONDS)
                key = f"{self._root}/round"
                if not other.check([key]):
                    continue
                runs = other.check([f"{self._root}/{int(other.get(key))}/list"])
            except RuntimeError:
                continue
            if runs or (here is not None and at < here):
                say(f"the others meet at {address}:{port}")
                self._let_go()
                self._first = at
                return True
        return False

    def _open_etcd(self, address: str, port: int, serve: bool, seconds: float) -> Store:
        first = self._hosts.endpoints.index((address, port))
        return EtcdStore(
            (*self._hosts.endpoints[first:], *self._hosts.endpoints[:first]),
            run_id=self._hosts.run_id, keys=self._hosts.keys, seconds=seconds,
        )  # fmt: skip

    def _round(self) -> int:
        return int(self._store.get(f"{self._root}/round"))

    def _advance(self, number: int) -> int:
        """The next round; another host may have begun it already."""
        return int(self._store.compare_set(f"{self._root}/round", str(number), str(number + 1)))


def _order_of(one: Member) -> tuple[int, bool, str, str]:
    return one.place or 0, one.is_new, one.name, one.token


class _Watch:
    """How long the value of a key has been the same, by this host's clock alone."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._known: dict[str, tuple[bytes, float]] = {}
        self._changed: set[str] = set()

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def has_changed(self, key: str) -> bool:
        """Whether it has been seen with two values."""
        return key in self._changed

    def age(self, store: Any, key: str) -> float:
        body = store.get(key) if store.check([key]) else b""
        now = time.monotonic()
        known = self._known.get(key)
        if known is None or known[0] != body:
            if known is not None:
                self._changed.add(key)
            self._known[key] = known = (body, now)
        return now - known[1]
