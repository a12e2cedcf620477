"""The story of one incident, and what waits for a person, as plain data for a browser."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from steadytrain import control, plans
from steadytrain.board.stories import incident_of, line
from steadytrain.board.watched import Watched
from steadytrain.errors import SettingError
from steadytrain.events import (
    Alarm,
    BatchExamined,
    Cause,
    Diagnosis,
    Incident,
    Outcome,
    Proposal,
    Remedy,
    RemedyDone,
    RestoreVerified,
    TrialDone,
)
from steadytrain.news import Noted
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.sayings import say, translated
from steadytrain.standing import Setting

NEAR = 3
"""Steps after an incident's opening whose alarms belong to its story."""


def incident(one: Watched, name: str, lang: str) -> dict[str, Any]:
    """The whole story of an incident.

    Raises:
        KeyError: the run has no such incident.
    """
    all_opened = {
        event.id: (noted, event) for noted, event in one.of(Incident) if event.change == "opened"
    }
    opened, first = all_opened[name]
    all_names = list(all_opened)
    story = list(_own(one, first))
    closed = next(
        (
            (noted.at, noted.event)
            for noted in reversed(story)
            if isinstance(noted.event, Incident) and noted.event.change == "closed"
        ),
        None,
    )
    at = all_names.index(name)
    return {
        "id": name,
        "before": all_names[at - 1] if at else None,
        "after": all_names[at + 1] if at + 1 < len(all_names) else None,
        "number": at + 1,
        "onset": first.onset,
        "step": first.step,
        "at": opened.at,
        "attempt": first.attempt,
        "signals": [{"name": s, "words": phrase(s, lang)} for s in first.signals],
        "directions": [phrase(d, lang) for d in first.directions],
        "score": _number(first.score),
        "state": _state(story, is_closed=closed is not None),
        "closed": None
        if closed is None
        else {"step": closed[1].step, "at": closed[0], "reason": say(closed[1].reason, lang)},
        "story": [
            told for number, noted in enumerate(story) if (told := line(number, noted, lang))
        ],
        "diagnoses": [
            _diagnosis(noted, lang) for noted in story if isinstance(noted.event, Diagnosis)
        ],
        "examined": [_examined(n, one, lang) for n in story if isinstance(n.event, BatchExamined)],
        "remedies": _remedies(one, name, lang),
        "trials": [
            {"plan": plan_words(t.plan, lang), "losses": list(t.losses), "control": t.control}
            for noted in story
            if isinstance(noted.event, TrialDone)
            for t in noted.event.trials
        ],
    }


def standing(one: Watched, lang: str) -> dict[str, Any]:
    """What waits for a person, what is in force, and what can be ordered."""
    found = one.standing
    holding = found.in_force()
    return {
        "mode": found.mode,
        "step": found.step,
        "ended": found.has_ended,
        "proposals": [_proposal(p, lang) for p in found.proposals.values()],
        "suggested": [_proposal(p, lang) for p in found.suggested.values()],
        "asked": [
            {"id": r.id, "incident": r.incident, "plan": plan_words(r.plan, lang)}
            for r in found.asks()
        ],
        "in_force": [_setting(h, lang) for h in holding],
        "refused": [
            {"id": i, "why": say(why, lang)} for i, why in control.refusals(one.home)[-20:]
        ],
        "open": list(found.incidents),
        "manual": [
            {"example": p.example, "says": say(p.says, lang)}
            for p in plans.PHRASES
            if p.opening not in ("skip update", "ask")
        ],
    }


def _own(one: Watched, first: Incident) -> Iterator[Noted]:
    """Events of an incident in their order: its alarms, and the states restored for it."""
    due: set[str] = set()
    given: set[str] = set()
    for noted in one.events:
        match noted.event:
            case Alarm(attempt=attempt, step=step):
                is_own = attempt == first.attempt and first.onset <= step <= first.step + NEAR
            case RemedyDone(remedy=remedy):
                is_own = remedy in given
                due.discard(remedy)
            case RestoreVerified():
                is_own = bool(due)
            case Remedy(id=remedy, incident=incident):
                is_own = incident == first.id
                if is_own:
                    given.add(remedy)
                    due.add(remedy)
            case event:
                is_own = incident_of(event) == first.id
        if is_own:
            yield noted


def _state(story: list[Noted], *, is_closed: bool) -> str:
    results = [noted.event.result for noted in story if isinstance(noted.event, Outcome)]
    if not is_closed:
        return results[-1] if results and results[-1] != "cured" else "open"
    return "cured" if results and results[-1] == "cured" else "closed"


def _diagnosis(noted: Noted, lang: str) -> dict[str, Any]:
    event = noted.event
    assert isinstance(event, Diagnosis)
    return {"step": event.step, "at": noted.at, "causes": [_cause(c, lang) for c in event.causes]}


