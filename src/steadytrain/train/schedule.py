"""The learning rate as a pure function of the step: warm-up, stable, decay; or any line."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal, Protocol

from steadytrain.errors import SettingError

Shape = Literal["1-sqrt", "linear", "cosine", "exponential"]


class Schedule(Protocol):
    """A learning rate for every update."""

    def lr(self, step: int, *, decay_from: int | None = None) -> float:
        """Learning rate of update `step`, counted from 1; an early decay begins after
        `decay_from`."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmupStableDecay:
    """Linear warm-up, constant, then a decay to `floor * peak` over the last `decay` steps.

    With s the share of the decay that is done: 1-sqrt: 1 - sqrt(s); linear: 1 - s;
    cosine: (1 + cos(pi s)) / 2; exponential: 0.5^(s * 10 / 3), each between 1 and `floor`.

    Attributes:
        peak: learning rate of the stable phase.
        steps: of the whole run; the decay ends with the last.
        warmup, decay: lengths. [steps]
        floor: learning rate at the end, as a share of peak.

    Raises:
        SettingError: phases that do not fit into the run.

    Source: WSD: MiniCPM 2024; 1-sqrt was the best of the decays in Haegele et al. 2024; a decay of
    10 to 20 % of the run: both.
    """

    peak: float
    steps: int
    warmup: int
    decay: int
    shape: Shape = "1-sqrt"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.peak <= 0 or self.steps < 1:
            raise SettingError(
                f"peak={self.peak} over {self.steps} steps trains nothing: both must be positive. "
                "Write WarmupStableDecay(peak=1e-3, steps=1000, warmup=50, decay=150)."
            )
        if self.warmup < 0 or self.decay < 0 or self.warmup + self.decay > self.steps:
            raise SettingError(
                f"warmup={self.warmup} and decay={self.decay} do not fit into {self.steps} steps, "
                "so the peak would never be held. Make them shorter, or the run longer."
            )

    def lr(self, step: int, *, decay_from: int | None = None) -> float:
        """Learning rate of update `step`, counted from 1.

        Args:
            decay_from: the decay begins after this step, if that is earlier than planned.
        """
        begin = self.steps - self.decay
        if decay_from is not None:
            begin = min(begin, decay_from)
        if step <= self.warmup:
            rate = step / self.warmup
        elif step <= begin:
            rate = 1.0
        else:
            done = min(1.0, (step - begin) / max(1, self.decay))
            rate = self.floor + (1 - self.floor) * self._left(done)
        return self.peak * rate

    def _left(self, done: float) -> float:
        match self.shape:
            case "1-sqrt":
                return 1 - math.sqrt(done)
            case "linear":
                return 1 - done
            case "cosine":
                return (1 + math.cos(math.pi * done)) / 2
            case "exponential":
                return float(0.5 ** (done * 10 / 3))


@dataclass(frozen=True, kw_only=True, slots=True)
class Waypoints:
    """Straight lines between points: a decay that is followed by a re-warming, a rate by hand.

    Attributes:
        points: (update, learning rate), updates rising; before the first and after the last the
            rate stays.
        decay: length of a decay that is begun early, 1-sqrt to nothing. [steps]

    Raises:
        SettingError: no points, updates that do not rise, a rate that is no number or below 0.

    >>> rewarmed = Waypoints(points=((0, 0.0), (10, 1e-3), (90, 1e-3), (100, 0.0), (120, 1e-3)))
    >>> rewarmed.lr(5), rewarmed.lr(100), rewarmed.lr(110), rewarmed.lr(500)
    (0.0005, 0.0, 0.0005, 0.001)
    """

    points: tuple[tuple[int, float], ...]
    decay: int = 100

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.points]
        rates = [rate for _, rate in self.points]
        if not steps or any(b <= a for a, b in itertools.pairwise(steps)):
            raise SettingError(
                f"points={self.points} do not name a rate for updates in their order, so some "
                "would have none. Write (update, rate) pairs with updates that rise, such as "
                "((0, 0.0), (100, 1e-3), (900, 1e-3), (1000, 0.0))."
            )
        if not all(0 <= rate < math.inf for rate in rates):
            raise SettingError(
                f"points={self.points} hold a rate that is no number, or below 0: that would "
                "train towards a higher loss. Write rates of 0 or more."
            )
        if self.decay < 1:
            raise SettingError(
                f"decay={self.decay} leaves an early decay no step. Write decay=100 if unsure."
            )

    def lr(self, step: int, *, decay_from: int | None = None) -> float:
        """Learning rate of update `step`, counted from 1."""
        if decay_from is None or step <= decay_from:
            return self._line(step)
        done = min(1.0, (step - decay_from) / self.decay)
        return min(self._line(step), self._line(decay_from) * (1 - math.sqrt(done)))

    def _line(self, step: int) -> float:
        if step <= self.points[0][0]:
            return self.points[0][1]
        for (begin, low), (end, high) in itertools.pairwise(self.points):
            if step <= end:
                return low + (high - low) * (step - begin) / (end - begin)
        return self.points[-1][1]
