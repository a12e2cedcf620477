"""The main job in five minutes: a real run that is broken in nine ways and heals itself.

Two runs of the same model on the same text, side by side on one core each: one undisturbed, one
with faults, both under the supervisor. What the second concludes is told as it happens, and graded
against what was injected once both are done.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from steadytrain import journal, slots
from steadytrain.board.report import write_report
from steadytrain.errors import SteadytrainError
from steadytrain.events import PanelRecord, StepRecord
from steadytrain.lab import faults, grading
from steadytrain.lab.faults import Fault
from steadytrain.lab.options import parse_domains
from steadytrain.lab.texts import Corpus
from steadytrain.progress import read_board
from steadytrain.sayings import say
from steadytrain.stats.paired import interval
from steadytrain.wording import sentence

BATCH = 32
HANG_AFTER = 12.0
"""A step takes 0.1 to 0.3 s here, and a busy machine must not look like a hung one; more patience
would be most of the demo. [seconds]"""

POLL_SECONDS = 0.1


class DemoFailed(SteadytrainError):
    """A run of the demo did not end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the command line asks for."""

    home: Path | None
    steps: int
    seed: int
    fault_names: tuple[str, ...]
    domains: list[str]
    lang: str
    as_json: bool


def choose_faults(given: str | None, *, none: bool) -> tuple[str, ...]:
    """`"kill,weights"` -> names of faults; all of them by default."""
    if none:
        return ()
    if given is None:
        return faults.DEMO
    return tuple(name.strip() for name in given.split(",") if name.strip())


def run(settings: Settings) -> int:
    """Run, tell, grade, report. Returns 0 only if every fault was seen, named and cured."""
    is_shown = (sys.stderr if settings.as_json else sys.stdout).isatty()
    # A log file has no width of its own; 80 columns would break every table.
    console = Console(stderr=settings.as_json, highlight=False, width=None if is_shown else 150)
    root = settings.home or Path("runs") / time.strftime("demo-%Y%m%d-%H%M%S")
    began = time.monotonic()
    # Read the text here first: what is wrong with it is said before anything starts.
    corpus = Corpus.load(parse_domains(settings.domains), seed=settings.seed)
    planned = faults.plan(
        settings.fault_names,
        steps=settings.steps,
        seed=settings.seed,
        domains=corpus.domains,
        draws_per_step=BATCH,
    )
    plan_path = root / "lab" / "faults.json"
    faults.save(planned, plan_path)
    about = (
        f"{settings.steps} steps, domains {', '.join(corpus.domains)}, {len(planned)} faults, "
        f"in {root}"
    )
    console.print(f"[bold]steadytrain demo[/]: {say(about, settings.lang)}")
    for note in corpus.notes:
        console.print(f"  {note}")
    guarded = root / "guarded"
    runs = [_Run(guarded, settings, plan=plan_path, threads=1 if planned else 2)]
    if planned:
        runs.append(_Run(root / "undisturbed", settings, plan=None, threads=1))
    outside = Outside(guarded, planned)
    outside.start()
    try:
        _tell(runs, settings, console, corpus.domains)
    finally:
        outside.stop()
        for one in runs:
            one.stop()
    _insist_on_end(runs)
    return _close(root, planned, corpus, settings, console, seconds=time.monotonic() - began)


class _Run:
    """One supervised training run in a process of its own."""

    def __init__(self, home: Path, settings: Settings, *, plan: Path | None, threads: int) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "output.log"
        training = [sys.executable, "-m", "steadytrain.lab.train", "--home", str(home)]
        training += ["--steps", str(settings.steps), "--seed", str(settings.seed)]
        training += ["--threads", str(threads), "--batch-size", str(BATCH)]
        for domain in settings.domains:
            training += ["--domain", domain]
        if plan is not None:
            training += ["--fault-plan", str(plan)]
        command = [sys.executable, "-m", "steadytrain.cli", "run", "--home", str(home)]
        command += ["--hang-after", str(HANG_AFTER), "--", *training]
        # One thread of BLAS for each: two processes on two cores beat four threads on two.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=environment
            )

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)


class Outside(threading.Thread):
    """Kills, freezes and tears from outside the training process, each once."""

    def __init__(self, home: Path, planned: Sequence[Fault]) -> None:
        super().__init__(daemon=True)
        self._home = home
        self._left = sorted(
            (fault for fault in planned if fault.kind in faults.FROM_OUTSIDE),
            key=lambda fault: fault.step,
        )
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        while self._left and not self._stopped.wait(0.005):
            beat = read_board(self._home / "progress" / "rank0.board")
            if beat is None or beat.step is None or beat.step < self._left[0].step - 1:
                continue
            self._strike(self._left.pop(0), beat.pid)

    def _strike(self, fault: Fault, pid: int) -> None:
        if fault.kind == "tear":
            # As if the host were lost: its memory is gone, and the newest checkpoint is torn.
            os.kill(pid, signal.SIGSTOP)
            newest = max((self._home / "checkpoints").glob("a????-s????????"))
            faults.tear(newest, fault.seed)
            shutil.rmtree(slots.folder_of(self._home), ignore_errors=True)
        stop = signal.SIGSTOP if fault.kind == "freeze" else signal.SIGKILL
        os.kill(pid, stop)


def _tell(runs: list[_Run], settings: Settings, console: Console, domains: Sequence[str]) -> None:
    """Follow the journals until all runs are over; say each event in one line."""
    progress = Progress(
        TextColumn("{task.description:12}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[losses]}"),
        console=console,
    )
    with progress:
        followed = [
            (
                journal.Tail(one.home),
                progress.add_task(one.home.name, total=settings.steps, losses=""),
            )
            for one in runs
        ]
        is_over = False
        while not is_over:
            is_over = all(one.is_over() for one in runs)  # then read once more
            for index, (tail, task) in enumerate(followed):
                for _, line in tail.poll():
                    event = line.event
                    if isinstance(event, StepRecord):
                        losses = "  ".join(
                            f"{name} {nll / max(1, tokens):.2f}"
                            for name, nll, tokens in zip(
                                domains, event.nll, event.tokens, strict=True
                            )
                        )
                        progress.update(task, completed=event.step, losses=losses)
                    words = sentence(event, lang=settings.lang, domains=tuple(domains))
                    if words is not None and index == 0:
                        clock = time.strftime("%H:%M:%S", time.localtime(line.at))
                        console.print(f"[dim]{clock}[/] {escape(words)}", soft_wrap=True)
            time.sleep(POLL_SECONDS)


def _insist_on_end(runs: list[_Run]) -> None:
    for one in runs:
        if one.process.returncode != 0 or not grading.has_ended(one.home):
            last = one.log.read_text(errors="replace")[-3000:]
            raise DemoFailed(
                f"the run {one.home} stopped with status {one.process.returncode} before its last "
                f"step. Its output ends:\n{last}"
            )


def _close(
    root: Path,
    planned: Sequence[Fault],
    corpus: Corpus,
    settings: Settings,
    console: Console,
    *,
    seconds: float,
) -> int:
    """The closing tables, the report, the verdict."""
    guarded, undisturbed = root / "guarded", root / "undisturbed"
    grades = grading.grade(guarded, planned)
    comparisons = grading.compare(guarded, undisturbed, corpus.domains, planned) if planned else ()
    false = grading.false_incidents(guarded, planned)
    false += grading.false_incidents(undisturbed, ()) if planned else 0
    report = write_report(guarded, lang=settings.lang)
    is_good = (
        all(one.is_passed for one in grades)
        and all(one.is_passed for one in comparisons)
        and false == 0
    )
    if grades:
        console.print(_fault_table(grades, settings.lang))
        console.print(_panel_table(comparisons, settings.lang))
    else:
        console.print(_plain_panel(guarded, corpus.domains, settings.lang))
    console.print(say(f"incidents that nothing explains: {false}", settings.lang))
    console.print(say(f"report: {report}   ({seconds:.0f} s)", settings.lang))
    verdict = say("all is well" if is_good else "not as it should be", settings.lang)
    console.print(f"[bold {'green' if is_good else 'red'}]{verdict}[/]")
    if settings.as_json:
        print(
            json.dumps(
                {
                    "ok": is_good,
                    "seconds": round(seconds, 1),
                    "faults": [asdict(one) | {"ok": one.is_passed} for one in grades],
                    "panel": [asdict(one) | {"change": one.change} for one in comparisons],
                    "false_incidents": false,
                    "report": str(report),
                    "home": str(root),
                },
                ensure_ascii=False,
            )
        )
    return 0 if is_good else 1


def _fault_table(grades: Sequence[grading.Grade], lang: str) -> Table:
    table = Table(title=say("what was done to the run, and what the run did", lang))
    for name in ("fault", "at step", "seen after", "diagnosis", "remedy", "outcome", "steps lost"):
        table.add_column(
            say(name, lang), justify="right" if name in ("at step", "steps lost") else "left"
        )
    for one in grades:
        seen = "missed" if one.detected_after is None else f"{one.detected_after} steps"
        named = "" if one.is_named else f"[red]{say('wrong:', lang)}[/] "
        colour = "green" if one.is_cured else "red"
        table.add_row(
            one.fault,
            str(one.step),
            say(seen, lang),
            f"{named}{escape(say(one.diagnosis, lang))}",
            say(one.remedy, lang),
            f"[{colour}]{say(one.outcome, lang)}[/]",
            str(one.steps_lost),
        )
    return table


def _panel_table(comparisons: Sequence[grading.Comparison], lang: str) -> Table:
    table = Table(title=say("final perplexity of the fixed panel, per byte", lang))
    for name in ("domain", "guarded", "undisturbed", "change"):
        table.add_column(say(name, lang), justify="left" if name == "domain" else "right")
    for one in comparisons:
        colour = "green" if one.is_passed else "red"
        table.add_row(
            one.domain,
            f"{one.perplexity:.3f}",
            f"{one.reference:.3f}",
            f"[{colour}]{one.change:+.2%}[/]",
        )
    return table


def _plain_panel(home: Path, domains: Sequence[str], lang: str) -> Table:
    table = Table(title=say("final perplexity of the fixed panel, per byte", lang))
    for name in ("domain", "perplexity", "95 % interval", "sequences"):
        table.add_column(say(name, lang), justify="left" if name == "domain" else "right")
    last = [event for event in journal.read(home) if isinstance(event, PanelRecord)][-1]
    for name, losses in zip(domains, last.losses, strict=True):
        found = interval(losses)
        table.add_row(
            name,
            f"{found.perplexity:.3f}",
            f"{found.perplexity_low:.3f} to {found.perplexity_high:.3f}",
            str(found.sequences),
        )
    return table
