"""What every reader gives: the scalars of one run, by tag, exactly as they were logged.

Readers do not judge, smooth, sort or repair. A step that repeats (a resume, a rollback) is kept;
a loss that the tool leaves out when it is NaN comes back as NaN; what could not be read is said in
`remarks`, and everything before and after it is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One scalar of a run, in the order in which it was logged.

    Attributes:
        steps: int64 of shape (N,). They may repeat or fall.
        values: float64 of shape (N,); NaN and infinity are values like any other.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedRun:
    """The scalars of one run.

    Attributes:
        name: what tells this run from the others found with it: its folder, or what the tool calls
            it. Pieces with the same name and format are one run, joined in the order of `order`.
        format: the tool that wrote it ("TensorBoard").
        source: the file it was read from.
        series: tag -> what was logged under it, tags as the tool spells them.
        remarks: what a reader of the result must know: where a file was cut off, how many cells
            were no numbers.
        order: sorts pieces of one run; a file name or a time will do.
    """

    name: str
    format: str
    source: Path
    series: Mapping[str, Series]
    remarks: tuple[str, ...] = ()
    order: str = field(default="")


class Reader(Protocol):
    """A format. One frozen object without settings; listed in `readers/discovery.py`, tested by
    `tests/readers/test_contract.py`."""

    @property
    def format(self) -> str: ...

    def recognizes(self, path: Path, head: bytes) -> bool:
        """Whether this file is of this format, judged by its first 64 KiB, not by its name.

        Where content cannot tell (a file of bare numbers), the name and the folder may help.
        """
        ...

    def read(self, path: Path) -> list[LoggedRun]:
        """The runs in this file.

        Raises:
            LogError: nothing in the file can be used; the message says what was expected.
        """
        ...


def series_of(points: list[tuple[int, float]]) -> Series:
    """A series from (step, value) pairs."""
    return Series(
        steps=np.array([step for step, _ in points], dtype=np.int64),
        values=np.array([value for _, value in points], dtype=np.float64),
    )
