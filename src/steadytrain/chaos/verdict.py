"""What a run made of its faults: pure grading of what was seen and of what its journals say."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steadytrain import journal
from steadytrain.chaos.kinds import ENDS
from steadytrain.chaos.plan import Planned, Trial
from steadytrain.chaos.strikes import Strike
from steadytrain.chaos.trial import Life, Observed
from steadytrain.deaths import DO_NOT_REQUEUE, name_sort
from steadytrain.errors import JournalError, SteadytrainError
from steadytrain.events import (
    CheckpointSaved,
    Event,
    GiveUp,
    Incident,
    ProcessExited,
    RemedyDone,
    StepRecord,
)
from steadytrain.lab.grading import SEEN_WITHIN
from steadytrain.replaying import replay

LAST_STEPS = 10
"""Whose mean loss stands for how a run ended."""

CLOSE = 0.05
"""How far the final loss of a healed run may lie above that of the undisturbed one, as a share:
it has seen other data, or the same in another order. Source: guess."""


TOGETHER_SECONDS = 0.25
"""Of two ranks that are struck within so long the first to end may be the only one that is seen:
the supervisor ends the other with all ranks. It looks every 0.02 s; a busy machine takes longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """A final checkpoint beside that of the undisturbed run.

    Attributes:
        differing: names of tensors and settings that are not the same, bit for bit.
        unsound: names of tensors that are not finite.
    """

    differing: tuple[str, ...] = ()
    unsound: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a trial.

    Attributes:
        fell: every fault of it was done.
        complaints: what should have been otherwise; it has survived if there are none.
        recover_seconds: from each fault that ended a life to the first update after it.
        steps_lost: updates made more often than once, or held back.
        is_equal: final checkpoint and the losses of every step are those of the undisturbed run;
            None where there is nothing to compare.
        wrong_kills: ranks that were killed although nothing had been done to them.
    """

    trial: str
    repeat: int
    kinds: tuple[str, ...]
    steps: tuple[int | None, ...]
    fell: bool
    complaints: tuple[str, ...]
    recover_seconds: tuple[float, ...]
    steps_lost: int
    is_equal: bool | None
    restarts: int
    wrong_kills: int
    orphans: int
    leaks: bool
    statuses: tuple[int, ...]
    seconds: float

    @property
    def is_survived(self) -> bool:
        return self.fell and not self.complaints


def grade(trial: Trial, seen: Observed, undisturbed: Observed, likeness: Likeness | None) -> Result:
    """Hold what was seen against what each fault must lead to.

    Args:
        likeness: of the final checkpoints; None where a run has left none.
    """
    events, told, damage = _journals(seen.home)
    complaints = [damage] if damage else []
    kinds = [one.of for one in trial.faults]
    struck = {strike.index for strike in seen.strikes}
    fell = all(one.index in struck for one in trial.faults)
    complaints += _on_moments(trial.faults, struck)
    complaints += _on_the_end(trial, seen, told)
    deaths = _judged_deaths(told)
    innocent = [one for one in deaths if not _is_expected(one, trial.faults, seen.strikes)]
    for one in innocent:
        what = "was called hung and killed" if one.hung else "ended"
        complaints.append(
            f"rank {one.rank} {what} at step {one.step} though nothing was done to it: "
            f"{one.error or one.signal or one.code}"
        )
    complaints += _on_deaths(trial.faults, seen.strikes, deaths)
    complaints += _on_telling(trial.faults, [*events, *told], ranks=len(_ranks(told)))
    if seen.orphans:
        complaints.append(f"processes outlived it: {', '.join(seen.orphans)}")
    ends = {kind.ends for kind in kinds}
    if seen.leaked is not None and "given up" not in ends:
        complaints.append(f"shared memory is left behind: {seen.leaked}")
    is_equal = None
    if "given up" not in ends:
        is_equal = _is_equal(seen, undisturbed, likeness, events)
        if "healed" in ends:
            complaints += _on_health(trial.faults, events, undisturbed, likeness, seen)
        elif is_equal is False:
            complaints.append(_where_it_differs(seen, undisturbed, likeness))
    return Result(
        trial=trial.name,
        repeat=trial.repeat,
        kinds=tuple(kind.name for kind in kinds),
        steps=tuple(one.step for one in seen.strikes),
        fell=fell,
        complaints=tuple(complaints),
        recover_seconds=_recoveries(trial.faults, seen.strikes, seen.lives),
        steps_lost=_steps_lost(seen, events),
        is_equal=is_equal,
        restarts=len(deaths),
        wrong_kills=sum(one.signal == "SIGKILL" and one.hung for one in innocent),
        orphans=len(seen.orphans),
        leaks=seen.leaked is not None,
        statuses=seen.statuses,
        seconds=seen.seconds,
    )


def losses(home: Path) -> dict[int, tuple[int, float]]:
    """Step -> (first draw, loss) on the branch that survived."""
    kept: dict[int, tuple[int, float]] = {}
    for event in journal.read(home):
        if isinstance(event, StepRecord):
            kept[event.step] = (event.draw, event.loss)
        elif isinstance(event, RemedyDone) and event.restored_step is not None:
            kept = {step: one for step, one in kept.items() if step <= event.step}
    return kept


def saves(home: Path) -> list[int]:
    """Steps after which a run saved a checkpoint."""
    return sorted({one.step for one in journal.read(home) if isinstance(one, CheckpointSaved)})


def _journals(home: Path) -> tuple[list[Event], list[Event], str | None]:
    """What rank 0 and the supervisor wrote; a complaint where that cannot be relied on."""
    try:
        told = journal.load(home, "supervisor")
        events = journal.load(home)
        changed = [one.writer for one in replay(home) if one.differences]
    except JournalError as error:
        return [], [], f"a journal is damaged: {error}"
    except SteadytrainError:  # a script without a Session has none to replay
        return [], told, None
    why = f"replay reaches other judgments ({', '.join(changed)})" if changed else None
    return events, told, why


def _on_moments(faults: Sequence[Planned], struck: set[int]) -> list[str]:
    return [
        f"{one.kind} never fell: the run never came to step {one.step} and phase {one.phase}"
        if one.phase
        else f"{one.kind} never fell: the run never came to step {one.step}"
        for one in faults
        if one.index not in struck
    ]


def _on_the_end(trial: Trial, seen: Observed, told: Sequence[Event]) -> list[str]:
    status = seen.statuses[-1]
    if seen.is_late:
        return [f"it did not end within {seen.seconds:.0f} s"]
    is_to_give_up = any(one.of.ends == "given up" for one in trial.faults)
    if is_to_give_up:
        causes = [one.cause for one in told if isinstance(one, GiveUp)]
        if status != DO_NOT_REQUEUE:
            return [f"it ended with status {status}, not {DO_NOT_REQUEUE}"]
        return [] if len(causes) == 1 else [f"{len(causes)} causes were given, not one"]
    if status != 0:
        reasons = [f"{one.cause}; {one.why}" for one in told if isinstance(one, GiveUp)]
        if not reasons:
            return [f"it ended with status {status}"]
        return [f"it ended with status {status}: {reasons[-1]}"]
    return []


def _judged_deaths(told: Sequence[Event]) -> list[ProcessExited]:
    """The first end of each start: what else ends with it is its victim."""
    found: dict[int, ProcessExited] = {}
    for event in told:
        if isinstance(event, ProcessExited):
            found.setdefault(event.generation, event)
    return list(found.values())


def _is_expected(
    death: ProcessExited, faults: Sequence[Planned], strikes: Sequence[Strike]
) -> bool:
    for strike in strikes:
        kind = faults[strike.index].of
        is_deadly = kind.ends in ("restart", "hang", "again", "given up")
        if is_deadly and strike.pid == death.pid:
            return True
        # Where checkpoints are small, a limit on the size of files may meet the journal first.
        if kind.name == "disk-full" and name_sort(death) == "disk":
            return True
        # Everything was killed, and the supervisor had the time to see the first of it.
        if is_deadly and strike.pid is None and death.signal == "SIGKILL" and not death.hung:
            return True
        # Two ranks of which one has cut the line: either may be the first to end.
        if not kind.blames and (death.step is None or abs(death.step - (strike.step or 0)) <= 2):
            return True
    return False


def _on_deaths(
    faults: Sequence[Planned], strikes: Sequence[Strike], deaths: Sequence[ProcessExited]
) -> list[str]:
    """Each struck rank must be the one that is named, and a hang be called one."""
    found = []
    # The first end of each process.
    by_pid: dict[int | None, ProcessExited] = {death.pid: death for death in reversed(deaths)}
    named_at = [strike.clock for strike in strikes if strike.pid in by_pid]
    for strike in strikes:
        one = faults[strike.index]
        if one.of.ends not in ("restart", "hang") or not one.of.blames:
            continue
        mine = by_pid.get(strike.pid)
        if mine is None and all(abs(at - strike.clock) >= TOGETHER_SECONDS for at in named_at):
            found.append(f"{one.kind}: rank {one.rank} was struck, and its end is not on record")
        elif mine is not None and mine.hung != (one.of.ends == "hang"):
            found.append(f"{one.kind}: it should be that {ENDS[one.of.ends]}; it was not")
    return found


def _on_telling(faults: Sequence[Planned], events: Sequence[Event], *, ranks: int) -> list[str]:
    kinds = {type(event).__name__ for event in events}
    if any(isinstance(one, ProcessExited) and name_sort(one) == "disk" for one in events):
        kinds.add("CheckpointFailed")
    wanted = {one.kind: one.of.tells for one in faults if one.of.tells}
    if ranks > 1:
        wanted |= {one.kind: "Straggler" for one in faults if one.kind == "slow-rank"}
    return [
        f"{kind}: no {tells} is on record" for kind, tells in wanted.items() if tells not in kinds
    ]


def _on_health(
    faults: Sequence[Planned],
    events: Sequence[Event],
    undisturbed: Observed,
    likeness: Likeness | None,
    seen: Observed,
) -> list[str]:
    """Broken numbers must be noticed: an incident, or an update held back; and mended."""
    noticed = [
        event.step
        for event in events
        if (isinstance(event, Incident) and event.change == "opened")
        or (isinstance(event, StepRecord) and not event.committed)
    ]
    found = [
        f"{faults[strike.index].kind}: nobody has noticed it"
        for strike in seen.strikes
        if faults[strike.index].of.ends == "healed"
        and not any(0 <= step - (strike.step or 0) <= SEEN_WITHIN for step in noticed)
    ]
    if likeness is not None and likeness.unsound:
        found.append(f"the final checkpoint is not finite: {likeness.unsound[0]}")
    ours, theirs = _final_loss(seen.home), _final_loss(undisturbed.home)
    if theirs is not None and not (ours is not None and ours <= (1 + CLOSE) * theirs):
        found.append(f"the final loss is {ours}, without faults {theirs}")
    return found


def _final_loss(home: Path) -> float | None:
    found = [loss for _, (_, loss) in sorted(losses(home).items())][-LAST_STEPS:]
    return sum(found) / len(found) if found else None


def _is_equal(
    seen: Observed, undisturbed: Observed, likeness: Likeness | None, events: Sequence[Event]
) -> bool | None:
    reference = losses(undisturbed.home)
    if not reference and likeness is None:
        return None
    return losses(seen.home) == reference and not (likeness and likeness.differing)


def _where_it_differs(seen: Observed, undisturbed: Observed, likeness: Likeness | None) -> str:
    ours, theirs = losses(seen.home), losses(undisturbed.home)
    steps = sorted(
        step for step in ours.keys() | theirs.keys() if ours.get(step) != theirs.get(step)
    )
    if steps:
        first = steps[0]
        return (
            f"the run is another from step {first} on: draw and loss {ours.get(first)}, without "
            f"faults {theirs.get(first)}"
        )
    differing = likeness.differing if likeness else ()
    return f"the final checkpoint differs in {len(differing)} places: {', '.join(differing[:3])}"


def _recoveries(
    faults: Sequence[Planned], strikes: Sequence[Strike], lives: Sequence[Life]
) -> tuple[float, ...]:
    found = []
    for strike in strikes:
        if faults[strike.index].of.ends not in ("restart", "hang", "again"):
            continue
        later = [one.advanced for one in lives if one.advanced and one.began > strike.clock]
        if later:
            found.append(round(later[0] - strike.clock, 3))
    return tuple(found)


def _steps_lost(seen: Observed, events: Sequence[Event]) -> int:
    first = next((one.first_step for one in seen.lives if one.first_step is not None), 0)
    held = sum(isinstance(one, StepRecord) and not one.committed for one in events)
    last = seen.last_step or 0
    return max(0, seen.updates - (last - (first or 0))) + held


def _ranks(told: Sequence[Event]) -> set[int]:
    for event in told:
        pids = getattr(event, "pids", None)
        if pids is not None:
            return set(range(len(pids)))
    return set()
