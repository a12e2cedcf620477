"""The watch over the ranks: notices a death, a hang, the end, a signal, and does what is judged."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import FrameType

from steadytrain.errors import JournalError
from steadytrain.events import (
    Event,
    Fact,
    GiveUp,
    Heartbeat,
    Judgment,
    ProcessExited,
    Restart,
    WorkersFinished,
    WorkersStarted,
)
from steadytrain.journal import Journal
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.launch.forks import Forks, Process
from steadytrain.launch.output import say
from steadytrain.launch.silence import Rank, Silence
from steadytrain.launch.workers import POLL_SECONDS, Exit, View, Workers
from steadytrain.progress import Beat, board_path, read_board

GAVE_UP = 93
"""Exit status after a GiveUp: do not requeue. Source: nvidia-resiliency-ext's ft_launcher."""

HEARTBEAT_SECONDS = 30.0

WATCH_SECONDS = 1.0
"""How long one call of `watch` lasts when nothing happens."""

LOOK_SECONDS = 0.05
"""Between two looks at the boards, each of which costs a file read a rank."""

STOP_GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL after a death: the other ranks wait in a collective for nothing."""

STACK_SECONDS = 0.3
"""For faulthandler to write the stacks of a hang; 20 threads take it less than a hundredth."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""What torch's agent takes over at each start, so what has to be taken back."""


class Book:
    """The supervisor's journal, with the policy reading along.

    Attributes:
        next_generation: of the next start; goes on where the journal ends.
        tally: what the policy remembers.
    """

    def __init__(
        self,
        own: Journal,
        past: list[Event],
        *,
        policy: RestartPolicy,
        on_event: Callable[[Event], None],
    ) -> None:
        self._own = own
        self._policy = policy
        self._on_event = on_event
        self.tally = policy.init()
        started = [one.generation for one in past if isinstance(one, WorkersStarted)]
        self.next_generation = max(started, default=-1) + 1
        reached: list[Judgment] = []
        for event in past:
            if not isinstance(event, Judgment):
                self.tally, judgments = policy.update(self.tally, event)
                reached += judgments
        # A supervisor that was killed between a fact and its judgment owes the journal the latter.
        for judgment in reached[sum(isinstance(one, Judgment) for one in past) :]:
            self._write(judgment)

    @property
    def step(self) -> int | None:
        """The highest step that was ever reported; None if none was, or only 0."""
        return max(self.tally.best, self.tally.reached or 0) or None

    def note(self, fact: Fact) -> Judgment | None:
        """Write a fact down, then what follows from it; returns the latter."""
        self._write(fact)
        self.tally, judgments = self._policy.update(self.tally, fact)
        for judgment in judgments:
            self._write(judgment)
        return judgments[-1] if judgments else None

    def _write(self, event: Event) -> None:
        self._own.append(event)
        self._on_event(event)


