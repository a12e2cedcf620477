"""Which states hosts copy to each other, and which are brought to where ranks begin. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from steadytrain.launch.letters import Report
from steadytrain.launch.stock import Key, State

LONG_SECONDS = 60.0
"""A host whose states could not be copied for so long has the others go on without it: each of
them can still be lost. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errand:
    """What hosts copy, as the leader has it in mind.

    Copying takes half of the time at most: after it, as much time passes without. So of states that
    come faster than they can be copied every second, third, ... one is.

    Attributes:
        copy: the state that every host copies to its neighbour now, or copied last.
        safe: the last one that every host's neighbour has.
        began, ended: when `copy` was named, and done by all. [seconds]
        safe_at: when `safe` was named.
        failing_since: when a copy failed first, of those that failed in a row.
    """

    copy: Key | None = None
    safe: Key | None = None
    began: float = 0.0
    ended: float | None = None
    safe_at: float = 0.0
    failing_since: float | None = None


def go_on(errand: Errand, reports: Sequence[Report], *, slowest: int | None, now: float) -> Errand:
    """What follows from the reports of all hosts about the present start.

    Args:
        slowest: updates that every rank has made. A state is copied when one more was made: its own
            is on record then.
    """
    if errand.copy is not None and errand.ended is None:
        if any(one.copied != errand.copy for one in reports):
            return errand
        errand = _end(errand, reports, now)
    if errand.ended is not None and now - errand.ended < errand.ended - errand.began:
        return errand
    common = set(reports[0].keys).intersection(*(one.keys for one in reports))
    ripe = [key for key in common if slowest is not None and key[1] < slowest]
    newest = max(ripe, default=None)
    if newest is None or (errand.copy is not None and newest <= errand.copy):
        return errand
    return replace(errand, copy=newest, began=now, ended=None)


def _end(errand: Errand, reports: Sequence[Report], now: float) -> Errand:
    since = errand.failing_since
    if any(one.missed for one in reports):
        return replace(errand, ended=now)  # somebody no longer had it: nobody can go back to it
    failed = [one for one in reports if one.lacks]
    if failed:
        since = now if since is None else since
        if len(failed) == len(reports) or now - since < LONG_SECONDS:
            return replace(errand, ended=now, failing_since=since)
    return replace(
        errand, ended=now, safe=errand.copy, safe_at=errand.began,
        failing_since=since if failed else None,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What all ranks of a start begin from.

    Attributes:
        world: number of ranks that the states are of.
        is_exact: as many as the start has, so that each rank needs its own.
    """

    key: Key
    world: int
    is_exact: bool


def find_plan(stocks: Sequence[Sequence[State]], world: int) -> Plan | None:
    """The newest state that every rank of a start can have; None without one.

    Of the start's own number of ranks, each rank's must be somewhere. Of another number, one that
    is whole will do for all.
    """
    ranks: dict[Key, set[int]] = {}
    whole: dict[Key, int] = {}
    for state in (one for stock in stocks for one in stock):
        if state.world == world:
            ranks.setdefault(state.key, set()).add(state.rank)
        elif state.is_whole:
            whole[state.key] = state.world
    exact = {key: world for key, there in ranks.items() if there >= set(range(world))}
    found = {**whole, **exact}
    key = max(found, default=None)
    if key is None:
        return None
    return Plan(key=key, world=found[key], is_exact=key in exact)


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """A state that a host needs and that lies elsewhere: on host `at`, perhaps as a copy here."""

    at: int
    state: State


def find_moves(
    stocks: Mapping[int, Sequence[State]], plan: Plan, *, here: int, mine: Collection[int]
) -> list[Move]:
    """What to bring for ranks `mine` of host `here`; the nearest of each."""
    fit = [
        Move(at=at, state=one)
        for at, stock in stocks.items()
        for one in stock
        if (one.key, one.world) == (plan.key, plan.world)
    ]
    here_are = {one.state.rank: one for one in fit if one.at == here and one.state.is_copy}
    here_are |= {one.state.rank: one for one in fit if one.at == here and not one.state.is_copy}
    found, elsewhere = [], []
    for rank in mine:
        if rank not in here_are:
            elsewhere += [one for one in fit if one.state.rank == rank][:1]
        elif here_are[rank].state.is_copy:
            found.append(here_are[rank])
    if plan.is_exact:
        return found + elsewhere
    # Any will do: one for the whole host, if none is here.
    lies_here = found or any(not one.state.is_copy for one in here_are.values())
    near = [one for one in here_are.values() if one.state.is_copy]
    return found if lies_here else (near or elsewhere or fit)[:1]
