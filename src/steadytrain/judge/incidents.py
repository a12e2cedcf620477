"""Alarms that belong together: a case that opens, grows, is treated, and closes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from steadytrain.events import (
    Advice,
    Alarm,
    Incident,
    OptimizerSettings,
    PanelRecord,
    StepRecord,
)
from steadytrain.judge.detectors import Score
from steadytrain.judge.evidence import LR_TOLERANCE
from steadytrain.judge.seen import Seen, corrupt_rate, repeated_rate
from steadytrain.judge.state import Case
from steadytrain.signals import Observation, lr_ratio

_TELLING = ("loss", "text:", "repeats", "optimizer:", "lr ratio", "replica")

RARE = 1e-6
"""Chance per step and domain that so many sequences are corrupt by accident."""

REPEATED_LEAST = 0.25
"""Share of an update from which repeats are heard. Fewer come where one epoch of a small corpus
meets the next: 3 to 5 of 32, 31 times in 40,000 steps of the lab (LOG.md 2026-11-27)."""


def alarms_of(
    record: StepRecord, observations: tuple[Observation, ...], scores: tuple[Score, ...]
) -> tuple[Alarm, ...]:
    """The alarms of one step's signals that tell of sickness."""
    return tuple(
        alarm_of(record, seen, score, score.direction)
        for seen, score in zip(observations, scores, strict=True)
        if score.alarms and seen.signal.is_sickness
    )


def alarm_of(record: StepRecord, seen: Observation, score: Score, direction: Any) -> Alarm:
    """An alarm in the units that people read."""
    return Alarm(
        attempt=record.attempt,
        step=record.step,
        signal=seen.name,
        direction=direction,
        value=seen.signal.natural(seen.value),
        expected=seen.signal.natural(score.expected),
        score=score.distance,
    )


def rate_alarms(record: StepRecord) -> tuple[Alarm, ...]:
    """An alarm if the optimizer used another learning rate than was planned."""
    ratio = lr_ratio(record)
    if ratio is None or 1 / LR_TOLERANCE <= ratio <= LR_TOLERANCE:
        return ()
    return (
        Alarm(
            attempt=record.attempt, step=record.step, signal="lr ratio", direction="changed",
            value=ratio, expected=1.0, score=math.inf,
        ),
    )  # fmt: skip


def text_alarms(
    record: StepRecord, domains: Sequence[str], recent: Sequence[Seen]
) -> tuple[Alarm, ...]:
    """An alarm for each domain with far more corrupt sequences in this step than as a rule."""
    found = []
    for at, count in enumerate(record.corrupt):
        if count < 2:
            continue
        rate = corrupt_rate(recent, at)
        usual = rate * record.sequences[at]
        if _chance_of(count, usual) < RARE:
            found.append(
                Alarm(
                    attempt=record.attempt, step=record.step, signal=f"text:{domains[at]}",
                    direction="rise", value=count / record.sequences[at], expected=rate,
                    score=(count - usual) / math.sqrt(usual),
                )
            )  # fmt: skip
    return tuple(found)


def repeat_alarms(record: StepRecord, recent: Sequence[Seen]) -> tuple[Alarm, ...]:
    """An alarm if far more sequences than as a rule stood in the steps before."""
    total = sum(record.sequences)
    if record.repeated < max(3, REPEATED_LEAST * total):
        return ()
    rate = repeated_rate(recent)
    usual = rate * total
    if _chance_of(record.repeated, usual) >= RARE:
        return ()
    return (
        Alarm(
            attempt=record.attempt, step=record.step, signal="repeats", direction="rise",
            value=record.repeated / total, expected=rate,
            score=(record.repeated - usual) / math.sqrt(usual),
        ),
    )  # fmt: skip


def panel_alarms(
    record: PanelRecord, harmed: Sequence[tuple[int, float, float]], domains: Sequence[str]
) -> tuple[Alarm, ...]:
    """An alarm for each domain of the panel that is worse than before the incident."""
    return tuple(
        Alarm(
            attempt=record.attempt, step=record.step, signal=f"panel:{domains[at]}",
            direction="rise", value=now, expected=before, score=math.inf,
        )
        for at, before, now in harmed
    )  # fmt: skip


def _chance_of(count: int, usual: float) -> float:
    """Chance that a Poisson number of this mean is so large or larger."""
    term = below = math.exp(-usual)
    for number in range(1, count):
        term *= usual / number
        below += term
    return max(0.0, 1.0 - below)


def tells_more(alarms: tuple[Alarm, ...]) -> bool:
    """Whether these alarms call for another look at a case that is only watched: a loss, or what
    was read or measured for certain."""
    return any(alarm.signal.startswith(_TELLING) for alarm in alarms)


