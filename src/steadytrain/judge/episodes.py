"""Rings of one signal that belong together, under a name that is revised as evidence arrives."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from steadytrain.judge.detectors import Score, Window
from steadytrain.signals import Observation, Signal
from steadytrain.stats.blocks import GRAIN

Kind = Literal[
    "outlier batch", "spike", "slow divergence", "drop", "level shift", "not finite", "stalled"
]
End = Literal["", "recovered", "new level", "rolled back"]

NEAR = 3.0
REACH = 8
"""An onset is looked for so many points back, among those beyond `NEAR` sigmas."""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """From the first odd point of a signal until calm returned.

    Attributes:
        onset: first step that looks affected; `first`, `last`: steps of the first and newest ring;
            `row`, `last_row`: their numbers among all points seen, which never repeat.
        rings: points that rang.
        value, expected, score, at: the farthest point: what was logged and what was expected, in
            the signal's own units, their distance in sigmas, its step.
        end: how it ended; "" while it lasts.
    """

    signal: str
    kind: Kind
    onset: int
    first: int
    last: int
    row: int
    last_row: int
    rings: int
    value: float
    expected: float
    score: float
    at: int
    end: End = ""


def follow(
    episode: Episode | None,
    observation: Observation,
    score: Score,
    *,
    onset: int,
    is_calm: bool,
    step: int,
    row: int,
) -> Episode | None:
    """The signal's episode after one more point; None while there is none.

    One that has an end is over: the caller shows it and lets go of it.

    Args:
        score: after the vote.
        onset: where odd points began, if they began to ring here.
        is_calm: nothing is open in the signal's window after this point.
    """
    if episode is None:
        if not score.alarms and not score.is_shift:
            return None
        return _begin(observation, score, onset=onset, step=step, row=row)
    if score.alarms:
        episode = _grow(episode, observation, score, step=step, row=row)
    if score.is_shift:
        kind = episode.kind if episode.kind == "stalled" else "level shift"
        return _with(episode, kind=kind, end="new level")
    if score.fate == "forced":
        return _with(episode, end="new level")
    # A vote is not known to the window, so the calm after it is counted here.
    if not score.alarms and is_calm and row - episode.last_row >= REACH:
        return _with(episode, end="recovered")
    return episode


def heard_alone(seen: Observation, score: Score, was: Episode | None, *, was_open: bool) -> Score:
    """The score, unless its alarm is too small to count for this kind of signal by itself.

    Args:
        was_open: the signal's window had rung shortly before this point.
    """
    if was is not None:
        return score
    if not score.alarms:
        # That a run became faster is no trouble.
        return score if seen.signal.is_sickness else _with(score, is_shift=False)
    is_lone = seen.signal.is_thin and score.clock == "point" and not was_open
    if seen.signal.is_loss:
        return _with(score, alarms=False) if is_lone else score
    if not math.isfinite(seen.value):
        return score
    if abs(seen.value - score.expected) >= seen.signal.alone and not is_lone:
        return score
    return _with(score, alarms=False, is_shift=False)


def _begin(observation: Observation, score: Score, *, onset: int, step: int, row: int) -> Episode:
    return Episode(
        signal=observation.name,
        kind="level shift" if score.is_shift else _first_name(score, observation.signal),
        onset=onset,
        first=step,
        last=step,
        row=row,
        last_row=row,
        rings=1,
        value=observation.value,
        expected=score.expected,
        score=score.distance,
        at=step,
        end="new level" if score.is_shift else "",
    )


def _first_name(score: Score, signal: Signal) -> Kind:
    if score.direction == "not finite":
        return "not finite"
    if not signal.is_sickness:
        return "stalled"
    if score.clock in ("eight", "thirty-two", "slow"):
        return "slow divergence"
    return "drop" if score.direction == "drop" else "outlier batch"


def _grow(
    episode: Episode, observation: Observation, score: Score, *, step: int, row: int
) -> Episode:
    kind = episode.kind
    name = _first_name(score, observation.signal)
    if name == "not finite":
        kind = "not finite"
    elif kind in ("outlier batch", "slow divergence") and name == "outlier batch":
        # A second point that rings by itself: no longer one batch, nor a creep.
        kind = "spike"
    grown = _with(episode, kind=kind, last=step, last_row=row, rings=episode.rings + 1)
    if math.isfinite(score.distance) and abs(score.distance) <= abs(episode.score):
        return grown
    return _with(
        grown, value=observation.value, expected=score.expected, score=score.distance, at=step
    )


def find_onset(score: Score, before: Window | None, step: int) -> int:
    """Where the odd points began that end at this step.

    Args:
        before: the signal's window before this point.
    """
    if before is None or not math.isfinite(score.distance):
        return step
    steps = before.recent_steps
    match score.clock:
        case "eight":
            return (*steps[-7:], step)[0]
        case "thirty-two":
            return (*steps[-31:], step)[0]
        case "slow":
            return min(before.trace, key=lambda one: one[1])[0] if before.trace else step
    return first_odd(steps[-REACH:], before.recent[-REACH:], score.distance, step)


def first_odd(steps: Sequence[int], grains: Sequence[int], distance: float, step: int) -> int:
    """The first of the odd points without a gap before this one, on its side."""
    onset = step
    sign = 1.0 if distance > 0 else -1.0
    for at, grain in zip(reversed(steps), reversed(grains), strict=True):
        if sign * grain < NEAR * GRAIN:
            break
        onset = at
    return onset


_with = msgspec.structs.replace