def _cause(cause: Cause, lang: str) -> dict[str, Any]:
    cause = translated(cause, lang)
    return {
        "words": cause_words(cause, lang),
        "confidence": cause.confidence,
        "for": list(cause.evidence),
        "against": list(cause.against),
        "refuted_by": cause.refuted_by,
    }


_NUMBERS = (
    "scanned", "alike", "repeated", "repeated_before", "weight_excess", "moment_excess",
    "moments_lost", "moments_flipped", "below_epsilon", "remade_steps", "differs_at", "differs_in",
    "norm_again", "full_rate", "half_rate", "nonfinite_weights", "logit_max", "seconds",
)  # fmt: skip


def _examined(noted: Noted, one: Watched, lang: str) -> dict[str, Any]:
    event = noted.event
    assert isinstance(event, BatchExamined)
    numbers = {name: getattr(event, name) for name in _NUMBERS}
    numbers["differs_in"] = phrase(event.differs_in or "", lang)
    number = next(at for at, other in enumerate(one.events) if other is noted)
    return {
        "n": number,
        "step": event.step,
        "at": noted.at,
        "before_step": event.before_step,
        "losses": {
            "suspect": [_number(event.suspect_before), _number(event.suspect_now)],
            "control": [_number(event.control_before), _number(event.control_now)],
        },
        "sequences": len(event.sequences),
        "corrupt": sum(s.verdict == "corrupt" for s in event.sequences),
        "flagged": sum(end - first for first, end in event.flagged),
        "defect": phrase(event.defect, lang) if event.defect else None,
        "sources": [list(one_source) for one_source in event.sources],
        "unlike_ranks": list(event.unlike_ranks),
        "numbers": {
            key: _number(value) if isinstance(value, float) else value
            for key, value in numbers.items()
            if value
        },
        "has_texts": event.path is not None,
    }


def _remedies(one: Watched, name: str, lang: str) -> list[dict[str, Any]]:
    found = []
    done = {event.remedy: (noted.at, event) for noted, event in one.of(RemedyDone)}
    outcomes = {event.remedy: (noted.at, event) for noted, event in one.of(Outcome)}
    given: list[tuple[Noted, Remedy | Proposal]] = [*one.of(Remedy), *one.of(Proposal)]
    given = sorted(
        (pair for pair in given if pair[1].incident == name), key=lambda pair: pair[0].seq
    )
    remedied = {event.id for _, event in given if isinstance(event, Remedy)}
    for noted, event in given:
        if isinstance(event, Proposal) and event.id in remedied:
            continue
        told = _proposal(event, lang)
        deed = done.get(event.id)
        outcome = outcomes.get(event.id)
        told["state"] = _remedy_state(one, event, deed is not None)
        told["step"], told["at"] = event.step, noted.at
        if deed is not None:
            at, d = deed
            source = None if d.source is None else phrase(d.source, lang)
            told["deed"] = {"step": d.step, "restored": d.restored_step, "source": source,
                            "seconds": d.seconds, "at": at}  # fmt: skip
        if outcome is not None:
            at, o = outcome[0], translated(outcome[1], lang)
            told["outcome"] = {
                "result": o.result, "words": phrase(o.result, lang), "steps": o.steps, "why": o.why,
                "losses": [_number(v) for v in (o.loss_before, o.loss_peak, o.loss_after)],
                "panel": [
                    [domain, _number(b), _number(a)]
                    for domain, b, a in zip(
                        one.track.domains, o.panel_before, o.panel_after, strict=False
                    )
                ],
                "step": o.step, "at": at,
            }  # fmt: skip
        found.append(told)
    return found


def _remedy_state(one: Watched, event: Remedy | Proposal, is_done: bool) -> str:
    if isinstance(event, Remedy):
        return "done" if is_done else "due"
    if event.id in one.standing.proposals:
        return "proposed"
    refused = any(w.verb == "refuse" and w.remedy == event.id for w in one.standing.said.values())
    return "refused" if refused else "not done"


def _proposal(event: Remedy | Proposal, lang: str) -> dict[str, Any]:
    try:
        order = plans.write(event.plan)
    except SettingError:
        order = ""
    return {
        "id": event.id,
        "incident": event.incident,
        "plan": plan_words(event.plan, lang),
        "order": order,
        "why": say(event.why, lang),
        "cause": phrase(event.cause, lang),
        "rung": event.rung,
    }


def _setting(setting: Setting, lang: str) -> dict[str, Any]:
    return {
        "remedy": setting.remedy,
        "words": plan_words((setting.action,), lang),
        "until": setting.until,
        "do": type(setting.action).__name__,
    }


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    return value if np.isfinite(value) else str(value)
