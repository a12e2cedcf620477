"""How long replicas under torchft stand still when one of them dies or hangs, with and without ours.

Two or three replicas of a small model on the CPU, the last one harmed once at update 12, and a
lighthouse that counts a replica as gone after 1 s without a sign of life. The pause of the others is
from the harm to their next update. "ours" is `Replica` under `steadytrain run --hang-after 3`;
"torchft" is its own DistributedDataParallel and Optimizer with its default timeouts of 60 s, and
nobody who starts a replica again. Where no survivor had gone on after --watch seconds, it says so.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import machine

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from tests.adapters.fleet import Replicas  # noqa: E402

HARMED_AT = 12
WATCH_SECONDS = 90.0
PAUSE = ("--pause", 0.05)


def pause_of(harm: str, *, replicas: int, is_ours: bool, watch_seconds: float) -> float | None:
    """Seconds until the slowest survivor's next update; None if there was none."""
    names = [f"r{number}" for number in range(replicas)]
    with tempfile.TemporaryDirectory() as folder, Replicas(Path(folder)) as run:
        for name in names:
            words = [10**6, *PAUSE, "--together", replicas]
            if name == names[-1]:
                words += ["--harm", f"forward-{harm}@{HARMED_AT}"]
            if is_ours:
                run.start(name, *words, supervised=("--hang-after", "3"))
            else:
                run.start(name, *words, "--plain")
        mark = Path(folder, f"{names[-1]}.forward-{harm}{HARMED_AT}")
        while not mark.exists() or not mark.read_text():
            time.sleep(0.05)
        struck = run.struck(names[-1], f"forward-{harm}{HARMED_AT}")
        end = struck + watch_seconds
        while time.monotonic() < end:
            after = [
                [one["at"] for one in run.updates(name) if one["at"] > struck]
                for name in names[:-1]
            ]
            if all(after):
                return max(one[0] for one in after) - struck
            time.sleep(0.05)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--watch", type=float, default=WATCH_SECONDS, metavar="SECONDS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for harm in ("kill", "hang"):
        for replicas in (2, 3):
            for is_ours in (True, False):
                pauses = [
                    pause_of(harm, replicas=replicas, is_ours=is_ours, watch_seconds=options.watch)
                    for _ in range(options.repeats if is_ours or harm == "kill" else 1)
                ]
                rows.append(
                    {
                        "harm": harm,
                        "replicas": replicas,
                        "who": "ours" if is_ours else "torchft",
                        "pauses": pauses,
                    }
                )
                print(_line(rows[-1], options.watch), flush=True)
    print(machine.line())
    print(f"load: {Path('/proc/loadavg').read_text().split()[0]}")
    if options.json:
        options.json.write_text(json.dumps(rows))


def _line(row: dict, watch_seconds: float) -> str:
    known = [one for one in row["pauses"] if one is not None]
    told = f"{statistics.median(known):.1f} s (of {len(known)})" if known else ""
    never = len(row["pauses"]) - len(known)
    lost = f"{never} never, in {watch_seconds:.0f} s" if never else ""
    return (
        f"{row['harm']:>5} of {row['replicas']}  {row['who']:>8}  "
        f"{'  '.join(one for one in (told, lost) if one)}"
    )


if __name__ == "__main__":
    main()
