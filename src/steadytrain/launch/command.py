"""The words of `steadytrain run`."""

import argparse
import sys
from pathlib import Path
from typing import Any


def add_arguments(run: argparse.ArgumentParser) -> None:
    """The command's options; what to start follows `--`."""
    run.add_argument("--home", type=Path, default=Path("runs/run"), help="folder of the run")
    run.add_argument("--nproc", type=int, default=1, help="ranks on this host (1)")
    run.add_argument(
        "--hang-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="never call a rank hung before so long without progress (60)",
    )
    run.add_argument(
        "--grace",
        type=float,
        default=25.0,
        metavar="SECONDS",
        help="from SIGTERM to SIGKILL, to finish a step and save (25)",
    )
    run.add_argument(
        "--preload",
        action="append",
        default=[],
        metavar="MODULE",
        help="import it once, not at each start of each rank; torch always is",
    )
    run.add_argument("--no-fork", action="store_true", help="each rank is a new interpreter")


def arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the options ask of a `Supervisor`."""
    return {
        "command": as_command(options.command_line),
        "home": options.home,
        "nproc": options.nproc,
        "floor_seconds": options.hang_after,
        "grace_seconds": options.grace,
        "preload": None if options.no_fork else options.preload,
    }


def as_command(given: list[str]) -> list[str]:
    """`train.py --x` and `-m my.train --x` -> this Python runs it; else it is a program.

    >>> as_command(["-m", "my.train"])[1:], as_command(["bash", "x.sh"])
    (['-m', 'my.train'], ['bash', 'x.sh'])
    """
    is_python = given[0].endswith(".py") or given[0] == "-m"
    return [sys.executable, *given] if is_python else given
