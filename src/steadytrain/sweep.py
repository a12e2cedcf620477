"""Whole arrays, signal by signal: calm stretches at once, the rest point by point.

A signal's window knows nothing of other signals, so each one is scored by itself, domains before
the totals that they foretell; what rings is then put together row by row, as `Watch.update` does.
"""

import math
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steadytrain.judge.clocks import Clocks
from steadytrain.judge.detectors import Score, Window
from steadytrain.judge.episodes import (
    REACH,
    Episode,
    find_onset,
    first_odd,
    follow,
    heard_alone,
)
from steadytrain.judge.votes import BACKED, backed, is_witness
from steadytrain.signals import (
    ATTENTION_LOGIT,
    GRAD_NORM,
    HARMLESS_LOGIT,
    LOGSUMEXP,
    LOSS,
    SPEED,
    THIN_LOSS,
    UPDATE,
    Observation,
    Signal,
)
from steadytrain.stats.calm import STRETCH, Stretch
from steadytrain.stats.sums import inner_domains

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Masked = np.ma.MaskedArray

FEWEST, MOST = 4, 1024
"""Stretches of 32 points looked at together: the more were calm, the more are tried next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One signal's points: the rows that have one, and their numbers.

    Attributes:
        counts: None where all are 1; `foretold`: None where nothing is, NaN where not at this row.
        peers: of the first point.
    """

    name: str
    signal: Signal
    rows: Ints
    steps: Ints
    values: Floats
    counts: Floats | None = None
    foretold: Floats | None = None
    peers: int = 1

    def observation(self, at: int) -> Observation:
        told = math.nan if self.foretold is None else float(self.foretold[at])
        return Observation(
            name=self.name, value=float(self.values[at]), signal=self.signal, peers=self.peers,
            count=1.0 if self.counts is None else float(self.counts[at]),
            foretold=None if math.isnan(told) else told,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """One point that was scored by itself."""

    score: Score
    onset: int
    is_calm: bool
    was_open: bool = False


@dataclass(kw_only=True, slots=True)
class Track:
    """What came of a lane.

    Attributes:
        moments: index of a point -> what was found there.
        stretches: index of the first point of each calm stretch, the stretch, the steps before it.
        edge: upper edge of what was expected at each point; NaN while too little was known.
        witnesses: rows at which another signal may lean on this one.
    """

    lane: Lane
    window: Window | None
    moments: dict[int, Moment] = field(default_factory=dict)
    stretches: list[tuple[int, Stretch, tuple[int, ...]]] = field(default_factory=list)
    edge: Floats
    witnesses: Ints

    @property
    def name(self) -> str:
        return self.lane.name

    @property
    def signal(self) -> Signal:
        return self.lane.signal


def sweep(
    detector: Clocks,
    windows: Mapping[str, Window],
    steps: Ints,
    columns: Mapping[str, Masked],
) -> list[Track]:
    """A track for each signal, in the order in which `Watch.update` looks at them.

    Args:
        steps: rising, of shape (N,).
        columns: as `Watch.update_many` takes them.
    """
    losses = {name: one for name, one in columns.items() if name.startswith("loss:")}
    weighed = {
        name: (loss, columns[f"tokens:{name[5:]}"])
        for name, loss in losses.items()
        if f"tokens:{name[5:]}" in columns
    }
    shown: dict[str, tuple[Masked, Masked | None]] = {**weighed}
    shown = shown or {name: (loss, None) for name, loss in losses.items()}
    domains = tuple(name[5:] for name in weighed)
    groups = {
        f"loss:{name}": [f"loss:{domains[at]}" for at in members]
        for name, members in inner_domains(domains).items()
    }
    shares = {name: _Mixture(some, weighed) for name, some in groups.items()}
    if len(weighed) > 1:
        shares["loss"] = _Mixture(list(weighed), weighed)
    peers = _peers(columns, shown, shares)

    def lane(name: str, column: Masked, counts: Floats | None, told: Floats | None) -> Lane:
        rows = np.flatnonzero(~np.ma.getmaskarray(column))
        return Lane(
            name=name, signal=LOSS if counts is not None or name == "loss" else THIN_LOSS,
            rows=rows, steps=steps[rows], values=np.asarray(column)[rows],
            counts=None if counts is None else counts[rows],
            foretold=None if told is None else told[rows],
            peers=int(peers[rows[0]]) if len(rows) else 1,
        )  # fmt: skip

    def follow_lane(one: Lane) -> Track:
        return track(detector, windows.get(one.name), one)

    # Arrays of thousands of points release the interpreter's lock.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        leaves = [
            lane(name, loss, None if one is None else _counts(one), None)
            for name, (loss, one) in shown.items()
        ]
        began = [pool.submit(follow_lane, one) for one in leaves]
        others = [pool.submit(follow_lane, one) for one in _others(steps, columns)]
        tracks = {one.name: found.result() for one, found in zip(leaves, began, strict=True)}
        edges = {name: _spread(tracks[name], len(steps)) for name in weighed}
        sums = [
            lane(name, one.value(), one.tokens, one.foretell(edges))
            for name, one in shares.items()
            if name != "loss"
        ]
        if "loss" in columns:
            mixture = shares.get("loss")
            counts = mixture.tokens if mixture else _only(weighed)
            told = mixture.foretell(edges) if mixture else None
            sums.append(lane("loss", columns["loss"], counts, told))
        totals = {one.name: one for one in pool.map(follow_lane, sums)}
        first = [totals.pop("loss")] if "loss" in totals else []
        return [*first, *tracks.values(), *totals.values(), *[one.result() for one in others]]


