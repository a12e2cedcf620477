"""Seconds to analyze a long run from its log, and what one live update costs.

Two logs of ten series: a journal of ours, and an event file of TensorBoard, which TensorBoard's own
reader reads beside it where it is installed. Reading and watching are timed apart, each log in a
process of its own. One update of `Watch` carries 12 signals.
"""

import argparse
import importlib.util
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import machine
import readers
from steadytrain import Watch, codec
from steadytrain.analysis import analyze
from steadytrain.events import RunBegan, StepRecord
from steadytrain.readers.discovery import discover

DOMAINS = ("zh/web", "zh/books", "en/web", "en/books", "code")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=2, metavar=("WORK", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is None:
        _compare(options.steps)
    elif options.child[0] == "write":
        _write(Path(options.child[1]), options.steps)
    elif options.child[0] == "events":
        readers.write(Path(options.child[1]), options.steps, 10)
    elif options.child[0] == "EventAccumulator":
        _accumulate(options.child[1])
    else:
        _analyze(options.child[1])


def _compare(steps: int) -> None:
    print(machine.line())
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "run" / "journal" / "rank0.0.jsonl"
        journal.parent.mkdir(parents=True)
        events_file = Path(folder) / "events.out.tfevents.0.bench.1.0"
        for work, path in (("write", journal), ("events", events_file)):
            _in_child(work, path, steps)
            _in_child("analyze", path, steps)
        if importlib.util.find_spec("tensorboard") is not None:
            _in_child("EventAccumulator", events_file, steps)
    _live()


def _in_child(work: str, path: Path, steps: int) -> None:
    command = [sys.executable, __file__, "--steps", str(steps), "--child", work, str(path)]
    subprocess.run(command, check=True)


def _analyze(path: str) -> None:
    began = time.perf_counter()
    (run,) = discover([path]).runs
    read = time.perf_counter()
    analysis = analyze(run)
    done = time.perf_counter()
    print(
        f"analyze {run.format}: {len(run.series)} series of up to "
        f"{max(len(one.steps) for one in run.series.values()):,} points, "
        f"{Path(path).stat().st_size / 1e6:.0f} MB: read {read - began:.1f} s, watch "
        f"{done - read:.1f} s, together {done - began:.1f} s; {len(analysis.troubles)} found; "
        f"peak memory {_peak()} MB"
    )


def _accumulate(path: str) -> None:
    from tensorboard.backend.event_processing import event_accumulator

    began = time.perf_counter()
    book = event_accumulator.EventAccumulator(path, size_guidance={"scalars": 0, "tensors": 0})
    book.Reload()
    print(
        f"TensorBoard's EventAccumulator only reads the same events: "
        f"{time.perf_counter() - began:.1f} s, peak memory {_peak()} MB"
    )


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


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
    return b'{"v":1,"seq":%d,"at":1700000000.000000,' % seq + codec.encode(event)[1:] + b"\n"


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
