"""A run's health in one glance: where it is, how fast, what is open, what it lost."""

import time
from typing import Any

import numpy as np

from steadytrain.board.track import RECENT
from steadytrain.board.watched import Watched
from steadytrain.events import (
    AttemptBegan,
    CheckpointFailed,
    CheckpointSaved,
    GiveUp,
    Incident,
    JudgingEnded,
    Outcome,
    Restart,
    RestoreVerified,
    WorkersFinished,
)
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
    standing, track, began = one.standing, one.track, one.began
    open_now = list(standing.incidents.values())
    opened = [event for _, event in one.of(Incident) if event.change == "opened"]
    outcomes = {event.incident: event.result for _, event in one.of(Outcome)}
    seconds = track.number("seconds")[-RECENT:]
    seconds = seconds[np.isfinite(seconds)]
    usual = float(np.median(seconds)) if seconds.size else None
    speed = track.pyramid.values(max(0, track.rows - RECENT))[5].astype(float)
    speed = speed[np.isfinite(speed)]
    steps = began.steps if began else None
    left = steps - standing.step if steps is not None else None
    loss = track.pyramid.values(max(0, track.rows - 1))[0]
    return {
        "id": one.id,
        "name": began.run if began else one.home.name,
        "version": [one.epoch, one.version],
        "read": None if one.is_read else round(one.share_read, 3),
        "problem": one.problem,
        "bad_lines": one.source.num_bad,
        "state": _state(one),
        "mode": standing.mode,
        "step": standing.step,
        "steps": steps,
        "attempt": standing.attempt,
        "domains": list(track.domains),
        "parameters": began.parameters if began else None,
        "world": began.world if began else None,
        "tokens": float(track.number("tokens")[-1]) if track.rows else 0.0,
        "loss": float(loss[0]) if loss.size and np.isfinite(loss[0]) else None,
        "first_at": one.first_at,
        "last_at": one.last_at or None,
        "quiet_after": max(QUIET_SECONDS, QUIET_STEPS * (usual or 0.0)),
        "seconds_per_step": usual,
        "tokens_per_second": float(np.median(speed)) if speed.size else None,
        "eta_seconds": max(0, left) * usual if left is not None and usual else None,
        "account": account(one),
        "open": [_open(one, event.id) for event in open_now],
        "incidents": len(opened),
        "cured": sum(result == "cured" for result in outcomes.values()),
        "waits": len(standing.proposals) + len(standing.asks()),
        "restarts": len(list(one.of(Restart))),
        "rollbacks": sum(event.cause == "rollback" for _, event in one.of(AttemptBegan)),
        "checkpoint": _checkpoint(one),
        "spark": _spark(one),
        "spark_flags": [event.onset for event in opened][-40:],
    }


def account(one: Watched) -> dict[str, float] | None:
    """Where the wall clock went. [seconds]

    productive: updates that landed on the surviving branch; checkpoints: the time that training
    stood still for them; redone: updates that a restart or a rollback gave up; rest: everything
    else, such as restarts, examinations and looks at the panel.
    """
    if one.first_at is None or not one.track.rows:
        return None
    wall = max(1e-9, one.last_at - one.first_at)
    productive = min(wall, float(one.track.number("productive")[-1]))
    blocked = sum(event.blocked_seconds for _, event in one.of(CheckpointSaved))
    redone = min(one.track.seconds_redone, wall - productive)
    checkpoints = min(blocked, wall - productive - redone)
    return {
        "wall": wall,
        "productive": productive,
        "redone": redone,
        "checkpoints": checkpoints,
        "rest": max(0.0, wall - productive - redone - checkpoints),
    }


def _state(one: Watched) -> str:
    standing = one.standing
    if one.problem is not None:
        return "unreadable"
    if not one.is_read:
        return "reading"
    if one.began is None:
        return "empty"
    if standing.has_ended:
        return "ended"
    words = [noted for noted, _ in one.of(GiveUp, Restart, WorkersFinished)]
    last = max(words, key=lambda noted: noted.at, default=None)
    if last is not None and isinstance(last.event, GiveUp):
        return "gave up"
    if any(True for _ in one.of(JudgingEnded)):
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
    saved: tuple[int, float] | None = None
    verified: tuple[int, float, str] | None = None
    failed = 0
    for noted, event in one.of(CheckpointSaved, CheckpointFailed, RestoreVerified):
        match event:
            case CheckpointSaved():
                saved, failed = (event.step, noted.at), 0
            case CheckpointFailed():
                failed += 1
            case RestoreVerified(differences=()):
                verified = (event.step, noted.at, event.source)
    if saved is None and not failed:
        return None
    return {
        "step": saved[0] if saved else None,
        "at": saved[1] if saved else None,
        "failed": failed,
        "verified_step": verified[0] if verified else None,
        "verified_at": verified[1] if verified else None,
        "verified_source": {lang: phrase(verified[2], lang) for lang in ("en", "zh")}
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


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
