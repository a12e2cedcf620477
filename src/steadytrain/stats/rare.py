"""Events that come one by one: how many there would be in as much time again, with an interval."""

import math

TAIL = 0.025
"""On each side of a 95 % interval."""

MOST_EXACT = 1_000
"""Above this the normal distribution of sqrt(count) is as good. Source: 0.1 % of the exact ends."""

_HALVINGS = 80


def count_interval(count: int) -> tuple[float, float]:
    """The 95 % interval of the mean of a Poisson count that came out as `count`.

    Its ends are the means under which so many or more, and so many or fewer, have a chance of
    2.5 % each. Source: Garwood 1936.

    >>> [round(one, 2) for one in count_interval(2)]
    [0.24, 7.22]
    >>> count_interval(0)[0]
    0.0
    """
    if count > MOST_EXACT:
        root = math.sqrt(count)
        return (root - 0.98) ** 2, (root + 0.98) ** 2
    low = 0.0 if count == 0 else _solve(count - 1, 1 - TAIL)
    return low, _solve(count, TAIL)


def _solve(most: int, chance: float) -> float:
    """The mean under which at most `most` events have this chance."""
    low, high = 0.0, 2.0 * most + 20.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _at_most(most, middle) > chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _at_most(most: int, mean: float) -> float:
    if mean <= 0:
        return 1.0
    log = math.log(mean)
    return math.fsum(math.exp(n * log - mean - math.lgamma(n + 1)) for n in range(most + 1))
