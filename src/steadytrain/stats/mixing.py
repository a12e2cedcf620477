"""What a domain's share of the tokens is worth to its loss, from changes that were seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_CHANGES = 3
"""Changes that a law with three constants needs; with fewer the slope has to be enough."""

STEEPEST, GRID = 50.0, 200
"""The law's exponent is looked for from 0 to minus this, where .02 of a share is a factor of e."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One change of a domain's share, and what came of it.

    Attributes:
        before, after: of the tokens.
        moved: loss against where its curve would have led, and the error of that. [nats/token]
    """

    before: float
    after: float
    moved: float
    error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Slope:
    """d loss / d ln(share), its standard error, and the changes that it rests on. [nats/token]"""

    slope: float
    error: float
    changes: int

    @property
    def is_sure(self) -> bool:
        """Whether its sign is known: two errors from zero."""
        return abs(self.slope) > 2 * self.error

    def moved(self, factor: float) -> tuple[float, float]:
        """What a share that is `factor` times as large would do, and the error of that."""
        size = math.log(factor)
        return self.slope * size, abs(self.error * size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Law:
    """loss = rest + size * exp(rate * share), up to the domain's curve in time.

    Attributes:
        spread: of the changes about it; first: the share that losses are counted from.
    """

    rest: float
    size: float
    rate: float
    spread: float
    first: float

    def moved(self, share: float) -> float:
        """Loss at a share, against that at the first one. [nats/token]"""
        return self.rest + self.size * math.exp(self.rate * share)


def slope(steps: Sequence[Step]) -> Slope | None:
    """Weighted least squares through the origin of the moves over ln(after / before).

    The error is widened by the scatter of the changes where that is larger than their errors. None
    where no change has two shares above 0: the first tokens of a domain are no factor.

    >>> round(slope([Step(before=0.34, after=0.06, moved=0.31, error=0.02)]).slope, 3)
    -0.179
    """
    known = [one for one in steps if one.before > 0 and one.after > 0 and one.after != one.before]
    if not known:
        return None
    sizes = [math.log(one.after / one.before) for one in known]
    weights = [1 / one.error**2 for one in known]
    whole = math.fsum(w * x * x for w, x in zip(weights, sizes, strict=True))
    found = (
        math.fsum(w * x * one.moved for w, x, one in zip(weights, sizes, known, strict=True))
        / whole
    )
    scatter = 1.0
    if len(known) > 1:
        scatter = math.fsum(
            w * (one.moved - found * x) ** 2
            for w, x, one in zip(weights, sizes, known, strict=True)
        ) / (len(known) - 1)
    return Slope(slope=found, error=math.sqrt(max(1.0, scatter) / whole), changes=len(known))


def law(steps: Sequence[Step]) -> Law | None:
    """The mixing law of a domain by its own share, from changes that follow each other.

    L(r) = c + k exp(t r), t < 0. Of Data Mixing Laws' exp(sum_j t_ij r_j) the other domains' terms
    are left out: they need as many changes more as there are domains. For each t of a grid, c and k
    are least squares; the best t is taken. None with fewer than three changes, or where more of a
    domain would harm it: no such law.

    Source: Data Mixing Laws, Ye et al. 2024, arXiv 2403.16952.
    """
    if len(steps) < LEAST_CHANGES:
        return None
    shares = np.asarray([steps[0].before, *(one.after for one in steps)])
    levels = np.cumsum([0.0, *(one.moved for one in steps)])
    if len({round(float(one), 4) for one in shares}) <= LEAST_CHANGES:
        return None
    tried = []
    for rate in -STEEPEST * np.arange(1, GRID + 1) / GRID:
        design = np.stack([np.ones(shares.size), np.exp(rate * shares)], axis=1)
        answer = np.linalg.lstsq(design, levels, rcond=None)[0]
        left = levels - design @ answer
        tried.append((float(left @ left), float(rate), float(answer[0]), float(answer[1])))
    squares, rate, rest, size = min(tried)
    if size <= 0:
        return None
    spread = math.sqrt(squares / max(1, shares.size - 3))
    return Law(rest=rest, size=size, rate=rate, spread=spread, first=float(shares[0]))
