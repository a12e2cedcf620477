"""Warmup-stable-decay: a learning rate as a pure function of the step."""

import math
from dataclasses import dataclass
from typing import Literal

from steadytrain.errors import SettingError

Shape = Literal["1-sqrt", "linear", "cosine", "exponential"]


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
