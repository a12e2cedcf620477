"""What stands where on the axes of a run: incidents, remedies, returns, checkpoints, changes."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steadytrain.board.watched import Watched
from steadytrain.events import (
    Alarm,
    AttemptBegan,
    CheckpointFailed,
    CheckpointSaved,
    Diagnosis,
    Incident,
    OptimizerSettings,
    Outcome,
    PanelDrawn,
    PersonSaid,
    Remedy,
    RemedyDone,
)
from steadytrain.phrases import cause_words, phrase, plan_words


def marks(one: Watched) -> dict[str, Any]:
    """The event lane: what stands where on the axes of a run."""
    places = Places(one)
    found: dict[str, list[dict[str, Any]]] = {
        name: []
        for name in ("incidents", "alarms", "remedies", "returns", "checkpoints", "changes")
    }
    spans: dict[str, dict[str, Any]] = {}
    due: dict[str, dict[str, Any]] = {}
    set_up: dict[str, float] | None = None
    for noted in one.events:
        event = noted.event
        match event:
            case Alarm():
                found["alarms"].append(
                    places.of(event.step, noted.at)
                    | {"signal": event.signal, "score": _number(event.score)}
                )
            case Incident(change="opened"):
                spans[event.id] = places.of(event.onset, noted.at) | {
                    "id": event.id, "step": event.step, "state": "open", "until": None,
                    "signals": {
                        lang: [phrase(s, lang) for s in event.signals] for lang in ("en", "zh")
                    },
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
                    | {
                        "cause": event.cause,
                        "attempt": event.attempt,
                        "from": places.newest_before(noted.at),
                    }
                )
            case CheckpointSaved():
                found["checkpoints"].append(places.of(event.step, noted.at) | {"ok": True})
            case CheckpointFailed():
                found["checkpoints"].append(places.of(event.step, noted.at) | {"ok": False})
            case OptimizerSettings(settings=settings) if settings == set_up or set_up is None:
                set_up = settings  # told again when a life begins
            case OptimizerSettings():
                set_up = event.settings
                found["changes"].append(
                    places.of(event.step, noted.at)
                    | {
                        "what": "optimizer",
                        "words": ", ".join(f"{k} {v:g}" for k, v in event.settings.items()),
                    }
                )
            case PanelDrawn(version=version) if version > 1:
                found["changes"].append(
                    places.of(event.step, noted.at) | {"what": "panel", "words": event.why}
                )
            case PersonSaid():
                found["changes"].append(
                    places.of(event.step, noted.at)
                    | {"what": "person", "words": f"{event.who}: {event.verb}"}
                )
    found["incidents"] = list(spans.values())
    found["remedies"] = list(due.values())
    found["changes"] += _mixture_changes(one)
    return found


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


def _number(value: float | None) -> float | str | None:
    if value is None:
        return None
    return value if np.isfinite(value) else str(value)
