"""Looking again and again at what should be noise: a bet against it that may stop at any time."""

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known after one more score.

    Attributes:
        rise, drop: ln of the evidence for either.
        limit: an alarm is beyond it.
        alarms: "rise", "drop", or "" for none.
    """

    rise: float
    drop: float
    limit: float
    alarms: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Bets:
    """A mixture of e-CUSUMs on standard normal scores, both signs, and a limit for a single score.

    For each lambda and sign M <- max(M, 1) exp(lambda z - lambda^2 / 2); an alarm when the mean of
    M over all of them and both signs reaches K / alpha, with K series that are watched, or at once
    when |z| is so far out that it happens to one of K series in 1 / `rare` looks.
    Each bet has mean 1 at most while the scores are noise, so the mean run to a false alarm is
    1 / alpha looks at least, however often one looks; many lambdas, since the size of the shift is
    not known beforehand.

    Attributes:
        lambdas: shifts that are bet on. [standard deviations]
        alpha: false alarms per look, at most, of all series together.
        rare: chance per look of an alarm at once by noise, of all series together.

    Source: e-detectors, Shin, Ramdas and Rinaldo 2024 (arXiv 2203.03532). alpha: the bound is
    loose, and 1/200 gives less than one false alarm in 500 looks where curve, noise and correlation
    have to be estimated (bench/panel_power.py). rare is 2 (1 - Phi(4)): one series alone has the
    usual limit of 4.
    """

    lambdas: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 3.0)
    alpha: float = 5e-3
    rare: float = 6.334e-5

    def init(self) -> tuple[float, ...]:
        """ln M of each lambda, for a rise and then for a drop."""
        return (0.0,) * (2 * len(self.lambdas))

    def limit(self, series: int = 1) -> float:
        """The single score beyond which there is an alarm at once. [standard deviations]"""
        return -NormalDist().inv_cdf(self.rare / 2 / series)

    def score(self, bets: tuple[float, ...], z: float, *, series: int = 1) -> Evidence:
        """What one more score would say. Never learns."""
        after = self.learn(bets, z)
        half = len(self.lambdas)
        rise, drop = _log_sum(after[:half]), _log_sum(after[half:])
        limit = math.log(2 * half * series / self.alpha)
        alarms = ""
        if abs(z) > self.limit(series):
            alarms = "rise" if z > 0 else "drop"
        elif _log_sum((rise, drop)) >= limit:
            alarms = "rise" if rise >= drop else "drop"
        return Evidence(rise=rise, drop=drop, limit=limit, alarms=alarms)

    def learn(self, bets: tuple[float, ...], z: float) -> tuple[float, ...]:
        """The bets after one more score."""
        signed = [(size, z) for size in self.lambdas] + [(size, -z) for size in self.lambdas]
        return tuple(
            max(before, 0.0) + size * one - size * size / 2
            for before, (size, one) in zip(bets, signed, strict=True)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Whitening:
    """Removes what a score has from the one before it.

    With r the correlation of neighbours: (z - r z_before) / sqrt(1 - r^2). r is the ratio of the
    sums of z z_before and of z^2 over the run, shrunk to `usual` as if `prior` pairs had shown it;
    between looks that are further apart than as a rule it fades as r^(distance / usual distance).
    Every rule with a memory needs it: with a correlation of .3 left in, an e-CUSUM rings eight
    times as often (.065 to .51 in 500 looks).

    Attributes:
        prior: pairs that the guess counts for.
        usual: the guess. most: never take more away.

    Source: guesses, held in bench/panel_power.py with correlations of 0 and .3.
    """

    prior: float = 16.0
    usual: float = 0.1
    most: float = 0.8

    def correlation(self, products: float, squares: float, *, distance: float = 1.0) -> float:
        """The correlation at `distance` (1: as far apart as as a rule)."""
        found = (products + self.usual * self.prior) / (squares + self.prior)
        return float(min(max(found, 0.0), self.most) ** max(distance, 0.25))

    def innovation(self, z: float, before: float | None, correlation: float) -> float:
        """What is new in a score."""
        if before is None:
            return z
        return (z - correlation * before) / math.sqrt(1 - correlation * correlation)


def _log_sum(logs: tuple[float, ...]) -> float:
    top = max(logs)
    return top + math.log(math.fsum(math.exp(one - top) for one in logs))
