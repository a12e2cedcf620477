"""The steps of a run as arrays: the branch that survived, and those that were given up.

Rows lie in the order of the steps. When a restart or a rollback returns to an earlier step, the
rows behind it leave the track and become a branch of their own, drawn faintly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from steadytrain.board.pyramid import BLOCK, Floats, Pyramid, Singles, grown
from steadytrain.news import Step

PLAIN = ("loss", "grad_norm", "update", "lr", "lr_planned", "tokens/s")
"""Series that are not of a domain; those of the domains follow, `loss:zh`."""

BASELINE = 2 * BLOCK
"""Steps that say what is usual for the next. Source: the window of OLMo-core's skip of spikes."""

LEAST = BLOCK // 2
"""Values without which nothing is usual. Source: as `Band`, half a window."""

MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """Steps that were given up, by the start of attempt `until` (or still the last)."""

    attempt: int
    until: int
    step: NDArray[np.int64]
    at: Floats
    tokens: Floats
    values: Singles
    strange: Singles


@dataclass(slots=True)
class Track:
    """Rows of the surviving branch.

    Attributes:
        domains: D names; series are PLAIN and one loss for each of them.
        odd: (row, series) of each value that is there and not finite, ordered by row.
        branches: the given up ones, oldest first.
    """

    domains: tuple[str, ...] = ()
    rows: int = 0
    odd: list[tuple[int, int]] = field(default_factory=list)
    branches: list[Branch] = field(default_factory=list)
    _pyramid: Pyramid = field(init=False)
    _strange: Pyramid = field(init=False)
    _numbers: Floats = field(init=False)
    _sums: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._make()

    def _make(self) -> None:
        self._pyramid = Pyramid(len(self.names))
        self._strange = Pyramid(1 + len(self.domains))
        self._numbers = np.empty((len(_NUMBERS), 1024))
        self._sums = np.empty((len(self.domains), 1024))

    @property
    def names(self) -> tuple[str, ...]:
        return (*PLAIN, *(f"loss:{name}" for name in self.domains))

    def number(self, name: str) -> Floats:
        """One of step, at, seconds, committed, corrupt, repeated; or tokens: the sum up to each row
        on this branch."""
        found: Floats = self._numbers[_NUMBERS.index(name), : self.rows]
        return found

    @property
    def tokens_by_domain(self) -> Floats:
        """Tokens up to and with each row on this branch, of shape (D, rows)."""
        return self._sums[:, : self.rows]

    @property
    def pyramid(self) -> Pyramid:
        return self._pyramid

    def rename(self, domains: Sequence[str]) -> None:
        """The domains' names, told before the first step."""
        if not self.rows and tuple(domains) != self.domains:
            self.domains = tuple(domains)
            self._make()

    def add(self, steps: Sequence[Step]) -> None:
        """Rows of one attempt, in their order."""
        if not steps:
            return
        if len(steps[0].nll) > len(self.domains):
            more = range(len(self.domains), len(steps[0].nll))
            self.rename([*self.domains, *(str(at) for at in more)])
        end = self.rows + len(steps)
        self._numbers, self._sums = grown(self._numbers, end), grown(self._sums, end)
        width = len(self.domains)
        tokens_ND = _padded([one.tokens for one in steps], width)
        nll_ND = _padded([one.nll for one in steps], width)
        seconds = _column(steps, "seconds")
        before = self._sums[:, self.rows - 1] if self.rows else np.zeros(width)
        self._sums[:, self.rows : end] = np.cumsum(tokens_ND, axis=0).T + before[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            means_ND = np.where(tokens_ND > 0, nll_ND / tokens_ND, np.nan)
            speed = np.where(seconds > 0, tokens_ND.sum(1) / seconds, np.nan)
        plain_SN = np.stack([_column(steps, name) for name in PLAIN[:-1]])
        self._note_odd(steps, plain_SN, means_ND)
        self._pyramid.append(np.concatenate([plain_SN, speed[None], means_ND.T]))
        corrupt = [sum(one.corrupt) for one in steps]
        told = {
            "step": _column(steps, "step"),
            "at": _column(steps, "at"),
            "tokens": self._sums[:, self.rows : end].sum(0),
            "seconds": seconds,
            "committed": _column(steps, "committed"),
            "corrupt": np.array(corrupt, dtype=np.float64),
            "repeated": _column(steps, "repeated"),
        }
        self._numbers[:, self.rows : end] = np.stack([told[name] for name in _NUMBERS])
        self.rows = end

    def go_back(self, step: int, attempt: int) -> None:
        """Attempt `attempt` begins after `step`: what came later is another branch."""
        keep = int(np.searchsorted(self.number("step"), step, side="right"))
        if keep == self.rows:
            return
        self.branches.append(
            Branch(
                attempt=attempt - 1,
                until=attempt,
                step=self.number("step")[keep:].astype(np.int64),
                at=self.number("at")[keep:].copy(),
                tokens=self.number("tokens")[keep:].copy(),
                values=self._pyramid.values(keep).copy(),
                strange=self._strange_rows(keep, self.rows).astype(np.float32),
            )
        )
        self._pyramid.cut(keep)
        self._strange.cut(keep // BLOCK * BLOCK)
        while self.odd and self.odd[-1][0] >= keep:
            self.odd.pop()
        self.rows = keep

    def strangeness(self) -> Pyramid:
        """How far each loss lies from those of the two blocks before its own, in robust sigmas.

        (value - median) / (1.4826 * MAD); rows of the total first, then one for each domain.
        0 where nothing is known yet.
        """
        if self._strange.rows == self.rows:
            return self._strange
        self._strange.cut(self._strange.rows // BLOCK * BLOCK)  # the last block was not whole
        while self._strange.rows < self.rows:
            first = self._strange.rows
            stop = min(self.rows, first + BLOCK * 256)
            self._strange.append(self._strange_rows(first, stop))
        return self._strange

    def _strange_rows(self, first: int, stop: int) -> Floats:
        """The same of the rows [first, stop); baselines end where a block of `first` begins."""
        picked = [0, *range(len(PLAIN), len(self.names))]
        begin = max(0, first - BASELINE)
        known_SN = self._pyramid.values(begin, stop)[picked].astype(np.float64)
        short = max(0, BASELINE - first)
        room = -(stop - first) % BLOCK
        known_SN = np.pad(known_SN, ((0, 0), (short, room)), constant_values=np.nan)
        return _strange(known_SN, stop - first + room)[:, : stop - first]

    def _note_odd(self, steps: Sequence[Step], plain_SN: Floats, means_ND: Floats) -> None:
        for at, name in enumerate(PLAIN[:-1]):
            for row in np.flatnonzero(~np.isfinite(plain_SN[at])).tolist():
                if getattr(steps[row], name) is not None:
                    self.odd.append((self.rows + row, at))
        rows, places = np.nonzero(~np.isfinite(means_ND))
        self.odd += [
            (self.rows + row, len(PLAIN) + at)
            for row, at in zip(rows.tolist(), places.tolist(), strict=True)
            if at < len(steps[row].tokens) and steps[row].tokens[at] > 0
        ]
        self.odd.sort()


_NUMBERS = ("step", "at", "tokens", "seconds", "committed", "corrupt", "repeated")


def _column(steps: Sequence[Step], name: str) -> Floats:
    pick = attrgetter(name)
    try:
        return np.fromiter(map(pick, steps), np.float64, len(steps))
    except TypeError:  # of a list's None numpy makes NaN, in twice the time
        return np.array([pick(one) for one in steps], dtype=np.float64)


def _padded(rows: list[tuple[float, ...]], width: int) -> Floats:
    if any(len(row) != width for row in rows):
        rows = [(*row, *[0.0] * width)[:width] for row in rows]
    flat = np.fromiter(chain.from_iterable(rows), np.float64, len(rows) * width)
    return flat.reshape(len(rows), width)


def _strange(known_SN: Floats, rows: int) -> Floats:
    """Distances of the last `rows`, whole blocks, from the BASELINE rows before each block."""
    series = known_SN.shape[0]
    starts = BASELINE + np.arange(rows // BLOCK) * BLOCK
    before = known_SN[:, starts[:, None] - BASELINE + np.arange(BASELINE)]
    before = np.where(np.isfinite(before), before, np.nan)
    here = known_SN[:, starts[:, None] + np.arange(BLOCK)]
    # Too few values: the run has just begun, or the domain has no tokens. Nothing is said.
    empty = np.isfinite(before).sum(2, keepdims=True) < LEAST
    before = np.where(empty, 0.0, before)
    middle = _median(before)
    spread = MAD_TO_SIGMA * _median(np.abs(before - middle))
    spread = np.maximum(spread, np.maximum(1e-3 * np.abs(middle), 1e-12))
    with np.errstate(invalid="ignore"):
        far = (here - middle) / spread
    found: Floats = np.where(empty | ~np.isfinite(here), 0.0, far)
    return found.reshape(series, rows)


def _median(values_SKB: Floats) -> Floats:
    """Median of what is finite along the last axis, which is kept; NaN sorts to the end."""
    ordered = np.sort(values_SKB, axis=2)
    count = np.isfinite(ordered).sum(2, keepdims=True)
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0) // 2, axis=2)
    high = np.take_along_axis(ordered, count // 2, axis=2)
    found: Floats = (low + high) / 2
    return found
