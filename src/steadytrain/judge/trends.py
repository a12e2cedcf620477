"""What became of an explanation: came true, did not, or still open."""

import math
from typing import Literal

import msgspec

from steadytrain import causes
from steadytrain.events import PanelMove, Trend
from steadytrain.judge.looks import MOVING, Looks, Open, Pending
from steadytrain.judge.situation import Direction, Explanation, Progress

Result = Literal["came true", "did not", "gave way"]

TURNING = (causes.REWARM, causes.STABILITY_GAP)
"""Expected to rise, and then to fall."""

LASTING = {
    causes.STARVED: 1,
    causes.CORRUPT_SOURCE: 1,
    causes.UNSTABLE: 1,
    causes.LEARNING: -1,
    causes.ANNEALING: -1,
    causes.LEAKED: -1,
}
"""Expected to stay above (1) or below (-1) the old curve."""

ABSORBS: dict[str, tuple[Direction, ...]] = {
    causes.STABILITY_GAP: ("rise", "drop"),
    causes.REWARM: ("rise", "drop"),
    causes.CORRUPT_SOURCE: ("rise",),
    causes.ANNEALING: ("drop",),
    causes.STARVED: ("drop",),
    causes.LEARNING: ("rise", "drop"),
}
"""Directions in which other domains may follow what is explained; they get no name of their own."""

HOLDS, FAILS = 2.0, 1.0
"""Distances from the old curve beyond which an expectation holds, and below which it fails.
[standard deviations]"""

TURNED = 0.2
"""Of a rise that has to be undone before it counts as turned; and three times the jitter."""

EXTENSIONS = 2
"""How often a settlement is put off where nothing can be said yet."""


def settle(one: Open, now: Progress) -> "tuple[Result, str] | Open":
    """The result and the sentence that says why; or the explanation, still open."""
    if one.trend.pattern in TURNING:
        return _turn(one, now)
    if one.due is None or now.step < one.due:
        return one
    sign = LASTING.get(one.trend.pattern)
    if now.is_over:
        return "gave way", "what caused it has ended"
    far = now.z if now.z is not None else (now.series[-1] - now.series[0]) / now.jitter
    words = f"{far:+.1f} sigma from the old curve"
    if sign is None:  # harder batches: the panel stays where it is
        return ("came true", words) if abs(far) < HOLDS else ("did not", words)
    if sign * far >= HOLDS:
        return "came true", f"still {words}"
    if sign * far <= FAILS or one.extended >= EXTENSIONS:
        return "did not", f"only {words}"
    return _extend(one, now.step + 4 * now.gap)


def outcome(
    one: Open, result: Result, step: int, *, why: str,
    moves: tuple[PanelMove, ...] = (),
) -> Trend:  # fmt: skip
    """The later state of an explanation."""
    return msgspec.structs.replace(
        one.trend, state=result, step=step, moves=moves, evidence=(why,), against=(), expected="",
        due=None, refuted_by="",
    )  # fmt: skip


def _turn(one: Open, now: Progress) -> "tuple[Result, str] | Open":
    """Has a bump turned? Two looks below its peak, and a part of the rise undone."""
    start, later = now.series[0], now.series[1:]
    if not later or not all(map(math.isfinite, later)):
        return one
    peak = max(later)
    rise = max(peak - start, 0.0)
    undone = peak - later[-1]
    words = f"the peak was {rise:+.3f} nats, {undone:.3f} of it undone by now"
    is_down = len(later) >= 3 and max(later[-2:]) < peak - 2 * now.jitter
    if is_down and undone >= max(3 * now.jitter, TURNED * rise):
        return "came true", f"{words}, later than expected" if one.extended else words
    if one.due is None or now.step < one.due:
        return one
    if peak in later[-2:]:
        return "did not", f"still rising: {words}"
    if one.extended >= EXTENSIONS:
        return "did not", f"not clearly turned: {words}"
    return _extend(one, 2 * one.due - one.trend.begun)


def _extend(one: Open, due: int) -> Open:
    return msgspec.structs.replace(one, due=due, extended=one.extended + 1)


def unsaid(looks: Looks, one: Explanation) -> Explanation | None:
    """The explanation for the domains of which it is not said already; None if there are none."""
    said = {
        name
        for other in looks.open
        if other.trend.pattern == one.pattern
        for name in other.trend.domains
    }
    left = tuple(name for name in one.about if name not in said)
    return msgspec.structs.replace(one, about=left) if left else None


def is_covered(looks: Looks, one: Pending, name: str) -> bool:
    """Whether what rang is part of what is explained already."""
    for other in (*looks.open, *looks.settled):
        trend = other.trend
        if name in trend.domains:
            since = [
                seen
                for seen in looks.happenings
                if seen.kind in MOVING
                and seen.step > max(trend.begun, other.anchor)
                and seen.until > trend.step
                and seen.domain in (None, name)
            ]
            if not since:
                return True
    return False


def is_absorbed(looks: Looks, one: Pending) -> bool:
    """Whether what rang, and has no evidence of its own, follows from what is explained."""
    return any(
        one.direction in ABSORBS.get(other.trend.pattern, ())
        for other in (*looks.open, *looks.settled)
    )
