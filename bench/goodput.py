"""The account of a run's time beside a stopwatch: is it closed, and is the dead time what it was?

A supervised run of the lab; its rank gets a SIGKILL at moments drawn by chance, and a rollback is
ordered. From outside: the clock from the start of the command to its end, and from each kill to the
next new update. From the journal alone: the account.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from steadytrain.chaos import lab
from steadytrain.progress import board_path, read_board
from steadytrain.stints import PARTS
from steadytrain.vitals import Vitals

DEAD = ("detection", "startup", "waits", "idle")
"""Parts in which nothing is trained since a life ended or has not begun."""


def main() -> None:
    options = _options()
    print(machine.line(), file=sys.stderr)
    home = Path(tempfile.mkdtemp(prefix="goodput-"))
    try:
        found = [measure(home / str(seed), options, seed) for seed in range(options.runs)]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    for one in found:
        for name, value in one.items():
            print(f"{name:52} {value}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


def measure(folder: Path, options: argparse.Namespace, seed: int) -> dict[str, object]:
    """One run, struck and measured."""
    home = folder / "run"
    words = _command(folder, options.steps)
    rng = random.Random(seed)
    moments = sorted(rng.sample(range(12, options.steps - 12), options.kills))
    back = (moments[-1] + options.steps) // 2
    begun = time.monotonic()
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [*words, "--mode", "act"], stdout=log, stderr=log, start_new_session=True
        )
    dead: list[float] = []
    try:
        while process.poll() is None:
            beat = read_board(board_path(home, 0))
            step = beat.step if beat is not None else None
            if step is not None and moments and step >= moments[0]:
                moments.pop(0)
                dead.append(_kill(home, beat.pid, process))
            elif step is not None and not moments and back and step >= back:
                _order(home, step)
                back = 0
            time.sleep(0.005)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    stopwatch = time.monotonic() - begun
    return _beside(home, process.returncode, stopwatch, dead)


def _kill(home: Path, pid: int, process: subprocess.Popen[bytes]) -> float:
    """Seconds from the SIGKILL to the first update of the next life."""
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while process.poll() is None:
        beat = read_board(board_path(home, 0))
        if beat is not None and beat.pid != pid and beat.step is not None:
            break
        time.sleep(0.005)
    return time.monotonic() - begun


def _order(home: Path, step: int) -> None:
    words = [sys.executable, "-m", "steadytrain", "remedy", str(home), "order"]
    subprocess.run([*words, f"roll back {step - 10}"], check=True, stdout=subprocess.DEVNULL)


def _beside(home: Path, status: int, stopwatch: float, dead: list[float]) -> dict[str, object]:
    vitals = Vitals(home=home)
    vitals.refresh()
    account = vitals.timesheet.account()
    parts = account.seconds
    return {
        "status, load": [status, round(os.getloadavg()[0], 1)],
        "kills, updates, of those undone": [len(dead), account.updates, account.updates_lost],
        "stopwatch, clock of the journal, account [s]": [
            round(one, 2) for one in (stopwatch, account.clock, account.wall)
        ],
        "account over the journal's clock, less 1 [%]": _percent(account.wall, account.clock),
        "account over the stopwatch, less 1 [%]": _percent(account.wall, stopwatch),
        "dead after kills: stopwatch [s]": round(sum(dead), 2),
        f"{' + '.join(DEAD)}: account [s]": round(sum(parts[one] for one in DEAD), 2),
        "parts [s]": {one: round(parts[one], 2) for one in PARTS if parts[one] >= 0.005},
    }


def _percent(ours: float, theirs: float) -> float:
    return round(100 * (ours / theirs - 1), 2)


def _command(folder: Path, steps: int) -> list[str]:
    """The lab's run under a supervisor."""
    folder.mkdir(parents=True)
    script = list(lab.command(folder, breaks_numbers=False))
    at = script.index("--steps")
    script[at + 1] = str(steps)
    run = [sys.executable, "-m", "steadytrain", "run", "--home", str(folder / "run"), "--"]
    return [*run, *script]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=400, help="updates of a run (400)")
    parser.add_argument("--kills", type=int, default=3, help="of its rank (3)")
    parser.add_argument("--runs", type=int, default=1, help="with another seed each (1)")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
