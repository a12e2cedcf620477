"""An exit -> start again, wait, or give up.

A restart that brings the run further is free; only restarts that do not are counted. A false stop
costs a night, a useless restart a minute: when in doubt, start again.
"""

from dataclasses import dataclass

import msgspec

from steadytrain.deaths import SORTS, Sort, name_sort
from steadytrain.events import (
    Event,
    GiveUp,
    Heartbeat,
    HostGone,
    HostsWaiting,
    Judgment,
    ProcessExited,
    Restart,
    WorkersFinished,
    WorkersStarted,
)

OWN_ERRORS = ("SettingError", "FeedError")
"""What this package refuses: the same command would be refused in the same way."""

WRONG_HOME = ("another model", "another home", "new home", "the run began with")
"""What a CheckpointError says when the home belongs to something else."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy remembers.

    Attributes:
        generation: the newest that started, None before the first.
        asked: the generation that the last judgment asked for and that has not started yet.
        is_restart: the newest was started because it was asked for, not by a person.
        is_judged: its end has been judged; what else dies of it says nothing new.
        best: highest step of all generations before it.
        reached: highest step that it reported; None if it reported none.
        num_restarts: since a person started the run.
        num_stalled: restarts in a row that are known to have made no new step.
        num_unknown: restarts in a row of which nobody knows whether they made one.
        deaths: (how a rank ended, at which step, how many times).
        has_lived: the newest was seen alive half a minute after its start (a Heartbeat).
        num_hardware: ends that the hardware was named for, since a person started the run.
    """

    generation: int | None = None
    asked: int | None = None
    is_restart: bool = False
    is_judged: bool = True
    best: int = 0
    reached: int | None = None
    num_restarts: int = 0
    num_stalled: int = 0
    num_unknown: int = 0
    deaths: tuple[tuple[str, int | None, int], ...] = ()
    has_lived: bool = False
    num_hardware: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """Start again, unless that is known not to help.

    wait = 0 after progress and the first time, else first_wait_seconds * 2 ** (n - 1) after n
    restarts in a row without progress, at most longest_wait_seconds.

    Progress is a step that had not been reached before. A step that nobody reported is unknown,
    not zero: it has a budget of its own, wide enough for a machine that needs minutes to come back,
    and one that lived for a while before it ended does not count.
    A start that no judgment asked for is a person's, and begins with full budgets.

    What the end was of (deaths.py) changes this much: a script that says so itself by its exit
    status is not started again; nor is one that is plainly wrong, before it made its first step;
    memory that ran out twice at one step would again; a disk gets `disk_wait_seconds`; hardware
    that was named twice is left to another host.

    Attributes:
        max_stalled: restarts in a row without progress.
        max_same_death: the same last words at the same step.
        max_unknown: restarts in a row whose step is unknown.
        max_restarts: since a person started the run.
        max_same_memory: memory that ran out, at the same step.
        max_hardware: ends that the hardware was named for.

    Source: max_stalled 3, and "unreadable is not zero": nvidia-resiliency-ext's progress tracker;
    max_same_death 3: its budget for general failures; doubling waits: Kubernetes' CrashLoopBackOff,
    with a cap of 60 s for its 300, since a cluster stands idle meanwhile; the others are guesses.

    >>> policy = RestartPolicy()
    >>> tally, _ = policy.update(policy.init(), WorkersStarted(generation=0, pids=(7,)))
    >>> death = ProcessExited(generation=0, rank=0, pid=7, signal="SIGKILL", step=12)
    >>> tally, (judgment,) = policy.update(tally, death)
    >>> judgment.generation, judgment.cause, judgment.wait_seconds
    (1, 'killed by SIGKILL', 0.0)
    """

    max_stalled: int = 3
    max_same_death: int = 3
    max_unknown: int = 10
    max_restarts: int = 1000
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    max_same_memory: int = 2
    max_hardware: int = 2
    disk_wait_seconds: float = 10.0

    def init(self) -> Tally:
        return Tally()

    def update(self, tally: Tally, event: Event) -> tuple[Tally, tuple[Judgment, ...]]:
        """Take in a fact of the supervisor; the first death of a generation gives one judgment."""
        match event:
            case WorkersStarted():
                return _begin(tally, event), ()
            case WorkersFinished():
                return msgspec.structs.replace(tally, is_judged=True), ()
            case Heartbeat() if event.generation == tally.generation:
                tally = _reach(tally, event.step)
                # The first Heartbeat of a start may be told at once, with its first new step.
                has_lived = tally.has_lived or event.step is None
                return msgspec.structs.replace(tally, has_lived=has_lived), ()
            case ProcessExited() if event.generation == tally.generation and not tally.is_judged:
                return self._judge(_count(_reach(tally, event.step), event), event)
            case HostGone() if event.generation == tally.generation and not tally.is_judged:
                return self._judge_host(_count_start(_reach(tally, event.step)), event)
            case HostsWaiting() if event.generation == tally.generation and not tally.is_judged:
                return _let_in(_reach(tally, event.step), event)
            case _:
                return tally, ()

    def _judge(self, tally: Tally, death: ProcessExited) -> tuple[Tally, tuple[Judgment, ...]]:
        cause = name_cause(death)
        sort = name_sort(death)
        reason = self._reason_to_give_up(tally, death, sort)
        if reason is not None:
            tally = msgspec.structs.replace(tally, is_judged=True)
            given_up = GiveUp(
                generation=death.generation,
                cause=cause,
                why=reason,
                requeue=sort in ("requeue", "hardware"),
            )
            return tally, (given_up,)
        restart = Restart(
            generation=death.generation + 1,
            cause=cause,
            wait_seconds=self._wait_seconds(tally, sort),
            why=_why_again(tally, death, sort),
        )
        return _ask(tally, restart)

    def _judge_host(self, tally: Tally, gone: HostGone) -> tuple[Tally, tuple[Judgment, ...]]:
        """The others go on without it. A host that goes again and again is nobody's fault here."""
        match gone.why:
            case "left":
                cause = f"host {gone.host} left"
            case "distrusted":
                cause = f"host {gone.host} is not to be trusted, as a rank of its own says"
            case "silent":
                cause = f"host {gone.host} was silent for {gone.silent_seconds or 0.0:.1f} s"
        if tally.num_stalled + tally.num_unknown >= self.max_stalled:
            why = (
                f"{tally.num_stalled + tally.num_unknown} restarts in a row came no further than "
                f"step {tally.best}, so these hosts cannot keep together. Look at the network "
                "between them, then start the run again: it goes on from its last checkpoint."
            )
            given_up = GiveUp(generation=gone.generation, cause=cause, why=why, requeue=True)
            return msgspec.structs.replace(tally, is_judged=True), (given_up,)
        ranks = ", ".join(map(str, gone.ranks))
        restart = Restart(
            generation=gone.generation + 1,
            cause=cause,
            wait_seconds=0.0,
            why=f"ranks {ranks} went with it; the hosts that are left begin as soon as they are "
            "enough",
        )
        return _ask(tally, restart)

    def _reason_to_give_up(self, tally: Tally, death: ProcessExited, sort: Sort) -> str | None:
        mend = (
            f"Read logs/rank{death.rank}.{death.generation}.log, mend the cause, then start the "
            "run again: it goes on from its last checkpoint."
        )
        times = _times(tally, death)
        if sort == "requeue":
            return f"rank {death.rank} asked to be started elsewhere (exit status {death.code})."
        if sort == "stop":
            return f"rank {death.rank} asked not to be started again (exit status {death.code})."
        if sort == "hardware" and tally.num_hardware >= self.max_hardware:
            return (
                f"the hardware was named for {tally.num_hardware} ends on this host, so it would "
                "be again. Start the run on another host: it goes on from its last checkpoint."
            )
        if sort == "user" and not tally.is_restart and not (tally.best or tally.reached):
            return (
                f"rank {death.rank} ended before its first step, and {SORTS[sort]}, so it would "
                f"end again. {mend}"
            )
        if _is_for_the_user(death.error):
            return (
                f"rank {death.rank} refused what it was given, and would refuse it again. "
                "Do what its message says, then start the run again."
            )
        if sort.endswith("memory") and death.step is not None and times >= self.max_same_memory:
            return (
                f"{SORTS[sort]} {times} times at {_place(death.step)}, so that step needs more "
                f"than there is: a smaller batch, or activation checkpointing. {mend}"
            )
        if times >= self.max_same_death:
            return (
                f"rank {death.rank} ended in the same way {times} times at {_place(death.step)}, "
                f"so starting again only repeats it. {mend}"
            )
        if tally.num_stalled >= self.max_stalled:
            return (
                f"{tally.num_stalled} restarts in a row came no further than step {tally.best}, "
                f"so the next would not either. {mend}"
            )
        if tally.num_unknown >= self.max_unknown:
            return (
                f"{tally.num_unknown} restarts in a row ended before any rank reported a step, "
                f"so training never begins. {mend}"
            )
        if tally.num_restarts >= self.max_restarts:
            return (
                f"the run was restarted {tally.num_restarts} times, its whole budget, so the "
                f"machine or the script cannot be left alone. {mend}"
            )
        return None

    def _wait_seconds(self, tally: Tally, sort: Sort) -> float:
        least = self.disk_wait_seconds if sort == "disk" else 0.0
        in_a_row = tally.num_stalled + tally.num_unknown
        if in_a_row == 0:
            return least
        wait = min(self.longest_wait_seconds, self.first_wait_seconds * 2.0 ** (in_a_row - 1))
        return max(least, wait)


