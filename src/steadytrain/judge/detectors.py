"""What every detector does: init / score / learn. Score never learns, learn never scores.

A baseline belongs to a trajectory: blocks know their last step, so `forget_after` rolls a baseline
back with the model by dropping what came later, to within one block.
"""

from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain.signals import Observation, Signal
from steadytrain.stats.blocks import GRAIN, KEPT, PER_SCALE, Block, Line, Point, Scales
from steadytrain.stats.calm import Rules, Stretch, look

Clock = Literal["", "point", "pair", "eight", "thirty-two", "slow", "vote"]
Fate = Literal["", "learned", "stranger", "shift", "forced", "home"]


TRACE = 32
"""Levels of 32 points that the slow clock compares with. Source: "the best of the last 1,000"."""


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline before the last level shift, kept for a while: going back to it is no news."""

    blocks: tuple[Block, ...]
    line: Line
    scales: Scales
    left: int


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector remembers of one signal, oldest first.

    Attributes:
        signal, peers: what is watched, and how many share its rate of false alarms.
        blocks: learned blocks; `points`: of the block that is not full yet.
        strangers: blocks in a row that were too far off to learn.
        trace: (last step, level) of each 32 learned points.
        recent: distances of the last points, learned or not, in clipped grains; with their steps.
        last: the last four values, learned or not.
        is_open: an alarm rang and calm has not returned; `calm`: points since the last ring;
            `rang`: rings since it opened.
        is_slow: the slow clock rang and the level has not come back.
    """

    signal: Signal
    peers: int = 1
    blocks: tuple[Block, ...] = ()
    points: tuple[Point, ...] = ()
    strangers: tuple[Block, ...] = ()
    trace: tuple[tuple[int, float], ...] = ()
    line: Line | None = None
    scales: Scales | None = None
    recent: tuple[int, ...] = ()
    recent_steps: tuple[int, ...] = ()
    last: tuple[float, ...] = ()
    is_open: bool = False
    calm: int = 0
    rang: int = 0
    is_slow: bool = False
    former: Former | None = None

    @property
    def is_settled(self) -> bool:
        """Nothing is open, everything is full, and a look at the scales is just over."""
        if self.is_open or self.is_slow or self.strangers or self.points or self.former:
            return False
        if len(self.blocks) < KEPT or len(self.trace) < TRACE or len(self.recent) < TRACE:
            return False
        known = all(one.peak is not None and one.error is not None for one in self.blocks)
        return known and self.blocks[-1].number % PER_SCALE == 0

    @property
    def is_calm(self) -> bool:
        """Nothing rang lately, and no slow rise is on."""
        return not self.is_open and not self.is_slow

    @property
    def recent_distances(self) -> tuple[float, ...]:
        """Clipped distances of the last points. [robust standard deviations]"""
        return tuple(one / GRAIN for one in self.recent)


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """Signed distance of a value from its baseline, and what follows from it.

    Attributes:
        distance: robust standard deviations; infinite for a value that is not finite.
        limit: how far is too far for this signal now.
        alarms: some clock rang; `clock`: the quickest that did.
        direction: "rise", "drop", "not finite", or "" without an alarm.
        sigma: the scale used; infinite while too little is known.
        is_shift: a lasting new level was recognized at this point.
        fate, error, is_home: for `learn`.
    """

    distance: float
    expected: float
    limit: float
    alarms: bool
    sigma: float
    clock: Clock = ""
    direction: str = ""
    is_shift: bool = False
    fate: Fate = ""
    error: float | None = None
    is_home: bool = False


def look_ahead(
    window: Window,
    steps: NDArray[np.int64],
    values: NDArray[np.float64],
    counts: NDArray[np.float64] | None,
    foretold: NDArray[np.float64] | None,
    rules: Rules,
) -> Stretch:
    """How much of these points is calm, as a settled window sees it."""
    return look(
        window.blocks,
        np.array([level for _, level in window.trace]),
        np.array(window.recent, dtype=np.int64),
        steps,
        values,
        counts,
        foretold,
        rules,
    )


def skip_ahead(
    window: Window, stretch: Stretch, steps: NDArray[np.int64], values: NDArray[np.float64]
) -> Window:
    """The window after the calm points of a stretch; line and scales are still those before it."""
    count = stretch.num_calm
    if not count:
        return window
    end = KEPT + count * PER_SCALE
    columns = {name: stretch.blocks[name][end - KEPT : end].tolist() for name in _COLUMNS}
    first = window.blocks[-1].number + count * PER_SCALE - KEPT + 1
    blocks = tuple(
        Block(
            last=int(last), centre=centre, level=level, gap=gap, width=width, count=block_count,
            number=first + at, error=error, peak=peak, total=int(total),
        )
        for at, (last, centre, level, gap, width, block_count, error, peak, total) in enumerate(
            zip(*columns.values(), strict=True)
        )
    )  # fmt: skip
    num = count * TRACE
    ends = [at for at, _ in window.trace] + steps[TRACE - 1 : num : TRACE].tolist()
    levels = stretch.trace[: TRACE + count].tolist()
    return msgspec.structs.replace(
        window,
        blocks=blocks,
        trace=tuple(zip(ends, levels, strict=True))[-TRACE:],
        recent=tuple(stretch.grains[num : num + TRACE].tolist()),
        recent_steps=tuple(steps[num - TRACE : num].tolist()),
        last=tuple(values[num - 4 : num].tolist()),
        calm=window.calm + num,
    )


_COLUMNS = ("last", "centre", "level", "gap", "width", "count", "error", "peak", "total")


class Detector(Protocol):
    """What judges need of a detector. State is a value; the detector is its own configuration."""

    def init(self, observation: Observation) -> Window:
        """The empty window of this observation's signal."""
        ...

    def score(self, window: Window, step: int, observation: Observation) -> Score:
        """Distance of a value from what was learned. Never learns."""
        ...

    def learn(self, window: Window, step: int, observation: Observation, *, score: Score) -> Window:
        """The window after a committed, credible point. Never scores."""
        ...

    def note(self, window: Window, step: int, observation: Observation, *, score: Score) -> Window:
        """The window after a point that must not be learned."""
        ...

    def forecast(self, window: Window, step: int) -> tuple[float, float] | None:
        """(expected value, sigma) of a step to come; None while too little is known."""
        ...

    def forget_after(self, window: Window, step: int) -> Window:
        """The baseline as it was when `step` was the last step."""
        ...
