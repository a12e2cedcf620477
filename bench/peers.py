"""Rules of other tools for spikes of a training loss, with their default constants and their flaws.

Each rule hears one point per call and answers "rise", "drop" or None. What a published program does
with NaN is kept: many go blind or deaf. Textbook rules have no program to be true to, so they are
treated kindly: what is not finite alarms and is not learned, and they speak from half a window on.

`PEERS` names them all. A rule that also watches the gradient norm does so where a log has one.
"""

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Alarm = str | None


def _name(distance: float, limit: float) -> Alarm:
    """Direction of a distance beyond the limit, either way."""
    if abs(distance) <= limit:
        return None
    return "rise" if distance > 0 else "drop"


class Rule(Protocol):
    """Hears a run from its first point on."""

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm: ...


class SixSigma:
    """More than 6 standard deviations above the mean of the last 128, loss or gradient norm.

    OLMo-core has it twice. The optimizer asks `z <= 6`, so a NaN rings until it has left the window
    (its trainer would stop first); it starts at 64. The monitor asks for a full window and more
    than 6, so a NaN makes it deaf as long. Both learn what they have called a spike.
    Source: OLMo-core, src/olmo_core/optim/skip_step_optimizer.py and
    src/olmo_core/train/callbacks/stability_monitor.py.
    """

    def __init__(self, *, monitors: bool, with_norm: bool) -> None:
        self.monitors, self.with_norm = monitors, with_norm
        self.losses: deque[float] = deque(maxlen=128)
        self.norms: deque[float] = deque(maxlen=128)

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        is_bad = self._is_bad(self.losses, loss)
        if self.with_norm and grad_norm is not None:
            is_bad |= self._is_bad(self.norms, grad_norm)
        return "rise" if is_bad else None

    def _is_bad(self, past: deque[float], value: float) -> bool:
        is_bad = False
        if len(past) >= (128 if self.monitors else 63):
            known = np.array(past)
            with np.errstate(invalid="ignore"):
                deviation = known.std(ddof=0 if self.monitors else 1)
                distance = value - known.mean()
            if self.monitors:
                is_bad = bool(deviation >= 1e-10 and distance > 6.0 * deviation)
            else:
                is_bad = not distance <= 6.0 * deviation
        past.append(value)
        return is_bad


class KillLossSpike:
    """Five in a row at twice the mean of the last 100, or half of those above 10 after step 200.

    Outliers enter the mean that they are compared with.
    Source: llm-foundry, llmfoundry/callbacks/kill_loss_spike_callback.py.
    """

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=100)
        self.outliers = 0

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        is_bad = False
        if len(self.losses) >= 100:
            known = np.array(self.losses)
            self.outliers = self.outliers + 1 if loss >= 2.0 * known.mean() else 0
            is_bad = self.outliers > 4 or (step >= 200 and int((known > 10.0).sum()) >= 50)
        self.losses.append(loss)
        return "rise" if is_bad else None


class TenfoldOfFirst:
    """At least 10 times the largest of the first 100; what is not finite is left to others.
    Source: Megatron-LM, megatron/core/rerun_state_machine.py, is_unexpectedly_large, with
    SPIKY_LOSS_FACTOR of pretrain_gpt.py.
    """

    def __init__(self) -> None:
        self.seen, self.largest = 0, 0.0

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        if not math.isfinite(loss):
            return None
        self.seen += 1
        if self.seen <= 100:
            self.largest = max(self.largest, abs(loss))
        return "rise" if abs(loss) >= 10.0 * self.largest else None


class FifthOfLast:
    """A change by 20 % of the value before; NaN is no change, infinite is one.

    Args:
        calm: rises only, over the last value that was none: after a lasting rise it rings for ever.

    Source: Megatron-LM before commit 4dc6b715, is_spiky_loss; calm: FlagScale,
    flagscale/train/spiky_loss.py.
    """

    def __init__(self, *, calm: bool) -> None:
        self.calm = calm
        self.last = math.nan

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        last = self.last
        alarm = None
        if math.isinf(last) or (math.isinf(loss) and not math.isnan(last)):
            alarm = None if math.isnan(loss) else "rise"
        elif not math.isnan(loss - last):
            alarm = _name(loss - last, 0.2 * last)
        if self.calm and alarm == "drop":
            alarm = None
        if not (self.calm and alarm):
            self.last = loss
        return alarm


class ThreefoldOfTen:
    """Above the value before, and off the mean of the last 10 by twice that mean; or not finite.
    Source: Lightning, src/lightning/fabric/utilities/spike.py, SpikeDetection.
    """

    def __init__(self) -> None:
        self.past: deque[float] = deque(maxlen=10)
        self.last = 0.0

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        if self.past:
            mean = sum(self.past) / len(self.past)
            is_far = loss > self.last and abs(loss - mean) >= abs(2.0 * mean)
            if is_far or not math.isfinite(loss):
                return "rise"
        self.past.append(loss)
        self.last = loss
        return None