def track(detector: Clocks, window: Window | None, lane: Lane) -> Track:
    """Score a lane from its first point to its last."""
    count = len(lane.rows)
    found = Track(lane=lane, window=window, edge=np.full(count, math.nan), witnesses=lane.rows[:0])
    witnesses: list[int] = []
    at, ahead = 0, FEWEST
    while at < count:
        window = found.window
        if window is not None and window.is_settled and count - at >= STRETCH:
            num = min(ahead, (count - at) // STRETCH)
            part = slice(at, at + num * STRETCH)
            skipped = detector.skip(
                window, lane.steps[part], lane.values[part],
                None if lane.counts is None else lane.counts[part],
                None if lane.foretold is None else lane.foretold[part],
            )  # fmt: skip
            assert skipped is not None
            found.window, stretch = skipped
            calm = stretch.num_calm * STRETCH
            found.stretches.append((at, stretch, window.recent_steps))
            found.edge[at : at + calm] = stretch.edge[:calm]
            at += calm
            ahead = min(MOST, 2 * ahead) if stretch.num_calm == num else FEWEST
            if stretch.num_calm == num:
                continue
        stop = min(count, at + STRETCH)
        while at < stop:
            if _one(detector, found, at):
                witnesses.append(int(lane.rows[at]))
            at += 1
            if found.window is not None and found.window.is_settled:
                break
    found.witnesses = np.array(witnesses, dtype=np.int64)
    return found


def _one(detector: Clocks, found: Track, at: int) -> bool:
    """Score and learn one point; whether it is a witness for others."""
    seen, step = found.lane.observation(at), int(found.lane.steps[at])
    known = found.window
    before = known if known is not None else detector.init(seen)
    forecast = detector.forecast(before, step)
    if forecast is not None:
        found.edge[at] = forecast[0]
    score = detector.score(before, step, seen)
    found.window = detector.learn(before, step, seen, score=score)
    onset = step
    if score.alarms or score.is_shift or abs(score.distance) >= BACKED:
        onset = find_onset(score, before, step)
    found.moments[at] = Moment(score, onset, found.window.is_calm, before.is_open)
    return is_witness(seen, score, known)


def follow_track(
    found: Track, episode: Episode | None, witnesses: Ints, first_row: int
) -> Iterator[tuple[int, int, Episode | None, Episode | None]]:
    """(row, step, episode before, episode after) of each point that matters to an episode."""
    lane = found.lane
    leans = np.isin(lane.rows, witnesses) if lane.signal.is_loss else np.zeros(0, dtype=bool)
    matters = sorted({*_loud(found), *(_leaning(found, leans) if len(leans) else ())})
    at = -1
    while True:
        if episode is None:
            place = bisect_right(matters, at)
            if place == len(matters):
                return
            at = matters[place]
        else:
            at += 1
            if at >= len(lane.rows):
                return
        moment = found.moments.get(at) or _calm_moment(found, at)
        score = backed(moment.score) if len(leans) and leans[at] else moment.score
        seen, step, row = lane.observation(at), int(lane.steps[at]), first_row + int(lane.rows[at])
        heard = heard_alone(seen, score, episode, was_open=moment.was_open)
        now = follow(
            episode, seen, heard, onset=moment.onset, is_calm=moment.is_calm, step=step, row=row
        )
        if now is not None:
            yield row, step, episode, now
        episode = None if now is None or now.end else now


def _loud(found: Track) -> list[int]:
    return [at for at, one in found.moments.items() if one.score.alarms or one.score.is_shift]


def _leaning(found: Track, leans: NDArray[np.bool_]) -> list[int]:
    """Points that are somewhat off while a witness rings."""
    off = [
        at for at in np.flatnonzero(leans).tolist()
        if at in found.moments and abs(found.moments[at].score.distance) >= BACKED
    ]  # fmt: skip
    for first, stretch, _ in found.stretches:
        calm = slice(0, stretch.num_calm * STRETCH)
        far = np.abs(stretch.distance[calm]) >= BACKED
        near = leans[first : first + stretch.num_calm * STRETCH]
        off += (first + np.flatnonzero(far & near)).tolist()
    return off


def _calm_moment(found: Track, at: int) -> Moment:
    """A point of a calm stretch, as it would have been scored by itself."""
    place = bisect_right(found.stretches, at, key=lambda one: one[0]) - 1
    # A stretch without calm points begins where the next one does, or a moment.
    first, stretch, before = found.stretches[place]
    here = at - first
    distance = float(stretch.distance[here])
    steps = (*before, *found.lane.steps[first : first + here].tolist())[-REACH:]
    grains = stretch.grains[here + STRETCH - REACH : here + STRETCH].tolist()
    step = int(found.lane.steps[at])
    score = Score(
        distance=distance, expected=float(stretch.expected[here]), limit=math.inf, alarms=False,
        sigma=0.0,
    )  # fmt: skip
    return Moment(score, first_odd(steps, grains[-len(steps) :], distance, step), is_calm=True)


class _Mixture:
    """A total over several domains, with their shares of the tokens."""

    def __init__(
        self,
        leaves: list[str],
        weighed: Mapping[str, tuple[Masked, Masked]],
    ) -> None:
        self.pairs = {
            name: (np.asarray(weighed[name][0]), np.ma.filled(weighed[name][1], 0.0))
            for name in leaves
        }
        total = np.zeros(len(next(iter(self.pairs.values()))[0]))
        for _, tokens in self.pairs.values():
            total = total + tokens
        self.tokens = np.where(total > 0, total, 1.0)
        # One domain alone is no mixture: `inner_domains` says nothing of it either.
        self.present = np.sum([tokens > 0 for _, tokens in self.pairs.values()], axis=0) > 1

    def value(self) -> Masked:
        """The mean over the domains, masked where fewer than two are present."""
        acc = np.zeros(len(self.tokens))
        with np.errstate(invalid="ignore"):
            for loss, tokens in self.pairs.values():
                acc = np.where(tokens > 0, acc + loss * tokens, acc)
        return Masked(acc / self.tokens, mask=~self.present)

    def foretell(self, edges: Mapping[str, Floats]) -> Floats:
        acc, known = np.zeros(len(self.tokens)), np.zeros(len(self.tokens), dtype=bool)
        for name, (loss, tokens) in self.pairs.items():
            has, edge = tokens > 0, edges[name]
            share = tokens / self.tokens
            acc = np.where(has, acc + share * np.where(np.isnan(edge), loss, edge), acc)
            known |= has & ~np.isnan(edge)
        return np.where(known & np.isfinite(acc) & self.present, acc, math.nan)


def _peers(
    columns: Mapping[str, Masked],
    shown: Mapping[str, tuple[Masked, Masked | None]],
    shares: Mapping[str, _Mixture],
) -> Ints:
    """How many losses each row has."""
    present = [~np.ma.getmaskarray(loss) for loss, _ in shown.values()]
    present += [one.present for name, one in shares.items() if name != "loss"]
    if "loss" in columns:
        present.append(~np.ma.getmaskarray(columns["loss"]))
    return np.sum(present, axis=0) if present else np.zeros(0, dtype=np.int64)


def _counts(tokens: Masked) -> Floats:
    filled = np.ma.filled(tokens, 1.0)
    return np.where(filled > 0, filled, 1.0)


def _only(weighed: Mapping[str, tuple[Masked, Masked]]) -> Floats | None:
    return next((_counts(tokens) for _, tokens in weighed.values()), None)


def _spread(found: Track, count: int) -> Floats:
    """A track's edges by row."""
    edges = np.full(count, math.nan)
    edges[found.lane.rows] = found.edge
    return edges


def _others(steps: Ints, columns: Mapping[str, Masked]) -> list[Lane]:
    found = []
    for name, column, signal in (
        ("grad norm", columns.get("grad_norm"), GRAD_NORM),
        ("update", _per_rate(columns.get("update"), columns.get("lr")), UPDATE),
        ("attention logit", columns.get("attention_logit"), ATTENTION_LOGIT),
        ("logsumexp", columns.get("logsumexp"), LOGSUMEXP),
        ("tokens/s", columns.get("tokens_per_second"), SPEED),
    ):
        if column is None:
            continue
        rows = np.flatnonzero(~np.ma.getmaskarray(column))
        values = np.asarray(column)[rows]
        values = np.maximum(values, HARMLESS_LOGIT) if signal is ATTENTION_LOGIT else values
        if signal is not LOGSUMEXP:
            rows, values = rows[values != 0], _logs(values[values != 0])
        found.append(Lane(name=name, signal=signal, rows=rows, steps=steps[rows], values=values))
    return found


def _logs(values: Floats) -> Floats:
    """`signals.log` of each value but 0; by math.log: numpy's own may differ in the last bit."""
    found = np.full(len(values), math.nan)
    plain = values > 0
    found[plain] = np.fromiter(map(math.log, values[plain].tolist()), np.float64, plain.sum())
    return found


def _per_rate(update: Masked | None, rate: Masked | None) -> Masked | None:
    if update is None or rate is None:
        return None
    gone = np.ma.getmaskarray(update) | np.ma.getmaskarray(rate) | (np.ma.filled(rate, 0.0) == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Masked(np.asarray(update) / np.asarray(rate), mask=gone)
