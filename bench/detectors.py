"""Our detector and the published rules of others on the same loss curves, counted the same way.

    PYTHONPATH=src:bench python bench/detectors.py

Parts: the labelled public curves where they lie beside the repository; drawn curves with events;
and, for false alarms only, the same seeds without events and three domains whose mixture changes.
`--calibrate`: false alarms asked for against those that came. `--folds`: constants chosen on some
runs and scored on the others. How it is counted: scoring.py. The rules: peers.py.
"""

import argparse
import json
import math
import multiprocessing
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import machine
from peers import PEERS, Alarm
from scoring import Tally, read_curves, run_rule, score
from steadytrain import Finding, Watch
from steadytrain.lab.curves import Curve, draw_curve, draw_mixture

CURVES = Path(__file__).resolve().parents[2] / "shared" / "curves"
OURS = {"steadytrain (loss)": False, "steadytrain": True}
"""Name -> whether it also hears gradient norm, learning rate and domains."""

ASKED = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5)
GRID = {
    "lasting": (0.65, 0.75, 0.85),
    "least": (0.005, 0.01, 0.02),
    "steps_per_false_alarm": (1e4, 3e4, 1e5, 3e5),
}
MOST_FALSE = 0.3
"""False episodes per 10,000 clean points that a choice of constants may cost."""

Settings = Mapping[str, float]
Run = Callable[[Curve], Mapping[str, Tally]]


def main() -> None:
    options = _options()
    seeds = range(options.seeds[0], options.seeds[1] + 1)
    public = _public(options.curves)
    with multiprocessing.Pool(options.jobs) as pool:
        if options.calibrate:
            told = _calibrate(pool, [draw_curve(seed, events=False) for seed in seeds])
        elif options.folds:
            told = _cross_validate(pool, public or [draw_curve(seed) for seed in seeds])
        else:
            told = _compare(pool, public, seeds, _names(options.only))
    print(json.dumps(told | {"machine": machine.line()}) if options.json else _say(told))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--curves", type=Path, default=CURVES, help="labelled public curves")
    parser.add_argument("--seeds", type=_pair, default=(100, 129), metavar="A-B")
    parser.add_argument("--only", default="", metavar="NAME,..", help="beginnings of names")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--folds", action="store_true")
    return parser.parse_args()


