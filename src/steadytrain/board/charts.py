"""Line charts as inline SVG: thin axes, direct labels, nothing that is not data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np

from steadytrain.board.series import Floats, decimate

WIDTH, HEIGHT = 720, 234
LEFT, RIGHT, TOP, BOTTOM = 64, 84, 36, 26
"""Above the curves stand the title and, below it, the numbers of incidents."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31")
"""Readable for colour-blind people on light and dark. Source: Okabe and Ito 2008."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve; `band` is (low, high) around it, `faint` a branch that was given up."""

    name: str
    x: Floats
    y: Floats
    colour: int = 0
    faint: bool = False
    band: tuple[Floats, Floats] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """A numbered mark at a step, leading to an anchor."""

    x: float
    label: str
    anchor: str


def chart(
    title: str,
    lines: Sequence[Line],
    *,
    flags: Sequence[Flag] = (),
    alarms: Floats | None = None,
    log: bool = False,
    last_step: float | None = None,
) -> str:
    """An SVG of curves over steps.

    Args:
        alarms: steps whose value is not finite or whose update was held back: red ticks on top.
        log: a logarithmic vertical axis.
    """
    shown = [_prepared(line, log=log) for line in lines]
    points = [line.y[np.isfinite(line.y)] for line in shown]
    values = np.concatenate([part for part in points if part.size] or [np.array([0.0, 1.0])])
    low, high = _limits(values)
    first = min((float(line.x.min()) for line in shown if line.x.size), default=0.0)
    last = last_step or max((float(line.x.max()) for line in shown if line.x.size), default=1.0)
    across = (WIDTH - LEFT - RIGHT) / max(1e-9, last - first)
    up = (HEIGHT - TOP - BOTTOM) / max(1e-12, high - low)

    def at_x(x: float) -> float:
        return LEFT + (x - first) * across

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (min(max(y, low), high) - low) * up

    body = [f'<text class="title" x="{LEFT}" y="14">{escape(title)}</text>']
    for tick in _log_ticks(low, high) if log else _ticks(low, high):
        y = at_y(tick)
        label = _number(math.exp(tick) if log else tick)
        body.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        body.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>'
        )
    for tick in _ticks(first, last):
        body.append(
            f'<text class="tick" x="{at_x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">'
            f"{tick:,.0f}</text>"
        )
    for flag in flags:
        x = at_x(flag.x)
        body.append(
            f'<a href="#{escape(flag.anchor)}">'
            f'<path class="flag" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
            f'<text class="flagged" x="{x:.1f}" y="{TOP - 5}" text-anchor="middle">'
            f"{escape(flag.label)}</text></a>"
        )
    labels: list[tuple[float, str, int]] = []
    for line in shown:
        if not line.x.size:
            continue
        colour = COLOURS[line.colour % len(COLOURS)]
        if line.band is not None:
            body.append(_area(line, at_x, at_y, colour))
        style = ' class="faint"' if line.faint else ""
        body.append(f'<path{style} fill="none" stroke="{colour}" d="{_path(line, at_x, at_y)}"/>')
        if not line.faint and line.name:
            labels.append((at_y(float(line.y[np.isfinite(line.y)][-1])), line.name, line.colour))
    for y, name, colour_index in _spread(labels):
        body.append(
            f'<text class="label" x="{WIDTH - RIGHT + 6}" y="{y + 4:.1f}" '
            f'style="fill:{COLOURS[colour_index % len(COLOURS)]}">{escape(name)}</text>'
        )
    for step in alarms if alarms is not None else ():
        body.append(f'<path class="held" d="M{at_x(float(step)):.1f} {TOP}v7"/>')
    role = "group" if flags else "img"  # a picture has nothing in it that can be followed
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="{role}" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def _prepared(line: Line, *, log: bool) -> Line:
    y = np.array(line.y, dtype=np.float64)
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            y = np.log(y)
    good = np.isfinite(y)
    if line.band is not None:
        low, high = (np.log(edge) if log else edge for edge in line.band)
        return replace(line, y=y, band=(low, high))
    x, y = decimate(np.asarray(line.x, dtype=np.float64)[good], y[good], buckets=WIDTH)
    return Line(name=line.name, x=x, y=y, colour=line.colour, faint=line.faint)


def _limits(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    span = high - low
    if not span > 0:
        return [low]
    rough = span / 4
    power = 10 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda one: abs(one - rough))
    first = math.ceil(low / step) * step
    return [first + index * step for index in range(int((high - first) / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Natural logarithms of round numbers between two: powers of ten, or 1, 2 and 5 of each, or as
    on a plain axis where that would be fewer than three."""
    powers = range(math.floor(low / math.log(10)), math.ceil(high / math.log(10)) + 1)
    for parts in ((1,), (1, 2, 5)):
        found = [math.log(part) + power * math.log(10) for power in powers for part in parts]
        inside = [one for one in found if low <= one <= high]
        if len(inside) >= 3:
            return inside[:: math.ceil(len(inside) / 7)]
    return [math.log(one) for one in _ticks(math.exp(low), math.exp(high)) if one > 0]


def _number(value: float) -> str:
    """
    >>> [_number(one) for one in (0.00005, 0.25, 12.5, 400_000.0)]
    ['5e-5', '0.25', '12.5', '400,000']
    """
    words = f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"
    return words.replace("e-0", "e-").replace("e+0", "e")


def _path(line: Line, at_x, at_y) -> str:  # type: ignore[no-untyped-def]
    points = [f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in zip(line.x, line.y, strict=True)]
    if len(points) == 1:
        return f"M{points[0]}h0.1"
    return "M" + "L".join(points)


def _area(line: Line, at_x, at_y, colour: str) -> str:  # type: ignore[no-untyped-def]
    assert line.band is not None
    low, high = line.band
    there = [f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in zip(line.x, high, strict=True)]
    back = [f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in zip(line.x, low, strict=True)]
    return f'<path class="band" fill="{colour}" d="M{"L".join(there + back[::-1])}Z"/>'


def _spread(labels: list[tuple[float, str, int]]) -> list[tuple[float, str, int]]:
    """Labels moved apart so that none covers another."""
    placed: list[tuple[float, str, int]] = []
    for y, name, colour in sorted(labels):
        y = max(y, placed[-1][0] + 12) if placed else y
        placed.append((y, name, colour))
    return placed