def name_cause(death: ProcessExited) -> str:
    """How a rank ended, in plain terms."""
    if death.hung:
        how = f"hung in phase {death.phase} for {death.silent_seconds or 0.0:.1f} s"
        return f"{how}, {death.error}" if death.error else how
    how = f"killed by {death.signal}" if death.signal else f"exited with status {death.code}"
    return f"{how}: {death.error}" if death.error else how


def _ask(tally: Tally, restart: Restart) -> tuple[Tally, tuple[Judgment, ...]]:
    tally = msgspec.structs.replace(
        tally, is_judged=True, asked=restart.generation, num_restarts=tally.num_restarts + 1
    )
    return tally, (restart,)


def _let_in(tally: Tally, waiting: HostsWaiting) -> tuple[Tally, tuple[Judgment, ...]]:
    names = ", ".join(waiting.hosts)
    restart = Restart(
        generation=waiting.generation + 1,
        cause=f"{names} came and can be let in",
        wait_seconds=0.0,
        why="all ranks save and leave after the same step, so nothing is made again",
    )
    return _ask(tally, restart)


def _begin(tally: Tally, event: WorkersStarted) -> Tally:
    best = max(tally.best, tally.reached or 0, event.step or 0)
    is_restart = event.generation == tally.asked
    if not is_restart:
        tally = Tally()
    return msgspec.structs.replace(
        tally,
        generation=event.generation,
        asked=None,
        is_restart=is_restart,
        is_judged=False,
        best=best,
        reached=None,
        has_lived=False,
    )


