"""A plan carried out: the run without faults, each trial beside it, a table of what survived."""

import json
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from steadytrain.chaos import lab, trial
from steadytrain.chaos import plan as plans
from steadytrain.chaos.command import Settings
from steadytrain.chaos.kinds import KINDS
from steadytrain.chaos.outside import newest_checkpoint
from steadytrain.chaos.plan import Trial
from steadytrain.chaos.trial import Observed
from steadytrain.chaos.verdict import Likeness, Result, grade, losses, saves
from steadytrain.errors import CheckpointError, SteadytrainError
from steadytrain.launch.silence import Limits
from steadytrain.sayings import say
from steadytrain.train.likeness import compare

UNDISTURBED = "undisturbed"

LEAST_SECONDS, TIMES_UNDISTURBED = 300.0, 10.0
"""How long a trial may take: so many times the run without faults, but no less; and the longest
that each of its hangs may take to be found."""


class ChaosFailed(SteadytrainError):
    """The run does not even end when it is left alone."""


def run(settings: Settings) -> int:
    """Carry it out and tell; returns 0 only if every trial was survived.

    Raises:
        SettingError: a fault that the command or its run cannot have.
        ChaosFailed: the run does not end well by itself, or tells nothing of its progress.
    """
    for fault in settings.plan.fault if settings.command else ():
        if KINDS[fault.kind].where != "outside" or fault.phase is not None:
            trial.insist_on_python(settings.command, fault.kind)
    is_shown = (sys.stderr if settings.as_json else sys.stdout).isatty()
    console = Console(stderr=settings.as_json, highlight=False, width=None if is_shown else 150)
    began = time.monotonic()
    breaks_numbers = settings.plan.breaks_numbers
    of_all = trial.Settings(
        command=settings.command or lab.command(settings.home, breaks_numbers=breaks_numbers),
        nproc=settings.nproc,
        hang_after=settings.hang_after,
        longest=float("inf"),
    )
    lang = settings.lang

    def tell(text: str, *, head: str = "") -> None:
        console.print(f"{head}{escape(say(text, lang))}")

    tell(f"the run without faults, in {settings.home}", head="[bold]steadytrain chaos[/]: ")
    undisturbed = trial.run(of_all, settings.home / UNDISTURBED, ())
    steps = _insist(undisturbed)
    updates = f"  {steps} updates in {undisturbed.seconds:.0f} s"
    is_told = bool(losses(undisturbed.home))
    tell(updates if is_told else f"{updates}; no journal, so no losses can be compared")
    of_all = replace(of_all, longest=max(LEAST_SECONDS, TIMES_UNDISTURBED * undisturbed.seconds))
    results = []
    trials = plans.trials(
        settings.plan, steps=steps, world=settings.nproc, saves=saves(undisturbed.home)
    )
    for one in trials:
        # Early in a start a hang is found as late as that.
        hangs = sum(fault.of.ends == "hang" for fault in one.faults)
        waits = hangs * Limits().factor * settings.hang_after
        patient = replace(of_all, longest=of_all.longest + waits)
        result = _carry_out(one, patient, settings.home, undisturbed)
        console.print(_line(result, lang))
        results.append(result)
        if result.is_survived and not settings.keeps:
            _thin_out(settings.home)
    is_reproducible = True
    if any(result.is_equal is False and not result.is_survived for result in results):
        tell("  some run is another: is it the same twice when nothing is done to it?")
        is_reproducible = _is_reproducible(of_all, settings.home, undisturbed)
        if not is_reproducible:
            tell(
                "It is not: two runs without faults differ, so none of the differences above is a "
                "fault's. Look for a seed that is not set, or for kernels that are not "
                "deterministic (torch.use_deterministic_algorithms)."
            )
    console.print(_table(results, lang))
    survived = sum(result.is_survived for result in results)
    tell(
        f"{survived} of {len(results)} survived; {time.monotonic() - began:.0f} s; what each run "
        f"wrote is in {settings.home}"
    )
    if settings.as_json:
        print(json.dumps(_plain(settings, results, undisturbed, is_reproducible)))
    return 0 if survived == len(results) else 1


def _carry_out(one: Trial, of_all: trial.Settings, home: Path, undisturbed: Observed) -> Result:
    folder = home / f"{_file_name(one.name)}.{one.repeat}"
    for number in range(1, 1000):
        if not folder.exists():
            break
        folder = home / f"{_file_name(one.name)}.{one.repeat}.{number}"
    seen = trial.run(of_all, folder, one.faults)
    return grade(one, seen, undisturbed, _likeness(seen, undisturbed))


