"""Loss curves with known events, drawn from a seed: for tuning, testing and benchmarks.

Each curve has its own noise (size, memory, tails, rounding), schedule (warm-up, then constant,
cosine or WSD), batch ramp and resume, so that no rule can lean on one kind of log. Sizes of spikes
follow the published ones: median +14 %, quartiles 8 % and 29 %, least 2.4 % (61 instabilities of
public runs from 13B to 104B). An event that even a filter that knew its time and shape could not
tell from noise (energy below `LEAST_ENERGY`) is not put in.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_ENERGY = 8.0
"""Root of the summed squares of an event in units of the noise. Source: an ideal filter needs 4.2
for one false alarm in 30,000 points and 1.3 more for nine in ten; the rest is for not knowing."""

GAP = 150
"""Points between events, so that one does not hide the next. Source: guess."""

KINDS = (
    "outlier batch",
    "spike",
    "lasting spike",
    "slow divergence",
    "drop",
    "level shift",
    "not finite",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something known to have happened.

    Attributes:
        first, last: rows.
        kind: "rise", "drop" or "level-shift".
        label: class of event; "batch" and "shift" are counted apart.
        scored: whether a rule is asked to find it.
    """

    first: int
    last: int
    kind: str
    label: str
    scored: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A loss curve with its events. Arrays of shape (N,); what was not logged is None.

    Attributes:
        domains: loss of each domain; `tokens`: its token count at each step.
    """

    name: str
    steps: NDArray[np.int64]
    loss: Array
    grad_norm: Array | None = None
    lr: Array | None = None
    domains: dict[str, Array] = field(default_factory=dict)
    tokens: dict[str, Array] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    group: str = ""


def draw_curve(seed: int, *, events: bool = True) -> Curve:
    """A curve of 1,500 to 6,000 points; the same for the same seed.

    Args:
        events: False leaves only what must not alarm: schedule, ramps, noise, mixture, a resume.
    """
    chance = np.random.default_rng([20261124, seed])
    n = int(chance.integers(1500, 6001))
    steps = np.arange(1, n + 1)
    lr, trend = _draw_trend(chance, n)
    share = float(np.exp(chance.uniform(math.log(0.004), math.log(0.04))))
    width = share * np.median(trend) * _draw_batch_ramp(chance, n)
    noise = _draw_noise(chance, n)
    excess, norm = np.zeros(n), np.zeros(n)
    found: list[Event] = []
    if events:
        found = _put_events(chance, trend, width, excess, norm)
    loss = trend + width * noise + excess
    grad_norm = np.exp(
        math.log(chance.uniform(0.2, 2.0))
        - 0.1 * np.log(steps)
        + chance.uniform(0.05, 0.25) * _with_memory(chance.standard_normal(n), 0.4)
        + norm
    )
    found += _label_tails(noise, found)
    if events:
        found += _put_not_finite(chance, loss, found)
    if chance.random() < 0.15:
        loss = _round_bf16(loss)
    return Curve(
        name=f"drawn-{seed}", steps=steps, loss=loss, grad_norm=grad_norm, lr=lr,
        events=tuple(sorted(found, key=lambda event: event.first)), group="drawn",
    )  # fmt: skip


def draw_mixture(seed: int) -> Curve:
    """Three domains whose shares of a batch vary, ramp and jump, while no domain changes at all.

    The total moves by several of its standard deviations and must not alarm.
    """
    chance = np.random.default_rng([20261125, seed])
    n = 2500
    steps = np.arange(1, n + 1)
    names = ("zh", "en", "code")
    levels = dict(zip(names, (3.4, 2.8, 1.6), strict=True))
    shares = np.tile([0.4, 0.4, 0.2], (n, 1))
    jump, ramp = int(chance.integers(600, 1200)), int(chance.integers(1400, 1800))
    shares[jump:] = [0.2, 0.3, 0.5]
    blend = np.clip((steps - ramp) / 200, 0, 1)[:, None]
    shares = shares * (1 - blend) + blend * np.array([0.5, 0.4, 0.1])
    counts = np.array([chance.multinomial(64, row / row.sum()) for row in shares]) * 1024.0
    fall = (steps + 50.0) ** -0.15 * 50.0**0.15
    domains, tokens = {}, {}
    for index, name in enumerate(names):
        tokens[name] = counts[:, index]
        width = 0.05 * levels[name] / np.sqrt(np.maximum(counts[:, index], 1.0) / 1024.0)
        values = levels[name] * (0.5 + 0.5 * fall) + width * chance.standard_normal(n)
        domains[name] = np.where(counts[:, index] > 0, values, np.nan)
    total = sum(np.nan_to_num(domains[name]) * tokens[name] for name in names)
    return Curve(
        name=f"mixture-{seed}", steps=steps, loss=np.asarray(total) / counts.sum(1),
        domains=domains, tokens=tokens, group="mixture",
    )  # fmt: skip


def _draw_trend(chance: np.random.Generator, n: int) -> tuple[Array, Array]:
    """Learning rate, and a loss that falls by a power law after warm-up and with the decay."""
    steps = np.arange(1, n + 1)
    warmup = int(chance.integers(20, 120))
    lr = np.minimum(1.0, steps / warmup)
    schedule = chance.choice(["constant", "cosine", "wsd"])
    if schedule == "cosine":
        lr = lr * (0.55 + 0.45 * np.cos(math.pi * steps / n))
    if schedule == "wsd":
        begin = int(n * chance.uniform(0.75, 0.9))
        lr = lr * np.clip((n - steps) / (n - begin), 0.05, 1.0)
    floor, height = chance.uniform(1.5, 3.0), chance.uniform(1.0, 3.0)
    progress = np.cumsum(np.minimum(1.0, steps / warmup))
    trend = floor + height * (1 + progress / chance.uniform(20, 80)) ** -chance.uniform(0.3, 0.6)
    trend += (8.0 - trend[0]) * np.exp(-progress / chance.uniform(20, 60))
    # At the decay kink the loss leaves its trend by 1 to 4 % (published 25M to 400M curves).
    trend *= 1 - chance.uniform(0.01, 0.04) * (1 - lr) * (steps > warmup)
    return 3e-4 * lr, trend


def _draw_batch_ramp(chance: np.random.Generator, n: int) -> Array:
    """Noise falls with the root of a batch that doubles once or twice."""
    size = np.ones(n)
    if chance.random() < 0.3:
        for start in chance.integers(n // 5, n, size=int(chance.integers(1, 3))):
            size[start:] *= 2
    return 1 / np.sqrt(size)


def _draw_noise(chance: np.random.Generator, n: int) -> Array:
    """Unit noise with its own tails and memory."""
    freedom = chance.choice([0, 8, 5], p=[0.5, 0.3, 0.2])
    fresh = chance.standard_normal(n)
    if freedom:
        fresh = chance.standard_t(freedom, n) / math.sqrt(freedom / (freedom - 2))
    return _with_memory(fresh, float(chance.choice([0.0, 0.3, 0.6], p=[0.6, 0.25, 0.15])))


def _with_memory(fresh: Array, memory: float) -> Array:
    """First-order autoregression of unit variance."""
    noise = fresh.copy()
    gain = math.sqrt(1 - memory**2)
    for index in range(1, len(noise)):
        noise[index] = memory * noise[index - 1] + gain * fresh[index]
    return noise


def _round_bf16(values: Array) -> Array:
    """Nearest bfloat16: 8 bits of significand."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)
    return np.where(np.isfinite(values), rounded.astype(np.float64), values)


