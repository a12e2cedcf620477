"""How a run is, for whoever looks on: `status`, `watch`, the metrics, the board.

A fold over `news.News` and the progress boards. `standing.Standing` says what can be asked of a
run, `goodput.Timesheet` where its time went; this says how it goes: state, pace, loss, checkpoints,
restarts.
"""

import math
import os
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from steadytrain import journal
from steadytrain.errors import JournalError
from steadytrain.events import (
    AlertAcknowledged,
    AlertSent,
    AttemptBegan,
    CheckpointFailed,
    CheckpointMirrored,
    CheckpointSaved,
    Diagnosis,
    Event,
    GiveUp,
    Heartbeat,
    Incident,
    JudgingEnded,
    MirrorFailed,
    Outcome,
    PanelRecord,
    ProcessExited,
    Restart,
    RestoreVerified,
    RunBegan,
    WorkersStarted,
)
from steadytrain.goodput import Timesheet
from steadytrain.news import Item, News, Step
from steadytrain.progress import FOLDER, Beat, read_board
from steadytrain.standing import Standing

State = Literal["no run", "starting", "running", "silent", "down", "gave up", "ended"]

RECENT = 256
"""Updates by which the pace is judged."""

SILENT_LEAST = 300.0
SILENT_TIMES = 10.0
"""A run is silent after so many times its slowest recent update, and at least so long: checkpoints,
evaluations and compilations pause it for minutes. Source: guess. [seconds], [1]"""


@dataclass(frozen=True, slots=True)
class Rank:
    """What a rank said last; `seconds` ago, None if this host cannot know."""

    number: int
    phase: str
    step: int | None
    seconds: float | None
    is_alive: bool


