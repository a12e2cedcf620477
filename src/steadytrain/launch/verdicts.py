"""What the leader concludes from the reports of all hosts. Pure: it is told how old each one is."""

from collections.abc import Sequence
from dataclasses import dataclass

from steadytrain.deaths import REQUEUE, is_victim
from steadytrain.events import ProcessExited
from steadytrain.launch.letters import Report
from steadytrain.launch.silence import Seen, find_hung
from steadytrain.launch.stacks import Place, find_guilty

CAUTION = 0.75
"""Share of `silent_seconds` after which a host that hears of nobody ends its own ranks: before the
others take it for lost and go on without it."""

VICTIM_SECONDS = 1.0
"""How long ranks that ended because a peer did are taken for the only ones that ended."""

NEWS_SECONDS = 0.5
"""A report so much younger than a death would tell of the one that caused it."""


QUIET_SECONDS = 3.0
"""Six beats. A host that said nothing for so long, while the ranks of others found their connection
to a peer closed, is dead: a cable that was pulled closes none. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heard:
    """The newest report of a host, and how long ago it came. [seconds]"""

    report: Report
    age: float


@dataclass(frozen=True, slots=True)
class Alone:
    """Too few hosts are heard of: the others may go on without this one."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Hosts, by their rank among hosts, that are lost or leave."""

    hosts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Distrusted:
    """A rank of this host, by its rank among hosts, asked to be started on another one."""

    host: int


@dataclass(frozen=True, slots=True)
class Died:
    """Ranks ended; the guilty one first."""

    exits: tuple[ProcessExited, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Some rank hangs; which one, the stacks must tell."""


@dataclass(frozen=True, slots=True)
class Hung:
    """This rank hangs, and stands there."""

    rank: Seen
    place: Place | None


@dataclass(frozen=True, slots=True)
class Finished:
    """Every rank of every host ended with status 0."""


@dataclass(frozen=True, slots=True)
class Left:
    """Every rank has left as it was asked to."""


Verdict = Alone | Gone | Distrusted | Died | Ask | Hung | Finished | Left | None


def conclude(
    heard: Sequence[Heard],
    *,
    least: int,
    silent_seconds: float,
    asks: int,
    death_seconds: float,
    is_leaving: bool,
) -> Verdict:
    """What is to be done about the present start; None: nothing.

    Args:
        heard: of each host, the leader's own first.
        asks: number of the newest question about places; 0 if none was put.
        death_seconds: how long a death has been known.
        is_leaving: the ranks were asked to leave: an exit is none that counts.
    """
    lost = tuple(at for at, one in enumerate(heard) if one.age > silent_seconds)
    going = tuple(at for at, one in enumerate(heard) if one.report.is_going)
    near = sum(one.age <= CAUTION * silent_seconds for one in heard)
    if near < least and near < len(heard) and not going:
        return Alone()
    if lost:  # of hosts that went together, one is a moment later past the limit
        far = (at for at, one in enumerate(heard) if one.age > CAUTION * silent_seconds)
        return Gone(tuple(sorted({*far, *going})))
    if going:
        return Gone(going)
    reports = [one.report for one in heard]
    if all(one.has_finished for one in reports):
        return Finished()
    if is_leaving:
        return Left() if all(one.has_left or one.has_finished for one in reports) else None
    exits = [death for one in reports for death in one.exits]
    if exits:
        return _judge_exits(exits, heard, death_seconds)
    return _judge_silence(reports, asks)


def _judge_exits(
    exits: list[ProcessExited], heard: Sequence[Heard], death_seconds: float
) -> Verdict:
    guilty = [death for death in exits if not is_victim(death)]
    if len(heard) > 1 and guilty and all(death.code == REQUEUE for death in guilty):
        hosts = [
            at
            for at, one in enumerate(heard)
            if any(death.code == REQUEUE for death in one.report.exits)
        ]
        if len(hosts) == 1:  # of all that ask for it, no host is worse than another
            return Distrusted(hosts[0]) if death_seconds > NEWS_SECONDS else None
    if guilty:
        return Died(tuple(sorted(exits, key=is_victim)))
    quiet = [at for at, one in enumerate(heard) if one.age > QUIET_SECONDS]
    if quiet and death_seconds > QUIET_SECONDS:
        return Gone(tuple(quiet))
    # A peer was lost, and no host has told of its end yet.
    are_new = all(one.age < death_seconds - NEWS_SECONDS for one in heard)
    return Died(tuple(exits)) if death_seconds > VICTIM_SECONDS and are_new else None


def _judge_silence(reports: list[Report], asks: int) -> Verdict:
    stuck = find_hung([rank for one in reports for rank in one.seen])
    if not stuck:
        return None
    numbers = {rank.number for rank in stuck}
    concerned = [one for one in reports if numbers & {rank.number for rank in one.seen}]
    if not asks or any(one.answered < asks for one in concerned):
        return Ask()
    places = {rank: place for one in concerned for rank, place in one.places.items()}
    guilty = find_guilty(stuck, places)
    return Hung(guilty, places.get(guilty.number))
