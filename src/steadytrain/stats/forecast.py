"""Where a panel's losses should be now, had their curves gone on: a line in a fitting abscissa.

D domains, n looks, at uneven steps. Fitting never scores, and scoring never learns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """What was expected of each domain at one step. [nats/token]

    Attributes:
        loss, error: per domain; the error of a single look there, jitter and fit together.
        freedom: degrees of freedom behind each error.
    """

    loss: tuple[float, ...]
    error: tuple[float, ...]
    freedom: tuple[float, ...]

    def score(self, at: int, loss: float) -> float:
        """Distance of a look from the forecast of domain `at`, as of a normal deviate."""
        if not math.isfinite(loss):
            return math.inf
        return normal((loss - self.loss[at]) / self.error[at], self.freedom[at])


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A straight line through the last looks, over step^-c or ln(step), whichever fits best.

    loss = a + b x, x = step^-c with c of `powers`, or ln(step) where c is 0; the error of a look at
    x is s sqrt(1 + 1/n + (x - mean)^2 / sum (x_i - mean)^2). s^2 is the domain's own residual
    variance and that of the other domains (their geometric mean, at most `trust` times the own or a
    part of it), the latter counting as `shared` degrees of freedom: the jitter of the model is
    common to them, and eight looks alone tell a spread to +-30 % only.
    A line in such an abscissa since losses fall as a + b t^-c, whose exponent cannot be told from
    the few looks of a stretch in which the steps do not even double.

    Attributes:
        least, most: looks; fewer give no forecast, older ones are left out.
        reach: looks at less than this share of the newest step are left out as well: the curve is
            straight over a short way only.
        floor: smallest credible error of a look. [nats/token]
        shared, trust, powers: see above.

    Source: least and floor: jitter was found to be .009 to .017 and eight looks tell it to +-30 %.
    most: 40 looks halve the error of the slope against 20, and the false alarms with it;
    bench/panel_power.py. reach and powers: a curve 12 t^-.35 is missed by .009 at the next look
    where they begin at step 100, by .006 from 400 on: less than jitter. shared: guess, as much as
    the fewest looks; trust: a domain that is not trained on jitters 20 times as much as others.
    """

    least: int = 8
    most: int = 40
    reach: float = 0.25
    floor: float = 0.003
    shared: float = 8.0
    trust: float = 2.0
    powers: tuple[float, ...] = (0.0, 0.25, 0.5, 1.0)

    def usable(self, steps: Sequence[int]) -> range:
        """Indexes of the looks that a forecast rests on; empty if they are too few."""
        first = max(0, len(steps) - self.most)
        while first < len(steps) and steps[first] < self.reach * steps[-1]:
            first += 1
        return range(first, len(steps)) if len(steps) - first >= self.least else range(0)

    def fit(self, steps: Sequence[int], losses: Sequence[Sequence[float]]) -> "Line | None":
        """The line of each domain; None if the looks are too few.

        Args:
            steps: of the looks, rising.
            losses: of each look, the domains' mean losses, all finite. [nats/token]
        """
        kept = self.usable(steps)
        if not kept:
            return None
        found = np.asarray([losses[at] for at in kept], dtype=np.float64)
        times = np.asarray([max(steps[at], 1) for at in kept], dtype=np.float64)
        count, domains = found.shape
        best: list[tuple[float, float, float, float]] = []
        means = found.mean(0)
        for domain in range(domains):
            tried = []
            for power in self.powers:
                x = _abscissa(times, power)
                centre, width = float(x.mean()), float(((x - x.mean()) ** 2).sum())
                slope = float((x - centre) @ (found[:, domain] - means[domain])) / max(
                    width, 1e-300
                )
                left = found[:, domain] - means[domain] - slope * (x - centre)
                tried.append((float(left @ left), power, slope, centre))
            best.append(min(tried))
        freedom = count - 2.0 - (len(self.powers) > 1)
        squares = np.asarray([one[0] for one in best])
        own = np.maximum(squares / freedom, self.floor**2)
        logs = np.log(own)
        others = np.exp((logs.sum() - logs) / max(1, domains - 1))
        shared = self.shared if domains > 1 else 0.0
        alike = np.clip(others, own / self.trust, own * self.trust)
        variance = (freedom * own + shared * alike) / (freedom + shared)
        return Line(
            times=times,
            means=means,
            powers=np.asarray([one[1] for one in best]),
            slopes=np.asarray([one[2] for one in best]),
            spread=np.maximum(np.sqrt(variance), self.floor),
            freedom=freedom + shared,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """What `Curve.fit` found; `at` says where it leads."""

    times: Floats
    means: Floats
    powers: Floats
    slopes: Floats
    spread: Floats
    freedom: float

    def at(self, step: int) -> Forecast:
        """What is expected of a look at a step."""
        losses, errors = [], []
        for mean, power, slope, spread in zip(
            self.means, self.powers, self.slopes, self.spread, strict=True
        ):
            x = _abscissa(self.times, float(power))
            far = (
                _abscissa(np.asarray([max(step, 1)], dtype=np.float64), float(power))[0] - x.mean()
            )
            width = float(((x - x.mean()) ** 2).sum())
            losses.append(float(mean + slope * far))
            errors.append(float(spread * math.sqrt(1 + 1 / x.size + far**2 / max(width, 1e-300))))
        return Forecast(
            loss=tuple(losses), error=tuple(errors), freedom=(self.freedom,) * len(losses)
        )


def normal(t: float, freedom: float) -> float:
    """The normal deviate that is as rare as `t` of Student's distribution, within 0.03.

    z = (8 f + 1) / (8 f + 3) * sqrt(f ln(1 + t^2 / f)).

    Source: Wallace 1959, "Bounds on normal approximations to Student's and the chi-square".
    """
    if not math.isfinite(t):
        return t
    size = math.sqrt(freedom * math.log1p(t * t / freedom))
    return math.copysign((8 * freedom + 1) / (8 * freedom + 3) * size, t)


def _abscissa(times: Floats, power: float) -> Floats:
    return np.log(times) if power == 0 else times**-power