class RatioToAverage:
    """More than 1.2 times the moving average of span 9, which spikes do not enter.

    The ratio is a guess, it is off by default. One NaN makes it silent for ever.
    Source: metaseq, metaseq/trainer.py, skip_spike; pull requests 521 and 542.
    """

    def __init__(self) -> None:
        self.average: float | None = None

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        if self.average is None:
            self.average = loss
        elif loss / self.average > 1.2:
            return "rise"
        self.average += 0.2 * (loss - self.average)
        return None


class RunningZ:
    """More than 3 deviations above the mean of 128 values, itself among them; dead after a NaN.

    Source: llm.c, llmc/outlier_detector.h; 3 is what its option -sl suggests.
    """

    def __init__(self) -> None:
        self.past: deque[float] = deque()
        self.total = self.squares = 0.0

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        is_full = len(self.past) == 128
        old = self.past.popleft() if is_full else 0.0
        self.past.append(loss)
        self.total += loss - old
        self.squares += loss * loss - old * old
        if not is_full:
            return None
        mean = self.total / 128
        variance = self.squares / 128 - mean * mean
        return "rise" if variance > 0 and loss - mean > 3.0 * math.sqrt(variance) else None


class ZClip:
    """More than 2.5 deviations above a moving average (.97) of clipped values; dead after a NaN.
    Source: github.com/bluorion-com/ZClip, zclip.py, mode zscore; arXiv 2504.02507. Its authors use
    it on gradient norms, to clip and not to tell.
    """

    def __init__(self, *, on_norm: bool) -> None:
        self.on_norm = on_norm
        self.first: list[float] = []
        self.mean = self.variance = 0.0

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        value = grad_norm if self.on_norm else loss
        if value is None:
            return None
        if len(self.first) < 25:
            self.first.append(value)
            self.mean = sum(self.first) / len(self.first)
            self.variance = sum((one - self.mean) ** 2 for one in self.first) / len(self.first)
            return None
        deviation = math.sqrt(self.variance)
        z = (value - self.mean) / (deviation + 1e-6)
        if z > 2.5:
            value = self.mean + 2.5 * deviation / (z / 2.5)
        self.mean = 0.97 * self.mean + 0.03 * value
        self.variance = 0.97 * self.variance + 0.03 * (value - self.mean) ** 2
        return "rise" if z > 2.5 else None


class RollingZ:
    """More than 3 standard deviations off the mean of the last 100. Source: textbook."""

    def __init__(self) -> None:
        self.past: deque[float] = deque(maxlen=100)

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        return _name(self.score(loss), 3.0)

    def score(self, loss: float) -> float:
        """The distance; 0 before half a window, infinite for what is not finite."""
        if not math.isfinite(loss):
            return math.inf
        z = 0.0
        if len(self.past) >= 50:
            values = np.array(self.past)
            z = float((loss - values.mean()) / max(values.std(ddof=1), 1e-12))
        self.past.append(loss)
        return z


class RollingMedian:
    """Beyond 6 robust deviations (1.4826 MAD) from the median of the last 101.

    Args:
        floor: smallest deviation believed, as share of the median.
    Source: Hampel 1974; a floor of 0.3 %: facts of 57 public curves, the simple rule to beat.
    """

    def __init__(self, *, floor: float = 0.0) -> None:
        self.floor = floor
        self.past: deque[float] = deque(maxlen=101)

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        if not math.isfinite(loss):
            return "rise"
        values, half = np.array(self.past), len(self.past) // 2
        self.past.append(loss)
        if len(values) < 50:
            return None
        median = np.partition(values, half)[half]
        mad = np.partition(np.abs(values - median), half)[half]
        return _name(loss - median, 6.0 * max(1.4826 * mad, self.floor * abs(median)))


class AverageChart:
    """EWMA chart (lambda .2, limit 4) of the rolling z. Source: Roberts 1959."""

    def __init__(self) -> None:
        self.z, self.average = RollingZ(), 0.0

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        z = self.z.score(loss)
        if not math.isfinite(z):
            return "rise"
        self.average += 0.2 * (z - self.average)
        return _name(self.average, 4.0 * math.sqrt(0.2 / 1.8))


