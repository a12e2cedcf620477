"""A reading from the device -> the StepRecord that the journal keeps."""

import math
from dataclasses import dataclass

import numpy as np

from steadytrain.events import StepRecord
from steadytrain.train.recorder import Flight
from steadytrain.train.tap import Reading

WORST = 2
"""Highest and lowest sequences named in each record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """What the host knew when an update was made; its numbers arrive a step later.

    Attributes:
        draw, draw_end: span of draws over all ranks.
        draws, domains, digests, defects: of this rank's sequences; no defects if nobody read.
        knows_panel: whether text of the panel was looked for.
        lr, lr_planned: of the first parameter group.
        seconds: wall time since the update before.
    """

    attempt: int
    step: int
    draw: int
    draw_end: int
    draws: tuple[int, ...]
    domains: tuple[int, ...]
    digests: tuple[int, ...]
    defects: tuple[str | None, ...]
    lr: float
    lr_planned: float
    z_loss: float
    seconds: float
    knows_panel: bool = False


def flight(passed: Pass, reading: Reading) -> Flight:
    """The entry of the flight recorder."""
    return Flight(
        step=passed.step,
        draws=np.array(passed.draws),
        domains=np.array(passed.domains),
        losses=reading.losses,
        digests=np.array(passed.digests, dtype=np.uint32),
        defects=passed.defects,
        lr=passed.lr,
        grad_norm=reading.grad_norm,
        committed=reading.committed,
    )


def record(passed: Pass, reading: Reading) -> StepRecord:
    """The fact of one update over all ranks."""
    nll_K, tokens_K, bytes_K, sequences_K, squares_K = reading.sums.T
    tokens = max(1.0, float(tokens_K.sum()))
    return StepRecord(
        attempt=passed.attempt,
        step=passed.step,
        draw=passed.draw,
        draw_end=passed.draw_end,
        committed=reading.committed,
        loss=float(nll_K.sum()) / tokens,
        nll=tuple(nll_K.tolist()),
        tokens=_whole(tokens_K),
        bytes=_whole(bytes_K),
        sequences=_whole(sequences_K),
        squares=tuple(squares_K.tolist()),
        z_loss=passed.z_loss * reading.z_nll / tokens if passed.z_loss else None,
        grad_norm=reading.grad_norm,
        layer_norms=reading.layer_norms,
        corrupt=reading.corrupt if passed.defects else (),
        leaked=reading.leaked if passed.knows_panel else (),
        repeated=reading.repeated,
        logsumexp=math.sqrt(reading.z_nll / tokens) if reading.z_nll > 0 else None,
        attention_logit=reading.attention_logit,
        update=reading.update,
        lr=passed.lr,
        lr_planned=passed.lr_planned,
        loss_limit=_finite(reading.loss_limit),
        grad_limit=_finite(reading.grad_limit),
        worst=_worst(passed, reading.losses),
        seconds=passed.seconds,
    )


def _worst(passed: Pass, losses: np.ndarray) -> tuple[tuple[int, int, float], ...]:
    order = np.argsort(losses, kind="stable")
    chosen = [*order[::-1][:WORST], *order[:WORST]] if len(order) > 2 * WORST else list(order[::-1])
    return tuple((passed.draws[i], passed.domains[i], float(losses[i])) for i in chosen)


def _whole(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
