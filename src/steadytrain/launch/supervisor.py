"""Start the ranks, watch them, stop them, start them again; PyTorch's elastic agent underneath.

    Supervisor([sys.executable, "train.py"], home=Path("runs/r1"), nproc=2).run()

It sees what torchrun does not: a rank that lives but does not move. It decides nothing: facts go to
its own journal, `judge/restarts.py` judges them, and only what is on record there is done.

With `hosts`, one supervisor runs on each of several hosts, see allies.py. torch is imported when
`run` is called, see workers.py.
"""

import contextlib
import fcntl
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from steadytrain import journal
from steadytrain.errors import SettingError
from steadytrain.events import Event
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.launch.allies import Allies
from steadytrain.launch.book import Book
from steadytrain.launch.courier import Courier
from steadytrain.launch.forks import Forks
from steadytrain.launch.guard import Guard
from steadytrain.launch.hosts import Hosts
from steadytrain.launch.keeper import Keeper
from steadytrain.launch.output import say
from steadytrain.launch.parcels import secret_of
from steadytrain.launch.silence import Limits, Silence
from steadytrain.launch.workers import early_environment, elastic_agent, open_store
from steadytrain.slots import COPIES, folder_of, is_wanted

WRITER = "supervisor"

LOCK_SECONDS = 10.0
"""How long a new supervisor waits for the guard of one that was killed just now."""


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
        hosts: where this host meets others; None: it is the only one.
        neighbour_copies: each host's states are copied into the memory of the next one, so that a
            lost host costs no more steps than a lost rank. Costs memory for four more states a
            rank, see docs/survival.md.
        preload: modules that ranks find imported when they start, besides torch and
            steadytrain.train; None: every rank is a new interpreter, which costs 2 s a start.
        on_event: is told every event once it is on record.

    Source: grace 25 s: Kubernetes and Slurm kill the supervisor itself after 30 s; floor and
    starting: see `Limits`.

    Raises:
        SettingError: no such program, or no ranks.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        home: Path,
        nproc: int = 1,
        hosts: Hosts | None = None,
        neighbour_copies: bool = False,
        policy: RestartPolicy | None = None,
        floor_seconds: float = 60.0,
        starting_seconds: float = 600.0,
        grace_seconds: float = 25.0,
        env: Mapping[str, str] | None = None,
        preload: Sequence[str] | None = (),
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        _refuse_nonsense(command, nproc)
        self._command = list(command)
        self._home = Path(home).absolute()
        self._nproc = nproc
        self._hosts = hosts
        self._policy = policy or RestartPolicy()
        self._limits = Limits(floor_seconds=floor_seconds, starting_seconds=starting_seconds)
        self._grace_seconds = grace_seconds
        self._env = _one_thread(nproc) | dict(env or {})
        self._has_copies = neighbour_copies
        if neighbour_copies:
            _refuse_copies_of_nothing(hosts, {**os.environ, **self._env})
            self._env[COPIES] = "1"
        self._preload = preload
        self._on_event = on_event or _tell_nobody

    def run(self) -> int:
        """The exit status, for whoever starts jobs.

        0: all ranks finished. 75: start it again, here or elsewhere: it was asked to leave by
        SIGTERM or SIGUSR1, this host cannot be trusted, or the other hosts were lost. 93: given
        up, do not start it again. 128 + number: another signal ended it.

        Raises:
            SettingError: another supervisor holds this home.
            JournalError: the journal cannot be read or written.
        """
        with contextlib.ExitStack() as stack:
            mark = uuid.uuid4().hex
            slots = str(folder_of(self._home, {**os.environ, **self._env}))
            lock = stack.enter_context(_hold(self._home, self._hosts))
            guard = Guard(mark, lock=lock, slots=slots)
            stack.callback(guard.close)
            forks = Forks(
                self._command,
                preload=self._preload,
                home=self._home,
                env={**os.environ, **early_environment(self._env, mark)},
            )
            stack.callback(forks.close)
            forks.begin()
            keeper, ally = self._make_keeper(stack, mark, forks, Path(slots))
            stack.enter_context(keeper.ears)
            elastic_agent(
                self._command, nproc=self._nproc, keeper=keeper, forks=forks, ally=ally
            ).run()
            return keeper.status

    def _make_keeper(
        self, stack: contextlib.ExitStack, mark: str, forks: Forks, slots: Path
    ) -> tuple[Keeper, Allies | None]:
        settings: dict[str, Any] = {
            "home": self._home,
            "silence": Silence(limits=self._limits),
            "grace_seconds": self._grace_seconds,
            "env": self._env,
            "mark": mark,
            "forks": forks,
        }
        if self._hosts is None:
            book = self._open_book()
            stack.callback(book.close)
            return Keeper(book, **settings), None
        ally = Allies(
            self._hosts,
            nproc=self._nproc,
            token=mark,
            open_book=self._open_book,
            open_store=open_store,
            courier=Courier(slots, secret_of(self._home)) if self._has_copies else None,
            **settings,
        )
        stack.callback(ally.close)
        return ally, ally

    def _open_book(self) -> Book:
        past = journal.load(self._home, WRITER)
        own = journal.Journal(self._home, WRITER)
        return Book(own, past, policy=self._policy, on_event=self._on_event)


