"""A window of a run as arrays that a browser can draw: decimated, smoothed, packed.

A picture has two columns of values for each stretch of steps, its lowest and its highest in the
order in which they came. All series of a picture share their x, so nothing is lost and nothing has
to be joined in the browser.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from steadytrain.board.pyramid import BLOCK, Floats, Singles, smooth
from steadytrain.board.track import PLAIN, Branch, Track

Axis = Literal["step", "tokens", "time"]
AXES: tuple[Axis, ...] = get_args(Axis)
_NUMBER: dict[Axis, str] = {"step": "step", "tokens": "tokens", "time": "at"}

MOST_COLUMNS = 4_000
SMOOTHED_ROWS = 1 << 15
"""More rows than this are smoothed by their blocks' means, which a picture cannot tell apart."""

WARM_UP = 5
"""Spans before the window that a smoothed value still hears: e^-10 of it."""

MOST_MARKS = 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What is asked for.

    Attributes:
        first, last: on the axis, inclusive; None for all there is.
        columns: pixels across.
        span: of the smoothing, in steps; 0 for none.
    """

    axis: Axis = "step"
    first: float | None = None
    last: float | None = None
    columns: int = 800
    span: float = 0.0


def picture(track: Track, series: Sequence[str], window: Window) -> bytes:
    """The packed arrays of these series; the caller holds the run's lock.

    Layout: length of the header (uint32, little endian), header (JSON, padded to 8 bytes), then the
    arrays that it lists, each padded to 8 bytes.

    Raises:
        KeyError: a series that this run has not.
    """
    picked = [_place(track, name) for name in series]
    x = track.number(_NUMBER[window.axis])
    begin, end = _rows(x, window)
    arrays: list[NDArray[Any]] = []
    stride = max(1, (end - begin) // max(1, window.columns))
    if stride >= 2 * BLOCK:
        stride = stride // BLOCK * BLOCK
    found = track.pyramid.extremes(begin, end, stride=stride, series=picked)
    starts = np.clip(found.starts, 0, max(0, track.rows - 1))
    stretch = found.stride
    if stretch == 1:
        arrays += [x[starts].astype("<f8"), found.lowest.astype("<f4")]
    else:
        middles = np.minimum(starts + stretch // 2, max(0, track.rows - 1))
        both_x = np.stack([x[starts], x[middles]], axis=1).ravel()
        before = np.where(found.is_low_first, found.lowest, found.highest)
        after = np.where(found.is_low_first, found.highest, found.lowest)
        both = np.stack([before, after], axis=2).reshape(len(picked), -1)
        arrays += [both_x.astype("<f8"), both.astype("<f4")]
    if window.span > 1 and end > begin:
        smoothed = _smoothed(track, picked, begin, end, window.span, starts, stretch)
        if stretch > 1:
            smoothed = np.repeat(smoothed, 2, axis=1)
        arrays.append(smoothed.astype("<f4"))
    marks = _marks(track, picked, x, begin, end)
    branches = [one for one in track.branches if _overlaps(_along(one, window.axis), window)]
    shown = branches[-MOST_BRANCHES:]
    for branch in shown:
        arrays += _branch_arrays(branch, picked, window)
    header = {
        "series": list(series),
        "stride": stretch,
        "rows": end - begin,
        "extent": [float(x[0]), float(x[-1])] if track.rows else None,
        "smooth": window.span > 1 and end > begin,
        "branches": [{"attempt": one.attempt, "until": one.until} for one in shown],
        **marks,
    }
    return packed(header, arrays)


MOST_BRANCHES = 60


def heat(track: Track, window: Window) -> bytes:
    """How far each domain's loss was from its usual, the farthest of each stretch, in sigmas."""
    strange = track.strangeness()
    x = track.number(_NUMBER[window.axis])
    begin, end = _rows(x, window)
    if end <= begin:
        return packed({"rows": ["loss", *track.domains], "stride": 1}, [])
    stride = max(1, -(-(end - begin) // max(1, window.columns)))
    if stride >= 2 * BLOCK:
        stride = -(-stride // BLOCK) * BLOCK
    found = strange.extremes(begin, end, stride=stride)
    farthest = np.where(-found.lowest > found.highest, found.lowest, found.highest)
    places = np.clip(np.append(found.starts, found.starts[-1] + found.stride), 0, track.rows - 1)
    edges = x[places].astype("<f8")
    for branch in track.branches[-MOST_BRANCHES:]:
        _add_farthest(farthest, edges, _along(branch, window.axis), branch.strange)
    header = {"rows": ["loss", *track.domains], "stride": found.stride}
    return packed(header, [edges, farthest.astype("<f4")])


def _add_farthest(cells_SP: Singles, edges: Floats, x: Floats, values_SM: Singles) -> None:
    """Let a branch that was given up be seen where it went: what was bad is seldom kept."""
    cell = np.searchsorted(edges, x, side="right") - 1
    for at in np.unique(cell[(cell >= 0) & (cell < cells_SP.shape[1])]):
        part = values_SM[:, cell == at]
        far = np.take_along_axis(part, np.abs(part).argmax(1)[:, None], axis=1)[:, 0]
        cells_SP[:, at] = np.where(np.abs(far) > np.abs(cells_SP[:, at]), far, cells_SP[:, at])


def shares(track: Track, window: Window) -> bytes:
    """Share of each domain in the tokens of each stretch of steps."""
    x = track.number(_NUMBER[window.axis])
    begin, end = _rows(x, window)
    header = {"rows": list(track.domains)}
    if end <= begin:
        return packed(header, [])
    stride = max(1, -(-(end - begin) // max(1, window.columns)))
    edges = np.append(np.arange(begin, end, stride), end)
    sums = np.concatenate([np.zeros((len(track.domains), 1)), track.tokens_by_domain], axis=1)
    spent = np.diff(sums[:, edges], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(spent.sum(0) > 0, spent / spent.sum(0), 0.0)
    return packed(header, [x[edges[:-1]].astype("<f8"), part.astype("<f4")])


def packed(header: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> bytes:
    """Header and arrays in one body."""
    header = header | {"arrays": [[one.dtype.str, list(one.shape)] for one in arrays]}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(4 + len(text)) % 8)
    parts = [struct.pack("<I", len(text)), text]
    for one in arrays:
        body = np.ascontiguousarray(one).tobytes()
        parts += [body, b"\0" * (-len(body) % 8)]
    return b"".join(parts)


def _place(track: Track, name: str) -> int:
    try:
        return track.names.index(name)
    except ValueError as error:
        raise KeyError(name) from error


def _rows(x: Floats, window: Window) -> tuple[int, int]:
    """Rows of a window, and one more at each side, so that a line enters and leaves it."""
    if not x.size:
        return 0, 0
    begin = 0 if window.first is None else int(np.searchsorted(x, window.first, side="left")) - 1
    end = len(x) if window.last is None else int(np.searchsorted(x, window.last, side="right")) + 1
    return max(0, begin), max(0, min(len(x), end))


def _smoothed(
    track: Track, picked: list[int], begin: int, end: int, span: float,
    starts: NDArray[np.int64], stride: int,
) -> Floats:  # fmt: skip
    ends = np.minimum(starts + stride, track.rows) - 1
    first = max(0, begin - int(WARM_UP * span))
    if end - first <= SMOOTHED_ROWS:
        known = track.pyramid.values(first, end)[picked]
        return smooth(known, span)[:, np.minimum(ends, end - 1) - first]
    means = track.pyramid.block_means(first, end, series=np.array(picked, dtype=np.int64))
    keep = (1.0 - 2.0 / (span + 1.0)) ** BLOCK
    wide = max(1.0, (1.0 + keep) / max(1e-12, 1.0 - keep))
    at = np.clip(ends // BLOCK - first // BLOCK, 0, means.shape[1] - 1)
    return smooth(means, wide)[:, at]


def _marks(
    track: Track, picked: list[int], x: Floats, begin: int, end: int
) -> dict[str, list[Any]]:
    """Where values are not finite, by series; where updates were held back."""
    odd: list[list[float]] = [[] for _ in picked]
    where = {place: at for at, place in enumerate(picked)}
    for row, place in track.odd:
        if begin <= row < end and place in where and len(odd[where[place]]) < MOST_MARKS:
            odd[where[place]].append(float(x[row]))
    held = np.flatnonzero(track.number("committed")[begin:end] == 0)[:MOST_MARKS] + begin
    return {"odd": odd, "held": x[held].tolist()}


def _along(branch: Branch, axis: Axis) -> Floats:
    found: dict[Axis, Any] = {"step": branch.step, "tokens": branch.tokens, "time": branch.at}
    return np.asarray(found[axis], dtype=np.float64)


def _overlaps(x: Floats, window: Window) -> bool:
    after = window.first is None or x[-1] >= window.first
    return bool(after and (window.last is None or x[0] <= window.last))


def _branch_arrays(branch: Branch, picked: list[int], window: Window) -> list[NDArray[Any]]:
    """A given up branch, at most as fine as the picture; lowest and highest of each stretch."""
    x = _along(branch, window.axis)
    stride = max(1, -(-len(x) // max(1, window.columns // 4)))
    values = branch.values[picked]
    if stride > 1:
        columns = len(x) // stride
        cut = values[:, : columns * stride].reshape(len(picked), columns, stride)
        with np.errstate(invalid="ignore"):
            low, high = np.fmin.reduce(cut, axis=2), np.fmax.reduce(cut, axis=2)
        x = np.repeat(x[: columns * stride : stride], 2)
        values = np.stack([low, high], axis=2).reshape(len(picked), -1)
    return [x.astype("<f8"), values.astype("<f4")]


def all_series(track: Track) -> tuple[str, ...]:
    return (*PLAIN, *(f"loss:{name}" for name in track.domains))