def _put_events(
    chance: np.random.Generator, trend: Array, width: Array, excess: Array, norm: Array
) -> list[Event]:
    """Place events from left to right; adds to `excess` and to the log gradient norm."""
    n, found = len(trend), []
    at = int(chance.integers(300, 500))
    while at < n - 300:
        kind = chance.choice(KINDS[:-1])
        draw = _SHAPES[kind]
        shape, lead, label = draw(chance, trend[at], width[at])
        shape = shape[: n - at - 50]
        if math.sqrt(float(np.sum((shape / width[at]) ** 2))) >= LEAST_ENERGY:
            last = at + len(shape) - 1
            excess[at : last + 1] += shape
            norm[max(0, at - 2) : at + len(lead) - 2] += lead[max(0, 2 - at) :]
            direction = "drop" if label in ("drop", "batch drop") else "rise"
            if label == "shift":
                excess[last + 1 :] += shape[-1]
                direction = "level-shift"
            found.append(Event(first=at, last=last, kind=direction, label=label))
            if label == "nonrecover":
                excess[last + 1 :] += shape[-1]
            at = last
        at += GAP + int(chance.integers(0, 400))
    return found


Shape = tuple[Array, Array, str]


def _rise(chance: np.random.Generator) -> float:
    """Peak rise of an instability over its level."""
    return float(np.clip(np.exp(chance.normal(math.log(0.14), 0.95)), 0.024, 1.7))


