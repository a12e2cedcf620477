"""Our own journals: `journal/rank0.<n>.jsonl` of a run, read for their steps.

    {"v":1,"seq":7,"at":1795483047.1,"kind":"StepRecord","attempt":1,"step":8,"loss":3.1,...}

Tags: loss, loss/<domain>, tokens/<domain>, grad_norm, update, lr, tokens_per_second. Steps that a
restart or a rollback repeats stand twice, as they were made. See `steadytrain/journal.py`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steadytrain import columns, journal
from steadytrain.columns import Columns
from steadytrain.errors import JournalError, LogError
from steadytrain.events import RunBegan
from steadytrain.readers.runs import LoggedRun, Series

_FIRST_LINE = re.compile(rb'\{"v":\d+,"seq":\d+,"at":[\d.]+,"kind":"')


@dataclass(frozen=True, slots=True)
class RunJournal:
    """One file of a run's journal."""

    format: str = "steadytrain"

    def recognizes(self, path: Path, head: bytes) -> bool:
        return _FIRST_LINE.match(head) is not None

    def read(self, path: Path) -> list[LoggedRun]:
        """The steps in this file; none in a file of a writer that makes no steps.

        Raises:
            LogError: a line in its middle is broken.
        """
        try:
            found = columns.read_files([path], _domains(path))
        except JournalError as error:
            raise LogError(str(error)) from error
        return [
            LoggedRun(
                name=path.parent.parent.name or path.stem,
                format=self.format,
                source=path,
                series=_series(found) if len(found.step) else {},
                order=_piece(path).rjust(8, "0"),
            )
        ]


def _piece(path: Path) -> str:
    """The number in `rank0.<n>.jsonl`."""
    return path.stem.rpartition(".")[2]


def _domains(path: Path) -> tuple[str, ...]:
    """Names of the domains, which only the first file of a run says."""
    first = path.with_name(f"{path.stem.rpartition('.')[0]}.0{path.suffix}")
    if first == path or not first.exists():
        return ()
    with open(first, "rb") as file:
        began = file.readline()
    for event in journal.decode_lines(first, [began]) if began.endswith(b"\n") else []:
        if isinstance(event, RunBegan):
            return event.domains
    return ()


def _series(found: Columns) -> dict[str, Series]:
    names = found.domains if len(found.domains) == found.nll.shape[1] else ()
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = found.nll / found.tokens
        speed = found.tokens.sum(axis=1) / found.seconds
    series = {"loss": Series(steps=found.step, values=found.loss)}
    for at, name in enumerate(names):
        has = found.tokens[:, at] > 0
        series[f"loss/{name}"] = Series(steps=found.step[has], values=losses[has, at])
        series[f"tokens/{name}"] = Series(steps=found.step[has], values=found.tokens[has, at])
    for tag, values in (
        ("grad_norm", found.grad_norm),
        ("update", found.update),
        ("lr", found.lr),
        ("tokens_per_second", speed),
    ):
        known = _known(values)
        if known.any():
            series[tag] = Series(steps=found.step[known], values=values[known])
    return series


def _known(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """A gradient norm that was NaN counts; a column that is NaN throughout was not kept."""
    return np.ones(len(values), dtype=bool) if not np.isnan(values).all() else np.isfinite(values)
