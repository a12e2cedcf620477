"""StepRecord -> named scalars. The one table of names, units and directions.

Positive signals that move by factors are taken as logarithms, so that "x5" is the same distance at
any level. The update size is divided by the planned learning rate: a warm-up is not an anomaly, but
an update that is larger than its learning rate explains is one.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from steadytrain.events import StepRecord
from steadytrain.stats.sums import inner_domains

Direction = Literal["rise", "drop"]


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """How a signal is watched.

    Attributes:
        directions: which way is news.
        floor: smallest credible noise, relative to the level of a loss, absolute for logarithms.
        is_loss: a loss in nats per token, which falls along a line; else a logarithm, which has
            a level and no trend worth following.
        alone: an alarm so far from the forecast, in the signal's own units, counts without another
            signal beside it.
        is_sickness: its alarms may make an incident.
        backs: a loss that is somewhat off counts when this signal rings with it.
        tail: how far a heavy tail may raise the limit, over the normal quantile.
        is_thin: one odd step is nothing; a point is heard when it is not the only one that rings.
    """

    unit: str
    directions: tuple[Direction, ...]
    floor: float
    is_loss: bool
    alone: float
    is_sickness: bool = True
    backs: bool = True
    tail: float = 1.57
    is_thin: bool = False

    def natural(self, value: float) -> float:
        """A watched value in the units that people read: a logarithm undone."""
        if self.is_loss or self.unit == "nats" or not math.isfinite(value):
            return value
        return 2.0 ** min(value, 1000.0) if self.unit == "log2" else math.exp(min(value, 700.0))


LOSS = Signal(
    unit="nats/token",
    directions=("rise", "drop"),
    floor=0.003,
    is_loss=True,
    alone=0.0,
)
"""Floor: 0.3 % of the level keeps bf16-rounded and smooth logs quiet. Source: 57 public curves."""

THIN_LOSS = msgspec.structs.replace(LOSS, tail=3.0, is_thin=True)
"""A domain's loss without its tokens: a step may be a sequence or two of it. With the usual cap,
78 false alarms on five public runs; with this one 18, each a lone point; LOG.md 2026-11-24."""

GRAD_NORM = Signal(unit="ln", directions=("rise",), floor=0.06, is_loss=False, alone=math.log(8.0))
"""Heavy-tailed: a z-score on the gradient norm alone gave 19 to 260 false alarms per 10,000 points,
and x2.2 for one step happens on clean text (LOG.md 2026-11-24). Alone it must reach what the gate
holds back."""

LAYER_NORM = msgspec.structs.replace(GRAD_NORM, backs=False)
"""Of a group of layers: an outbreak in the embedding hides in the total (GLM-130B, section 3.1)."""

UPDATE = Signal(
    unit="ln of update per learning rate",
    directions=("rise",),
    floor=0.06,
    is_loss=False,
    alone=math.log(4.0),
)
"""Doubles before loss and gradient norm do (Marin 32B); alone, twice the double is news."""

ATTENTION_LOGIT = Signal(
    unit="ln", directions=("rise",), floor=0.06, is_loss=False, alone=math.log(2.0)
)
"""Largest attention logit: grows without bound before a divergence; QK-clip cuts at 100. Alone,
twice what is harmless or usual is news; source: guess."""

HARMLESS_LOGIT = 100.0
"""Attention logits below this are all alike to the judge: they grow by tens while a run learns, in
the lab from 5 to 20 within 100 steps. Source: the threshold of QK-clip (Kimi K2, Megatron), so that
what rings is what the clip would act on, and what it holds is quiet."""

LOGSUMEXP = Signal(unit="nats", directions=("rise",), floor=0.1, is_loss=False, alone=4.0)
"""Log of the softmax's denominator: what z-loss holds near 0 (PaLM). Alone: e^4 = 55 times the
denominator within a few dozen steps; guess."""

LOSS_SCALE = Signal(unit="log2", directions=("drop",), floor=1.0, is_loss=False, alone=12.0)

SPEED = Signal(
    unit="ln of tokens/s",
    directions=("drop",),
    floor=0.1,
    is_loss=False,
    alone=math.log(3.0),
    is_sickness=False,
    backs=False,
    is_thin=True,
)
"""Slow is not sick: it is told, never treated. One slow step is a checkpoint or an evaluation."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """One signal's value at one step.

    Attributes:
        count: sequences behind it; more of them make it less noisy.
        parts: of a total: the name and the share of the tokens of each domain in it.
        foretold: what the parts let one expect; a value between that and the baseline is no news.
        peers: signals of its kind at this step, which share the stated rate of false alarms.
    """

    name: str
    value: float
    count: float
    signal: Signal
    parts: tuple[tuple[str, float], ...] = ()
    foretold: float | None = None
    peers: int = 1


def observe(
    record: StepRecord, domains: tuple[str, ...], layers: tuple[str, ...] = ()
) -> tuple[Observation, ...]:
    """All signals that this record carries. A domain without tokens is left out: a gap, not a 0."""
    losses: dict[str, Sequence[int]] = {"loss": range(len(record.tokens))} if record.tokens else {}
    if len(domains) > 1:
        losses |= {f"loss:{name}": (index,) for index, name in enumerate(domains)}
        losses |= {f"loss:{name}": members for name, members in inner_domains(domains).items()}
    found = [_loss(name, record, members, domains) for name, members in losses.items()]
    found = [msgspec.structs.replace(seen, peers=len(losses)) for seen in found]
    sequences = sum(record.sequences)
    parts = zip(layers, record.layer_norms, strict=False)
    for name, value, signal in (
        *((f"grad norm:{name}", log(norm), LAYER_NORM) for name, norm in parts),
        ("grad norm", log(record.grad_norm), GRAD_NORM),
        ("update", _log_ratio(record.update, record.lr_planned), UPDATE),
        ("attention logit", log_attention(record.attention_logit), ATTENTION_LOGIT),
        ("logsumexp", record.logsumexp, LOGSUMEXP),
        ("loss scale", _log2(record.loss_scale), LOSS_SCALE),
        ("tokens/s", _log_ratio(sum(record.tokens), record.seconds), SPEED),
    ):
        # A skipped update changes no weight: its size says nothing.
        if value is not None and not (name == "update" and not record.committed):
            found.append(Observation(name=name, value=value, count=sequences, signal=signal))
    return tuple(observation for observation in found if observation.count > 0)


def lr_ratio(record: StepRecord) -> float | None:
    """Learning rate used over learning rate planned; 1 unless something interfered."""
    if not record.lr_planned or record.lr is None:
        return None
    return record.lr / record.lr_planned


def _loss(
    name: str, record: StepRecord, members: Sequence[int], domains: tuple[str, ...]
) -> Observation:
    tokens = sum(record.tokens[index] for index in members)
    nll = sum(record.nll[index] for index in members)
    count = sum(record.sequences[index] for index in members)
    present = [index for index in members if record.tokens[index]]
    return Observation(
        name=name,
        value=nll / tokens if tokens else 0.0,
        count=count if tokens else 0,
        signal=LOSS,
        parts=tuple((f"loss:{domains[index]}", record.tokens[index] / tokens) for index in present)
        if len(present) > 1
        else (),
    )


def log(value: float | None) -> float | None:
    """Natural logarithm; NaN stays NaN, a negative value is one, and 0 is a gap."""
    if value is None:
        return None
    if math.isnan(value) or value < 0:
        return math.nan
    return math.log(value) if value > 0 else None


def log_attention(value: float | None) -> float | None:
    """Natural logarithm of an attention logit, as if it were `HARMLESS_LOGIT` at least."""
    return log(value if value is None or math.isnan(value) else max(value, HARMLESS_LOGIT))


def _log2(value: float | None) -> float | None:
    natural = log(value)
    return None if natural is None else natural / math.log(2)


def _log_ratio(value: float | None, base: float | None) -> float | None:
    if value is None or not base:
        return None
    return log(value / base)
