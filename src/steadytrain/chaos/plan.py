"""A fault plan: what shall happen to a run, when, to whom; a pure function of plan and seed.

seed = 7                      # of every moment that is not written down
repeats = 3                   # each trial so often, at other moments each time

[[fault]]
kind = "sigkill"              # `steadytrain chaos --list`
step = [20, 60]               # updates made before; a number, a range, or left out
phase = "backward"            # a word of the progress board; left out: at any moment
rank = 1                      # or "any" (drawn), which is what is left out means

[[fault]]
kind = "flip-payload"
trial = "torn and killed"     # faults of one trial are done to the same run
"""

import random
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from steadytrain.chaos.kinds import DAMAGES, KINDS, Kind, kind_of
from steadytrain.errors import SettingError
from steadytrain.progress import Phase

FOLDER = Path(__file__).parent / "plans"

FIRST_SHARE, LAST_SHARE = 0.2, 0.8
"""Of a run's updates: where a fault falls whose step the plan leaves out."""

MOST_DELAY_SECONDS = 0.2
"""After a step was seen, until a fault from outside falls: anywhere in a step or two."""


AHEAD_STEPS = 3
"""Before a save, where a disk is broken: seen in time, even if a step takes milliseconds."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[fault]]` of a plan, as it is written.

    Attributes:
        step: updates made before it; a range is drawn from, both ends included.
        phase: the phase in which a rank does it to itself.
        seconds: how long it lasts, where it lasts. [seconds]
        times: how often, in lives one after the other.
        trial: faults of one name are done to one run; its own if left out.
    """

    kind: str
    step: int | tuple[int, int] | None = None
    phase: str | None = None
    rank: int | Literal["any"] = "any"
    seconds: float | None = None
    times: int | None = None
    trial: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan, as it is written."""

    seed: int = 0
    repeats: int = 1
    fault: tuple[Fault, ...] = ()

    @property
    def breaks_numbers(self) -> bool:
        return any(kind_of(one.kind).where == "numbers" for one in self.fault)


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A fault with its moment.

    Attributes:
        index: in its trial.
        step: it happens once so many updates are made, or as soon afterwards as it can.
        delay: after that was seen, where a rank does not do it to itself. [seconds]
        seed: of whatever else it draws.
    """

    index: int
    kind: str
    step: int
    phase: Phase | None
    rank: int
    seconds: float | None
    times: int | None
    delay: float
    seed: int

    @property
    def of(self) -> Kind:
        return KINDS[self.kind]

    @property
    def is_outside(self) -> bool:
        """Whether this command does it. A phase is too short to be hit from outside."""
        return self.of.where == "outside" and self.phase is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One run that is broken as its faults say."""

    name: str
    repeat: int
    faults: tuple[Planned, ...]


def built_in() -> list[str]:
    """Names of the plans that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Plan:
    """A plan's file, or one that comes along.

    Raises:
        SettingError: there is no such plan, or it makes no sense.
    """
    path = FOLDER / f"{name}.toml" if name in built_in() else Path(name)
    try:
        return parse(path.read_text())
    except OSError as error:
        raise SettingError(
            f"the plan {name} cannot be read ({error.strerror}), so nothing would be broken. Write "
            f"a file, or one of those that come along: {', '.join(built_in())}."
        ) from error
    except UnicodeDecodeError as error:
        raise SettingError(f"the plan {name} is no text. Write TOML, in UTF-8.") from error
    except SettingError as error:
        raise SettingError(f"the plan {name}: {error}") from error


def parse(text: str) -> Plan:
    """A plan from its text.

    Raises:
        SettingError: no TOML, a word that no plan knows, or a fault that cannot be.

    >>> parse('[[fault]]\\nkind = "sigkill"\\nstep = [20, 60]').fault[0].step
    (20, 60)
    """
    try:
        plan = msgspec.convert(tomllib.loads(text), Plan)
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"it is no TOML ({error}).") from error
    except msgspec.ValidationError as error:
        raise SettingError(
            f"{error}. A plan has seed, repeats and [[fault]] tables; a fault has kind, step, "
            "phase, rank, seconds, times and trial: see docs/chaos.md."
        ) from error
    if not plan.fault:
        raise SettingError(
            'it has no fault, so nothing would be proved. Write [[fault]] and kind = "sigkill".'
        )
    _refuse_no_repeats(plan)
    for fault in plan.fault:
        _check(fault)
    return plan


def joined(plans: list[Plan]) -> Plan:
    """Several plans as one, with seed and repeats of the first."""
    return msgspec.structs.replace(
        plans[0], fault=tuple(fault for plan in plans for fault in plan.fault)
    )


def of_kinds(names: list[str]) -> Plan:
    """Each of these kinds once, in a run of its own.

    Raises:
        SettingError: a kind that there is not.
    """
    return Plan(fault=tuple(Fault(kind=kind_of(name).name) for name in names))


def changed(plan: Plan, *, seed: int | None, repeats: int | None) -> Plan:
    """The same plan with another seed, or with more or fewer repeats.

    Raises:
        SettingError: repeats < 1.
    """
    more = {"seed": seed, "repeats": repeats}
    plan = msgspec.structs.replace(
        plan, **{name: one for name, one in more.items() if one is not None}
    )
    _refuse_no_repeats(plan)
    return plan


