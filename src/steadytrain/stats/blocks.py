"""A series told in blocks of eight points: level, noise and tails of a baseline, cheap to keep.

A block's median forgets up to three odd points of its eight, so a baseline of blocks needs no list
of excluded points. Everything that a forecast needs is a median of block numbers, and every sum is
of whole numbers: the scalar functions here and the array functions in `stats/calm.py` give the same
bits.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec

SIZE = 8
"""Points in a block. Source: the shortest whose median survives three odd points."""

PER_SCALE = 4
"""Blocks between two looks at noise and tails, which change slowly."""

KEPT, RECENT, NEAR = 64, 32, 8
"""Blocks behind the tails, the noise and the level. Source: 512, 256 and 64 points, the windows
that did best on 57 public curves (facts, spikes 11)."""

GRAIN = 64
"""Distances are counted in 1/64 of a sigma: sums of whole numbers are exact in any order."""

MAD_TO_SIGMA = 1.4826
WIDTH_TO_SIGMA = 0.55
"""Sigma of normal noise over the second-highest minus the second-lowest of eight (1 / 1.82)."""

YOUNG = 1.6
"""A short fit looks better on its own points than on the next one: measured 1.3 to 1.6."""

SHORT_LINE = 1.1
"""Error of a line through two block medians, a block ahead. [sigmas] Source: 0.44 sigma a median
of eight, times sqrt(2.25^2 + 1.25^2)."""


class Point(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One learned point of an unfinished block.

    Attributes:
        error: |value - forecast|, as if as many sequences as usual stood behind it; None without
            a forecast.
        distance: signed, from the nearer edge of the band. [sigmas]
        is_home: it fits the baseline before the last level shift.
    """

    step: int
    value: float
    count: float
    error: float | None
    distance: float
    is_home: bool


