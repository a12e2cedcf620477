"""Every update of a run on record, in 41 bytes each: a long run has millions of them."""

import math
from array import array
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """What is on record of one update.

    Attributes:
        draw, draw_end: span of its draws.
        lr, lr_planned: what the optimizer used, and what the schedule and remedies asked for; None
            where they were not told.
    """

    draw: int
    draw_end: int
    committed: bool
    loss: float
    lr: float | None
    lr_planned: float | None


_LACKS, _HELD, _LANDED = 0, 1, 2


class Updates:
    """Step -> `Made`, as arrays from the first step on.

    >>> updates = Updates()
    >>> one = Made(draw=0, draw_end=8, committed=True, loss=2.5, lr=1e-3, lr_planned=None)
    >>> updates[7] = one
    >>> updates.get(7) == one, updates.get(6), updates.landed(6, 7), updates.landed(5, 7)
    (True, None, 1, None)
    """

    def __init__(self) -> None:
        self._first = 0
        self._kinds = array("B")
        self._draws = array("q")
        self._ends = array("q")
        self._losses = array("d")
        self._rates = array("d")
        self._planned = array("d")

    def __setitem__(self, step: int, made: Made) -> None:
        """What is known of an update, instead of what was known before."""
        if not self._kinds:
            self._first = step
        at = step - self._first
        if at < 0:
            self._make_room(before=-at)
            at = 0
        self._make_room(after=at + 1 - len(self._kinds))
        self._kinds[at] = _LANDED if made.committed else _HELD
        self._draws[at], self._ends[at] = made.draw, made.draw_end
        self._losses[at] = made.loss
        self._rates[at], self._planned[at] = _told(made.lr), _told(made.lr_planned)

    def get(self, step: int) -> Made | None:
        at = step - self._first
        if not 0 <= at < len(self._kinds) or self._kinds[at] == _LACKS:
            return None
        return Made(
            draw=self._draws[at],
            draw_end=self._ends[at],
            committed=self._kinds[at] == _LANDED,
            loss=self._losses[at],
            lr=_known(self._rates[at]),
            lr_planned=_known(self._planned[at]),
        )

    def landed(self, after: int, until: int) -> int | None:
        """How many updates of after + 1 to `until` were committed; None if one is not on record."""
        begin, end = after + 1 - self._first, until + 1 - self._first
        if end <= begin:
            return 0
        if begin < 0 or end > len(self._kinds):
            return None
        kinds = self._kinds[begin:end]
        return None if _LACKS in kinds else kinds.count(_LANDED)

    def cut(self, after: int) -> None:
        """Forget the updates after this one."""
        kept = max(0, after + 1 - self._first)
        for column in self._columns():
            del column[kept:]

    def _make_room(self, *, before: int = 0, after: int = 0) -> None:
        for column in self._columns():
            column[:0] = array(column.typecode, bytes(column.itemsize * max(0, before)))
            column.frombytes(bytes(column.itemsize * max(0, after)))
        self._first -= max(0, before)

    def _columns(self) -> tuple[array, ...]:  # type: ignore[type-arg]
        return (
            self._kinds, self._draws, self._ends, self._losses, self._rates, self._planned,
        )  # fmt: skip


def _told(rate: float | None) -> float:
    return math.nan if rate is None else rate


def _known(rate: float) -> float | None:
    return None if math.isnan(rate) else rate