def changed_settings(
    known: Mapping[str, float], now: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """Settings that are not what they were: name -> (before, after)."""
    return {
        name: (known[name], value)
        for name, value in now.items()
        if name in known and not math.isclose(known[name], value, rel_tol=1e-6)
    }


def settings_alarms(
    event: OptimizerSettings, changed: Mapping[str, tuple[float, float]]
) -> tuple[Alarm, ...]:
    """An alarm for each setting that changed by itself."""
    return tuple(
        Alarm(
            attempt=event.attempt, step=event.step, signal=f"optimizer:{name}",
            direction="changed", value=after, expected=before, score=math.inf,
        )
        for name, (before, after) in changed.items()
    )  # fmt: skip


def opens_case(observations: tuple[Observation, ...], scores: tuple[Score, ...]) -> bool:
    """Whether this step's alarms make an incident: one loss, one very far signal, or two kinds."""
    kinds = set()
    for seen, score in zip(observations, scores, strict=True):
        if not score.alarms or not seen.signal.is_sickness:
            continue
        if not math.isfinite(seen.value):
            return True
        if abs(seen.value - score.expected) >= seen.signal.alone:
            return True
        kinds.add(seen.name.partition(":")[0])
    return len(kinds) > 1


def find_onset(
    histories: tuple[tuple[tuple[int, ...], tuple[float, ...]], ...],
    step: int,
    *,
    near: float,
    reach: int,
) -> int:
    """First step of the unbroken run of odd points that ends at `step`.

    A gradient norm leads a loss spike by 1 to 4 steps (BLOOM 176B), so the step that alarms is
    seldom the first that is affected.

    Args:
        histories: (steps, distances) of each signal that alarms.
        near: a distance from which a point counts as odd. [robust standard deviations]
        reach: how far back to look. [steps]
    """
    odd = {
        at
        for steps, distances in histories
        for at, distance in zip(steps, distances, strict=True)
        if abs(distance) >= near and step - reach <= at < step
    }
    onset = step
    while onset - 1 in odd:
        onset -= 1
    return onset


def open_case(
    number: int,
    alarms: tuple[Alarm, ...],
    *,
    onset: int,
    examine_at: int,
    loss: float | None,
    level: float | None = None,
) -> tuple[Case, Incident]:
    """A new case from the alarms of one step, and the judgment that announces it."""
    first = alarms[0]
    case = Case(
        id=f"incident-{number}",
        phase="examining",
        attempt=first.attempt,
        opened=first.step,
        onset=onset,
        last_alarm=first.step,
        signals=tuple(alarm.signal for alarm in alarms),
        directions=_distinct(alarm.direction for alarm in alarms),
        score=max((alarm.score for alarm in alarms), key=abs),
        examine_at=examine_at,
        peak=loss,
        level=level,
    )
    return case, announce(case, "opened", first.attempt, first.step)


def ordered_case(number: int, attempt: int, step: int, who: str) -> tuple[Case, Incident]:
    """A case for a person's order: nothing is wrong, and nothing is examined."""
    case = Case(
        id=f"incident-{number}", phase="waiting", attempt=attempt, opened=step, onset=step + 1,
        last_alarm=step, signals=(), directions=(), score=0.0, examine_at=step,
    )  # fmt: skip
    opened = announce(case, "opened", attempt, step, reason=f"asked by {who}")
    return case, msgspec.structs.replace(opened, examine_at=None)


def grow_case(case: Case, alarms: tuple[Alarm, ...], loss: float | None) -> Case:
    """The case with the alarms of a further step."""
    peak = case.peak if loss is None else loss if case.peak is None else max(case.peak, loss)
    return msgspec.structs.replace(
        case,
        last_alarm=alarms[-1].step,
        signals=_distinct((*case.signals, *(alarm.signal for alarm in alarms))),
        directions=_distinct((*case.directions, *(alarm.direction for alarm in alarms))),
        score=max((case.score, *(alarm.score for alarm in alarms)), key=abs),
        peak=peak,
    )


def domains_advice() -> Advice:
    """What is said of a run whose sequences have no domains."""
    return Advice(
        topic="domains",
        text="This run has one undivided loss, so it can be seen that something goes wrong but "
        "not where. Give each sequence a domain (zh, en, code) to see which one it is.",
    )


def mixture_advice(moved: tuple[str, float, float], step: int) -> Advice:
    """What is said of a mixture that changed: the domain, its share before and after."""
    name, before, after = moved
    return Advice(
        topic="mixture",
        text=f"Shortly before step {step} the share of {name} in the tokens went from "
        f"{before:.0%} to {after:.0%}. The losses of the domains are judged one by one, so this is "
        "no incident by itself.",
    )


def announce(
    case: Case,
    change: Literal["opened", "grew", "closed"],
    attempt: int,
    step: int,
    *,
    reason: str = "",
) -> Incident:
    """The judgment that says how a case stands."""
    return Incident(
        id=case.id,
        change=change,
        attempt=attempt,
        step=step,
        onset=case.onset,
        signals=case.signals,
        directions=case.directions,
        score=case.score,
        examine_at=case.examine_at if change == "opened" else None,
        reason=reason,
    )


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