def _pair(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _names(only: str) -> list[str]:
    """Rules whose names begin with one of these; all of them for nothing."""
    names = [*OURS, *PEERS]
    wanted = [part.strip().lower() for part in only.split(",") if part.strip()]
    found = [
        name
        for name in names
        if not wanted or any(name.lower().startswith(part) for part in wanted)
    ]
    if not found:
        raise SystemExit(f"--only {only!r} names none of: {'; '.join(names)}")
    return found


def _public(folder: Path) -> list[Curve]:
    if (folder / "labels.csv").exists():
        return read_curves(folder)
    text = f"No labelled curves in {folder}: they are left out. Name them with --curves."
    print(text, file=sys.stderr)
    return []


# Ours


def listen(curve: Curve, settings: Settings, *, is_whole: bool) -> list[Alarm]:
    """What a fresh Watch says at each row: an alarm where an episode begins or gets a new name."""
    settings = dict(settings)
    watch = Watch(steps_per_false_alarm=settings.pop("steps_per_false_alarm", 30_000.0))
    if settings:
        # Constants that users are not offered; only the bench turns them.
        watch._detector = msgspec.structs.replace(watch._detector, **settings)
    norms, rates = _cells(curve, curve.grad_norm), _cells(curve, curve.lr)
    alarms: list[Alarm] = []
    for row, (step, loss) in enumerate(zip(curve.steps.tolist(), curve.loss.tolist(), strict=True)):
        if is_whole:
            findings = watch.update(step, loss, norms[row], rates[row], _domains(curve, row))
        else:
            findings = watch.update(step, loss)
        alarms.append(_alarm(findings))
    return alarms


def _cells(curve: Curve, column: Any) -> list[float | None]:
    return [None] * len(curve.loss) if column is None else column.tolist()


def _domains(curve: Curve, row: int) -> dict[str, float | tuple[float, float]]:
    """Losses of the domains that the batch had, with their tokens where those are known."""
    found: dict[str, float | tuple[float, float]] = {}
    for name, losses in curve.domains.items():
        loss = float(losses[row])
        if math.isnan(loss):
            continue
        found[name] = (loss, float(curve.tokens[name][row])) if curve.tokens else loss
    return found


def _alarm(findings: Sequence[Finding]) -> Alarm:
    """One answer for the row; a level shift only where nothing else is said."""
    fresh = [one for one in findings if one.change in ("began", "renamed")]
    for one in fresh:
        if one.kind != "level shift":
            return "drop" if one.score < 0 else "rise"
    return "level-shift" if fresh else None


# Tables of rules


def _hear_all(curve: Curve, *, names: Sequence[str]) -> dict[str, Tally]:
    """A tally for each rule."""
    return {name: score(curve, _hear(name, curve)) for name in names}


def _hear(name: str, curve: Curve) -> list[Alarm]:
    if name in OURS:
        return listen(curve, {}, is_whole=OURS[name])
    return run_rule(PEERS[name]().update, curve)


def _sum(tallies: Iterable[Mapping[Any, Tally]]) -> dict[Any, Tally]:
    total: dict[Any, Tally] = defaultdict(Tally)
    for one in tallies:
        for name, tally in one.items():
            total[name].add(tally)
    return dict(total)


def _compare(pool: Any, public: list[Curve], seeds: range, names: list[str]) -> dict[str, Any]:
    span = f"seeds {seeds[0]} to {seeds[-1]}"
    parts = {
        f"public curves ({len(public)})": public,
        f"drawn curves, {span}": [draw_curve(seed) for seed in seeds],
        f"drawn curves without events, {span}": [draw_curve(seed, events=False) for seed in seeds],
        f"three domains, mixture changes, {span}": [draw_mixture(seed) for seed in seeds],
    }
    hear = partial(_hear_all, names=names)
    return {
        part: {name: _figures(tally) for name, tally in _sum(pool.imap(hear, curves)).items()}
        for part, curves in parts.items()
        if curves
    }


def _figures(tally: Tally) -> dict[str, Any]:
    recalls = {
        "core": tally.core,
        "slowdiv": tally.of(label="slowdiv"),
        "drop": tally.of(kind="drop"),
        "batch": tally.of(label="batch"),
        "spike": tally.of(label="spike"),
        "nonrecover": tally.of(label="nonrecover"),
        "data": tally.of(label="data"),
        "not finite": tally.of(label="not finite"),
    }
    delays = tally.delays
    return {name: None if math.isnan(one) else one for name, one in recalls.items()} | {
        "false per 10k": tally.false_rate,
        "false episodes": tally.false_episodes,
        "clean points": tally.clean_points,
        "delay, median": float(np.median(delays)) if delays else None,
        "delay, p90": float(np.quantile(delays, 0.9)) if delays else None,
        "shifts named": f"{int(tally.shifts_named)}/{tally.shifts}",
    }


# Calibration


def _calibrate(pool: Any, curves: list[Curve]) -> dict[str, Any]:
    """Steps per false episode, asked and measured, on curves without events."""
    total = _sum(pool.imap(_hear_each_asked, curves))
    rows = {}
    for asked, tally in total.items():
        low, high = poisson_interval(tally.false_episodes)
        points = tally.clean_points
        rows[f"{asked:,.0f}"] = {
            "measured": points / tally.false_episodes if tally.false_episodes else None,
            "at least": points / high,
            "at most": points / low if low else None,
            "false episodes": tally.false_episodes,
            "shifts told": tally.shifts_named,
            "clean points": points,
        }
    return {f"asked for and measured on {len(curves)} drawn curves without events": rows}


def _hear_each_asked(curve: Curve) -> dict[float, Tally]:
    """A tally for each rate; its `shifts_named` are the level shifts told, where there is none."""
    found = {}
    for asked in ASKED:
        alarms = listen(curve, {"steps_per_false_alarm": asked}, is_whole=False)
        found[asked] = score(curve, alarms)
        found[asked].shifts_named = alarms.count("level-shift")
    return found


def poisson_interval(count: int, share: float = 0.95) -> tuple[float, float]:
    """Exact interval of the mean of a Poisson law of which `count` came.

    >>> [round(edge, 2) for edge in poisson_interval(10)], poisson_interval(0)[0]
    ([4.8, 18.39], 0.0)
    """
    tail = (1 - share) / 2

    def below(mean: float, most: int) -> float:
        terms = (k * math.log(mean) - mean - math.lgamma(k + 1) for k in range(most + 1))
        return math.fsum(math.exp(term) for term in terms)

    def solve(most: int, wanted: float) -> float:
        low, high = 1e-9, 10.0 + 4.0 * (count + 1)
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if below(middle, most) > wanted else (low, middle)
        return low

    return (solve(count - 1, 1 - tail) if count else 0.0), solve(count, tail)


# Cross-validation


def _cross_validate(pool: Any, curves: list[Curve]) -> dict[str, Any]:
    """Each fold, a family of runs, is scored with what was best on all others; the loss alone."""
    families = [_family(curve) for curve in curves]
    tallies = pool.map(_hear_grid, curves, chunksize=1)
    held_out, rows = Tally(), {}
    for fold in sorted(set(families)):
        inside = [one for one, family in zip(tallies, families, strict=True) if family == fold]
        outside = [one for one, family in zip(tallies, families, strict=True) if family != fold]
        best = _best(_sum(outside) if outside else _sum(inside))
        chosen, default = (_sum(inside)[one] for one in (best, _DEFAULTS))
        held_out.add(chosen)
        rows[f"fold {fold}"] = _short(chosen, best) | {"default core": _number(default.core)}
    every = _sum(tallies)
    rows["pooled, held out"] = _short(held_out, ())
    rows["pooled, defaults"] = _short(every[_DEFAULTS], _DEFAULTS)
    best = _best(every)
    rows["pooled, best in hindsight"] = _short(every[best], best)
    return {f"cross-validation over {len(set(families))} families of {len(curves)} curves": rows}


def _family(curve: Curve) -> str:
    """Runs of one project stay together; drawn curves make ten folds by their seed."""
    name, _, rest = curve.name.replace("-", "_").partition("_")
    return f"seeds ..{rest[-1]}" if name == "drawn" else name


def _hear_grid(curve: Curve) -> dict[tuple[float, ...], Tally]:
    return {
        values: score(curve, listen(curve, dict(zip(GRID, values, strict=True)), is_whole=False))
        for values in product(*GRID.values())
    }


_DEFAULTS = (0.75, 0.01, 30_000.0)


def _best(total: Mapping[tuple[float, ...], Tally]) -> tuple[float, ...]:
    """Highest core recall at an allowed rate of false alarms; of equals, the rarer alarms."""
    allowed = {one: tally for one, tally in total.items() if tally.false_rate <= MOST_FALSE}
    if not allowed:
        return min(total, key=lambda one: total[one].false_rate)
    return max(allowed, key=lambda one: (allowed[one].core, -allowed[one].false_rate))


def _short(tally: Tally, values: tuple[float, ...]) -> dict[str, Any]:
    return {
        "core": _number(tally.core),
        "default core": None,
        "slowdiv": _number(tally.of(label="slowdiv")),
        "drop": _number(tally.of(kind="drop")),
        "false per 10k": tally.false_rate,
        "false episodes": tally.false_episodes,
        "clean points": tally.clean_points,
        "constants": ", ".join(f"{value:g}" for value in values) or None,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


# Words


def _say(told: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Tables, of the columns that hold anything."""
    lines = []
    for title, rows in told.items():
        columns = [
            column
            for column in next(iter(rows.values()))
            if any(row[column] not in (None, "0/0") for row in rows.values())
        ]
        width = max(map(len, rows))
        lines += [title, " ".join([" " * width, *columns])]
        for name, row in rows.items():
            cells = (_cell(row[column], column).rjust(len(column)) for column in columns)
            lines.append(" ".join([name.ljust(width), *cells]))
        lines.append("")
    return "\n".join([*lines, machine.line()])


def _cell(value: float | str | None, column: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or "measured" in column or column.startswith("at "):
        return f"{value:,.0f}"
    return f"{value:.1f}" if column.startswith("delay") else f"{value:.2f}"


if __name__ == "__main__":
    main()