@dataclass(kw_only=True, slots=True)
class Vitals:
    """How the run of a home is; `refresh` reads what is new.

    Attributes:
        timesheet: what was made and undone, and where the time went.
        mirrored: the newest checkpoint that is in the mirror;
        mirror_failed: why nothing has arrived there since, None if all is well.
        restored: the last state that was as its record says;
        record: the newest update; `panel` the newest look at the fixed panel.
        attempt_at: wall clock of the present life's first line; `longest_wait` between two
            checkpoints, or from a life's beginning to its first. [seconds]
        written: wall clock of the newest line of rank 0. [seconds since 1970]
        causes: first cause of each diagnosed incident, counted; `results`: outcomes, counted.
        alerts: (channel, state) -> messages.
        acknowledged: thread -> who has seen it.
    """

    home: Path
    clock: Callable[[], float] = time.time
    standing: Standing = field(default_factory=Standing)
    timesheet: Timesheet = field(default_factory=Timesheet)
    record: Step | None = None
    panel: PanelRecord | None = None
    checkpoint: CheckpointSaved | None = None
    checkpoint_at: float | None = None
    copied_step: int | None = None
    copied_at: float | None = None
    attempt_at: float | None = None
    longest_wait: float = 0.0
    checkpoints_failed: int = 0
    failed_in_a_row: int = 0
    mirrored: CheckpointMirrored | None = None
    mirrored_at: float | None = None
    mirror_failed: MirrorFailed | None = None
    mirror_failures: int = 0
    mirror_failed_in_a_row: int = 0
    restored: RestoreVerified | None = None
    restored_at: float | None = None
    num_incidents: int = 0
    num_restarts: int = 0
    exits: Counter[str] = field(default_factory=Counter)
    causes: dict[str, str] = field(default_factory=dict)
    results: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)
    is_judging: bool = True
    began_at: float | None = None
    written: float | None = None
    last_exit: ProcessExited | None = None
    exited_at: float = 0.0
    gave_up: GiveUp | None = None
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    recent_tokens: deque[int] = field(default_factory=lambda: deque(maxlen=RECENT))
    beats: tuple[Rank, ...] = ()
    news: News = field(init=False)
    _supervised: float | None = None
    _moved_at: float = 0.0
    _incident_ids: set[str] = field(default_factory=set)
    _has_workers: bool = False

    def __post_init__(self) -> None:
        self.news = News(self.home)

    def refresh(self) -> list[Item]:
        """Read what is new; returns it."""
        fresh = self.news.poll()
        self.take(fresh)
        self.refresh_ranks()
        return fresh

    def refresh_ranks(self) -> None:
        """Read the progress boards."""
        self.beats = _read_ranks(self.home)

    def take(self, items: Iterable[Item]) -> None:
        """Take lines into account: each writer's in their order, the writers in any."""
        steps: list[Step] = []
        for item in items:
            if isinstance(item, Step):
                steps.append(item)
                continue
            self._make(steps)
            steps = []
            self.note(item)
        self._make(steps)

    def note(self, item: Item) -> None:
        """Take one line into account."""
        if isinstance(item, Step):
            self._make([item])
            return
        self.timesheet.note(item.writer, item.at, item.event)
        if item.writer == "rank0":
            self.written = item.at
        self.standing.note(item.event)
        self._note_training(item.event, item.at)
        self._note_processes(item.event, item.at)

    @property
    def state(self) -> State:
        """In which state the run is now."""
        if self.standing.began is None:
            return "starting" if self._has_workers and self.gave_up is None else "no run"
        if self.gave_up is not None:
            return "gave up"
        if self.standing.has_ended:
            return "ended"
        if self.last_exit is not None and self.exited_at >= self._moved_at:
            return "down"
        return "silent" if self.silence > self.patience else "running"

    @property
    def silence(self) -> float:
        """Since the last sign of movement. [seconds]"""
        moved = max(self.written or 0.0, self._supervised or 0.0)
        silent = max(0.0, self.clock() - moved)
        alive = [one.seconds for one in self.beats if one.is_alive and one.seconds is not None]
        # The slowest: one rank that stands still holds all others up.
        return min(silent, max(alive)) if alive else silent

    @property
    def patience(self) -> float:
        """Silence up to which nothing is wrong. [seconds]"""
        return max(SILENT_LEAST, SILENT_TIMES * max(self.recent, default=0.0))

    @property
    def step_seconds(self) -> float | None:
        """Median time of a recent update."""
        return statistics.median(self.recent) if self.recent else None

    @property
    def tokens_per_second(self) -> float | None:
        """Over the recent updates, pauses included."""
        total = math.fsum(self.recent)
        return sum(self.recent_tokens) / total if total > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Until the last update at the recent pace, pauses included."""
        began = self.standing.began
        if began is None or began.steps is None or not self.recent or self.standing.has_ended:
            return None
        left = max(0, began.steps - self.standing.step)
        return left * math.fsum(self.recent) / len(self.recent)

    @property
    def kept_share(self) -> float | None:
        """Updates of the present branch over updates made in all lives."""
        made, lost = self.timesheet.num_updates, self.timesheet.num_lost
        return (made - lost - self.timesheet.num_skipped) / made if made else None

    def domain_losses(self) -> dict[str, float]:
        """Loss of each domain in the newest update; those without a token are left out."""
        return {} if self.record is None else self.losses_of(self.record)

    def panel_losses(self) -> dict[str, float]:
        """Loss of each domain of the fixed panel at its newest look."""
        return {} if self.panel is None else self.losses_of(self.panel)

    def losses_of(self, record: Step | PanelRecord) -> dict[str, float]:
        """Mean loss of each domain; those without a token are left out."""
        domains = self.standing.began.domains if self.standing.began is not None else ()
        pairs = zip(domains, record.nll, record.tokens, strict=False)
        return {name: nll / tokens for name, nll, tokens in pairs if tokens}

    def _make(self, steps: list[Step]) -> None:
        if not steps:
            return
        self.timesheet.add(steps)
        for one in steps[-RECENT:]:
            if one.seconds is not None and math.isfinite(one.seconds):
                self.recent.append(one.seconds)
                self.recent_tokens.append(sum(one.tokens))
        last = steps[-1]
        self.record = last
        self.standing.step, self.standing.draw = last.step, last.draw_end
        self.written = self._moved_at = last.at

    def _note_training(self, event: Event, at: float) -> None:
        match event:
            case RunBegan():
                self.began_at = at
            case AttemptBegan():
                self.attempt_at = self._moved_at = at
                self.is_judging = True
                if event.cause == "restart":
                    self.num_restarts += 1
            case PanelRecord():
                self.panel = event
            case CheckpointSaved():
                waited = at - max(self.checkpoint_at or 0.0, self.attempt_at or at)
                self.longest_wait = max(self.longest_wait, waited)
                self.checkpoint, self.checkpoint_at, self.failed_in_a_row = event, at, 0
            case CheckpointFailed():
                self.checkpoints_failed += 1
                self.failed_in_a_row += 1
            case CheckpointMirrored():
                self.mirrored, self.mirrored_at = event, at
                self.mirror_failed, self.mirror_failed_in_a_row = None, 0
            case MirrorFailed():
                self.mirror_failed = event
                self.mirror_failures += 1
                self.mirror_failed_in_a_row += 1
            case RestoreVerified(differences=()) if event.source != "rehearsal":
                self.restored, self.restored_at = event, at
            case Incident():
                self._incident_ids.add(event.id)
                self.num_incidents = len(self._incident_ids)
            case Diagnosis():
                self.causes[event.incident] = event.causes[0].name
            case Outcome():
                self.results[event.result] += 1
            case JudgingEnded():
                self.is_judging = False

    def _note_processes(self, event: Event, at: float) -> None:
        match event:
            case WorkersStarted():
                self._has_workers, self.gave_up = True, None
            case Heartbeat():
                self._supervised = at - event.silent_seconds
                if event.copied_step is not None and event.copied_seconds is not None:
                    self.copied_step, self.copied_at = event.copied_step, at - event.copied_seconds
            case ProcessExited():
                self.last_exit, self.exited_at = event, at
                self.exits["hung" if event.hung else "died"] += 1
            case GiveUp():
                self.gave_up = event
            case Restart():
                self.gave_up = None
            case AlertSent(state="sent" | "given up"):
                self.alerts[event.channel, event.state] += 1
            case AlertAcknowledged():
                self.acknowledged[event.thread] = event.who


def read(home: Path, *, clock: Callable[[], float] = time.time) -> Vitals:
    """How the run of this home is now.

    Raises:
        JournalError: the home holds no run.
    """
    vitals = Vitals(home=Path(home), clock=clock)
    vitals.refresh()
    if vitals.state == "no run":
        raise JournalError(
            f"{home} holds no {journal.FOLDER} of a run, so there is nothing to show. "
            "Give the folder that the run was started with, such as runs/r1."
        )
    return vitals


def _read_ranks(home: Path) -> tuple[Rank, ...]:
    """The progress boards; their clock is that of the host that wrote them, perhaps another."""
    found = []
    for path in sorted((Path(home) / FOLDER).glob("rank*.board")):
        number = path.stem.removeprefix("rank")
        beat = read_board(path)
        if beat is not None and number.isdigit():
            found.append(_rank(int(number), beat))
    return tuple(sorted(found, key=lambda one: one.number))


def _rank(number: int, beat: Beat) -> Rank:
    seconds = time.monotonic() - beat.clock
    is_alive = exists(beat.pid) and seconds >= 0 and beat.phase != "finished"
    return Rank(number, beat.phase, beat.step, seconds if is_alive else None, is_alive)


def exists(pid: int) -> bool:
    """Whether a process of this number runs on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
