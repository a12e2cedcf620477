"""What happened, as plain data for a browser: lines of the feed, marks of the lane, incidents."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from steadytrain import control, plans
from steadytrain.board.source import Noted
from steadytrain.board.watched import Watched
from steadytrain.errors import SettingError
from steadytrain.events import (
    Advice,
    Alarm,
    AttemptBegan,
    BatchExamined,
    Cause,
    CheckpointFailed,
    CheckpointRefused,
    CheckpointSaved,
    Diagnosis,
    Event,
    GiveUp,
    Incident,
    JudgingEnded,
    OptimizerSettings,
    Outcome,
    PanelDrawn,
    PersonSaid,
    ProcessExited,
    Proposal,
    Remedy,
    RemedyDone,
    Restart,
    RestoreVerified,
    RunBranched,
    RunEnded,
    Trend,
    TrialDone,
    TrialWanted,
    WorkersStarted,
)
from steadytrain.phrases import cause_words, phrase, plan_words
from steadytrain.standing import Setting
from steadytrain.wording import sentence

MOST_LINES = 400
"""Lines of the feed that a page gets at first; all of them stand in the journal."""

NEAR = 3
"""Steps after an incident's opening whose alarms belong to its story."""


def line(number: int, noted: Noted, lang: str) -> dict[str, Any] | None:
    """One event in words; None for what nobody needs to hear."""
    event = noted.event
    words = sentence(event, lang=lang)
    if words is None:
        return None
    step = getattr(event, "step", None)
    return {
        "n": number,
        "at": noted.at,
        "kind": type(event).__name__,
        "step": step,
        "tone": tone(event),
        "words": _without_step(words, step, lang),
        "incident": _incident_of(event),
    }


def lines(one: Watched, lang: str, *, since: int = 0) -> list[dict[str, Any]]:
    """The newest lines after event number `since`, oldest first."""
    found: list[dict[str, Any]] = []
    for number in range(len(one.events) - 1, since - 1, -1):
        told = line(number, one.events[number], lang)
        if told is not None:
            found.append(told)
            if len(found) == MOST_LINES:
                break
    return sorted(found, key=lambda told: (told["at"], told["n"]))


def tone(event: Event) -> str:
    """good, bad, warn, act, person or plain: how a line and a mark look."""
    match event:
        case Outcome(result="cured") | RestoreVerified(differences=()):
            return "good"
        case Incident(change="closed", reason="cured"):
            return "good"
        case Outcome() | GiveUp() | JudgingEnded() | ProcessExited() | CheckpointRefused():
            return "bad"
        case Incident(change="closed"):
            return "plain"
        case Incident() | Alarm() | CheckpointFailed() | RestoreVerified():
            return "warn"
        case Remedy() | RemedyDone() | Restart() | TrialDone() | TrialWanted() | Proposal():
            return "act"
        case PersonSaid():
            return "person"
        case Trend(is_expected=False):
            return "warn"
    return "plain"


def marks(one: Watched) -> dict[str, Any]:
    """The event lane: what stands where on the axes of a run."""
    places = Places(one)
    found: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("incidents", "alarms", "remedies", "returns", "checkpoints", "changes")
    }
    spans: dict[str, dict[str, Any]] = {}
    due: dict[str, dict[str, Any]] = {}
    for noted in one.events:
        event = noted.event
        match event:
            case Alarm():
                found["alarms"].append(
                    places.of(event.step, noted.at) | {"signal": event.signal, "score": _number(event.score)}
                )
            case Incident(change="opened"):
                spans[event.id] = places.of(event.onset, noted.at) | {
                    "id": event.id, "step": event.step, "state": "open", "until": None,
                    "signals": list(event.signals),
                }  # fmt: skip
            case Incident(change="closed") if event.id in spans:
                span = spans[event.id]
                span["until"] = places.of(event.step, noted.at)
                span["state"] = "cured" if event.reason == "cured" else "closed"
            case Diagnosis() if event.incident in spans and event.causes:
                top = event.causes[0]
                spans[event.incident]["cause"] = {
                    lang: cause_words(top, lang) for lang in ("en", "zh")
                }
            case Remedy():
                due[event.id] = places.of(event.step, noted.at) | {
                    "id": event.id, "incident": event.incident, "result": None, "done": False,
                    "plan": {lang: plan_words(event.plan, lang) for lang in ("en", "zh")},
                }  # fmt: skip
            case RemedyDone() if event.remedy in due:
                due[event.remedy]["done"] = True
            case Outcome() if event.remedy in due:
                due[event.remedy]["result"] = event.result
            case AttemptBegan(cause="restart" | "rollback"):
                found["returns"].append(
                    places.of(event.step, noted.at)
                    | {"cause": event.cause, "attempt": event.attempt, "from": places.newest_before(noted.at)}
                )
            case CheckpointSaved():
                found["checkpoints"].append(places.of(event.step, noted.at) | {"ok": True})
            case CheckpointFailed():
                found["checkpoints"].append(places.of(event.step, noted.at) | {"ok": False})
            case OptimizerSettings() if event.step > 1:
                found["changes"].append(
                    places.of(event.step, noted.at)
                    | {"what": "optimizer", "words": ", ".join(f"{k} {v:g}" for k, v in event.settings.items())}
                )
            case PanelDrawn(version=version) if version > 1:
                found["changes"].append(
                    places.of(event.step, noted.at) | {"what": "panel", "words": event.why}
                )
            case PersonSaid():
                found["changes"].append(
                    places.of(event.step, noted.at) | {"what": "person", "words": f"{event.who}: {event.verb}"}
                )
    found["incidents"] = list(spans.values())
    found["remedies"] = list(due.values())
    found["changes"] += _mixture_changes(one)
    return found


