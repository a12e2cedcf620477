"""Journal -> arrays for drawing, and the decimation that never loses a spike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadytrain.events import AttemptBegan, Event, StepRecord

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Step records of a run as arrays, in the order of the journal.

    Attributes:
        steps, kept, committed: step of each record; whether it lies on the branch that survived;
            whether its update landed.
        tokens: of each record, all domains together.
        series: name -> values; NaN where a record has none.
    """

    steps: NDArray[np.int64]
    kept: NDArray[np.bool_]
    committed: NDArray[np.bool_]
    tokens: Floats
    series: dict[str, Floats]


def collect(events: Sequence[Event], domains: Sequence[str]) -> Run:
    """All step records of a journal. What a rollback or restart repeats is marked as not kept."""
    records: list[StepRecord] = []
    kept: list[bool] = []
    place: dict[int, int] = {}
    newest = 0
    for event in events:
        if isinstance(event, AttemptBegan):
            for step in range(event.step + 1, newest + 1):
                if step in place:
                    kept[place.pop(step)] = False
            newest = event.step
        elif isinstance(event, StepRecord):
            place[event.step] = len(records)
            newest = event.step
            records.append(event)
            kept.append(True)
    tokens = np.array([one.tokens for one in records], dtype=np.float64).reshape(-1, len(domains))
    nll = np.array([one.nll for one in records], dtype=np.float64).reshape(-1, len(domains))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = nll / tokens
        speed = tokens.sum(1) / _column(records, "seconds")
    series = {"loss": _column(records, "loss")}
    series |= {f"loss:{name}": means[:, index] for index, name in enumerate(domains)}
    for name in ("grad_norm", "update", "lr", "lr_planned"):
        series[name] = _column(records, name)
    series["tokens/s"] = speed
    return Run(
        steps=np.array([one.step for one in records], dtype=np.int64),
        kept=np.array(kept, dtype=bool),
        committed=np.array([one.committed for one in records], dtype=bool),
        tokens=tokens.sum(1),
        series=series,
    )


def decimate(x: Floats, y: Floats, *, buckets: int) -> tuple[Floats, Floats]:
    """At most 2 points a bucket, its lowest and highest, in order: a one-step spike survives.

    A stride (trackio) or a reservoir (TensorBoard) drops a one-step spike in 250,000 steps.
    """
    if len(x) <= 2 * buckets:
        return x, y
    edges = np.linspace(0, len(x), buckets + 1).astype(np.int64)
    picked = []
    for first, end in zip(edges, edges[1:], strict=False):
        part = y[first:end]
        finite = np.isfinite(part)
        if finite.any():
            low = first + int(np.argmin(np.where(finite, part, np.inf)))
            high = first + int(np.argmax(np.where(finite, part, -np.inf)))
            picked += sorted({low, high})
    index = np.array(picked, dtype=np.int64)
    return x[index], y[index]


def _column(records: Sequence[StepRecord], name: str) -> Floats:
    values = (getattr(one, name) for one in records)
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
