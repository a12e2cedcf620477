"""Has a signal left its band? init / score / learn: score never learns, learn never scores.

A baseline belongs to a trajectory. Windows hold (step, value) pairs, so `forget_after` rolls a
baseline back with the model by dropping what came later, and nothing needs to be kept aside.
"""

import math
from typing import Protocol

import msgspec

from steadytrain.signals import Observation
from steadytrain.stats.rolling import (
    Line,
    fit_level,
    fit_line,
    quantum,
    sigma,
    spread,
    upper_quantile,
)

FIT_TO_FORECAST = 1.6
"""A short fit looks better on its own points than on the next one. Source: measured, 24 to 64
points of a falling loss with normal noise: 1.3 to 1.6."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector remembers of one signal, oldest first.

    Attributes:
        steps, values, counts: learned points: step, value, sequences behind it.
        errors: how far off the forecasts of the last learned points were.
        scores: distances of the last points, learned or not, clipped; with their steps.
        strangers: points in a row that were too far off to learn.
    """

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    errors: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    score_steps: tuple[int, ...] = ()
    strangers: tuple[tuple[int, float, int], ...] = ()


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Signed distance of a value from its baseline.

    Attributes:
        distance: robust standard deviations; infinite for a value that is not finite.
        limit: how far is too far for this signal now.
        alarms: too far, by one point or by several in a row.
        sigma: the scale used.
    """

    distance: float
    expected: float
    limit: float
    alarms: bool
    sigma: float


class Detector(Protocol):
    """What judges need of a detector. State is a value; the detector is its own configuration."""

    def init(self) -> Window: ...

    def score(self, window: Window, step: int, observation: Observation) -> Score:
        """Distance of a value from what was learned. Never learns."""
        ...

    def learn(self, window: Window, step: int, observation: Observation, *, score: Score) -> Window:
        """The window after a committed, credible point. Never scores."""
        ...

    def note(self, window: Window, step: int, *, score: Score) -> Window:
        """The window after a point that must not be learned."""
        ...

    def forget_after(self, window: Window, step: int) -> Window:
        """The baseline as it was when `step` was the last step."""
        ...


class Duo(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Alarm when a point is 6 sigmas off once, or 4.5 sigmas off twice in five.

    distance = (value - line(step)) / sigma, the line being a resistant line through the last
    `window` learned values and sigma the MAD of its own past forecast errors, wider for a step
    with fewer sequences: noise ~ 1 / sqrt(sequences). Forecast errors, not residuals of the fit:
    they hold what the line gets wrong, and `kept` of them say it twice as well as `window` values.
    The limit grows with the signal's own tail:
    k = max(sigmas, 1.25 * upper quantile of the recent distances), since tails of micro-batch and
    large-batch runs differ (50 legitimate 6-sigma points in 20,000 steps against none).

    Attributes:
        window: learned values that the line is fitted to. [steps]
        kept: learned values and errors remembered; a rollback leaves a full window. [steps]
        burn_in: silent until so many are learned. [steps]
        sigmas, sigmas_twice: distances that alarm, once and twice in five.
        reanchor: so many strange points in a row are the new normal. [steps]

    Source: once-or-twice rule and tail factor: measured on 57 public curves (facts, spikes 11);
    64 learned points: the same; reanchor 40: the same; burn_in: guess, see LOG.md 2026-11-24.
    """

    window: int = 64
    kept: int = 256
    burn_in: int = 48
    sigmas: float = 6.0
    sigmas_twice: float = 4.5
    tail_factor: float = 1.25
    reanchor: int = 40

    def init(self) -> Window:
        return Window()

    def score(self, window: Window, step: int, observation: Observation) -> Score:
        value, signal = observation.value, observation.signal
        if not math.isfinite(value):
            return Score(
                distance=math.inf, expected=math.nan, limit=self.sigmas, alarms=True, sigma=0.0
            )
        if len(window.values) < self.burn_in:
            return Score(
                distance=0.0, expected=value, limit=self.sigmas, alarms=False, sigma=math.inf
            )
        steps, values = window.steps[-self.window :], window.values[-self.window :]
        # A trend is followed only where falling is the aim: a forecast that runs ahead of a falling
        # gradient norm calls its turning point a spike.
        line = fit_line(steps, values, may_rise=False) if signal.is_loss else fit_level(values)
        expected = line.forecast(step)
        counts = sorted(window.counts[-self.window :])
        typical = counts[len(counts) // 2]
        thinner = math.sqrt(max(1.0, typical / observation.count))
        relative = signal.floor * abs(line.level) if signal.is_loss else signal.floor
        noise = max(
            self._noise(window, line) * thinner, relative, 0.75 * quantum(values[-16:]), 1e-12
        )
        distance = (value - expected) / noise
        limit = max(self.sigmas, self.tail_factor * self._tail(window))
        return Score(
            distance=distance,
            expected=expected,
            limit=limit,
            alarms=self._alarms(window, distance, limit, signal.directions),
            sigma=noise,
        )

    def learn(self, window: Window, step: int, observation: Observation, *, score: Score) -> Window:
        noted = self.note(window, step, score=score)
        point = (step, observation.value, observation.count)
        if score.alarms or abs(score.distance) > score.limit:
            strangers = (*window.strangers, point)
            if len(strangers) < self.reanchor:
                return msgspec.structs.replace(noted, strangers=strangers)
            # A new level that lasts is the new normal; without this a rule rings for ever.
            return msgspec.structs.replace(
                noted,
                steps=tuple(at for at, _, _ in strangers),
                values=tuple(value for _, value, _ in strangers),
                counts=tuple(count for _, _, count in strangers),
                strangers=(),
            )
        return msgspec.structs.replace(
            noted,
            steps=(*window.steps, step)[-self.kept :],
            values=(*window.values, observation.value)[-self.kept :],
            counts=(*window.counts, observation.count)[-self.kept :],
            errors=(*window.errors, observation.value - score.expected)[-self.kept :]
            if math.isfinite(score.sigma)
            else (),
            strangers=(),
        )

    def note(self, window: Window, step: int, *, score: Score) -> Window:
        clipped = max(-self.sigmas, min(self.sigmas, score.distance))
        return msgspec.structs.replace(
            window,
            scores=(*window.scores, clipped)[-self.kept :],
            score_steps=(*window.score_steps, step)[-self.kept :],
        )

    def forget_after(self, window: Window, step: int) -> Window:
        learned = _count_up_to(window.steps, step)
        noted = _count_up_to(window.score_steps, step)
        return Window(
            steps=window.steps[:learned],
            values=window.values[:learned],
            counts=window.counts[:learned],
            errors=window.errors[: max(0, len(window.errors) - len(window.steps) + learned)],
            scores=window.scores[:noted],
            score_steps=window.score_steps[:noted],
        )

    def _noise(self, window: Window, line: Line) -> float:
        if len(window.errors) >= self.window // 2:
            return sigma(window.errors, 0.0)
        recent = slice(-self.window, None)
        return FIT_TO_FORECAST * spread(line, window.steps[recent], window.values[recent])

    def _tail(self, window: Window) -> float:
        recent = [abs(score) for score in window.scores]
        if len(recent) < self.window:
            return 0.0
        return upper_quantile(recent, 1 - 2.5 / len(recent))

    def _alarms(
        self, window: Window, distance: float, limit: float, directions: tuple[str, ...]
    ) -> bool:
        sign = 1.0 if distance > 0 else -1.0
        if ("rise" if sign > 0 else "drop") not in directions:
            return False
        if abs(distance) >= limit:
            return True
        lasting = self.sigmas_twice * limit / self.sigmas
        before = any(sign * score >= lasting for score in window.scores[-4:])
        return before and abs(distance) >= lasting


def _count_up_to(steps: tuple[int, ...], step: int) -> int:
    count = len(steps)
    while count and steps[count - 1] > step:
        count -= 1
    return count
