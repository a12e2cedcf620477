"""Calm stretches in arrays: what `blocks.py` says of each point, of thousands of points at once.

A stretch is taken 32 points (four blocks) at a time. In calm, every point is learned, so all block
levels are known beforehand, and from them every line, error, scale and distance. The first 32
points that might not be calm, and all after them, are left to the scalar functions; a doubt is
enough, since those decide. Each formula is the one of `blocks.py` in the same order of operations,
so the results are the same bits.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from steadytrain.stats.blocks import (
    GRAIN,
    KEPT,
    MAD_TO_SIGMA,
    NEAR,
    PER_SCALE,
    RECENT,
    SHORT_LINE,
    SIZE,
    Block,
    Limits,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
STRETCH = SIZE * PER_SCALE


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What a detector calls calm; the names are those of its settings."""

    limits: Limits
    is_loss: bool
    floor: float
    clip: float
    lasting: float
    least: float
    sick: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """A calm stretch of J * 32 points.

    Attributes:
        num_calm: how many times 32 points are calm; what follows holds for those alone.
        distance, edge, expected: of shape (points,): signed distance, upper edge and middle of the
            band.
        grains: whole distances, those of the 32 points before the stretch first.
        blocks: of the whole history: 64 before the stretch, then 4 * J.
        trace: levels of 32 points, 32 before the stretch, then J.
    """

    num_calm: int
    distance: Floats
    edge: Floats
    expected: Floats
    grains: Ints
    blocks: dict[str, Floats]
    trace: Floats


def look(
    history: tuple[Block, ...],
    trace: Floats,
    grains: Ints,
    steps: Ints,
    values: Floats,
    counts: Floats | None,
    foretold: Floats | None,
    rules: Rules,
) -> Stretch:
    """How much of these points is calm, and what a detector would know after it.

    Args:
        history: 64 blocks, each with its error, peak and total.
        trace: 32 levels of 32 points.
        grains: the last 32 distances.
        steps, values, counts, foretold: of shape (J * 32,); counts None where all are 1.
    """
    rows = values.reshape(-1, SIZE)
    is_odd = ~np.isfinite(rows)
    rows = np.where(is_odd, 0.0, rows)
    ordered = np.sort(rows, axis=1)
    ticks = steps.reshape(-1, SIZE).astype(np.float64)
    blocks = {
        "last": _joined(history, "last", ticks[:, -1]),
        "centre": _joined(history, "centre", 0.5 * (ticks[:, 3] + ticks[:, 4])),
        "level": _joined(history, "level", 0.5 * (ordered[:, 3] + ordered[:, 4])),
        "gap": _joined(history, "gap", _gaps(ordered)),
        "width": _joined(history, "width", ordered[:, 6] - ordered[:, 1]),
        "count": _joined(history, "count", _medians_of_eight(counts, len(rows))),
    }
    lines = _Lines(blocks["level"], blocks["centre"], is_loss=rules.is_loss)
    thinner = _thinner(blocks["count"], counts, len(rows))
    middle, low, high = lines.band(ticks)
    errors = np.sort(np.abs(rows - middle) / thinner, axis=1)
    blocks["error"] = _joined(history, "error", 0.5 * (errors[:, 3] + errors[:, 4]))
    noise, sigma = _sigma(blocks, rules)
    distance, high = _distance(rows, ticks, lines, low, high, noise, sigma, thinner, foretold)
    distance = np.where(is_odd, np.inf, distance)
    grain = np.rint(GRAIN * np.maximum(-rules.clip, np.minimum(rules.clip, distance)))
    grain = grain.astype(np.int64)
    blocks["peak"] = _joined(history, "peak", np.abs(distance).max(axis=1))
    blocks["total"] = _joined(history, "total", grain.sum(axis=1).astype(np.float64))
    limit, eight, thirty_two = _limits(blocks, rules.limits)
    quad = np.sort(blocks["level"][KEPT:].reshape(-1, PER_SCALE), axis=1)
    trace = np.concatenate([trace, 0.5 * (quad[:, 1] + quad[:, 2])])
    grains = np.concatenate([grains, grain.ravel()])
    stirs = _stirs(distance, grains, limit, eight, rules)
    if rules.is_loss:
        stirs |= _sums_stir(grains, limit, eight, thirty_two, sigma, lines.now, rules)
        rises = _rises(trace, limit, noise, rules)
        stirs |= rises if foretold is None else rises & np.isnan(foretold[STRETCH - 1 :: STRETCH])
    calm = len(stirs) if not stirs.any() else int(np.argmax(stirs))
    return Stretch(
        num_calm=calm, distance=distance.ravel(), edge=high.ravel(),
        expected=np.broadcast_to(middle, rows.shape).ravel(), grains=grains, blocks=blocks,
        trace=trace,
    )  # fmt: skip


