"""The journal: microseconds to append a step, seconds to load a million, beside the plain ways.

Append is measured beside `json.dumps` and a buffered write of the same fields (the least one could
do); loading beside `json.loads` of every line.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import machine
from steadytrain import journal
from steadytrain.events import StepRecord
from steadytrain.journal import Journal


def sample(step: int) -> StepRecord:
    """A record of three domains with every field that a run fills."""
    x = 2.0 + 1 / step
    return StepRecord(
        attempt=1, step=step, draw=step * 32, draw_end=step * 32 + 32, loss=x + 0.123456789,
        nll=(1365 * x, 1365.5 * x, 1366.25 * x), tokens=(1365, 1365, 1366),
        bytes=(1365, 1365, 1366), sequences=(11, 10, 11), squares=(x * 41.1, x * 39.3, x * 44.7),
        grad_norm=x / 3, update=x / 7000, lr=0.004, lr_planned=0.004, loss_limit=x * 1.1,
        grad_limit=x * 4, worst=((step, 0, x), (step + 1, 1, x), (step + 2, 2, x), (step + 3, 1, x)),
        seconds=0.125 + x / 1e4,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as home:
        records = [sample(step) for step in range(1, 20_001)]
        times = []
        with Journal(Path(home), "rank0") as book:
            for record in records:
                began = time.perf_counter()
                book.append(record)
                times.append(time.perf_counter() - began)
        plain = []
        with open(Path(home) / "plain.jsonl", "w") as file:
            for record in records:
                fields = {name: getattr(record, name) for name in record.__struct_fields__}
                began = time.perf_counter()
                file.write(json.dumps(fields) + "\n")
                file.flush()
                plain.append(time.perf_counter() - began)
        ours, theirs = 1e6 * statistics.median(times), 1e6 * statistics.median(plain)
        print(
            f"append: {ours:.1f} us a step; json.dumps and flush {theirs:.1f} us; ratio {ours / theirs:.2f}"
        )
        path = journal.files(Path(home), "rank0")[0]
        block = path.read_bytes()
        copies = max(1, options.records // len(records))
        with open(path, "wb") as file:
            for _ in range(copies):
                file.write(block)
        count = copies * len(records)
        began = time.perf_counter()
        loaded = journal.load(Path(home))
        ours = time.perf_counter() - began
        assert len(loaded) == count
        del loaded
        began = time.perf_counter()
        with open(path) as file:
            rows = [json.loads(line) for line in file]
        theirs = time.perf_counter() - began
        assert len(rows) == count
        megabytes = path.stat().st_size / 1e6
        print(
            f"load: {count} records, {megabytes:.0f} MB in {ours:.2f} s; json.loads of every line "
            f"{theirs:.2f} s; ratio {ours / theirs:.2f}"
        )


if __name__ == "__main__":
    main()