def trials(plan: Plan, *, steps: int, world: int, saves: Sequence[int] = ()) -> tuple[Trial, ...]:
    """The moments of every fault, drawn from the seed.

    Args:
        steps: updates of the run without faults.
        world: its ranks.
        saves: steps after which it saves a checkpoint.

    Raises:
        SettingError: a step or rank that the run does not have.
    """
    names = [fault.trial or f"{fault.kind}#{at}" for at, fault in enumerate(plan.fault)]
    found = []
    for repeat in range(plan.repeats):
        for name in dict.fromkeys(names):
            mine = [one for one, of in zip(plan.fault, names, strict=True) if of == name]
            # A chance of its own: a fault more or less in the plan moves no other.
            chance = random.Random(f"chaos-{plan.seed}-{name}-{repeat}")
            planned = [
                _place(one, at, len(mine), chance, steps=steps, world=world, saves=saves)
                for at, one in enumerate(mine)
            ]
            shown = name.partition("#")[0]
            found.append(Trial(name=shown, repeat=repeat, faults=tuple(planned)))
    return tuple(found)


def _refuse_no_repeats(plan: Plan) -> None:
    if plan.repeats < 1:
        raise SettingError(f"repeats = {plan.repeats} runs no trial. Write repeats = 1 or more.")


def _check(fault: Fault) -> None:
    kind = kind_of(fault.kind)
    low, high = _range(fault)
    if low is not None and not 0 <= low <= (high or 0):
        raise SettingError(
            f"{fault.kind}: step = {fault.step} is no range of updates made. Write step = 30, or "
            "step = [20, 60]."
        )
    if fault.phase is not None and fault.phase not in get_args(Phase):
        raise SettingError(
            f"{fault.kind}: {fault.phase!r} is no phase that a rank tells. Write one of "
            f"{', '.join(get_args(Phase))}, or leave phase out."
        )
    if fault.phase is not None and kind.where == "outside" and fault.kind != "sigkill":
        raise SettingError(
            f"{fault.kind} is done from outside, which cannot aim at a phase. Leave phase out; "
            "sigkill can be aimed, and every fault that a rank does to itself."
        )
    if fault.phase is not None and kind.where == "numbers":
        raise SettingError(
            f"{fault.kind} touches what an update uses, so its place is fixed. Leave phase out."
        )
    if fault.seconds is not None and (kind.seconds is None or not fault.seconds > 0):
        lasting = ", ".join(name for name, one in KINDS.items() if one.seconds is not None)
        raise SettingError(
            f"{fault.kind}: seconds = {fault.seconds} says nothing here. Leave it out; those that "
            f"last are {lasting}."
        )
    if isinstance(fault.rank, int) and fault.rank < 0:
        raise SettingError(f'{fault.kind}: there is no rank {fault.rank}. Write 0, 1, or "any".')
    if fault.times is not None and (fault.times < 1 or kind.where != "inside"):
        raise SettingError(
            f"{fault.kind}: times = {fault.times} is not possible. Write the fault again for a "
            "second one; times is for what a rank does to itself, in one life after the other."
        )


def _place(
    fault: Fault,
    index: int,
    among: int,
    chance: random.Random,
    *,
    steps: int,
    world: int,
    saves: Sequence[int],
) -> Planned:
    kind = kind_of(fault.kind)
    low, high = _range(fault)
    end = steps - kind.updates - 1
    drawn = chance.random(), chance.random(), chance.random(), chance.random()
    if low is None or high is None:
        # In the order of the plan, so that none falls into what another has led to.
        first, last = FIRST_SHARE * steps, LAST_SHARE * steps
        low = round(first + index / among * (last - first))
        high = max(low, round(first + (index + 0.5) / among * (last - first)) - 1)
        if among == 1:
            high = round(last)
        if kind.updates:
            high = min(high, end)
        if kind.tells == "CheckpointFailed":
            low = high = _before_a_save(fault, saves, drawn[0], steps=steps)
    elif high >= steps:
        raise SettingError(
            f"{fault.kind}: step = {fault.step} lies beyond the run, which makes {steps} updates. "
            f"Write a step below {steps}, or leave it out."
        )
    if kind.updates and not low <= high <= end:
        raise SettingError(
            f"{fault.kind} goes on for {kind.updates} updates, and a run of {steps} has too few "
            f"after step {max(low, high)}. Let it make more, write an earlier step, or leave this "
            "fault out."
        )
    if isinstance(fault.rank, int) and fault.rank >= world:
        raise SettingError(
            f"{fault.kind}: there is no rank {fault.rank} among {world}. Write a lower one, or "
            f"--nproc {fault.rank + 1}."
        )
    if world < kind.ranks:
        raise SettingError(
            f"{fault.kind} means nothing among fewer than {kind.ranks} ranks. Write --nproc "
            f"{kind.ranks}, or leave it out."
        )
    rank = fault.rank if isinstance(fault.rank, int) else int(drawn[1] * world)
    step = low + int(drawn[0] * (high - low + 1))
    is_first = fault.kind == "slow-first"
    phase: Any = fault.phase or kind.phase
    return Planned(
        index=index,
        kind=fault.kind,
        step=0 if is_first else step,
        phase=phase,
        rank=rank,
        seconds=fault.seconds or kind.seconds,
        times=fault.times or kind.times,
        # What is stored is broken at once: the run must not have ended or saved meanwhile.
        delay=0.0 if fault.kind in DAMAGES or kind.tells else drawn[2] * MOST_DELAY_SECONDS,
        seed=int(drawn[3] * 2**31),
    )


def _before_a_save(fault: Fault, saves: Sequence[int], share: float, *, steps: int) -> int:
    """A little before one of the run's checkpoints, so that a save fails; not before the last."""
    inner = [step for step in saves if AHEAD_STEPS < step < steps]
    if not inner:
        raise SettingError(
            f"{fault.kind} makes a save fail, and the run saves nothing before its end. Let it "
            "save more often, or leave this fault out."
        )
    return inner[int(share * len(inner))] - AHEAD_STEPS


def _range(fault: Fault) -> tuple[int | None, int | None]:
    if fault.step is None:
        return None, None
    return (fault.step, fault.step) if isinstance(fault.step, int) else fault.step
