"""A run's health in one glance: where it is, how fast, what is open, what it lost."""

import time
from typing import Any

import numpy as np

from steadytrain.board.copies import mirror
from steadytrain.board.watched import Watched
from steadytrain.events import (
    AttemptBegan,
    Incident,
    Outcome,
)
from steadytrain.goodput import Account
from steadytrain.phrases import cause_words, phrase

SPARK_COLUMNS = 48
QUIET_SECONDS = 60.0
QUIET_STEPS = 20
"""A run that wrote nothing for so long is told as silent. Source: guess, and persons.py."""


def glance(one: Watched) -> dict[str, Any]:
    """Plain data for a line of the list and the head of a run's pages; kept until it changes."""
    with one.lock:
        was = one.kept.get("glance")
        if was is not None and was[0] == one.version:
            found = was[1]
            assert isinstance(found, dict)
            return {**found, "now": time.time()}
        fresh = _glance(one)
        one.kept["glance"] = (one.version, fresh)
    return {**fresh, "now": time.time()}


def _glance(one: Watched) -> dict[str, Any]:
    vitals, track, began = one.vitals, one.track, one.began
    standing, timesheet = vitals.standing, vitals.timesheet
    opened = [event for _, event in one.of(Incident) if event.change == "opened"]
    outcomes = {event.incident: event.result for _, event in one.of(Outcome)}
    usual = vitals.step_seconds
    loss = vitals.record.loss if vitals.record is not None else None
    return {
        "id": one.id,
        "name": began.run if began else one.home.name,
        "version": [one.epoch, one.version],
        "read": None if one.is_read else round(one.share_read, 3),
        "problem": one.problem,
        "bad_lines": one.news.num_bad,
        "state": _state(one),
        "mode": standing.mode,
        "step": standing.step,
        "steps": began.steps if began else None,
        "attempt": standing.attempt,
        "domains": list(track.domains),
        "parameters": began.parameters if began else None,
        "world": began.world if began else None,
        "tokens": float(timesheet.tokens),
        "loss": _finite(loss),
        "first_at": timesheet.first_at,
        "last_at": timesheet.last_at,
        "quiet_after": max(QUIET_SECONDS, QUIET_STEPS * (usual or 0.0)),
        "seconds_per_step": usual,
        "tokens_per_second": vitals.tokens_per_second,
        "eta_seconds": vitals.seconds_left,
        "account": told(timesheet.account()) if track.rows else None,
        "open": [_open(one, event.id) for event in standing.incidents.values()],
        "incidents": len(opened),
        "cured": sum(result == "cured" for result in outcomes.values()),
        "waits": len(standing.proposals) + len(standing.asks()),
        "restarts": vitals.num_restarts,
        "rollbacks": sum(event.cause == "rollback" for _, event in one.of(AttemptBegan)),
        "checkpoint": _checkpoint(one),
        "mirror": mirror(one),
        "spark": _spark(one),
        "spark_flags": [event.onset for event in opened][-40:],
    }


def told(account: Account) -> dict[str, Any]:
    """An account as plain data: seconds by part, and all of them."""
    return {"wall": account.wall, "parts": dict(account.seconds)}


def _state(one: Watched) -> str:
    vitals, standing = one.vitals, one.standing
    if one.problem is not None:
        return "unreadable"
    if not one.is_read:
        return "reading"
    if one.began is None:
        return "empty"
    if vitals.state in ("ended", "gave up", "down"):
        return vitals.state
    if not vitals.is_judging:
        return "unguarded"
    if standing.proposals or standing.asks():
        return "waiting"
    return "incident" if standing.incidents else "training"


def _open(one: Watched, name: str) -> dict[str, Any]:
    found = one.standing.diagnoses.get(name)
    onset = one.standing.incidents[name].onset
    top = found.causes[0] if found is not None and found.causes else None
    cause = {lang: cause_words(top, lang) for lang in ("en", "zh")} if top is not None else None
    return {"id": name, "onset": onset, "cause": cause}


def _checkpoint(one: Watched) -> dict[str, Any] | None:
    """The newest durable one, failures since, and when a restored state was last verified."""
    vitals = one.vitals
    saved, verified = vitals.checkpoint, vitals.restored
    if saved is None and not vitals.failed_in_a_row:
        return None
    return {
        "step": saved.step if saved else None,
        "at": vitals.checkpoint_at,
        "failed": vitals.failed_in_a_row,
        "verified_step": verified.step if verified else None,
        "verified_at": vitals.restored_at,
        "verified_source": {lang: phrase(verified.source, lang) for lang in ("en", "zh")}
        if verified
        else None,
    }


def _spark(one: Watched) -> dict[str, Any] | None:
    rows = one.track.rows
    if rows < 2:
        return None
    stride = max(1, -(-rows // SPARK_COLUMNS))
    found = one.track.pyramid.extremes(0, rows, stride=stride, series=[0])
    low, high = (np.round(part[0].astype(float), 4) for part in (found.lowest, found.highest))
    step = one.track.number("step")
    return {
        "low": [_finite(value) for value in low],
        "high": [_finite(value) for value in high],
        "first": int(step[0]),
        "last": int(step[-1]),
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
