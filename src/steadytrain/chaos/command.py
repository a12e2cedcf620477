"""The words of `steadytrain chaos`."""

import argparse
import time
from pathlib import Path

from steadytrain.chaos import plan as plans
from steadytrain.chaos.kinds import CHECKLISTS, ENDS, KINDS
from steadytrain.chaos.plan import Plan
from steadytrain.errors import SettingError
from steadytrain.launch.command import as_command


def add_arguments(chaos: argparse.ArgumentParser) -> None:
    """The command's options; what to break follows `--`."""
    chaos.add_argument(
        "plan",
        nargs="*",
        help=f"files of plans, or names of some that come along: {', '.join(plans.built_in())}",
    )
    chaos.add_argument("--faults", metavar="KIND,...", help="instead of a plan: each of these once")
    chaos.add_argument("--list", action="store_true", help="say what can be done, and stop")
    chaos.add_argument(
        "--lab", action="store_true", help="break a small run of the lab; needs no script"
    )
    chaos.add_argument("--nproc", type=int, help="ranks of each run (1; with --lab 2)")
    chaos.add_argument("--seed", type=int, help="of the moments, instead of the plan's")
    chaos.add_argument("--repeats", type=int, help="of each trial, instead of the plan's")
    chaos.add_argument(
        "--hang-after",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="as of `steadytrain run`, but shorter, so that hangs are found in good time (5)",
    )
    chaos.add_argument("--home", type=Path, help="folder for the runs (runs/chaos-DATE)")
    chaos.add_argument(
        "--keep", action="store_true", help="keep the checkpoints of what was survived"
    )
    chaos.add_argument("--json", action="store_true", help="print one JSON object at the end")


def describe() -> str:
    """Every kind of fault, and the checklists of others."""
    lines = ["kinds of faults, and what a run must make of them:"]
    lines += [f"  {one.name:18} {one.does}: {ENDS[one.ends]}" for one in KINDS.values()]
    for name, entries in CHECKLISTS.items():
        lines.append(f"the faults of {name}:")
        lines += [f"  {theirs:24} {ours}" for theirs, ours in entries.items()]
    return "\n".join(lines)


def chosen_plan(options: argparse.Namespace) -> Plan:
    """The plan that the options name.

    Raises:
        SettingError: none or two are named, or the plan makes no sense.
    """
    if bool(options.plan) == bool(options.faults):
        raise SettingError(
            "a plan says what to break, and one is needed. Write a file, one of those that come "
            f"along ({', '.join(plans.built_in())}), or --faults sigkill,gil."
        )
    if options.plan:
        plan = plans.joined([plans.read(name) for name in options.plan])
    else:
        plan = plans.of_kinds([name.strip() for name in options.faults.split(",") if name.strip()])
    return plans.changed(plan, seed=options.seed, repeats=options.repeats)


def chosen_command(options: argparse.Namespace) -> list[str]:
    """The script that is to be broken; empty for the lab's.

    Raises:
        SettingError: no script, or the lab and a script.
    """
    if bool(options.command_line) == options.lab:
        raise SettingError(
            "it must be said what to break: a script or the lab. Write: steadytrain chaos quick "
            "-- train.py --your-options, or: steadytrain chaos quick --lab"
        )
    return as_command(options.command_line) if options.command_line else []


def chosen_nproc(options: argparse.Namespace) -> int:
    """Ranks of each run."""
    nproc: int = options.nproc if options.nproc is not None else 2 if options.lab else 1
    if nproc < 1:
        raise SettingError(f"--nproc {nproc} leaves nobody to train. Write --nproc 1 or more.")
    return nproc


def chosen_home(options: argparse.Namespace) -> Path:
    """Where the runs lie.

    Raises:
        SettingError: something lies there already.
    """
    home: Path = options.home or Path("runs") / time.strftime("chaos-%Y%m%d-%H%M%S")
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise SettingError(
            f"{home} holds something, perhaps a run, which this would go on with. Choose a folder "
            "that is not there yet with --home."
        )
    return home.absolute()
