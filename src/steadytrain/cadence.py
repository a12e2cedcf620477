"""How often to save a checkpoint: what each costs against what a failure would undo."""

import math
from dataclasses import dataclass

from steadytrain.goodput import Account
from steadytrain.stats.rare import count_interval

WORTHWHILE = 0.001
"""A share of the time below which another interval is not worth a word. Source: guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cadence:
    """The interval between checkpoints that loses least, with the 95 % interval of its error.

    Attributes:
        between_failures, low, high: mean time; `between_failures` None if there was no failure,
            `high` infinite then. [seconds]
        best, best_low, best_high: time between checkpoints; None where it is not known. [seconds]
        present: as it was, None with less than two checkpoints. [seconds]
        cost: how long one holds up the loop. [seconds]
        floor: writing one takes so long, so that the next cannot begin earlier. [seconds]
        lost, lost_best: share of the time that checkpoints and failures cost at the present and at
            the best interval, were the failures as often as they were.
    """

    failures: int
    between_failures: float | None
    low: float
    high: float
    best: float | None
    best_low: float
    best_high: float
    present: float | None
    cost: float
    floor: float
    lost: float | None
    lost_best: float | None

    @property
    def is_worthwhile(self) -> bool:
        """Whether the best interval would save more than 0.1 % of the time."""
        if self.lost is None or self.lost_best is None:
            return False
        return self.lost - self.lost_best > WORTHWHILE


def cadence(account: Account) -> Cadence | None:
    """What an account says of the interval between checkpoints; None without a checkpoint.

    The mean time between failures is running time / failures, its error that of a Poisson count.
    """
    cost, written = account.blocked, account.written
    if cost is None or written is None or account.running <= 0:
        return None
    failures = account.failures
    few, many = count_interval(failures)
    mean = account.running / failures if failures else None
    low, high = account.running / many, account.running / few if few else math.inf
    present = account.running / account.checkpoints if account.checkpoints > 1 else None
    best = max(written, daly(cost, mean)) if mean is not None else None
    return Cadence(
        failures=failures,
        between_failures=mean,
        low=low,
        high=high,
        best=best,
        best_low=max(written, daly(cost, low)),
        best_high=max(written, daly(cost, high)) if math.isfinite(high) else math.inf,
        present=present,
        cost=cost,
        floor=written,
        lost=_lost(present, cost, mean),
        lost_best=_lost(best, cost, mean),
    )


def daly(cost: float, between: float) -> float:
    """Time between checkpoints that loses least. [seconds]

    sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C, and M where C >= 2 M; the first factor is
    Young's.

    Source: Young 1974; Daly 2006, equation 37.

    >>> round(daly(10.0, 86_400.0))
    1308
    """
    if cost >= 2 * between:
        return between
    part = cost / (2 * between)
    return math.sqrt(2 * cost * between) * (1 + math.sqrt(part) / 3 + part / 9) - cost


def _lost(every: float | None, cost: float, between: float | None) -> float | None:
    """Share of the time: each interval pays for a checkpoint, each failure undoes half of one."""
    if every is None or between is None or every <= 0:
        return None
    return min(1.0, cost / (every + cost) + every / (2 * between))