def incident(one: Watched, name: str, lang: str) -> dict[str, Any]:
    """The whole story of an incident.

    Raises:
        KeyError: the run has no such incident.
    """
    opened = next(
        (
            noted
            for noted in one.of(Incident)
            if isinstance(noted.event, Incident)
            and noted.event.id == name
            and noted.event.change == "opened"
        ),
        None,
    )
    if opened is None:
        raise KeyError(name)
    first = opened.event
    assert isinstance(first, Incident)
    all_names = [i.event.id for i in one.of(Incident) if i.event.change == "opened"]  # type: ignore[attr-defined]
    story = list(_own(one, first))
    closed = next(
        (n for n in reversed(story) if isinstance(n.event, Incident) and n.event.change == "closed"),
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
        "state": _state(story, closed),
        "closed": None
        if closed is None
        else {"step": closed.event.step, "at": closed.at, "reason": phrase(closed.event.reason, lang)},  # type: ignore[attr-defined]
        "story": [
            told for number, noted in enumerate(story) if (told := line(number, noted, lang))
        ],
        "diagnoses": [_diagnosis(noted, lang) for noted in story if isinstance(noted.event, Diagnosis)],
        "examined": [_examined(n, one) for n in story if isinstance(n.event, BatchExamined)],
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
        "refused": [{"id": i, "why": why} for i, why in control.refusals(one.home)[-20:]],
        "open": list(found.incidents),
        "manual": [
            {"example": p.example, "says": p.says}
            for p in plans.PHRASES
            if p.opening not in ("skip update", "ask")
        ],
    }


@dataclass(slots=True)
class Places:
    """Where a step or a moment lies on each axis of a run."""

    one: Watched
    _step: Any = field(init=False)
    _at: Any = field(init=False)
    _tokens: Any = field(init=False)

    def __post_init__(self) -> None:
        track = self.one.track
        self._step, self._at = track.number("step"), track.number("at")
        self._tokens = track.number("tokens")

    def of(self, step: int, at: float) -> dict[str, float]:
        row = int(np.searchsorted(self._step, step))
        tokens = float(self._tokens[min(row, len(self._tokens) - 1)]) if len(self._tokens) else 0.0
        return {"x": step, "tokens": tokens, "time": at}

    def newest_before(self, at: float) -> int | None:
        """The step that a run had reached at a moment, on whatever branch."""
        best: int | None = None
        for branch in self.one.track.branches:
            seen = np.flatnonzero(branch.at <= at)
            if seen.size and (best is None or branch.at[seen[-1]] > self._when(best)):
                best = int(branch.step[seen[-1]])
        return best

    def _when(self, step: int) -> float:
        row = int(np.searchsorted(self._step, step))
        return float(self._at[row]) if row < len(self._at) else 0.0


