"""Student's t: how far out a mean of few values may lie by chance alone."""

import math
from statistics import NormalDist


def two_sided(degrees: int, *, level: float = 0.95) -> float:
    """The t that holds `level` of Student's distribution between -t and t.

    Exact for one and two degrees of freedom, else an expansion around the normal quantile z in
    powers of 1 / degrees; at a level of 0.95 within 0.13 % of the truth at three, 0.02 % from five
    on.

    Args:
        degrees: of freedom, 1 or more; infinite for none.

    Source: Abramowitz and Stegun 1964, 26.7.5.

    >>> [round(two_sided(degrees), 3) for degrees in (1, 2, 10, 1_000_000)]
    [12.706, 4.303, 2.228, 1.96]
    """
    if degrees < 1:
        return math.inf
    tail = (1 + level) / 2
    if degrees == 1:
        return math.tan(math.pi * (tail - 0.5))
    if degrees == 2:
        return (2 * tail - 1) / math.sqrt(2 * tail * (1 - tail))
    z = NormalDist().inv_cdf(tail)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return math.fsum(term / degrees**power for power, term in enumerate(terms))
