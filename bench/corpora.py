"""`steadytrain lint` over a corpus: MB/s by number of workers, memory, and reading alone.

The corpus is any files given, in several copies so that starting the workers weighs little.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from steadytrain.corpora.inputs import find
from steadytrain.corpora.judging import Position, chunks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, help="files; this repository's docs if none")
    parser.add_argument("--copies", type=int, default=6)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    paths = options.paths or sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
    with tempfile.TemporaryDirectory() as name:
        for copy in range(options.copies):
            for path in paths:
                shutil.copy(path, Path(name) / f"{copy}-{path.name}")
        megabytes = sum(path.stat().st_size for path in Path(name).iterdir()) / 1e6
        began = time.perf_counter()
        work = chunks(find([name]), begin=Position(), column="text", can_decode=False)
        count = sum(len(chunk.pieces) for chunk in work)
        seconds = time.perf_counter() - began
        print(
            f"{megabytes:.1f} MB, {count} documents; reading alone {megabytes / seconds:.0f} MB/s"
        )
        for workers in options.workers:
            command = [sys.executable, "-m", "steadytrain.cli", "lint", name]
            began = time.perf_counter()
            subprocess.run(
                [*command, "--workers", str(workers)], stdout=subprocess.DEVNULL, check=False
            )
            seconds = time.perf_counter() - began
            most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
            print(f"{workers} workers: {megabytes / seconds:.1f} MB/s, at most {most:.0f} MB")
    print(machine.line())  # last: it loads torch, and a child begins as large as its parent


if __name__ == "__main__":
    main()
