"""What the hosts of a run write to each other: reports go up to the leader, its word comes down."""

from typing import Literal

import msgspec

from steadytrain.events import ProcessExited
from steadytrain.launch.silence import Seen
from steadytrain.launch.stacks import Place
from steadytrain.launch.stock import Key


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A host that wants to take part.

    Attributes:
        token: of its supervisor; one that was started again has another.
        copies_port: where it takes copies of others' states; 0: it does not.
        is_new: it took part in no round before; one that did leads, since it knows what was.
        place: in a fixed order of hosts; None: there is none.
        beat: counts up while it waits.
    """

    token: str
    name: str
    address: str
    nproc: int
    copies_port: int = 0
    is_new: bool = True
    place: int | None = None
    beat: int = 0


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What a host had brought into its memory for its ranks, before a start.

    Attributes:
        step: after which the states are; None: there is none that all ranks of the start can have.
        ranks, hosts: whose state, and the host that it came from, in turn.
        why: what failed.
    """

    step: int | None
    ranks: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    bytes: int = 0
    seconds: float = 0.0
    why: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How the ranks of one host are. Starts of a round are counted from 0.

    Attributes:
        beat: counts up, so that an unchanged report shows that its host lives.
        ready: the start for which this host is ready: it has no ranks left of an earlier one.
        start: the start that the rest is about.
        pids: of its ranks, in their order.
        seen: its ranks, as it sees them.
        exits: those that ended otherwise than with status 0.
        has_finished, has_left: all its ranks have exited, with status 0 or as they were asked.
        answered: the newest question about places that `places` answers.
        wants_out: it was asked to leave, by the signal of a machine that is wanted.
        is_going: it leaves now.
        obeyed: the newest start whose order it has read.
        keys: states that all its ranks have.
        copied: the state that was to be copied last, when that has ended.
        lacks: why the neighbour does not have it; "" if it has.
        missed: a rank did not have that state any more.
        brought: before the present round's first start.
    """

    beat: int = 0
    ready: int = 0
    start: int = -1
    pids: tuple[int, ...] = ()
    seen: tuple[Seen, ...] = ()
    exits: tuple[ProcessExited, ...] = ()
    has_finished: bool = False
    has_left: bool = False
    answered: int = 0
    places: dict[int, Place] = {}
    wants_out: bool = False
    is_going: bool = False
    obeyed: int = -1
    keys: tuple[Key, ...] = ()
    copied: Key | None = None
    lacks: str = ""
    missed: bool = False
    brought: Brought | None = None


class Appointment(msgspec.Struct, frozen=True, kw_only=True):
    """A start that all hosts make together.

    Attributes:
        address, port: the store that its ranks meet in, made for this start alone.
        token: names a file of the home, by which a host sees that it is the same home.
    """

    generation: int
    address: str
    port: int
    token: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How a start ends, the same for all hosts.

    Attributes:
        what: "again" with the same hosts, "regroup" with those that come, "end".
        status: of the supervisors, where the run ends.
        without: host, by its rank among hosts, that leaves and asks to be started elsewhere.
    """

    what: Literal["again", "regroup", "end"]
    status: int = 0
    words: str = ""
    without: int | None = None


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader says; everything about one start.

    Attributes:
        asks: number of the newest question of where the ranks stand.
        leave_step: the step after which all ranks save and leave.
        is_over: every host has read the order.
        copy: the state that all hosts copy to their neighbours.
        safe: the last one that all neighbours have.
    """

    beat: int = 0
    start: int = 0
    appointment: Appointment | None = None
    asks: int = 0
    leave_step: int | None = None
    order: Order | None = None
    is_over: bool = False
    copy: Key | None = None
    safe: Key | None = None


Letter = Member | Report | Word


def write(letter: Letter | list[Member]) -> bytes:
    return msgspec.json.encode(letter)


def read_report(body: bytes) -> Report:
    return msgspec.json.decode(body, type=Report)


def read_word(body: bytes) -> Word:
    return msgspec.json.decode(body, type=Word)


def read_member(body: bytes) -> Member:
    return msgspec.json.decode(body, type=Member)


def read_members(body: bytes) -> list[Member]:
    return msgspec.json.decode(body, type=list[Member])