def _thin_out(home: Path) -> None:
    """Checkpoints of fifty runs of a large model would fill any disk."""
    for path in home.glob("*/run/checkpoints"):
        if path.parent.parent.name != UNDISTURBED:
            shutil.rmtree(path)


def _likeness(seen: Observed, undisturbed: Observed) -> Likeness | None:
    ours, theirs = newest_checkpoint(seen.home), newest_checkpoint(undisturbed.home)
    if theirs is None:
        return None
    if ours is None:
        return Likeness(differing=("there is no final checkpoint",))
    try:
        differing, unsound = compare(ours, theirs)
    except CheckpointError as error:
        return Likeness(differing=(str(error),))
    return Likeness(differing=differing, unsound=unsound)


def _insist(undisturbed: Observed) -> int:
    """The number of its updates.

    Raises:
        ChaosFailed: it did not end well, or says nothing of its progress.
    """
    log = undisturbed.home.parent / "output.log"
    if undisturbed.statuses[-1] != 0:
        last = log.read_text(errors="replace")[-2000:]
        raise ChaosFailed(
            f"the run ends with status {undisturbed.statuses[-1]} though nothing was done to it, "
            f"so it cannot be tried. Its output ends:\n{last}"
        )
    if not undisturbed.last_step:
        raise ChaosFailed(
            "the run told no step of its progress to the home that it was given, so nobody knows "
            "when to strike. Leave home= out of Session(...), or write {home} in the command where "
            "the script wants it; without a Session, call steadytrain.progress.beat."
        )
    return undisturbed.last_step


def _is_reproducible(of_all: trial.Settings, home: Path, undisturbed: Observed) -> bool:
    again = trial.run(of_all, home / f"{UNDISTURBED}-again", ())
    likeness = _likeness(again, undisturbed)
    same = losses(again.home) == losses(undisturbed.home)
    return same and not (likeness and likeness.differing)


def _line(result: Result, lang: str) -> str:
    verdict, colour = ("survived", "green") if result.is_survived else ("not survived", "red")
    reasons = "".join(f"\n      {escape(say(one, lang))}" for one in result.complaints)
    steps = ", ".join(str(step) for step in result.steps) or "-"
    where = say(f"(step {steps})", lang)
    return f"  {result.trial} {where}: [{colour}]{say(verdict, lang)}[/]{reasons}"


def _table(results: Sequence[Result], lang: str) -> Table:
    table = Table(title=say("what was done to the run, and what the run did", lang))
    for name, justify in (
        ("trial", "left"), ("times", "right"), ("survived", "right"), ("bit-equal", "right"),
        ("restarts", "right"), ("steps lost", "right"), ("seconds to recover", "right"),
        ("wrong kills", "right"), ("left behind", "right"),
    ):  # fmt: skip
        table.add_column(say(name, lang), justify=justify)  # type: ignore[arg-type]
    for name in dict.fromkeys(result.trial for result in results):
        mine = [result for result in results if result.trial == name]
        good = sum(one.is_survived for one in mine)
        colour = "green" if good == len(mine) else "red"
        table.add_row(
            name,
            str(len(mine)),
            f"[{colour}]{good}[/]",
            _of([one.is_equal for one in mine]),
            _spread([one.restarts for one in mine]),
            _spread([one.steps_lost for one in mine]),
            _spread([second for one in mine for second in one.recover_seconds]),
            str(sum(one.wrong_kills for one in mine)),
            str(sum(one.orphans + one.leaks for one in mine)),
        )
    return table


def _of(equal: Sequence[bool | None]) -> str:
    known = [one for one in equal if one is not None]
    return str(sum(known)) if known else "-"


def _spread(values: Sequence[float]) -> str:
    """The median, and the highest where it is another."""
    if not values:
        return "-"
    middle, highest = statistics.median(values), max(values)
    return f"{middle:.3g}" if middle == highest else f"{middle:.3g} (max {highest:.3g})"


def _plain(
    settings: Settings, results: Sequence[Result], undisturbed: Observed, is_reproducible: bool
) -> dict[str, object]:
    return {
        "ok": all(result.is_survived for result in results),
        "seed": settings.plan.seed,
        "nproc": settings.nproc,
        "home": str(settings.home),
        "steps": undisturbed.last_step,
        "undisturbed_seconds": round(undisturbed.seconds, 3),
        "reproducible": is_reproducible,
        "trials": [
            asdict(result) | {"survived": result.is_survived, "seconds": round(result.seconds, 3)}
            for result in results
        ],
    }


def _file_name(name: str) -> str:
    return "".join(one if one.isalnum() or one in "-_" else "-" for one in name)
