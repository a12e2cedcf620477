"""The words of `steadytrain chaos`."""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steadytrain.chaos import plan as plans
from steadytrain.chaos.kinds import CHECKLISTS, ENDS, KINDS
from steadytrain.chaos.plan import Plan
from steadytrain.errors import SettingError
from steadytrain.launch.command import as_command
from steadytrain.options import add_lang
from steadytrain.sayings import say


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the command line asks for.

    Attributes:
        command: what every rank runs; empty for a run of the lab.
        home: where the runs lie, each in a folder of its own.
        hang_after: as of `steadytrain run`. [seconds]
        keeps: checkpoints of what was survived stay, too.
    """

    plan: Plan
    command: tuple[str, ...]
    home: Path
    nproc: int = 1
    hang_after: float = 5.0
    keeps: bool = False
    as_json: bool = False
    lang: str = "en"


def add_to(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    action: Callable[[argparse.Namespace], int],
) -> None:
    """The command's options; what to break follows `--`."""
    chaos = commands.add_parser(
        "chaos", help="break a training script as a plan says, and prove what it survives"
    )
    chaos.set_defaults(action=action)
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
    add_lang(chaos)


def describe(lang: str = "en") -> str:
    """Every kind of fault, and the checklists of others."""
    lines = [say("kinds of faults, and what a run must make of them:", lang)]
    lines += [
        f"  {one.name:18} {say(f'{one.does}: {ENDS[one.ends]}', lang)}" for one in KINDS.values()
    ]
    for name, entries in CHECKLISTS.items():
        lines.append(say(f"the faults of {name}:", lang))
        lines += [f"  {theirs:24} {say(ours, lang)}" for theirs, ours in entries.items()]
    return "\n".join(lines)


def settings(options: argparse.Namespace) -> Settings:
    """What the options ask for.

    Raises:
        SettingError: it makes no sense.
    """
    return Settings(
        plan=_plan(options),
        command=_command(options),
        nproc=_nproc(options),
        home=_home(options),
        hang_after=options.hang_after,
        keeps=options.keep,
        as_json=options.json,
        lang=options.lang,
    )


def _plan(options: argparse.Namespace) -> Plan:
    """The plan that the options name."""
    if options.plan and options.faults:
        raise SettingError(
            f"--faults and the plan {options.plan[0]} both say what to break, and one is needed. "
            "Leave one of them out."
        )
    if not options.plan and not options.faults:
        raise SettingError(
            "a plan says what to break, and one is needed. Write a file, one of those that come "
            f"along ({', '.join(plans.built_in())}), or --faults sigkill,gil."
        )
    if options.plan:
        plan = plans.joined([plans.read(name) for name in options.plan])
    else:
        plan = plans.of_kinds([name.strip() for name in options.faults.split(",") if name.strip()])
    return plans.changed(plan, seed=options.seed, repeats=options.repeats)


def _command(options: argparse.Namespace) -> tuple[str, ...]:
    """The script that is to be broken; empty for the lab's."""
    if bool(options.command_line) == options.lab:
        raise SettingError(
            "it must be said what to break: a script or the lab. Write: steadytrain chaos quick "
            "-- train.py --your-options, or: steadytrain chaos quick --lab"
        )
    return tuple(as_command(options.command_line)) if options.command_line else ()


def _nproc(options: argparse.Namespace) -> int:
    """Ranks of each run."""
    nproc: int = options.nproc if options.nproc is not None else 2 if options.lab else 1
    if nproc < 1:
        raise SettingError(f"--nproc {nproc} leaves nobody to train. Write --nproc 1 or more.")
    return nproc


def _home(options: argparse.Namespace) -> Path:
    """Where the runs lie."""
    home: Path = options.home or Path("runs") / time.strftime("chaos-%Y%m%d-%H%M%S")
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise SettingError(
            f"{home} holds something, perhaps a run, which this would go on with. Choose a folder "
            "that is not there yet with --home."
        )
    return home.absolute()