def _mixture_changes(one: Watched) -> list[dict[str, Any]]:
    """Steps at which the domains' shares moved to another level and stayed.

    Means over 64 steps on either side differ by more than 0.02 and six standard errors of the
    steps' own spread. Source: guess; the same sigmas as the gate's.
    """
    sums = one.track.tokens_by_domain
    rows = sums.shape[1] // 64 * 64
    if len(sums) < 2 or rows < 4 * 64:
        return []
    edges = np.concatenate([np.zeros((len(sums), 1)), sums[:, 63:rows:64]], axis=1)
    spent = np.diff(edges, axis=1)
    share = spent / np.maximum(1.0, spent.sum(0))
    moved = np.abs(np.diff(share, axis=1))
    usual = np.median(moved, axis=1, keepdims=True)
    beyond = (moved > np.maximum(0.02, 9.0 * usual)).any(0)
    found: list[dict[str, Any]] = []
    step, at, tokens = (one.track.number(name) for name in ("step", "at", "tokens"))
    for block in np.flatnonzero(beyond & ~np.concatenate([[False], beyond[:-1]]))[:200]:
        row = int(block + 1) * 64
        after = share[:, min(block + 2, share.shape[1] - 1)]
        words = ", ".join(
            f"{name} {a:.0%} \u2192 {b:.0%}"
            for name, a, b in zip(one.track.domains, share[:, block], after, strict=True)
            if abs(a - b) > 0.02
        )
        if words:
            found.append(
                {"x": int(step[row]), "tokens": float(tokens[row]), "time": float(at[row]),
                 "what": "mixture", "words": words}
            )  # fmt: skip
    return found


def _own(one: Watched, first: Incident) -> Iterator[Noted]:
    """Events of an incident in their order, its alarms among them."""
    remedies: set[str] = set()
    for noted in one.events:
        event = noted.event
        is_own = _incident_of(event) == first.id
        if isinstance(event, RemedyDone | RestoreVerified):
            is_own = getattr(event, "remedy", None) in remedies
        if isinstance(event, Remedy | Proposal) and is_own:
            remedies.add(event.id)
        if isinstance(event, Alarm):
            is_own = (
                event.attempt == first.attempt and first.onset <= event.step <= first.step + NEAR
            )
        if is_own:
            yield noted


def _incident_of(event: Event) -> str | None:
    if isinstance(event, Incident):
        return event.id
    found: str | None = getattr(event, "incident", None)
    return found


def _state(story: list[Noted], closed: Noted | None) -> str:
    results = [noted.event.result for noted in story if isinstance(noted.event, Outcome)]
    if closed is None:
        return results[-1] if results and results[-1] != "cured" else "open"
    return "cured" if results and results[-1] == "cured" else "closed"


def _diagnosis(noted: Noted, lang: str) -> dict[str, Any]:
    event = noted.event
    assert isinstance(event, Diagnosis)
    return {"step": event.step, "at": noted.at, "causes": [_cause(c, lang) for c in event.causes]}


def _cause(cause: Cause, lang: str) -> dict[str, Any]:
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


def _examined(noted: Noted, one: Watched) -> dict[str, Any]:
    event = noted.event
    assert isinstance(event, BatchExamined)
    numbers = {name: getattr(event, name) for name in _NUMBERS}
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
        "defect": event.defect,
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
    done = {n.event.remedy: n for n in one.of(RemedyDone)}  # type: ignore[attr-defined]
    outcomes = {n.event.remedy: n for n in one.of(Outcome)}  # type: ignore[attr-defined]
    given = [n for n in one.of(Remedy, Proposal) if getattr(n.event, "incident", None) == name]
    remedied = {n.event.id for n in given if isinstance(n.event, Remedy)}  # type: ignore[attr-defined]
    for noted in given:
        event = noted.event
        assert isinstance(event, Remedy | Proposal)
        if isinstance(event, Proposal) and event.id in remedied:
            continue
        told = _proposal(event, lang)
        deed = done.get(event.id)
        outcome = outcomes.get(event.id)
        told["state"] = _remedy_state(one, event, deed is not None)
        told["step"], told["at"] = event.step, noted.at
        if deed is not None:
            d = deed.event
            assert isinstance(d, RemedyDone)
            told["deed"] = {"step": d.step, "restored": d.restored_step, "source": d.source,
                            "seconds": d.seconds, "at": deed.at}  # fmt: skip
        if outcome is not None:
            o = outcome.event
            assert isinstance(o, Outcome)
            told["outcome"] = {
                "result": o.result, "words": phrase(o.result, lang), "steps": o.steps, "why": o.why,
                "losses": [_number(v) for v in (o.loss_before, o.loss_peak, o.loss_after)],
                "panel": [
                    [domain, _number(b), _number(a)]
                    for domain, b, a in zip(
                        one.track.domains, o.panel_before, o.panel_after, strict=False
                    )
                ],
                "step": o.step, "at": outcome.at,
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
        "why": event.why,
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


def _without_step(words: str, step: int | None, lang: str) -> str:
    """The step has a column of its own."""
    opening = f"\u7b2c {step} \u6b65\uff1a" if lang == "zh" else f"step {step}: "
    return words.removeprefix(opening)


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    return value if np.isfinite(value) else str(value)


