"""Growing series, and the lowest and highest value of every stretch of them.

A picture of a million points is made of the lowest and the highest of what each column of pixels
covers, so that a one-step spike is never lost: a stride (trackio) or a reservoir (TensorBoard)
drops it. Blocks of 64 rows remember where theirs are, so that a wide picture reads few of them.

Shapes: S series, N rows, K blocks, P columns of a picture.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

BLOCK = 64
"""Rows whose extremes are remembered. Source: 1.7 ms for a million points without; see bench."""

FIRST_ROOM = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Extremes:
    """What each stretch of rows reaches.

    Attributes:
        starts: first row of each stretch, shape (P,); `stride`: rows of a stretch.
        lowest, highest: of shape (S, P); NaN where a stretch has no finite value.
        is_low_first: whether the lowest comes before the highest.
    """

    starts: NDArray[np.int64]
    stride: int
    lowest: Singles
    highest: Singles
    is_low_first: NDArray[np.bool_]


@dataclass(slots=True)
class Pyramid:
    """S series of float32 that grow together, and can be cut at the end.

    Values that are absent are NaN; what is infinite is kept, and left out of the extremes.

    >>> one = Pyramid(1)
    >>> one.append(np.arange(300.0)[None])
    >>> one.extremes(0, 300, stride=100).highest.tolist()
    [[99.0, 199.0, 299.0]]
    """

    num_series: int
    rows: int = 0
    _values: Singles = field(init=False)
    _lowest: NDArray[np.int32] = field(init=False)
    _highest: NDArray[np.int32] = field(init=False)
    _means: Singles = field(init=False)
    _blocks: int = 0

    def __post_init__(self) -> None:
        self._values = np.empty((self.num_series, FIRST_ROOM), dtype=np.float32)
        self._make_blocks(FIRST_ROOM // BLOCK)

    def append(self, values_SN: Floats) -> None:
        """Rows at the end."""
        fresh = values_SN.shape[1]
        end = self.rows + fresh
        self._values = grown(self._values, end)
        with np.errstate(over="ignore"):
            self._values[:, self.rows : end] = values_SN
        self.rows = end
        self._fill_blocks()

    def cut(self, rows: int) -> None:
        """Keep the first rows alone."""
        self.rows = min(self.rows, rows)
        self._blocks = min(self._blocks, self.rows // BLOCK)

    def values(self, first: int = 0, end: int | None = None) -> Singles:
        """Of shape (S, rows), not copied: written over when a branch is cut and grows again."""
        return self._values[:, first : self.rows if end is None else min(end, self.rows)]

    def extremes(
        self, first: int, end: int, *, stride: int, series: list[int] | None = None
    ) -> "Extremes":
        """Lowest and highest of each `stride` rows of [first, end), or of some more at its ends."""
        picked = np.arange(self.num_series) if series is None else np.array(series, dtype=np.int64)
        if stride < 2 * BLOCK:
            return _of_rows(self._values[picked, first:end], first, stride)
        begin = first // BLOCK
        lows, highs = self._block_places(picked, begin, -(-end // BLOCK))
        return self._of_blocks(picked, lows, highs, begin, stride // BLOCK)

    def block_means(self, first: int, end: int, *, series: NDArray[np.int64]) -> Singles:
        """Mean of each block of rows, from the block of `first` on; NaN where nothing is finite."""
        begin, stop = first // BLOCK, -(-end // BLOCK)
        whole = self._means[series, begin : min(stop, self._blocks)]
        if stop <= self._blocks:
            return whole
        rest = self._values[series, max(begin, self._blocks) * BLOCK : min(self.rows, end)]
        return np.concatenate([whole, _mean(rest)[:, None]], axis=1) if rest.size else whole

    def _block_places(
        self, series: NDArray[np.int64], begin: int, stop: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        lows = self._lowest[series, begin : min(stop, self._blocks)]
        highs = self._highest[series, begin : min(stop, self._blocks)]
        if stop <= self._blocks:
            return lows, highs
        start = max(begin, self._blocks) * BLOCK
        rest = self._values[series, start : self.rows]
        if not rest.shape[1]:
            return lows, highs
        low, high = _places(rest[:, None, :], np.array([start]))
        return np.concatenate([lows, low], axis=1), np.concatenate([highs, high], axis=1)

    def _of_blocks(
        self,
        series: NDArray[np.int64],
        lows_SK: NDArray[np.int32],
        highs_SK: NDArray[np.int32],
        begin: int,
        width: int,
    ) -> Extremes:
        num, blocks = lows_SK.shape
        columns = -(-blocks // width)

        def best(places: NDArray[np.int32], sign: float) -> NDArray[np.int64]:
            padded = np.full((num, columns * width), -1, dtype=np.int64)
            padded[:, :blocks] = places
            values = _taken(self._values, series, padded)
            reached = np.where(np.isfinite(values), sign * values, -np.inf)
            at = reached.reshape(num, columns, width).argmax(2)
            found: NDArray[np.int64] = np.take_along_axis(
                padded, at + np.arange(columns) * width, axis=1
            )
            return found

        low, high = best(lows_SK, -1.0), best(highs_SK, 1.0)
        return Extremes(
            starts=(begin + np.arange(columns) * width) * BLOCK,
            stride=width * BLOCK,
            lowest=_taken(self._values, series, low),
            highest=_taken(self._values, series, high),
            is_low_first=low <= high,
        )

    def _make_blocks(self, room: int) -> None:
        self._lowest = np.empty((self.num_series, room), dtype=np.int32)
        self._highest = np.empty((self.num_series, room), dtype=np.int32)
        self._means = np.empty((self.num_series, room), dtype=np.float32)

    def _fill_blocks(self) -> None:
        stop = self.rows // BLOCK
        if stop <= self._blocks:
            return
        self._lowest = grown(self._lowest, stop)
        self._highest = grown(self._highest, stop)
        self._means = grown(self._means, stop)
        begin = self._blocks
        part = self._values[:, begin * BLOCK : stop * BLOCK]
        part = part.reshape(self.num_series, stop - begin, BLOCK)
        starts = np.arange(begin, stop) * BLOCK
        self._lowest[:, begin:stop], self._highest[:, begin:stop] = _places(part, starts)
        self._means[:, begin:stop] = _mean(part)
        self._blocks = stop


def grown(array: NDArray[Any], end: int) -> NDArray[Any]:
    """The same array, or one with twice the room along its last axis, or more."""
    room = array.shape[-1]
    if end <= room:
        return array
    larger = np.empty((*array.shape[:-1], max(2 * room, end)), dtype=array.dtype)
    larger[..., :room] = array
    return larger


def smooth(values_SN: NDArray[Any], span: float) -> Floats:
    """Exponential moving average; absent and non-finite values are passed over.

    y_t = sum over i of (1 - a)^i x_(t-i) / sum over i of (1 - a)^i, with a = 2 / (span + 1): both
    sums run over what is there, so that the beginning is not drawn towards zero.

    Source: the span of pandas' ewm(adjust=True), which gives the same numbers.
    """
    keep = 1.0 - 2.0 / (span + 1.0)
    known = np.isfinite(values_SN)
    above = _decaying_sums(np.where(known, values_SN, 0.0), keep)
    below = _decaying_sums(known.astype(np.float64), keep)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 1e-12, above / below, np.nan)


def _decaying_sums(values_SN: NDArray[Any], keep: float) -> Floats:
    """y_t = x_t + keep * y_(t-1), some stretch at a time: 16 decays lose no digit of a double."""
    series, rows = values_SN.shape
    found = np.empty((series, rows))
    if keep <= 0:
        found[:] = values_SN
        return found
    length = max(1, min(rows, int(16.0 / -np.log(keep))))
    powers = keep ** np.arange(1, length + 1)
    carried = np.zeros(series)
    for first in range(0, rows, length):
        part = values_SN[:, first : first + length]
        scale = powers[: part.shape[1]]
        sums = np.cumsum(part / scale, axis=1) * scale + carried[:, None] * scale
        found[:, first : first + length] = sums
        carried = sums[:, -1]
    return found


def _of_rows(part_SN: Singles, first: int, stride: int) -> Extremes:
    series, rows = part_SN.shape
    columns = -(-rows // stride)
    starts = first + np.arange(columns) * stride
    if stride == 1:
        shown = np.where(np.isfinite(part_SN), part_SN, np.float32(np.nan))
        is_first = np.ones(part_SN.shape, dtype=bool)
        return Extremes(starts=starts, stride=1, lowest=shown, highest=shown, is_low_first=is_first)
    padded = np.full((series, columns * stride), np.nan, dtype=np.float32)
    padded[:, :rows] = part_SN
    places = np.arange(columns) * stride
    low, high = _places(padded.reshape(series, columns, stride), places)
    return Extremes(
        starts=starts,
        stride=stride,
        lowest=_taken(padded, np.arange(series), low),
        highest=_taken(padded, np.arange(series), high),
        is_low_first=low <= high,
    )


def _taken(values: Singles, series: NDArray[np.int64], places: NDArray[Any]) -> Singles:
    """Values at places; NaN for place -1."""
    return np.where(places >= 0, values[series[:, None], places], np.float32(np.nan))


def _places(
    part_SKB: Singles, starts_K: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row of the lowest and highest finite value of each block; -1 where none is finite."""
    finite = np.isfinite(part_SKB)
    has_any = finite.any(2)
    low = np.where(finite, part_SKB, np.inf).argmin(2) + starts_K
    high = np.where(finite, part_SKB, -np.inf).argmax(2) + starts_K
    return (
        np.where(has_any, low, -1).astype(np.int32),
        np.where(has_any, high, -1).astype(np.int32),
    )


def _mean(part: Singles) -> Singles:
    finite = np.isfinite(part)
    count = finite.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        total = np.where(finite, part, 0.0).sum(-1, dtype=np.float64)
        return np.where(count > 0, total / count, np.nan).astype(np.float32)
