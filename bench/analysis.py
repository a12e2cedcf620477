"""Seconds to analyze a long run from its log, and what one live update costs.

The log is a journal of ours with as many series as asked for, its steps made by the drawn curves of
the lab; the reading and the watching are timed apart. One update of `Watch` carries 12 signals.
"""

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import machine
from steadytrain import Watch, events
from steadytrain.analysis import analyze
from steadytrain.events import RunBegan, StepRecord
from steadytrain.readers.discovery import discover

DOMAINS = ("zh/web", "zh/books", "en/web", "en/books", "code")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    options = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run" / "journal" / "rank0.0.jsonl"
        path.parent.mkdir(parents=True)
        _write(path, options.steps)
        began = time.perf_counter()
        (run,) = discover([str(path)]).runs
        read = time.perf_counter()
        analysis = analyze(run)
        done = time.perf_counter()
    series = len(analysis.tags)
    print(
        f"analyze: {options.steps:,} steps x {series} series from a journal: read {read - began:.1f} "
        f"s, watch {done - read:.1f} s, together {done - began:.1f} s; "
        f"{len(analysis.troubles)} found; peak memory "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB"
    )
    _live()


def _write(path: Path, steps: int) -> None:
    chance = np.random.default_rng(0)
    losses = (2.0 + np.exp(-np.arange(steps) / 5000))[:, None] + chance.normal(0, 0.02, (steps, 5))
    norms = np.exp(chance.normal(0, 0.1, steps))
    tokens = (1000,) * 5
    began = RunBegan(
        run="bench", recipe={}, domains=DOMAINS, model="0", parameters=1, world=1,
        draws_per_step=32, steps=steps, panel="", versions={},
    )  # fmt: skip
    with path.open("wb") as file:
        file.write(_line(0, began))
        for step in range(1, steps + 1):
            row = losses[step - 1].tolist()
            record = StepRecord(
                attempt=1, step=step, draw=step * 32, draw_end=step * 32 + 32,
                loss=sum(row) / 5, nll=tuple(1000 * one for one in row), tokens=tokens,
                bytes=tokens, sequences=(7, 7, 7, 7, 4), squares=tuple(row),
                grad_norm=norms[step - 1].item(), lr=3e-4, update=1e-4, seconds=0.5,
            )  # fmt: skip
            file.write(_line(step, record))


def _line(seq: int, event: StepRecord | RunBegan) -> bytes:
    return b'{"v":1,"seq":%d,"at":1700000000.000000,' % seq + events.encode(event)[1:] + b"\n"


def _live() -> None:
    watch, chance, times = Watch(), np.random.default_rng(1), []
    for step in range(1, 3001):
        noise = chance.normal(0, 0.02, 12).tolist()
        domains = {f"d{at}": 2.0 + noise[at] for at in range(7)}
        began = time.perf_counter()
        watch.update(
            step, 2.0 + noise[7], 1.0 + noise[8], 3e-4, domains, update=1e-4,
            logsumexp=10 + noise[9], attention_logit=20 + noise[10],
        )  # fmt: skip
        times.append(1e6 * (time.perf_counter() - began))
    print(f"live: one update of 12 signals {statistics.median(times[1000:]):.0f} us (median)")


if __name__ == "__main__":
    main()