class Block(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Eight points.

    Attributes:
        last: step of the last point; `centre`: the middle of the two middle steps.
        gap: smallest difference of two values, 0 if all are equal: the quantum of a rounded log.
        width: second-highest minus second-lowest value.
        number: how many blocks were learned since the baseline began anew, this one included.
        error: median error of the forecast; `peak`: largest |distance|; `total`: sum of distances
            in grains, each clipped. None where there was no forecast.
    """

    last: int
    centre: float
    level: float
    gap: float
    width: float
    count: float
    number: int
    error: float | None = None
    peak: float | None = None
    total: int | None = None


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a baseline leads: a line, the level at which it stands, a short line through the end.

    A falling loss is expected between where the line leads and where it stands, since every loss
    falls more slowly as it goes on; it may fall as fast as it did over the last two blocks, which
    is how the decay of a schedule begins.
    """

    at: float
    level: float
    slope: float
    now: float
    short_at: float
    short_level: float
    short_slope: float

    def band(self, step: float, noise: float) -> tuple[float, float, float]:
        """Lowest and highest expected value, and the middle that errors are measured from."""
        line = self.level + self.slope * (step - self.at)
        low, high = min(line, self.now), max(line, self.now)
        short = self.short_level + SHORT_LINE * noise + self.short_slope * (step - self.short_at)
        return min(low, short), high, 0.5 * (low + high)


class Scales(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far is far.

    Attributes:
        noise: robust standard deviation of past forecast errors.
        sigma: the same, not below what is credible (share of the level, quantum).
        limit: sigmas that alarm.
        eight, thirty_two: standard deviation of the sum of so many distances. [sigmas]
        slope: of the long line; the short one may not fall faster.
        count: usual number of sequences behind a point.
    """

    noise: float
    sigma: float
    limit: float
    eight: float
    thirty_two: float
    slope: float
    count: float


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a stated rate of false alarms asks of the limit.

    Attributes:
        low, usual, high: least limit, the one for want of knowledge, and the greatest. [sigmas]
        reach: log of the number of blocks in which one false alarm is allowed.
    """

    low: float
    usual: float
    high: float
    reach: float


def limits_for(steps_per_false_alarm: float, tail: float = 1.57) -> Limits:
    """Limits so that calm noise passes them about once in so many steps.

    The normal quantile of that rate, times what forecast errors and real tails add.

    Args:
        tail: how far a heavy tail may raise the limit, over the quantile; while too little is known
            of a tail, it is taken for nearly that heavy.

    Source: 1.32 to 1.57, measured on drawn curves (bench/detectors.py --calibrate); for 30,000
    steps that is 5.5 to 6.5 sigmas, on both sides of the 6 that did best on 57 public curves.
    """
    quantile = NormalDist().inv_cdf(1 - 0.5 / steps_per_false_alarm)
    return Limits(
        low=1.32 * quantile,
        usual=1.45 / 1.57 * tail * quantile,
        high=tail * quantile,
        reach=math.log(max(1.0, steps_per_false_alarm / SIZE)),
    )


def summarize(points: Sequence[Point], number: int, *, clip: float) -> Block:
    """The block of eight points."""
    values = sorted(point.value for point in points)
    errors = sorted(point.error for point in points if point.error is not None)
    known = len(errors) == SIZE
    return Block(
        last=points[-1].step,
        centre=0.5 * (points[3].step + points[4].step),
        level=0.5 * (values[3] + values[4]),
        gap=min((b - a for a, b in zip(values, values[1:], strict=False) if b > a), default=0.0),
        width=values[6] - values[1],
        count=middle(sorted(point.count for point in points)),
        number=number,
        error=0.5 * (errors[3] + errors[4]) if known else None,
        peak=max(abs(point.distance) for point in points) if known else None,
        total=sum(grains(point.distance, clip) for point in points) if known else None,
    )


def grains(distance: float, clip: float) -> int:
    """A distance in whole grains, clipped."""
    return round(GRAIN * max(-clip, min(clip, distance)))


def draw_line(blocks: Sequence[Block], slope: float, *, is_loss: bool) -> Line:
    """The line through the last blocks. Needs two of them.

    Slope of a loss: the flatter of the near and the long one, and never up. Of anything else: 0.

    Source: resistant line, Tukey 1977; falling only and the flatter of two: LOG.md 2026-11-24.
    """
    near = blocks[-NEAR:]
    old_at, new_at, old, new = _halves(near)
    last, before = blocks[-1], blocks[-2]
    if not is_loss:
        level = middle(sorted(block.level for block in near))
        return Line(last.centre, level, 0.0, level, last.centre, level, 0.0)
    near_slope = min(0.0, (new - old) / (new_at - old_at)) if new_at > old_at else 0.0
    ahead = last.centre - before.centre
    short = min(0.0, (last.level - before.level) / ahead) if ahead > 0 else 0.0
    return Line(
        at=0.5 * (old_at + new_at),
        level=0.5 * (old + new),
        slope=max(near_slope, slope),
        now=new,
        short_at=last.centre,
        short_level=last.level,
        short_slope=short,
    )


def measure(blocks: Sequence[Block], limits: Limits, *, floor: float, is_loss: bool) -> Scales:
    """Noise, tails and long slope of the last blocks. Needs two of them.

    limit = what extreme values of the last 64 blocks foretell: their largest distances follow a
    Gumbel law for any tail that falls exponentially, whose two numbers two quantiles give. Between
    `limits.low` and `.high`, and near `.usual` while blocks are few.

    Args:
        floor: smallest credible noise: share of a loss's level, absolute for anything else.

    Source: Gumbel 1958; quantiles, not moments, so that a rare hard batch does not stretch it.
    """
    recent = blocks[-RECENT:]
    old_at, new_at, old, new = _halves(recent)
    slope = min(0.0, (new - old) / (new_at - old_at)) if is_loss and new_at > old_at else 0.0
    errors = sorted(block.error for block in recent if block.error is not None)
    if len(errors) >= 3:
        noise = MAD_TO_SIGMA * middle(errors)
    else:
        widths = sorted(block.width for block in blocks[-NEAR:])
        noise = YOUNG * WIDTH_TO_SIGMA * middle(widths)
    gaps = [block.gap for block in blocks[-2:] if block.gap > 0]
    share = floor * abs(blocks[-1].level) if is_loss else floor
    sigma = max(noise, share, 0.75 * min(gaps, default=0.0), 1e-12)
    totals = [block.total for block in recent if block.total is not None]
    eight, thirty_two = _sums(totals)
    return Scales(
        noise=noise,
        sigma=sigma,
        limit=_limit([block.peak for block in blocks[-KEPT:] if block.peak is not None], limits),
        eight=eight,
        thirty_two=thirty_two,
        slope=slope,
        count=middle(sorted(block.count for block in blocks[-NEAR:])),
    )


def distance(
    line: Line,
    scales: Scales,
    step: float,
    value: float,
    count: float,
    foretold: float | None = None,
) -> tuple[float, float, float]:
    """(signed distance from the band in sigmas, middle of the band, widening of a thin step).

    Noise ~ 1 / sqrt(sequences): a step with fewer of them than usual is that much noisier.

    Args:
        foretold: what else would be no news; the band reaches as far.
    """
    low, high, expected = line.band(step, scales.noise)
    if foretold is not None:
        low, high = min(low, foretold), max(high, foretold)
    thinner = math.sqrt(max(1.0, scales.count / count))
    beyond = value - high if value > high else value - low if value < low else 0.0
    return beyond / (scales.sigma * thinner), expected, thinner


def stands_still(
    strangers: Sequence[Block], line: Line, scales: Scales, early: int, settle: int
) -> bool:
    """Whether blocks off the baseline stand still: a new level, where a spike would heal.

    After `early` of them only where the jump is clear (8 sigmas) and its level hardly moves (6 %
    of the jump); after `settle` while it moves by less than a fifth, a quarter over two blocks: a
    model learns away part of new data.

    Source: guesses, right for 9 in 10 drawn level shifts (bench/detectors.py).
    """
    if len(strangers) < early:
        return False
    levels = [block.level for block in strangers]
    newest = 0.5 * (levels[-1] + levels[-2])
    excess, moved = abs(newest - line.level), abs(levels[-1] - levels[-2])
    if len(strangers) < settle:
        return excess >= 8 * scales.sigma and moved < min(0.06 * excess, 1.2 * scales.sigma)
    trend = abs(newest - 0.5 * (levels[-3] + levels[-4]))
    return moved < max(0.2 * excess, scales.sigma) and trend < 0.25 * excess


def middle(ordered: Sequence[float]) -> float:
    """Middle of an ordered sequence; the mean of the two middle ones for an even count."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


def _halves(blocks: Sequence[Block]) -> tuple[float, float, float, float]:
    half = len(blocks) // 2
    old, new = blocks[: len(blocks) - half], blocks[len(blocks) - half :]
    return (
        middle([block.centre for block in old]),
        middle([block.centre for block in new]),
        middle(sorted(block.level for block in old)),
        middle(sorted(block.level for block in new)),
    )


def _limit(peaks: list[float], limits: Limits) -> float:
    if len(peaks) < SIZE:
        return limits.usual
    peaks.sort()
    half, upper = peaks[len(peaks) // 2], peaks[3 * len(peaks) // 4]
    # A Gumbel law has its median 0.3665 scales above its mode, its upper quartile 1.2459 above.
    scale = (upper - half) / 0.8794
    foretold = half - 0.3665 * scale + scale * limits.reach
    weight = len(peaks) / (len(peaks) + RECENT)
    return min(limits.high, max(limits.low, weight * foretold + (1 - weight) * limits.usual))


def _sums(totals: list[int]) -> tuple[float, float]:
    """Standard deviations of sums of 8 and of 32 distances, memory of the noise included."""
    eight, thirty_two = math.sqrt(8.0), math.sqrt(32.0)
    if len(totals) < SIZE:
        return eight, thirty_two
    eight = max(eight, MAD_TO_SIGMA * middle(sorted(abs(one) for one in totals)) / GRAIN)
    first = len(totals) % PER_SCALE
    fours = [abs(sum(totals[at : at + PER_SCALE])) for at in range(first, len(totals), PER_SCALE)]
    return eight, max(thirty_two, 2 * eight, MAD_TO_SIGMA * middle(sorted(fours)) / GRAIN)