class _Lines:
    """The line of each block, drawn through the blocks before it: `blocks.draw_line`."""

    def __init__(self, levels: Floats, centres: Floats, *, is_loss: bool) -> None:
        first = KEPT
        self.is_loss = is_loss
        last = slice(first - 1, len(levels) - 1)
        if not is_loss:
            near = np.sort(sliding_window_view(levels, NEAR)[first - NEAR : -1], axis=1)
            self.now = 0.5 * (near[:, 3] + near[:, 4])
            return
        quads = np.sort(sliding_window_view(levels, NEAR // 2), axis=1)
        quads = 0.5 * (quads[:, 1] + quads[:, 2])
        middles = 0.5 * (centres[1:-2] + centres[2:-1])
        old, new = slice(first - NEAR, -(NEAR // 2) - 1), slice(first - NEAR // 2, -1)
        old_at, new_at = middles[old], middles[new]
        near_slope = np.minimum(0.0, (quads[new] - quads[old]) / (new_at - old_at))
        self.at = 0.5 * (old_at + new_at)
        self.level = 0.5 * (quads[old] + quads[new])
        self.slope = np.maximum(near_slope, np.repeat(_long_slope(levels, centres), PER_SCALE))
        self.now = quads[new]
        before = slice(first - 2, len(levels) - 2)
        ahead = centres[last] - centres[before]
        self.short_at, self.short_level = centres[last], levels[last]
        self.short_slope = np.minimum(0.0, (levels[last] - levels[before]) / ahead)

    def band(self, ticks: Floats) -> tuple[Floats, Floats, Floats]:
        """Middle, and the edges without the short line. Of shape (blocks, 8) or (blocks, 1)."""
        now = self.now[:, None]
        if not self.is_loss:
            return 0.5 * (now + now), now, now
        line = self.level[:, None] + self.slope[:, None] * (ticks - self.at[:, None])
        low, high = np.minimum(line, now), np.maximum(line, now)
        return 0.5 * (low + high), low, high

    def short(self, ticks: Floats, noise: Floats) -> Floats:
        if not self.is_loss:
            return self.now[:, None] + SHORT_LINE * noise[:, None]
        lead = self.short_level[:, None] + SHORT_LINE * noise[:, None]
        return lead + self.short_slope[:, None] * (ticks - self.short_at[:, None])


def _long_slope(levels: Floats, centres: Floats) -> Floats:
    """Per 32 points: the slope over the 32 blocks before them."""
    half = RECENT // 2
    windows = sliding_window_view(levels, RECENT)[KEPT - RECENT : -1 : PER_SCALE]
    ats = sliding_window_view(centres, RECENT)[KEPT - RECENT : -1 : PER_SCALE]
    old, new = np.sort(windows[:, :half], axis=1), np.sort(windows[:, half:], axis=1)
    a, b = half // 2 - 1, half // 2
    rise = 0.5 * (new[:, a] + new[:, b]) - 0.5 * (old[:, a] + old[:, b])
    run = 0.5 * (ats[:, half + a] + ats[:, half + b]) - 0.5 * (ats[:, a] + ats[:, b])
    return np.minimum(0.0, rise / run)


def _sigma(blocks: dict[str, Floats], rules: Rules) -> tuple[Floats, Floats]:
    """Noise and credible noise of each block: `blocks.measure`, at each fourth."""
    errors = np.sort(_before(blocks["error"], RECENT), axis=1)
    noise = MAD_TO_SIGMA * (0.5 * (errors[:, RECENT // 2 - 1] + errors[:, RECENT // 2]))
    last = slice(KEPT - 1, -1, PER_SCALE)
    share = rules.floor * np.abs(blocks["level"][last]) if rules.is_loss else rules.floor
    gaps = _before(blocks["gap"], 2)
    least = np.where(gaps > 0, gaps, np.inf).min(axis=1)
    quantum = 0.75 * np.where(np.isfinite(least), least, 0.0)
    sigma = np.maximum(np.maximum(noise, share), np.maximum(quantum, 1e-12))
    return np.repeat(noise, PER_SCALE), np.repeat(sigma, PER_SCALE)


def _distance(
    rows: Floats,
    ticks: Floats,
    lines: _Lines,
    low: Floats,
    high: Floats,
    noise: Floats,
    sigma: Floats,
    thinner: Floats | float,
    foretold: Floats | None,
) -> tuple[Floats, Floats]:
    """`blocks.distance`, and the upper edge of the band before what was foretold widened it."""
    low = np.minimum(low, lines.short(ticks, noise))
    edge = np.broadcast_to(high, rows.shape)
    if foretold is not None:
        told = foretold.reshape(rows.shape)
        low = np.where(np.isnan(told), low, np.minimum(low, told))
        high = np.where(np.isnan(told), high, np.maximum(high, told))
    beyond = np.where(rows > high, rows - high, np.where(rows < low, rows - low, 0.0))
    return beyond / (sigma[:, None] * thinner), edge


def _limits(blocks: dict[str, Floats], limits: Limits) -> tuple[Floats, Floats, Floats]:
    """Limit and deviations of sums for each block."""
    peaks = np.sort(_before(blocks["peak"], KEPT), axis=1)
    half, upper = peaks[:, KEPT // 2], peaks[:, 3 * KEPT // 4]
    scale = (upper - half) / 0.8794
    foretold = half - 0.3665 * scale + scale * limits.reach
    weight = KEPT / (KEPT + RECENT)
    limit = weight * foretold + (1 - weight) * limits.usual
    limit = np.minimum(limits.high, np.maximum(limits.low, limit))
    totals = _before(blocks["total"], RECENT)
    sizes = np.sort(np.abs(totals), axis=1)
    a, b = RECENT // 2 - 1, RECENT // 2
    eight = MAD_TO_SIGMA * (0.5 * (sizes[:, a] + sizes[:, b])) / GRAIN
    eight = np.maximum(math.sqrt(8.0), eight)
    fours = np.sort(np.abs(totals.reshape(len(totals), -1, PER_SCALE).sum(axis=2)), axis=1)
    a, b = fours.shape[1] // 2 - 1, fours.shape[1] // 2
    thirty_two = MAD_TO_SIGMA * (0.5 * (fours[:, a] + fours[:, b])) / GRAIN
    thirty_two = np.maximum(np.maximum(math.sqrt(32.0), 2 * eight), thirty_two)
    limit, eight, thirty_two = (np.repeat(one, PER_SCALE) for one in (limit, eight, thirty_two))
    return limit, eight, thirty_two


def _stirs(
    distance: Floats, grains: Ints, limit: Floats, eight: Floats, rules: Rules
) -> NDArray[np.bool_]:
    """Per 32 points: a point or a pair beyond its limit, or a block that might not be learned."""
    stirs = ~(np.abs(distance) < limit[:, None])
    near = np.repeat(np.ceil(rules.lasting * limit * GRAIN), SIZE)
    sizes = np.abs(grains)
    pair = np.zeros(distance.size, dtype=bool)
    for back in range(1, 5):
        pair |= sizes[STRETCH - back : len(sizes) - back] >= near
    stirs |= (pair & (sizes[STRETCH:] >= near)).reshape(distance.shape)
    sick = (distance >= 4.0).sum(axis=1) >= rules.sick
    if rules.is_loss:
        sick |= grains[STRETCH:].reshape(distance.shape).sum(axis=1) >= 4.5 * eight * GRAIN
    return _any(stirs.any(axis=1) | sick, PER_SCALE)


def _sums_stir(
    grains: Ints,
    limit: Floats,
    eight: Floats,
    thirty_two: Floats,
    sigma: Floats,
    now: Floats,
    rules: Rules,
) -> NDArray[np.bool_]:
    """Per 32 points: the last 8 or 32 distances are too high together."""
    sums = np.concatenate([[0], np.cumsum(grains)])
    stirs = np.zeros(len(grains) - STRETCH, dtype=bool)
    enough = np.repeat(rules.least * np.abs(now), SIZE)
    for count, deviation in ((8, eight), (32, thirty_two)):
        total = (sums[STRETCH + 1 :] - sums[STRETCH + 1 - count : -count]) / GRAIN
        far = total >= np.repeat(limit * deviation, SIZE)
        stirs |= far & (total / count * np.repeat(sigma, SIZE) >= enough)
    return _any(stirs, STRETCH)


def _rises(trace: Floats, limit: Floats, noise: Floats, rules: Rules) -> NDArray[np.bool_]:
    """Per 32 points: their level is too far above the best of the 32 levels before."""
    kept = len(trace) - len(limit) // PER_SCALE
    before = sliding_window_view(trace, kept)[:-1]
    steps = np.sort(np.abs(np.diff(before, axis=1)), axis=1)
    spread = MAD_TO_SIGMA * steps[:, (kept - 1) // 2] / math.sqrt(2.0)
    spread = np.maximum(spread, 0.3 * noise[::PER_SCALE])
    best = before.min(axis=1)
    allowed = np.maximum(limit[::PER_SCALE] * spread, rules.least * np.abs(best))
    return _any(trace[kept:] - best >= np.maximum(allowed, 1e-12), 1)


def _any(flags: Any, count: int) -> NDArray[np.bool_]:
    """Whether any of each `count` flags is set."""
    found: NDArray[np.bool_] = flags.reshape(-1, count).any(axis=1)
    return found


def _before(values: Floats, count: int) -> Floats:
    """Per 32 points: the last `count` numbers before them. Of shape (J, count)."""
    return sliding_window_view(values, count)[KEPT - count : -1 : PER_SCALE]


def _joined(history: tuple[Block, ...], name: str, new: Floats) -> Floats:
    return np.concatenate([np.array([getattr(one, name) for one in history], np.float64), new])


def _gaps(ordered: Floats) -> Floats:
    apart = np.diff(ordered, axis=1)
    least = np.where(apart > 0, apart, np.inf).min(axis=1)
    return np.where(np.isfinite(least), least, 0.0)


def _medians_of_eight(counts: Floats | None, num: int) -> Floats:
    if counts is None:
        return np.ones(num)
    ordered = np.sort(counts.reshape(-1, SIZE), axis=1)
    return 0.5 * (ordered[:, 3] + ordered[:, 4])


def _thinner(block_counts: Floats, counts: Floats | None, num: int) -> Floats | float:
    """How much noisier each point is than usual. Of shape (blocks, 8), or 1."""
    if counts is None:
        return 1.0
    near = np.sort(_before(block_counts, NEAR), axis=1)
    usual = np.repeat(0.5 * (near[:, 3] + near[:, 4]), PER_SCALE)
    return np.sqrt(np.maximum(1.0, usual[:, None] / counts.reshape(num, SIZE)))
