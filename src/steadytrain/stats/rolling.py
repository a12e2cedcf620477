"""Robust level, slope and scale of a window; recomputed from its values, never decremented.

Median and median absolute deviation (MAD), not mean and variance: one outlier must not widen its
own band, and a running sum that has met one NaN is lost for ever (llm.c, OLMo-core, ZClip).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

MAD_TO_SIGMA = 1.4826
"""MAD of a normal distribution is sigma / 1.4826. Source: Hampel 1974."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A robust straight line through a window: `level` at position `at`, `slope` per step."""

    level: float
    slope: float
    at: float

    def forecast(self, position: float) -> float:
        return self.level + self.slope * (position - self.at)


def median(values: Sequence[float]) -> float:
    """Middle value; the mean of the two middle ones for an even count. Needs at least one.

    A sort and an index: statistics.median checks and copies more, and takes twice as long here.
    """
    ordered = sorted(values)
    return _middle(ordered)


def sigma(values: Sequence[float], centre: float) -> float:
    """Robust standard deviation about `centre`; 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    return MAD_TO_SIGMA * median([abs(value - centre) for value in values])


def fit_line(positions: Sequence[float], values: Sequence[float], *, may_rise: bool = True) -> Line:
    """Line through the medians of a window's two halves.

    slope = (median of the newer half - median of the older half) / distance of their middles.

    Why halves: two medians cost two sorts, follow a falling loss and ignore up to a quarter of
    bad points, where least squares ignores none. A loss that rises is news, not a trend, so its
    slope may be held at 0 from above.

    Args:
        positions: strictly growing, same length as values, at least 2.
        may_rise: False clamps a positive slope to 0.

    Source: resistant line, Tukey 1977; falling-only slope measured in the facts on real curves.
    """
    half = len(values) // 2
    old, new = median(values[:half]), median(values[half:])
    old_at, new_at = _middle(positions[:half]), _middle(positions[half:])
    slope = (new - old) / (new_at - old_at)
    if not may_rise:
        slope = min(slope, 0.0)
    return Line(level=new, slope=slope, at=new_at)


def fit_level(values: Sequence[float]) -> Line:
    """A level line through the median of the newer half of a window."""
    return Line(level=median(values[len(values) // 2 :]), slope=0.0, at=0.0)


def spread(line: Line, positions: Sequence[float], values: Sequence[float]) -> float:
    """Robust standard deviation of a window about its line."""
    return sigma(
        [value - line.forecast(at) for at, value in zip(positions, values, strict=True)], 0.0
    )


def quantum(values: Sequence[float]) -> float:
    """Smallest step between distinct values: 0.0078 for a loss near 2 that was logged in bf16.

    A window of rounded values has a MAD of 0; a band must be at least as wide as the rounding.
    Returns 0.0 for fewer than two distinct values.
    """
    distinct = sorted(set(values))
    if len(distinct) < 2:
        return 0.0
    return min(after - before for before, after in zip(distinct, distinct[1:], strict=False))


def upper_quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the window does not exceed; 0.0 for an empty window."""
    if not values:
        return 0.0
    ordered = sorted(values)
    index = min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))
    return ordered[index]


def _middle(ordered: Sequence[float]) -> float:
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
