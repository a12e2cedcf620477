"""Does a run that nothing happens to keep its memory? Every process of it, over many updates.

    PYTHONPATH=. python bench/memory.py --steps 20000

A small model of two ranks under `steadytrain run`, a state in shared memory after every update and a
checkpoint every ten: what is done often in a year of training is done often in minutes. Every few
seconds each process is asked for its memory (RSS), its threads and open files. Ranks are forked:
what they share and copy as they write is in RSS from the beginning, and no growth.

One line a process: RSS after a fifth of the run and at its end, and the growth of a straight line
through the samples between, for 1,000 updates; most threads and files; then the same of shared
memory, and what a step costs in the journal. Incidents and restarts must be none.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

import machine
from steadytrain import journal, slots
from steadytrain.events import Incident, Restart, StepRecord
from steadytrain.progress import board_path, read_board

TINY = Path(__file__).parents[1] / "tests" / "chaos" / "tiny.py"
WARM = 0.2
"""Of the updates: caches and pools fill."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A process at a moment; memory in bytes."""

    step: int
    rss: int
    threads: int
    files: int


def main() -> None:
    options = _options()
    print(machine.line(), file=sys.stderr)
    home = Path(tempfile.mkdtemp(prefix="memory-")) / "run"
    try:
        samples, shared, seconds = _watch(home, options)
        told = {"steps": options.steps, "ranks": options.nproc, "seconds": round(seconds)}
        told |= _ended(home, options.steps)
        rows = [_row(name, some) for name, some in samples.items() if len(some) > 2]
        for row in rows:
            print(
                f"{row['process']:12} {row['begin'] / 1e6:8.1f} MB -> {row['end'] / 1e6:8.1f} MB, "
                f"{row['growth'] / 1e3:+8.2f} kB for 1,000 updates; at most {row['threads']} "
                f"threads, {row['files']} files"
            )
        print(f"shared memory: {min(shared) / 1e6:.2f} to {max(shared) / 1e6:.2f} MB")
        print(json.dumps(told))
        if options.json:
            series = {name: [asdict(one) for one in some] for name, some in samples.items()}
            found = {"told": told, "rows": rows, "series": series}
            options.json.write_text(json.dumps(found, indent=1))
    finally:
        shutil.rmtree(home.parent, ignore_errors=True)


def _watch(
    home: Path, options: argparse.Namespace
) -> tuple[dict[str, list[Sample]], list[int], float]:
    """Samples of each process by its name, sizes of the shared memory, and the run's seconds."""
    run = [sys.executable, "-m", "steadytrain", "run", "--home", str(home)]
    script = ["--nproc", str(options.nproc), "--", str(TINY), str(options.steps), "0"]
    begun = time.monotonic()
    process = subprocess.Popen([*run, *script], stderr=subprocess.DEVNULL)
    samples: dict[str, list[Sample]] = defaultdict(list)
    shared: list[int] = []
    try:
        while process.poll() is None:
            time.sleep(options.every)
            beats = [read_board(board_path(home, rank)) for rank in range(options.nproc)]
            step = min((beat.step or 0 for beat in beats if beat is not None), default=0)
            if step < WARM * options.steps:
                continue
            ranks = {beat.pid: f"rank {at}" for at, beat in enumerate(beats) if beat is not None}
            for name, one in _named(process.pid, ranks):
                try:
                    with one.oneshot():
                        rss = one.memory_info().rss
                        sample = Sample(
                            step=step, rss=rss, threads=one.num_threads(), files=one.num_fds()
                        )
                except psutil.Error:  # it ended meanwhile
                    continue
                if rss:  # nothing is left of one that has just ended
                    samples[name].append(sample)
            shared.append(_bytes_below(slots.folder_of(home)))
    finally:
        process.kill()
        process.wait()
    return samples, shared, time.monotonic() - begun


def _named(pid: int, ranks: dict[int, str]) -> list[tuple[str, psutil.Process]]:
    """All processes of the run under a name that stays."""
    try:
        top = psutil.Process(pid)
        below = top.children(recursive=True)
    except psutil.Error:
        return []
    named = [("supervisor", top)]
    others = 0
    for one in sorted(below, key=lambda one: one.pid):
        if one.pid in ranks:
            named.append((ranks[one.pid], one))
        else:
            others += 1
            named.append((f"other {others}", one))
    return named


def _row(name: str, samples: list[Sample]) -> dict[str, object]:
    slope, _ = statistics.linear_regression(
        [one.step for one in samples], [one.rss for one in samples]
    )
    return {
        "process": name,
        "begin": samples[0].rss,
        "end": samples[-1].rss,
        "growth": 1000 * slope,
        "threads": max(one.threads for one in samples),
        "files": max(one.files for one in samples),
    }


def _ended(home: Path, steps: int) -> dict[str, object]:
    events = journal.load(home)
    told = list(journal.read(home, "supervisor"))
    size = sum(path.stat().st_size for path in (home / "journal").iterdir())
    return {
        "updates": max(one.step for one in events if isinstance(one, StepRecord)),
        "incidents": sum(isinstance(one, Incident) and one.change == "opened" for one in events),
        "restarts": sum(isinstance(one, Restart) for one in told),
        "journal bytes an update": round(size / steps),
    }


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--nproc", type=int, default=2)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between samples")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
