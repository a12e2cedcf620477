"""Series that were logged at steps of their own -> one table of rows, in the order they were made.

A run that went back (a resume, a rollback) makes steps twice; they are rows of their own, so that
what happened before the rollback is not hidden by what came after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steadytrain.readers.runs import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows of a run.

    Attributes:
        steps: int64 of shape (N,); it falls where the run went back.
        columns: name -> float64 of shape (N,), masked where nothing was logged. NaN is a value.
    """

    steps: Ints
    columns: Mapping[str, np.ma.MaskedArray]


def tabulate(series: Mapping[str, Series], leader: str) -> Table:
    """One table of these series.

    Args:
        leader: the series that says where the run went back.

    Values logged several times in a row at one step (by ranks, by micro-batches) are averaged.
    """
    lives = {name: _lives(one.steps) for name, one in series.items()}
    led = series[leader].steps, lives[leader]
    keys = {}
    span = 1 + max((int(one.steps.max(initial=0)) for one in series.values()), default=0)
    for name, one in series.items():
        own = lives[name]
        same = len(own) and len(led[1]) and own[-1] == led[1][-1]
        keys[name] = (own if same else _lives_like(one.steps, *led)) * span + one.steps
    rows = _union(list(keys.values()))
    columns = {name: _column(rows, keys[name], series[name].values) for name in series}
    return Table(steps=rows % span, columns=columns)


def _union(keys: list[Ints]) -> Ints:
    """All of them in order, each once. Most series of a run have the same steps."""
    apart: list[Ints] = []
    for one in keys:
        if not any(np.array_equal(one, other) for other in apart):
            apart.append(one)
    if len(apart) == 1 and bool((np.diff(apart[0]) > 0).all()):
        return apart[0]
    rows = np.sort(np.concatenate(apart))
    return rows[np.concatenate([[True], np.diff(rows) > 0])] if len(rows) else rows


def _lives(steps: Ints) -> Ints:
    """Number of times that the run had gone back before each point."""
    return np.concatenate([[0], np.cumsum(np.diff(steps) < 0)]).astype(np.int64)[: len(steps)]


def _lives_like(steps: Ints, led_steps: Ints, led_lives: Ints) -> Ints:
    """The last life of the leader that made each step; for a series too sparse to show it."""
    found = np.zeros(len(steps), dtype=np.int64)
    for life in range(int(led_lives[-1]) + 1 if len(led_lives) else 0):
        made = led_steps[led_lives == life]
        found[(steps >= made.min()) & (steps <= made.max())] = life
    return found


def _column(rows: Ints, keys: Ints, values: Floats) -> np.ma.MaskedArray:
    if len(keys) == len(rows) and np.array_equal(keys, rows):
        return np.ma.MaskedArray(values, mask=False)
    where = np.searchsorted(rows, keys)
    counts = np.bincount(where, minlength=len(rows))
    sums = np.bincount(where, weights=values, minlength=len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ma.MaskedArray(sums / counts, mask=counts == 0)
