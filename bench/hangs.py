"""How long over its limit a hang lives, and who is named for it; slow ranks that must be left alone.

Two ranks of a guarded run, one harmed once at step 25, under `Supervisor` with a floor of 3 s, which
is the limit in the phases of every step. For each kind of hang: the seconds beyond the limit, from
the rank's own clock when it began to hang to the supervisor's when it wrote that down, the stacks
of all ranks taken and read; whether rank 1 and its phase were named, whether the stacks
of both ranks were kept, and whether the run ended with the parameters of one that nobody harmed.
Then what is slow and no hang: a first step, an evaluation and a checkpoint of 5 s beside a floor of
3 s, and a rank three times as slow as the other. torchrun has no limit and waits for ever.
"""

import argparse
import contextlib
import io
import json
import math
import os
import statistics
import sys
import tempfile
from pathlib import Path

import machine
from steadytrain import journal
from steadytrain.events import Event, ProcessExited, Straggler
from steadytrain.launch.supervisor import Supervisor

ROOT = Path(__file__).parents[1]
FLOOR_SECONDS = 3.0

HANGS = {
    "stop": ("forward", "SIGSTOP"),
    "sleep": ("forward", "a sleep loop beside a living thread"),
    "regex": ("forward", "a regex that holds the GIL"),
    "lock": ("forward", "a lock, while the other rank waits in a collective"),
    "loader": ("data", "the loader's next"),
}
SLOW = ("first", "evaluation", "checkpoint", "thrice")


def supervise(folder: Path, harm: str, *, steps: int = 40) -> tuple[object, list[Event]]:
    """The final parameters, and what the supervisor wrote."""
    home, script = folder / "run", ROOT / "tests" / "launch" / "harms.py"
    with contextlib.redirect_stderr(io.StringIO()):
        Supervisor(
            [sys.executable, str(script), str(home), str(folder), harm, "1", "25", str(steps)],
            home=home,
            nproc=2,
            floor_seconds=FLOOR_SECONDS,
            env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        ).run()
    ends = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
    return ends, list(journal.read(home, "supervisor"))


def seconds_over(home: Path) -> float:
    """From the harm to the line in the supervisor's journal, beyond the limit."""
    (began,) = home.glob("harmed*")
    for path in journal.files(home, "supervisor"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row["kind"] == "ProcessExited":
                return float(row["at"]) - float(began.read_text()) - FLOOR_SECONDS
    return math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="of each kind of hang (3)")
    options = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as room:
        counter = iter(range(10**6))

        def folder() -> Path:
            made = Path(room, str(next(counter)))
            made.mkdir()
            return made

        unharmed, _ = supervise(folder(), "nothing")
        for harm, (phase, words) in HANGS.items():
            over: list[float] = []
            found = named = stacks = equal = 0
            for _ in range(options.times):
                at = folder()
                ends, told = supervise(at, harm)
                gone = [one for one in told if isinstance(one, ProcessExited)]
                over.append(seconds_over(at / "run"))
                found += bool(gone) and gone[0].hung
                named += bool(gone) and (gone[0].rank, gone[0].phase) == (1, phase)
                kept = [at / "run" / "stacks" / f"rank{rank}.0.txt" for rank in range(2)]
                stacks += all(one.exists() and "harms.py" in one.read_text() for one in kept)
                equal += ends == unharmed
            print(
                f"{words}: found {found} of {options.times}, {statistics.median(over):.2f} s over "
                f"the limit (worst {max(over):.2f}); rank 1 and phase {phase} named {named} times, "
                f"stacks of both kept {stacks}, parameters equal {equal}; "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
        for harm in SLOW:
            steps = 60 if harm == "thrice" else 40
            _, told = supervise(folder(), harm, steps=steps)
            killed = sum(isinstance(one, ProcessExited) for one in told)
            flagged = [one.rank for one in told if isinstance(one, Straggler)]
            print(f"slow, {harm}: {killed} killed, stragglers named: {flagged}", flush=True)


if __name__ == "__main__":
    main()
