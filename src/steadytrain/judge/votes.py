"""What signals say about each other: a total foretold from its domains, a loss backed by a norm.

No window is told of a vote: a detector remembers only what its own signal did, so signals can be
scored one by one, and in arrays.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from steadytrain.judge.detectors import Detector, Score, Window
from steadytrain.signals import Observation

BACKED = 4.0
"""A loss so far off alarms when another kind of signal rings with it. [sigmas] Source: normal
noise is there once in 16,000 steps, and the other must ring within `WITHIN` steps besides."""

WITHIN = 4
"""Steps by which a gradient norm leads or trails its loss. Source: 1 to 4, BLOOM 176B."""


def foretell(
    observations: Sequence[Observation],
    windows: Mapping[str, Window],
    detector: Detector,
    step: int,
) -> tuple[Observation, ...]:
    """The observations, each total with what its domains and their shares let one expect.

    A domain that is not known yet counts as it is. Without this, more Chinese in a batch looks like
    a rise.
    """
    if not any(seen.parts for seen in observations):
        return tuple(observations)
    values = {seen.name: seen.value for seen in observations}
    return tuple(
        msgspec.structs.replace(seen, foretold=_mixture(seen, values, windows, detector, step))
        if seen.parts
        else seen
        for seen in observations
    )


def _mixture(
    seen: Observation,
    values: Mapping[str, float],
    windows: Mapping[str, Window],
    detector: Detector,
    step: int,
) -> float | None:
    total, known = 0.0, False
    for name, share in seen.parts:
        window = windows.get(name)
        forecast = detector.forecast(window, step) if window is not None else None
        known = known or forecast is not None
        total += share * (forecast[0] if forecast is not None else values[name])
    return total if known and math.isfinite(total) else None


def vote(
    observations: Sequence[Observation],
    scores: Sequence[Score],
    windows: Mapping[str, Window],
) -> tuple[Score, ...]:
    """The scores, where a loss that is somewhat off alarms because another kind of signal does.

    Args:
        windows: as they were before this step.
    """
    known = [windows.get(seen.name) for seen in observations]
    if not any(map(is_witness, observations, scores, known)):
        return tuple(scores)
    return tuple(
        backed(score) if seen.signal.is_loss else score
        for seen, score in zip(observations, scores, strict=True)
    )


def backed(score: Score) -> Score:
    """A loss's score where a witness rings with it."""
    if score.alarms or abs(score.distance) < BACKED:
        return score
    direction = "rise" if score.distance > 0 else "drop"
    return msgspec.structs.replace(score, alarms=True, clock="vote", direction=direction)


def is_witness(seen: Observation, score: Score, window: Window | None) -> bool:
    """Whether a signal of another kind than a loss rings, or rang within the last steps."""
    if seen.signal.is_loss or not seen.signal.backs:
        return False
    return score.alarms or (window is not None and window.is_open and window.calm < WITHIN)
