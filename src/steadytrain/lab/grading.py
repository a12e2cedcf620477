"""Was every fault seen, rightly named and cured? Graded from the journals alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steadytrain import journal
from steadytrain.events import (
    AttemptBegan,
    Cause,
    CheckpointRefused,
    Diagnosis,
    Event,
    Incident,
    Outcome,
    PanelRecord,
    ProcessExited,
    Remedy,
    RemedyDone,
    RunBegan,
    RunEnded,
    StepRecord,
    Trend,
)
from steadytrain.judge.judge import NEARLY_RTOL
from steadytrain.lab import faults
from steadytrain.lab.faults import Fault

SEEN_WITHIN = 20
"""A fault must be seen within so many steps. Source: faults are 45 steps apart."""

TOLERANCE = 0.03
"""Final perplexity may differ from the run without faults by this share. Source: twice the jitter
between two looks of the lab's model, 1.2 %, rounded up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """What became of one injected fault.

    Attributes:
        detected_after: steps from the first affected one to the alarm; None if it was missed.
        diagnosis, remedy, outcome: in words, as the run gave them.
        is_named: whether the diagnosis is the fault that was injected.
        steps_lost: steps made again, or updates that did not land.
    """

    fault: str
    step: int
    detected_after: int | None
    diagnosis: str
    is_named: bool
    remedy: str
    outcome: str
    is_cured: bool
    steps_lost: int

    @property
    def is_passed(self) -> bool:
        return self.detected_after is not None and self.is_named and self.is_cured


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Final perplexity of a domain beside that of the run without faults."""

    domain: str
    perplexity: float
    reference: float

    @property
    def change(self) -> float:
        return self.perplexity / self.reference - 1

    @property
    def is_passed(self) -> bool:
        return abs(self.change) <= TOLERANCE


def grade(home: Path, planned: Sequence[Fault]) -> tuple[Grade, ...]:
    """One grade per fault, in the order of their steps."""
    events = journal.load(home, "rank0")
    exits = [
        event
        for event in (journal.load(home, "supervisor") if journal.files(home, "supervisor") else [])
        if isinstance(event, ProcessExited)
    ]
    grades = []
    for fault in sorted(planned, key=lambda one: one.step):
        if fault.kind in faults.FROM_OUTSIDE:
            grades.append(_grade_process(fault, events, exits))
        elif fault.kind in faults.EXPECTED_PATTERN:
            grades.append(_grade_panel(fault, events))
        else:
            grades.append(_grade_training(fault, events))
    return tuple(grades)


def false_incidents(home: Path, planned: Sequence[Fault]) -> int:
    """Incidents that no planned fault explains."""
    events = journal.load(home, "rank0")
    explained = {
        incident.id
        for fault in planned
        if fault.kind not in (*faults.FROM_OUTSIDE, *faults.EXPECTED_PATTERN)
        for incident in [_find_incident(events, _first_affected(fault, events))]
        if incident is not None
    }
    opened = [one for one in events if isinstance(one, Incident) and one.change == "opened"]
    return sum(one.id not in explained for one in opened)


def compare(
    home: Path, reference: Path, domains: Sequence[str], planned: Sequence[Fault] = ()
) -> tuple[Comparison, ...]:
    """Final perplexity per domain, beside the run without faults; where panel text was trained on
    it says nothing, and such a domain is left out."""
    leaked = {fault.domain for fault in planned if fault.kind == "leak"}
    ours, theirs = _final_panel(home), _final_panel(reference)
    return tuple(
        Comparison(
            domain=name,
            perplexity=math.exp(ours.nll[index] / ours.tokens[index]),
            reference=math.exp(theirs.nll[index] / theirs.tokens[index]),
        )
        for index, name in enumerate(domains)
        if index not in leaked
    )


def has_ended(home: Path) -> bool:
    """Whether the run made its last step."""
    return any(isinstance(event, RunEnded) for event in journal.read(home, "rank0"))


def _grade_training(fault: Fault, events: list[Event]) -> Grade:
    affected = _first_affected(fault, events)
    incident = _find_incident(events, affected)
    if incident is None:
        return _missed(fault)
    own = [one for one in events if getattr(one, "incident", None) == incident.id]
    diagnoses = [one for one in own if isinstance(one, Diagnosis)]
    remedies = [one for one in own if isinstance(one, Remedy)]
    outcomes = [one for one in own if isinstance(one, Outcome)]
    cause = diagnoses[0].causes[0] if diagnoses else None
    return Grade(
        fault=fault.kind,
        step=affected,
        detected_after=incident.step - affected,
        diagnosis=_cause_words(cause),
        is_named=_is_named(fault, cause),
        remedy="; ".join(_plan_words(one) for one in remedies) or "none",
        outcome=outcomes[-1].result if outcomes else "open",
        is_cured=bool(outcomes) and outcomes[-1].result == "cured",
        steps_lost=_steps_lost(events, remedies, incident),
    )


def _grade_panel(fault: Fault, events: list[Event]) -> Grade:
    """Nothing is to be repaired: it must be told, by its name and of its domain."""
    affected = _first_affected(fault, events)
    domains = next((one.domains for one in events if isinstance(one, RunBegan)), ())
    told = [
        one
        for one in events
        if isinstance(one, Trend) and one.state == "explained" and one.step >= affected
    ]
    if not told:
        return _missed(fault)
    pattern = faults.EXPECTED_PATTERN[fault.kind]
    assert fault.domain is not None
    mine = [one for one in told if domains[fault.domain] in one.domains]
    first = next((one for one in mine if one.pattern == pattern), told[0])
    is_named = first.pattern == pattern and first in mine
    return Grade(
        fault=fault.kind,
        step=affected,
        detected_after=first.step - affected,
        diagnosis=f"{first.pattern} ({', '.join(first.domains)})",
        is_named=is_named,
        remedy="none",
        outcome="told" if is_named else "open",
        is_cured=is_named,
        steps_lost=0,
    )