class PageHinkley:
    """Page-Hinkley test, both ways, of the rolling z; begins anew after an alarm.
    Source: Page 1954; constants (30, .005, 50, .9999) are the defaults of river.drift.PageHinkley.
    """

    def __init__(self) -> None:
        self.z = RollingZ()
        self._begin()

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        z = self.z.score(loss)
        if not math.isfinite(z):
            return "rise"
        self.seen += 1
        self.mean += (z - self.mean) / self.seen
        self.up = 0.9999 * self.up + z - self.mean - 0.005
        self.down = 0.9999 * self.down + z - self.mean + 0.005
        self.lowest, self.highest = min(self.lowest, self.up), max(self.highest, self.down)
        rise, drop = self.up - self.lowest, self.highest - self.down
        if self.seen < 30 or max(rise, drop) <= 50.0:
            return None
        self._begin()
        return "rise" if rise > drop else "drop"

    def _begin(self) -> None:
        self.seen, self.lowest, self.highest = 0, math.inf, -math.inf
        self.mean = self.up = self.down = 0.0


class Tail:
    """The value passed with probability 1e-4, from a Pareto law fitted to peaks over .98."""

    def __init__(self, first: NDArray[np.float64]) -> None:
        self.edge = float(np.quantile(first, 0.98))
        self.peaks = [float(one) - self.edge for one in first if one > self.edge]
        self.seen = len(first)
        self._fit()

    def hears(self, value: float) -> bool:
        """Whether it is beyond the limit; what is not is learned."""
        if value > self.limit:
            return True
        self.seen += 1
        if value > self.edge:
            self.peaks.append(value - self.edge)
            self._fit()
        return False

    @property
    def limit(self) -> float:
        rate = 1e-4 * self.seen / len(self.peaks)
        return self.edge + self.scale / self.shape * (rate**-self.shape - 1)

    def _fit(self) -> None:
        peaks = np.array(self.peaks)
        mean, low, high = peaks.mean(), peaks.min(), peaks.max()
        below = -np.geomspace(1e-4, 0.999, 40) / high
        above = np.geomspace(1e-4 / mean, max(2e-4 / mean, 2 * (mean - low) / low**2), 80)
        ratios = np.concatenate([below, above])
        shapes = np.log1p(np.outer(ratios, peaks)).mean(1)
        best = int((-np.log(shapes / ratios) - shapes).argmax())
        self.shape, self.scale = float(shapes[best]), float(shapes[best] / ratios[best])


class BiDSPOT:
    """Both tails of the distance to the mean of the last 20 that were no anomaly.

    Never learns an anomaly, so it rings on after a level shift; a NaN makes it deaf for 20 points.
    The first 200 distances calibrate it: a guess, the paper takes 1,000, which many logs lack.
    Source: Siffer et al., KDD 2017; q 1e-4, level .98, depth 20.
    """

    def __init__(self) -> None:
        self.past: deque[float] = deque(maxlen=20)
        self.first: list[float] = []
        self.tails: tuple[Tail, Tail] | None = None

    def update(self, step: int, loss: float, grad_norm: float | None) -> Alarm:
        distance = loss - sum(self.past) / max(1, len(self.past))
        if self.tails is not None:
            for tail, sign, name in zip(self.tails, (1, -1), ("rise", "drop"), strict=True):
                if tail.hears(sign * distance):
                    return name
        elif len(self.past) == 20 and math.isfinite(distance):
            self.first.append(distance)
            if len(self.first) == 200:
                self.tails = Tail(np.array(self.first)), Tail(-np.array(self.first))
        self.past.append(loss)
        return None


PEERS: dict[str, Callable[[], Rule]] = {
    "OLMo-core SkipStep": partial(SixSigma, monitors=False, with_norm=True),
    "OLMo-core SkipStep (loss)": partial(SixSigma, monitors=False, with_norm=False),
    "OLMo-core StabilityMonitor": partial(SixSigma, monitors=True, with_norm=True),
    "llm-foundry KillLossSpike": KillLossSpike,
    "Megatron x10": TenfoldOfFirst,
    "Megatron 20 % (old)": partial(FifthOfLast, calm=False),
    "FlagScale 20 %": partial(FifthOfLast, calm=True),
    "Lightning SpikeDetection": ThreefoldOfTen,
    "metaseq EWM 1.2": RatioToAverage,
    "llm.c z 3": RunningZ,
    "ZClip (loss)": partial(ZClip, on_norm=False),
    "ZClip (grad norm)": partial(ZClip, on_norm=True),
    "rolling z 3": RollingZ,
    "median/MAD 6": RollingMedian,
    "median/MAD 6 (floor)": partial(RollingMedian, floor=0.003),
    "EWMA chart": AverageChart,
    "Page-Hinkley": PageHinkley,
    "biDSPOT": BiDSPOT,
}
"""Name in tables -> a rule that has heard nothing."""