def _outlier(chance: np.random.Generator, level: float, width: float) -> Shape:
    return np.array([chance.uniform(8, 20) * width]), np.zeros(3), "batch"


def _spike(chance: np.random.Generator, level: float, width: float) -> Shape:
    """Climbs within 1 to 5 points, heals within tens; the gradient norm leads by two."""
    up, heal = int(chance.integers(1, 6)), float(chance.uniform(4, 40))
    fall = np.exp(-np.arange(int(3 * heal)) / heal)
    shape = level * _rise(chance) * np.concatenate([np.linspace(0, 1, up + 1)[1:-1], fall])
    lead = np.full(up + 4, chance.uniform(0.7, 3.0))
    return shape, lead, "spike"


def _lasting(chance: np.random.Generator, level: float, width: float) -> Shape:
    """A spike of which a part stays."""
    shape, lead, _ = _spike(chance, level, width)
    rest = chance.uniform(0.3, 0.7) * shape.max()
    peak = int(shape.argmax())
    shape[peak:] = rest + (shape[peak:] - shape[peak:].min()) * (1 - rest / shape.max())
    return shape, lead, "nonrecover"


def _divergence(chance: np.random.Generator, level: float, width: float) -> Shape:
    """Creeps up by 4 to 20 % over hundreds of points, without a jump, until it is rolled back."""
    length = int(chance.integers(150, 501))
    ramp = (np.arange(1, length + 1) / length) ** 1.5
    return level * chance.uniform(0.04, 0.2) * ramp, np.zeros(2), "slowdiv"


def _drop(chance: np.random.Generator, level: float, width: float) -> Shape:
    """Degenerate text: loss down for 1 to 20 points, gradient norm up x2 to x15."""
    length = int(chance.integers(1, 21))
    size = max(chance.uniform(6, 12) * width, chance.uniform(0.05, 0.3) * level)
    lead = np.concatenate([np.zeros(2), np.full(length, math.log(chance.uniform(2, 15)))])
    return np.full(length, -min(size, 0.8 * level)), lead, "drop"


def _shift(chance: np.random.Generator, level: float, width: float) -> Shape:
    """New data: another level with the same noise, of which a third is learned away slowly."""
    size = max(chance.uniform(0.03, 0.15) * level, chance.uniform(5, 12) * width)
    sign = chance.choice([1.0, -1.0])
    shape = size * (2 / 3 + np.exp(-np.arange(150) / 200) / 3)
    return sign * shape, np.zeros(2), "shift"


_SHAPES: dict[str, Callable[[np.random.Generator, float, float], Shape]] = {
    "outlier batch": _outlier,
    "spike": _spike,
    "lasting spike": _lasting,
    "slow divergence": _divergence,
    "drop": _drop,
    "level shift": _shift,
}


def _label_tails(noise: Array, found: list[Event]) -> list[Event]:
    """A step beyond 5 robust sigmas of its own noise is an odd batch, whoever made it: not asked
    for, and no false alarm. The public collection is labelled by the same rule."""
    sigma = 1.4826 * float(np.median(np.abs(noise)))
    taken = np.zeros(len(noise), dtype=bool)
    for event in found:
        taken[event.first : event.last + 1] = True
    odd = np.flatnonzero((np.abs(noise) >= 5 * sigma) & ~taken)
    return [
        Event(first=at, last=at, kind="rise", label="batch", scored=False) for at in odd.tolist()
    ]


def _put_not_finite(chance: np.random.Generator, loss: Array, found: list[Event]) -> list[Event]:
    """One to three NaN or infinite points, away from other events."""
    taken = np.zeros(len(loss), dtype=bool)
    taken[:300] = True
    for event in found:
        taken[max(0, event.first - GAP) : event.last + GAP] = True
    free = np.flatnonzero(~taken[:-20])
    if not len(free):
        return []
    at = int(chance.choice(free))
    length = int(chance.integers(1, 4))
    loss[at : at + length] = chance.choice([math.nan, math.inf])
    return [Event(first=at, last=at + length - 1, kind="rise", label="not finite")]