def _reach(tally: Tally, step: int | None) -> Tally:
    if step is None:
        return tally
    return msgspec.structs.replace(tally, reached=max(step, tally.reached or 0))


def _count(tally: Tally, death: ProcessExited) -> Tally:
    if name_sort(death) == "hardware":
        tally = msgspec.structs.replace(tally, num_hardware=tally.num_hardware + 1)
    tally = _count_start(tally)
    words = _last_words(death)
    if words is None or (death.step is None and tally.has_lived):
        return tally
    others = tuple(one for one in tally.deaths if one[:2] != (words, death.step))
    deaths = (*others, (words, death.step, _times(tally, death) + 1))
    return msgspec.structs.replace(tally, deaths=deaths)


def _count_start(tally: Tally) -> Tally:
    if _has_progressed(tally) or (tally.reached is None and tally.has_lived):
        return msgspec.structs.replace(tally, num_stalled=0, num_unknown=0)
    if tally.is_restart and tally.reached is None:
        return msgspec.structs.replace(tally, num_unknown=tally.num_unknown + 1)
    if tally.is_restart:
        return msgspec.structs.replace(tally, num_stalled=tally.num_stalled + 1)
    return tally


def _times(tally: Tally, death: ProcessExited) -> int:
    words = _last_words(death)
    return sum(times for said, step, times in tally.deaths if (said, step) == (words, death.step))


def _last_words(death: ProcessExited) -> str | None:
    """What would be the same if the same thing ended it again; a kill from outside says nothing."""
    if death.hung:
        return death.error  # where it hung; for how long is another each time
    return name_cause(death) if death.error or death.code is not None else None


def _has_progressed(tally: Tally) -> bool:
    return tally.reached is not None and tally.reached > tally.best


def _is_for_the_user(error: str | None) -> bool:
    if error is None:
        return False
    name, _, message = error.partition(":")
    name = name.rpartition(".")[2]
    if name == "CheckpointError":
        return any(words in message for words in WRONG_HOME)
    return name in OWN_ERRORS


def _why_again(tally: Tally, death: ProcessExited, sort: Sort) -> str:
    where = f"rank {death.rank} ended at {_place(death.step)}"
    if sort not in ("unknown", "outside", "hang", "user"):
        where = f"{where}, since {SORTS[sort]}"
    if _has_progressed(tally):
        return f"{where}; the run had made steps that it had not made before"
    in_a_row = tally.num_stalled + tally.num_unknown
    if in_a_row == 0:
        return f"{where}; a first restart costs little"
    return f"{where}; {in_a_row} in a row without a new step, so it waits before the next"


def _place(step: int | None) -> str:
    return "an unknown step" if step is None else f"step {step}"
