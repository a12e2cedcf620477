"""Labelled curves and how alarms on them are counted: recall by class, false episodes, delay.

All counts are in points (rows), not steps. The rules are those of the labelled collection that the
benchmark reads, written down at `score`.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from steadytrain.lab.curves import Curve, Event


@dataclass
class Tally:
    """Counts of one rule over some curves."""

    found: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    scored: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    false_episodes: int = 0
    clean_points: int = 0
    delays: list[int] = field(default_factory=list)
    shifts: int = 0
    shifts_named: int = 0
    misses: list[str] = field(default_factory=list)
    false_at: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        for key, count in other.found.items():
            self.found[key] += count
        for key, count in other.scored.items():
            self.scored[key] += count
        self.false_episodes += other.false_episodes
        self.clean_points += other.clean_points
        self.delays += other.delays
        self.shifts += other.shifts
        self.shifts_named += other.shifts_named
        self.misses += other.misses
        self.false_at += other.false_at

    def recall(self, keys: Iterable[str]) -> float:
        keys = [key for key in keys if self.scored.get(key)]
        total = sum(self.scored[key] for key in keys)
        return sum(self.found[key] for key in keys) / total if total else math.nan

    @property
    def core(self) -> float:
        """Recall of everything that is not a single odd batch."""
        return self.recall([key for key in self.scored if not key.endswith("/batch")])

    def of(self, *, kind: str | None = None, label: str | None = None) -> float:
        return self.recall(
            key
            for key in self.scored
            if (kind is None or key.startswith(f"{kind}/"))
            and (label is None or key.endswith(f"/{label}"))
        )

    @property
    def false_rate(self) -> float:
        """False-alarm episodes per 10,000 clean points."""
        return 1e4 * self.false_episodes / max(1, self.clean_points)


def read_curves(folder: Path) -> list[Curve]:
    """The labelled collection: `labels.csv` and `curves/NAME.csv`."""
    labels: dict[str, list[dict[str, str]]] = defaultdict(list)
    with open(folder / "labels.csv") as file:
        for row in csv.DictReader(file):
            labels[row["curve"]].append(row)
    return [_read_curve(folder / "curves" / f"{name}.csv", rows) for name, rows in labels.items()]


def _read_curve(path: Path, rows: list[dict[str, str]]) -> Curve:
    with open(path) as file:
        table = list(csv.DictReader(file))
    columns = {
        key: np.array([float(row[key]) if row[key] else math.nan for row in table])
        for key in table[0]
    }
    steps = columns.pop("step").astype(np.int64)
    events = []
    for row in rows:
        if row["kind"] == "clean":
            continue
        first = int(np.searchsorted(steps, int(row["start_step"]), "left"))
        last = int(np.searchsorted(steps, int(row["end_step"]), "right")) - 1
        events.append(
            Event(
                first=first, last=max(first, last), kind=row["kind"], label=row["class"],
                scored=row["confidence"] != "low",
            )
        )  # fmt: skip
    domains = {
        key.removeprefix("loss_"): columns[key] for key in columns if key.startswith("loss_")
    }
    return Curve(
        name=path.stem, steps=steps, loss=columns["loss"], grad_norm=columns.get("grad_norm"),
        lr=columns.get("lr"), domains=domains, events=tuple(events), group=rows[0]["group"],
    )  # fmt: skip


def run_rule(update: Callable[[int, float, float | None], str | None], curve: Curve) -> list:
    """What a rule says at each row, point by point."""
    norms = [None] * len(curve.loss) if curve.grad_norm is None else curve.grad_norm.tolist()
    return [
        update(step, loss, norm)
        for step, loss, norm in zip(curve.steps.tolist(), curve.loss.tolist(), norms, strict=True)
    ]


def score(curve: Curve, alarms: list[str | None]) -> Tally:
    """Count what was found.

    Burn-in: the first min(100, 15 %) rows. An event of rows a..b is found when an alarm that is not
    named a level shift comes from a - 2 to b + 3, unless more than half of the 20 rows before that
    rang already. Its zone a - 2 .. b + max(10, length) holds no false alarm. False alarms at most 10
    rows apart are one episode, one more for each 50 rows in it that ring. A level shift is named
    when such an alarm comes from a - 2 to b.
    """
    n = len(curve.loss)
    tally = Tally()
    rings = np.array([alarm is not None and alarm != "level-shift" for alarm in alarms])
    named = np.array([alarm == "level-shift" for alarm in alarms])
    burn_in = min(100, int(0.15 * n))
    clean = np.ones(n, dtype=bool)
    clean[:burn_in] = False
    for event in curve.events:
        a, b = event.first, event.last
        begin = max(0, a - 2)
        clean[begin : b + max(10, b - a + 1) + 1] = False
        if a < burn_in:
            continue
        if event.kind == "level-shift":
            tally.shifts += event.scored
            tally.shifts_named += event.scored and bool(named[begin : b + 1].any())
            continue
        if not event.scored:
            continue
        key = f"{event.kind}/{event.label}"
        tally.scored[key] += 1
        before = rings[max(0, begin - 20) : begin]
        hits = np.flatnonzero(rings[begin : b + 4])
        if len(hits) and before.sum() <= len(before) / 2:
            tally.found[key] += 1
            tally.delays.append(max(0, begin + int(hits[0]) - a))
        else:
            tally.misses.append(f"{curve.name} {key} {curve.steps[a]}")
    tally.clean_points = int(clean.sum())
    false = np.flatnonzero(rings & clean)
    if len(false):
        cuts = np.flatnonzero(np.diff(false) > 10) + 1
        for episode in np.split(false, cuts):
            tally.false_episodes += 1 + len(episode) // 50
            tally.false_at.append(f"{curve.name} {curve.steps[episode[0]]} ({len(episode)})")
    return tally