def _grade_process(fault: Fault, events: list[Event], exits: list[ProcessExited]) -> Grade:
    mine = [one for one in exits if one.step is not None and 0 <= one.step - fault.step + 2 <= 10]
    if not mine:
        return _missed(fault)
    gone = mine[0]
    is_named = gone.hung if fault.kind == "freeze" else gone.signal == "SIGKILL"
    words = f"hung in {gone.phase}" if gone.hung else f"killed by {gone.signal}"
    resumed, refused, lost = _after_exit(events, gone)
    if fault.kind == "tear":
        is_named = is_named and refused is not None
        words = f"{words}; torn checkpoint refused" if refused is not None else words
    return Grade(
        fault=fault.kind,
        step=fault.step,
        detected_after=0,
        diagnosis=words,
        is_named=is_named,
        remedy=f"restart from step {resumed.step}" if resumed else "none",
        outcome="same losses" if resumed and _repeats_agree(events) else "not resumed",
        is_cured=resumed is not None and _repeats_agree(events),
        steps_lost=lost,
    )


def _after_exit(
    events: list[Event], gone: ProcessExited
) -> tuple[AttemptBegan | None, CheckpointRefused | None, int]:
    """The restart after an exit, what it refused, and how many steps were made again."""
    newest = 0
    refused: CheckpointRefused | None = None
    assert gone.step is not None
    for event in events:
        match event:
            case StepRecord():
                newest = event.step
                refused = None
            case CheckpointRefused():
                refused = event
            case AttemptBegan(cause="restart") if newest >= gone.step - 2:
                return event, refused, newest - event.step
    return None, None, 0


def _repeats_agree(events: list[Event]) -> bool:
    """Whether every step repeated by a restart had the loss that it had before; nearly, where the
    device's kernels do not repeat themselves to the bit."""
    exact = True
    before: dict[int, StepRecord] = {}
    abandoned_after: int | None = None
    for event in events:
        match event:
            case RemedyDone(restored_step=int()):
                abandoned_after = event.step
                before = {at: one for at, one in before.items() if at <= abandoned_after}
            case AttemptBegan(cause="start" | "restart"):
                exact = event.exact
            case StepRecord():
                earlier = before.get(event.step)
                near = 0.0 if exact else NEARLY_RTOL
                if earlier is not None and not np.allclose(
                    earlier.nll, event.nll, rtol=near, atol=0
                ):
                    return False
                before[event.step] = event
    return True


def _first_affected(fault: Fault, events: list[Event]) -> int:
    if fault.first_draw is None:
        return fault.step
    for event in events:
        if isinstance(event, StepRecord) and event.draw_end > fault.first_draw:
            return event.step
    return fault.step


def _find_incident(events: list[Event], affected: int) -> Incident | None:
    opened = [one for one in events if isinstance(one, Incident) and one.change == "opened"]
    near = (one for one in opened if affected <= one.step <= affected + SEEN_WITHIN)
    return next(near, None)


def _is_named(fault: Fault, cause: Cause | None) -> bool:
    if cause is None or cause.name != faults.EXPECTED_CAUSE[fault.kind]:
        return False
    return cause.defect == faults.EXPECTED_DEFECT.get(fault.kind)


def _steps_lost(events: list[Event], remedies: list[Remedy], incident: Incident) -> int:
    ids = {remedy.id for remedy in remedies}
    lost = newest = 0
    held: set[int] = set()
    for event in events:
        match event:
            case StepRecord():
                newest = event.step
                if not event.committed and incident.onset <= event.step <= incident.step + 10:
                    held.add(event.step)
            case RemedyDone(restored_step=int() as restored) if event.remedy in ids:
                lost += newest - restored
                held = {step for step in held if step <= restored}
    return lost + len(held)


def _final_panel(home: Path) -> PanelRecord:
    return [event for event in journal.read(home, "rank0") if isinstance(event, PanelRecord)][-1]


def _missed(fault: Fault) -> Grade:
    return Grade(
        fault=fault.kind,
        step=fault.step,
        detected_after=None,
        diagnosis="missed",
        is_named=False,
        remedy="none",
        outcome="none",
        is_cured=False,
        steps_lost=0,
    )


def _cause_words(cause: Cause | None) -> str:
    if cause is None:
        return "none"
    if cause.defect and cause.domain:
        return f"{cause.name} ({cause.defect}, {cause.domain})"
    about = cause.defect or cause.domain
    return f"{cause.name} ({about})" if about else cause.name


def _plan_words(remedy: Remedy) -> str:
    words = {
        "SkipUpdate": "skip the update",
        "RollBack": "roll back",
        "SkipDraws": "skip the data",
        "ScaleLearningRate": "lower lr, re-warm",
        "ScaleEpsilon": "lower epsilon",
        "ScaleShallowGradients": "damp shallow gradients",
        "SetZLoss": "z-loss",
        "BeginDecay": "begin decay",
        "ResetMoments": "reset moments",
        "SetClipping": "clip gradients",
        "LimitUpdates": "limit updates",
        "ClipAttention": "clip attention",
        "ExcludeRank": "leave a rank out",
        "Cancel": "end a remedy",
        "AskPerson": "ask a person",
    }
    return ", ".join(words[type(action).__name__] for action in remedy.plan)