class Ears:
    """Hears the signals that ask for the end; one that was ignored (nohup) stays ignored."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._before = {one: signal.getsignal(one) or signal.SIG_DFL for one in SIGNALS}

    def __enter__(self) -> "Ears":
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            _set_handler(one, before)

    def listen(self) -> None:
        for one, before in self._before.items():
            is_ours = before is not signal.SIG_IGN and one is not signal.SIGQUIT
            _set_handler(one, self._hear if is_ours else before)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        self.heard.append(signum)


class Keeper:
    """What the elastic agent asks while it runs.

    Attributes:
        status: the supervisor's exit status.
        ears: to be entered while the agent runs.
    """

    def __init__(
        self,
        book: Book,
        *,
        home: Path,
        nproc: int,
        silence: Silence,
        grace_seconds: float,
        env: Mapping[str, str],
        mark: str,
        forks: Forks,
    ) -> None:
        self.status = 1
        self.ears = Ears()
        self._book = book
        self._home = home
        self._nproc = nproc
        self._silence = silence
        self._grace_seconds = grace_seconds
        self._env = env
        self._mark = mark
        self._forks = forks
        self._workers: Workers | None = None
        self._judgment: Judgment | None = None
        self._looked_at = self._told_at = 0.0

    @property
    def _present(self) -> Workers:
        assert self._workers is not None
        return self._workers

    def prepare(self) -> Workers:
        """Make ready for a start that comes now."""
        for rank in range(self._nproc):
            board_path(self._home, rank).unlink(missing_ok=True)
        self._workers = Workers(
            self._book.next_generation,
            nproc=self._nproc,
            home=self._home,
            mark=self._mark,
            env=self._env,
            forks=self._forks,
        )
        self._book.next_generation += 1
        return self._workers

    def begin(self, processes: dict[int, Process]) -> None:
        """The ranks run; none do if a signal came meanwhile."""
        self.ears.listen()
        self._present.adopt(processes)
        self._silence.begin(self._nproc)
        self._looked_at = self._told_at = time.monotonic()
        if processes:
            generation, pids = self._present.generation, tuple(self._present.pids.values())
            self._book.note(WorkersStarted(generation=generation, pids=pids, step=self._book.step))

    def interrupt(self, signum: int) -> None:
        """A signal asked for the end."""
        self.ears.heard.append(signum)

    def watch(self) -> View:
        """Look at the ranks for a while; what a death asks for is done before this returns."""
        end = time.monotonic() + WATCH_SECONDS
        while time.monotonic() < end:
            if self.ears.heard:
                self._leave()
                return "failed"
            exits = self._present.exits()
            deaths = [one for one in exits if one.code != 0]
            if deaths:
                self._bury([self._fact_of(one) for one in deaths], STOP_GRACE_SECONDS)
                return "failed"
            if len(exits) == self._nproc:
                self._book.note(WorkersFinished(generation=self._present.generation))
                self.status = 0
                return "succeeded"
            self._look(ended=[one.rank for one in exits])
            stuck = self._silence.hung()
            if stuck is not None:
                self._bury([self._fact_of_hang(stuck)], 0.0)
                return "failed"
            time.sleep(POLL_SECONDS)
        return "healthy"

    def may_restart(self) -> bool:
        """After "failed": shall all ranks be started again, now?"""
        if self.ears.heard:
            self.status = 128 + self.ears.heard[0]
            return False
        return isinstance(self._judgment, Restart)

    def stop(self) -> None:
        """End the ranks and all that they have started, if any of it is left."""
        if self._workers is not None:
            self._workers.stop(grace_seconds=STOP_GRACE_SECONDS)
            self._workers = None

    def _look(self, *, ended: Collection[int]) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        beats = [self._read_board(rank) for rank in range(self._nproc)]
        self._silence.look(beats, gap_seconds=now - self._looked_at, ended=ended)
        self._looked_at = now
        slowest, tally = self._silence.slowest(), self._book.tally
        # The first new step of a start is told at once: the policy must know that it got further.
        is_further = (slowest.step or 0) > tally.best >= (tally.reached or 0)
        if is_further or now - self._told_at >= HEARTBEAT_SECONDS:
            self._told_at = now
            self._tell_heartbeat(slowest)

    def _tell_heartbeat(self, slowest: Rank) -> None:
        heartbeat = Heartbeat(
            generation=self._present.generation,
            rank=slowest.number,
            step=slowest.step,
            phase=slowest.phase,
            silent_seconds=round(slowest.seconds, 3),
        )
        try:
            self._book.note(heartbeat)
        except JournalError as error:
            say(str(error))  # a full disk is no reason to end a training that runs

    def _read_board(self, rank: int) -> Beat | None:
        beat = read_board(board_path(self._home, rank))
        return beat if beat is not None and beat.generation == self._present.generation else None

    def _fact_of(self, death: Exit) -> ProcessExited:
        rank = self._silence.ranks[death.rank]
        beat = self._read_board(death.rank) or rank.beat
        return ProcessExited(
            generation=self._present.generation,
            rank=death.rank,
            pid=death.pid,
            code=death.code,
            signal=death.signal,
            phase="starting" if beat is None else beat.phase,
            step=None if beat is None else beat.step,
            error=death.error,
        )

    def _fact_of_hang(self, rank: Rank) -> ProcessExited:
        return ProcessExited(
            generation=self._present.generation,
            rank=rank.number,
            pid=self._present.pids[rank.number],
            signal="SIGKILL",
            hung=True,
            phase=rank.phase,
            silent_seconds=round(rank.seconds, 3),
            step=rank.step,
        )

    def _bury(self, facts: list[ProcessExited], grace_seconds: float) -> None:
        """Write down what happened and what follows, end all ranks, wait as judged."""
        generation = self._present.generation
        judgments = [self._book.note(fact) for fact in facts]
        # The first fact of a start is the one that is judged.
        self._judgment = judgments[0]
        _announce(facts[0], self._judgment)
        if facts[0].hung:
            self._present.send(signal.SIGUSR2)
            time.sleep(STACK_SECONDS)
        self._present.stop(grace_seconds=grace_seconds)
        self._workers = None
        self._keep_stacks(generation)
        match self._judgment:
            case GiveUp():
                self.status = GAVE_UP
            case Restart(wait_seconds=seconds):
                self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.ears.heard:
            time.sleep(POLL_SECONDS)

    def _leave(self) -> None:
        """Pass a signal on, and give the ranks time to heed it; a second signal cuts that short."""
        self._judgment = None
        self._present.send(self.ears.heard[0])
        end = time.monotonic() + self._grace_seconds
        while time.monotonic() < end and len(self.ears.heard) == 1:
            if len(self._present.exits()) == len(self._present.pids):
                break
            time.sleep(POLL_SECONDS)
        self._present.stop(grace_seconds=0.0)
        self._workers = None

    def _keep_stacks(self, generation: int) -> None:
        """The next start writes its stacks to the same files."""
        for path in (self._home / "stacks").glob("rank*.txt"):
            if path.stat().st_size and path.stem.count(".") == 0:
                with contextlib.suppress(FileNotFoundError):
                    os.replace(path, path.with_name(f"{path.stem}.{generation}.txt"))


def _set_handler(one: signal.Signals, action: "signal._HANDLER") -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(one, action)


def _announce(fact: ProcessExited, judgment: Judgment | None) -> None:
    where = f"rank {fact.rank}, start {fact.generation}"
    match judgment:
        case Restart(wait_seconds=seconds):
            when = "now" if seconds == 0.0 else f"in {seconds:g} s"
            say(f"{where}: {judgment.cause}; starting again {when}")
        case GiveUp():
            say(f"{where}: {judgment.cause}. Given up: {judgment.why}")