@contextlib.contextmanager
def _hold(home: Path, hosts: Hosts | None) -> Iterator[int]:
    """Keep other supervisors out of a home, for as long as this process or its guard lives.

    Those of one run on several hosts share it, one for each host.
    """
    home.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        how = fcntl.LOCK_EX if hosts is None else fcntl.LOCK_SH
        shared = stack.enter_context(_locked(home / "supervisor.lock", how, home))
        if hosts is not None:
            own = home / f"supervisor.{hosts.name}.lock"
            shared = stack.enter_context(_locked(own, fcntl.LOCK_EX, home))
        yield shared


@contextlib.contextmanager
def _locked(path: Path, how: int, home: Path) -> Iterator[int]:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + LOCK_SECONDS
    try:
        while not _locks(lock, how):
            if time.monotonic() > end:
                raise SettingError(
                    f"another supervisor runs in {home}: two would train over each other. "
                    "Choose another home, or stop that one first."
                )
            time.sleep(0.05)
        yield lock
    finally:
        os.close(lock)


def _locks(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # Lustre without -o flock knows no locks
        say(f"this home cannot be locked: {error.strerror}")
    return True


def _one_thread(nproc: int) -> dict[str, str]:
    """As torchrun does: several ranks that take all cores each would slow each other down."""
    return {"OMP_NUM_THREADS": "1"} if nproc > 1 and "OMP_NUM_THREADS" not in os.environ else {}


def _tell_nobody(event: Event) -> None:
    """Nobody asked to be told."""


def _refuse_copies_of_nothing(hosts: Hosts | None, environ: Mapping[str, str]) -> None:
    if hosts is None:
        raise SettingError(
            "a single host has no neighbour that could keep copies of its states. Leave out "
            "--neighbour-copies, or run on several hosts: --nnodes 2 --rdzv-endpoint HOST:PORT."
        )
    if not is_wanted({**environ, "STEADYTRAIN_GENERATION": "0"}):
        raise SettingError(
            "STEADYTRAIN_SHM=off keeps no states in memory, so there is nothing to copy. Leave out "
            "--neighbour-copies, or unset STEADYTRAIN_SHM."
        )


def _refuse_nonsense(command: Sequence[str], nproc: int) -> None:
    if not command:
        raise SettingError(
            "the command is empty, so there is nothing to start. "
            'Write Supervisor([sys.executable, "train.py"], ...).'
        )
    if shutil.which(command[0]) is None:
        raise SettingError(
            f"{command[0]} is not a program that can be run, so no rank could start. "
            f"Write its full path, or {sys.executable} before a script."
        )
    if nproc < 1:
        raise SettingError(
            f"nproc={nproc} leaves nobody to train. Write nproc=1, or one per GPU of this host."
        )
