"""Does the panel's alarm ring when it should, and only then? Made-up looks with known shifts and noise.

    PYTHONPATH=src:bench python bench/panel_power.py --runs 200

Three domains of 200 sequences, looked at 500 times: a level, a falling curve as of real runs, noise
of .013 nats per look (jitter .010, paired .0085), independent or with a correlation of .3 from look
to look. Ours has to estimate the curve, the noise and the correlation; the other rules are told the
true curve and noise. Counted
are false alarms in runs where nothing happens, and the looks until a shift of one domain is found.
"""

import argparse
import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import machine
from steadytrain.stats.drift import Drift

Floats = NDArray[np.float64]
NOISE, CALMER = 0.013, 0.008
"""Of a look: as in the table that the rules come from, and as of the lab's model. [nats/token]"""

DOMAINS = 3
SHIFTS = (0.02, 0.05, 0.10)
LEVEL = np.asarray([1.5, 1.2, 1.0])
WAIT = 40
"""Looks after a shift in which it may be found."""


def looks(
    count: int, *, seed: int, falling: bool, correlation: float, noise: float = NOISE
) -> tuple[list[int], Floats]:
    """Steps and losses [count, DOMAINS] of a run in which nothing happens."""
    chance = np.random.default_rng(seed)
    steps = [400 + 50 * at for at in range(count)]
    odd = np.empty((count, DOMAINS))
    odd[0] = chance.normal(size=DOMAINS)
    for at in range(1, count):
        new = chance.normal(size=DOMAINS)
        odd[at] = correlation * odd[at - 1] + math.sqrt(1 - correlation**2) * new
    return steps, (_curve(steps) if falling else LEVEL) + noise * odd


def _curve(steps: Sequence[int]) -> Floats:
    fall = np.asarray(steps)[:, None] ** -np.asarray([0.25, 0.35, 0.5])
    found: Floats = LEVEL + fall * np.asarray([8, 12, 20])
    return found


def ours(steps: Sequence[int], losses: Floats, drift: Drift | None = None) -> list[int]:
    """Looks at which we ring; after each alarm a new curve begins."""
    drift = drift or Drift()
    course, rings = drift.init(), []
    for at, (step, row) in enumerate(zip(steps, losses.tolist(), strict=True)):
        scores = drift.score(course, step, row)
        course = drift.learn(course, step, row, scores)
        if any(one.alarms for one in scores.evidence):
            rings.append(at)
            course = drift.rebase(course, since=step)
    return rings


def fixed(limit: float) -> Callable[[Floats], list[int]]:
    return lambda z_TK: np.flatnonzero((np.abs(z_TK) > limit).any(1)).tolist()


def cusum(slack: float, limit: float) -> Callable[[Floats], list[int]]:
    def rule(z_TK: Floats) -> list[int]:
        up = down = np.zeros(z_TK.shape[1])
        rings = []
        for at, z in enumerate(z_TK):
            up, down = np.maximum(up + z - slack, 0), np.maximum(down - z - slack, 0)
            if max(up.max(), down.max()) > limit:
                rings.append(at)
                up = down = np.zeros(z_TK.shape[1])
        return rings

    return rule


def ewma(weight: float, limit: float) -> Callable[[Floats], list[int]]:
    def rule(z_TK: Floats) -> list[int]:
        mean, rings = np.zeros(z_TK.shape[1]), []
        edge = limit * math.sqrt(weight / (2 - weight))
        for at, z in enumerate(z_TK):
            mean = (1 - weight) * mean + weight * z
            if np.abs(mean).max() > edge:
                rings.append(at)
                mean = np.zeros(z_TK.shape[1])
        return rings

    return rule


TOLD = {
    "z > 1.96 each look": fixed(1.96),
    "z > 3 each": fixed(3.0),
    "z > 4 each": fixed(4.0),
    "EWMA .2, 3.2": ewma(0.2, 3.2),
    "CUSUM .5, 5": cusum(0.5, 5.0),
}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    options.add_argument("--runs", type=int, default=40)
    options.add_argument("--looks", type=int, default=500)
    given = options.parse_args()
    print(machine.line())
    print(f"\nfalse alarms per 500 looks of {DOMAINS} domains, {given.runs} runs of {given.looks}")
    print(f"{'':22} {'level':>14} {'falling':>14}   (r = 0, r = .3 each)")
    kinds = [(falling, r) for falling in (False, True) for r in (0.0, 0.3)]
    rows: dict[str, list[float]] = {name: [] for name in ("ours", *TOLD)}
    for falling, r in kinds:
        counts = dict.fromkeys(rows, 0)
        for seed in range(given.runs):
            steps, losses = looks(given.looks, seed=seed, falling=falling, correlation=r)
            counts["ours"] += len(ours(steps, losses))
            if not falling:
                z = (losses - LEVEL) / NOISE
                for name, rule in TOLD.items():
                    counts[name] += len(rule(z))
        for name, count in counts.items():
            rows[name].append(count / given.runs / given.looks * 500)
    for name, found in rows.items():
        shown = found if name == "ours" else found[:2]
        print(f"{name:22} " + " ".join(f"{one:7.3f}" for one in shown))
    print(f"\nlooks until a shift of one domain is found: median, within 2, never in {WAIT}")
    for noise in (NOISE, CALMER):
        for before in (10, 20, 60):
            for shift in SHIFTS:
                _say_delay(given.runs, before=before, shift=shift, noise=noise)


def _say_delay(runs: int, *, before: int, shift: float, noise: float) -> None:
    found: dict[str, list[float]] = {name: [] for name in ("ours", *TOLD)}
    for seed in range(runs):
        steps, losses = looks(
            before + WAIT, seed=10_000 + seed, falling=True, correlation=0.0, noise=noise
        )
        losses[before:, seed % DOMAINS] += math.log1p(shift)
        z = (losses - _curve(steps)) / noise
        for name in found:
            rings = ours(steps, losses) if name == "ours" else TOLD[name](z)
            later = [at for at in rings if at >= before]
            found[name].append(later[0] - before + 1 if later else math.inf)
    print(f"+{shift:.0%} after {before} looks, noise {noise}:")
    for name, delays in found.items():
        print(
            f"    {name:20} {statistics.median(delays):4.0f}  "
            f"{sum(one <= 2 for one in delays) / runs:5.2f}  "
            f"{sum(map(math.isinf, delays)) / runs:5.2f}"
        )


if __name__ == "__main__":
    main()
