"""The steps of a journal as arrays: for pictures and analysis of long runs.

A million steps as Python objects take seconds to make and gigabytes to hold. Here each line is read
for a few numbers only, some thousand lines at a time.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from steadytrain import events, journal
from steadytrain.events import RunBegan

Floats = NDArray[np.float64]
_STEP = b'"kind":"StepRecord"'
_BEGAN = b'"kind":"RunBegan"'
_ENVELOPE = 120
"""The kind stands within so many bytes of a line's beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """The steps of a run in the order of the journal: they repeat after a restart or a rollback.

    Attributes:
        domains: names, D of them.
        step: int64 of shape (N,).
        loss, grad_norm, update, lr, seconds: float64 of shape (N,); NaN where it was NaN, or is
            absent.
        nll, tokens: float64 of shape (N, D): sums per domain.
    """

    domains: tuple[str, ...]
    step: NDArray[np.int64]
    loss: Floats
    grad_norm: Floats
    update: Floats
    lr: Floats
    seconds: Floats
    nll: Floats
    tokens: Floats


class _Step(msgspec.Struct, gc=False):
    """What is read of a StepRecord."""

    step: int
    loss: float
    nll: tuple[float, ...]
    tokens: tuple[int, ...]
    grad_norm: float | None = None
    update: float | None = None
    lr: float | None = None
    seconds: float | None = None


_steps = msgspec.json.Decoder(_Step)


def read(home: Path, writer: str = "rank0") -> Columns:
    """The steps that a writer left.

    Raises:
        JournalError: a line that is not the last of its file cannot be read.
    """
    return read_files(journal.files(home, writer))


def read_files(paths: Iterable[Path], domains: tuple[str, ...] = ()) -> Columns:
    """The steps in these files of one writer, in their order.

    Args:
        domains: their names, until a line of the files says them.
    """
    blocks: list[list[Floats]] = []
    for path in paths:
        for lines in journal.whole_lines(path):
            began = [line for line in lines if _BEGAN in line[:_ENVELOPE]]
            for event in journal.decode_lines(path, began):
                domains = domains or (event.domains if isinstance(event, RunBegan) else ())
            rows = _decode(path, [line for line in lines if _STEP in line[:_ENVELOPE]])
            blocks.append(_arrays(rows, len(domains)))
    whole = [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
    if not whole:
        whole = _arrays([], 0)
    return Columns(
        domains=domains, step=whole[0].astype(np.int64), loss=whole[1], grad_norm=whole[2],
        update=whole[3], lr=whole[4], seconds=whole[5], nll=whole[6], tokens=whole[7],
    )  # fmt: skip


def _decode(path: Path, lines: list[bytes]) -> list[Any]:
    """A `_Step` of each line; a whole StepRecord, with the same names, where a number is odd."""
    mark, decode = events.NONFINITE_MARK, _steps.decode
    odd = {at for at, line in enumerate(lines) if mark in line}
    try:
        if not odd:
            return list(map(decode, lines))
        return [events.decode(raw) if at in odd else decode(raw) for at, raw in enumerate(lines)]
    except (msgspec.DecodeError, ValueError):
        # It says which line of the file is to blame.
        journal.decode_lines(path, lines)
        raise


def _arrays(rows: list[Any], width: int) -> list[Floats]:
    count = len(rows)
    return [
        np.fromiter((row.step for row in rows), np.float64, count),
        np.fromiter((row.loss for row in rows), np.float64, count),
        _optional([row.grad_norm for row in rows]),
        _optional([row.update for row in rows]),
        _optional([row.lr for row in rows]),
        _optional([row.seconds for row in rows]),
        _table([row.nll for row in rows], width),
        _table([row.tokens for row in rows], width),
    ]


def _optional(values: list[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _table(rows: list[tuple[float, ...]], width: int) -> Floats:
    if any(len(row) != width for row in rows):
        rows = [(*row, *[0.0] * width)[:width] for row in rows]
    flat = chain.from_iterable(rows)
    return np.fromiter(flat, np.float64, len(rows) * width).reshape(len(rows), width)
