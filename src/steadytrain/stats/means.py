"""How large may the mean of a few values be by chance? A bound from the values themselves."""

import math

import numpy as np
from numpy.typing import NDArray

TILTS = np.geomspace(0.05, 50.0, 64)
"""Tilts tried, in units of one over the values' standard deviation. Source: a finer grid moves no
limit by 1 %."""


def mean_limit(values: NDArray[np.float64], count: float, chance: float) -> float:
    """What the mean of `count` independent values exceeds with at most this chance; inf where too
    few values are known to say.

    Chernoff's bound (Chernoff 1952) with the cumulants of the values seen. They know nothing beyond
    their largest: where the bound would rest on the few that are rarer than one in sqrt(N), nothing
    is said. Source: at one in N, 5 of 280,000 clean groups of 3 and 4 texts passed the limit for a
    chance of 1e-7, at one in sqrt(N) none of 760,000 (LOG.md 2026-11-28).

    Args:
        values: a sample of what is averaged, shape (N,).
        count: number of values in the mean, or what it is worth where they are not independent.

    Raises:
        ValueError: no values, a count that is not positive, or a chance outside (0, 1).
    """
    if not len(values) or count <= 0 or not 0 < chance < 1:
        raise ValueError("mean_limit needs values, a positive count and a chance between 0 and 1.")
    if count * math.log(len(values)) < -2 * math.log(chance):
        return math.inf
    spread = float(values.std())
    centre = float(values.mean())
    if spread == 0.0:
        return centre
    standard = (values - centre) / spread
    tilted = TILTS[:, None] * standard
    peaks = tilted.max(axis=1)
    cumulants = peaks + np.log(np.exp(tilted - peaks[:, None]).mean(axis=1))
    limits = (cumulants - math.log(chance) / count) / TILTS
    return centre + spread * float(limits.min())


def design_effect(values: NDArray[np.float64], size: int) -> float:
    """How much wider means of `size` neighbours scatter than of independent values; at least 1.

    Neighbours cut from one document are alike. Source: the design effect of cluster samples
    (Kish 1965). 1 where fewer than two groups are known.
    """
    groups = len(values) // size
    if groups < 2 or float(values.var()) == 0.0:
        return 1.0
    means = values[: groups * size].reshape(groups, size).mean(axis=1)
    return max(1.0, size * float(means.var(ddof=1)) / float(values.var(ddof=1)))
