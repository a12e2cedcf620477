"""Start the ranks, watch them, stop them, start them again; PyTorch's elastic agent underneath.

    Supervisor([sys.executable, "train.py"], home=Path("runs/r1"), nproc=2).run()

It sees what torchrun does not: a rank that lives but does not move. It decides nothing: facts go to
its own journal, `judge/restarts.py` judges them, and only what is on record there is done.

One host. torch is imported when `run` is called, see workers.py.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from steadytrain import journal
from steadytrain.errors import JournalError, SettingError
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
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.launch.guard import Guard
from steadytrain.launch.silence import Limits, Rank, Silence
from steadytrain.launch.workers import POLL_SECONDS, Exit, View, Workers, elastic_agent
from steadytrain.progress import Beat, board_path, read_board

WRITER = "supervisor"

GAVE_UP = 93
"""Exit status after a GiveUp: do not requeue. Source: nvidia-resiliency-ext's ft_launcher."""

HEARTBEAT_SECONDS = 30.0

WATCH_SECONDS = 1.0
"""How long one call of `watch` lasts when nothing happens."""

STOP_GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL after a rank has died: the others wait in a collective for nothing."""

STACK_SECONDS = 0.3
"""For faulthandler to write the stacks of a hang; 20 threads take it less than a hundredth."""

LOCK_SECONDS = 10.0
"""How long a new supervisor waits for the guard of one that was killed just now."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""What torch's agent takes over at each start, so what has to be taken back."""


class Supervisor:
    """Runs a command as `nproc` ranks until all have finished, or starting again cannot help.

    Args:
        command: program and arguments, the same for every rank.
        home: the run's folder; its journal, boards, logs and stacks are there.
        policy: when to start again.
        floor_seconds: no rank is called hung before it was silent for so long.
        starting_seconds: how long a rank may take until its first beat.
        grace_seconds: from a signal to the supervisor, passed on to the ranks, to SIGKILL.
        env: added to the ranks' environment.
        on_event: is told every event once it is on record.

    Source: grace 25 s: Kubernetes and Slurm kill the supervisor itself after 30 s; floor and
    starting: `Limits`.

    Raises:
        SettingError: no such program, or no ranks.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        home: Path,
        nproc: int = 1,
        policy: RestartPolicy | None = None,
        floor_seconds: float = 60.0,
        starting_seconds: float = 600.0,
        grace_seconds: float = 25.0,
        env: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        _refuse_nonsense(command, nproc)
        self._command = list(command)
        self._home = Path(home).absolute()
        self._nproc = nproc
        self._policy = policy or RestartPolicy()
        self._limits = Limits(floor_seconds=floor_seconds, starting_seconds=starting_seconds)
        self._grace_seconds = grace_seconds
        self._env = _one_thread(nproc) | dict(env or {})
        self._on_event = on_event

    def run(self) -> int:
        """The exit status: 0 when all ranks finished, 93 after giving up, 128 + a signal's number.

        Raises:
            SettingError: another supervisor holds this home.
            JournalError: its journal cannot be read or written.
        """
        with contextlib.ExitStack() as stack:
            mark = uuid.uuid4().hex
            guard = Guard(mark, lock=stack.enter_context(_hold(self._home)))
            stack.callback(guard.close)
            book = stack.enter_context(_open_book(self._home, self._policy, self._on_event))
            keeper = _Keeper(
                book,
                home=self._home,
                nproc=self._nproc,
                silence=Silence(limits=self._limits),
                grace_seconds=self._grace_seconds,
                env=self._env,
                mark=mark,
            )
            stack.enter_context(keeper.ears)
            elastic_agent(self._command, nproc=self._nproc, keeper=keeper).run()
            return keeper.status


class _Book:
    """The supervisor's journal, with the policy reading along."""

    def __init__(
        self,
        own: journal.Journal,
        past: list[Event],
        policy: RestartPolicy,
        on_event: Callable[[Event], None] | None,
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
        """The highest step that anybody ever reported."""
        return max(self.tally.best, self.tally.reached or 0) or None

    def note(self, fact: Fact) -> Judgment | None:
        """Write a fact, then what follows from it; returns the latter."""
        self._write(fact)
        self.tally, judgments = self._policy.update(self.tally, fact)
        for judgment in judgments:
            self._write(judgment)
            _tell(judgment)
        return judgments[-1] if judgments else None

    def _write(self, event: Event) -> None:
        self._own.append(event)
        if self._on_event is not None:
            self._on_event(event)


class _Ears:
    """Hears the signals that ask for the end; what was ignored before (nohup) stays ignored."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self._before = {one: signal.getsignal(one) or signal.SIG_DFL for one in SIGNALS}

    def __enter__(self) -> "_Ears":
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            self._set(one, before)

    def listen(self) -> None:
        for one, before in self._before.items():
            is_ours = before is not signal.SIG_IGN and one is not signal.SIGQUIT
            self._set(one, self._hear if is_ours else before)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        self.heard.append(signum)

    def _set(self, one: signal.Signals, action: "signal._HANDLER") -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(one, action)


class _Keeper:
    """What the elastic agent asks while it runs, see `workers.Keeper`."""

    def __init__(
        self,
        book: _Book,
        *,
        home: Path,
        nproc: int,
        silence: Silence,
        grace_seconds: float,
        env: Mapping[str, str],
        mark: str,
    ) -> None:
        self.status = 1
        self.ears = _Ears()
        self._book = book
        self._home = home
        self._nproc = nproc
        self._silence = silence
        self._grace_seconds = grace_seconds
        self._env = env
        self._mark = mark
        self._workers: Workers | None = None
        self._generation = -1
        self._judgment: Judgment | None = None
        self._looked = self._told = 0.0

    def prepare(self) -> Workers:
        self._generation = self._book.next_generation
        self._book.next_generation += 1
        for rank in range(self._nproc):
            board_path(self._home, rank).unlink(missing_ok=True)
        self._workers = Workers(
            self._generation, nproc=self._nproc, home=self._home, mark=self._mark, env=self._env
        )
        return self._workers

    def begin(self, processes: dict) -> None:
        self.ears.listen()
        self._workers.adopt(processes)
        self._silence.begin(self._nproc)
        self._looked = self._told = time.monotonic()
        if processes:
            pids = tuple(process.pid for process in processes.values())
            self._book.note(
                WorkersStarted(generation=self._generation, pids=pids, step=self._book.step)
            )
