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
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from steadytrain import journal
from steadytrain.errors import SettingError
from steadytrain.events import Event
from steadytrain.judge.restarts import RestartPolicy
from steadytrain.launch.book import Book
from steadytrain.launch.forks import Forks
from steadytrain.launch.guard import Guard
from steadytrain.launch.keeper import Keeper
from steadytrain.launch.silence import Limits, Silence
from steadytrain.launch.workers import early_environment, elastic_agent
from steadytrain.slots import folder_of

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
        self._policy = policy or RestartPolicy()
        self._limits = Limits(floor_seconds=floor_seconds, starting_seconds=starting_seconds)
        self._grace_seconds = grace_seconds
        self._env = _one_thread(nproc) | dict(env or {})
        self._preload = preload
        self._on_event = on_event or _tell_nobody

    def run(self) -> int:
        """The exit status, for whoever starts jobs.

        0: all ranks finished. 75: start it again, here or elsewhere: it was asked to leave by
        SIGTERM or SIGUSR1, or this host cannot be trusted. 93: given up, do not start it again. 128
        + number: another signal ended it.

        Raises:
            SettingError: another supervisor holds this home.
            JournalError: the journal cannot be read or written.
        """
        with contextlib.ExitStack() as stack:
            mark = uuid.uuid4().hex
            slots = str(folder_of(self._home, {**os.environ, **self._env}))
            guard = Guard(mark, lock=stack.enter_context(_hold(self._home)), slots=slots)
            stack.callback(guard.close)
            forks = Forks(
                self._command,
                preload=self._preload,
                home=self._home,
                env={**os.environ, **early_environment(self._env, mark)},
            )
            stack.callback(forks.close)
            forks.begin()
            past = journal.load(self._home, WRITER)
            own = stack.enter_context(journal.Journal(self._home, WRITER))
            keeper = Keeper(
                Book(own, past, policy=self._policy, on_event=self._on_event),
                home=self._home,
                silence=Silence(limits=self._limits),
                grace_seconds=self._grace_seconds,
                env=self._env,
                mark=mark,
                forks=forks,
            )
            stack.enter_context(keeper.ears)
            elastic_agent(self._command, nproc=self._nproc, keeper=keeper, forks=forks).run()
            return keeper.status


@contextlib.contextmanager
def _hold(home: Path) -> Iterator[int]:
    """Keep other supervisors out of a home, for as long as this process or its guard lives."""
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + LOCK_SECONDS
    try:
        while not _locks(lock):
            if time.monotonic() > end:
                raise SettingError(
                    f"another supervisor runs in {home}: two would train over each other. "
                    "Choose another home, or stop that one first."
                )
            time.sleep(0.05)
        yield lock
    finally:
        os.close(lock)


def _locks(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # Lustre without -o flock knows no locks
        print(f"steadytrain: this home cannot be locked: {error.strerror}", file=sys.stderr)
    return True


def _one_thread(nproc: int) -> dict[str, str]:
    """As torchrun does: several ranks that take all cores each would slow each other down."""
    return {"OMP_NUM_THREADS": "1"} if nproc > 1 and "OMP_NUM_THREADS" not in os.environ else {}


def _tell_nobody(event: Event) -> None:
    """Nobody asked to be told."""


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
