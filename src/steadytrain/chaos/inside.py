"""Breaks a rank from within: `python -m steadytrain.chaos.inside SCRIPT ARGUMENTS`.

The script runs as it would by itself. What is added is one look at each word that the rank says to
its progress board: is a planned fault due at this step, in this phase, in this rank? Nothing else
of steadytrain knows of this file, and a run that was not started through it cannot be broken by it.
"""

import contextlib
import ctypes
import os
import re
import resource
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from steadytrain import journal
from steadytrain.chaos.plan import Planned
from steadytrain.chaos.strikes import FOLDER, Strikes, load
from steadytrain.launch import parent
from steadytrain.progress import Beacon, Phase

ECC = "CUDA error: uncorrectable ECC error encountered"

SPARE_BYTES = 2**24
"""What a rank that runs out of memory could have had still."""


class PlannedError(RuntimeError):
    """Raised because a fault plan says so."""


class Striker:
    """The planned faults of this rank.

    Args:
        deeds: what is done for a kind that this file does not know itself.
    """

    def __init__(
        self, trial: Path, *, rank: int, deeds: dict[str, Callable[[Planned], None]] | None = None
    ) -> None:
        self._strikes = Strikes(trial)
        self._left = [
            one
            for one in load(trial)
            if not one.is_outside and (one.rank == rank or one.of.everywhere)
        ]
        self._deeds = (deeds or {}) | DEEDS
        self._slow: tuple[int, float] | None = None
        self._step = -1
        self._said: set[Phase] = set()
        self._is_busy = False

    @property
    def faults(self) -> tuple[Planned, ...]:
        return tuple(self._left)

    def look(self, phase: Phase, step: int | None) -> None:
        """Do what is due now, once in a life; `step` as it is said to the board."""
        self._step = self._step if step is None else step
        self._said.add(phase)
        if self._is_busy:
            return
        if self._slow is not None and phase == "forward" and self._step < self._slow[0]:
            time.sleep(self._slow[1])
        for one in list(self._left):
            if not self._is_due(one, phase):
                continue
            self._left.remove(one)
            if self._strikes.claim(one.index, times=one.times, step=self._step, pid=os.getpid()):
                self._strike(one)

    def _is_due(self, one: Planned, phase: Phase) -> bool:
        if self._step < one.step or one.phase is None or phase == one.phase:
            return self._step >= one.step
        # A loop of one's own may have other words than a Session.
        return one.phase == "forward" and "forward" not in self._said and self._step > one.step

    def _strike(self, one: Planned) -> None:
        if one.kind == "slow-rank":
            self._slow = self._step + one.of.updates, one.seconds or 0.0
            return
        self._is_busy = True
        try:
            self._deeds[one.kind](one)
        finally:
            self._is_busy = False


def arm(striker: Striker) -> None:
    """From here on each word to the board is looked at."""
    say = Beacon.beat

    def beat(self: Beacon, phase: Phase, step: int | None = None) -> None:
        say(self, phase, step)
        striker.look(phase, step)

    Beacon.beat = beat  # type: ignore[method-assign]
    if any(one.kind == "clock-jump" for one in striker.faults):
        _take_the_clock()


def run(argv: list[str]) -> None:
    """A script, or `-m` and a module, as `__main__`."""
    module = argv[1] if argv[0] == "-m" else None
    sys.argv[:] = argv if module is None else argv[1:]
    if module is None and not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(argv[0]))
    parent.run({"module": module, "argv": sys.argv})


def signal_oneself(one: Planned) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_error(one: Planned) -> None:
    raise PlannedError(f"as planned: {one.kind}")


def raise_from_another_thread(one: Planned) -> None:
    target = ctypes.c_ulong(threading.get_ident())

    def interrupt() -> None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(PlannedError))

    threading.Timer(0.01, interrupt).start()


def name_hardware(one: Planned) -> None:
    raise PlannedError(ECC)


def leave(one: Planned) -> None:
    sys.exit(3)


def read_address_zero(one: Planned) -> None:
    ctypes.string_at(0)


def run_out_of_memory(one: Planned) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    taken = []
    while True:
        taken.append(bytearray(2**20))


def hold_the_gil(one: Planned) -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")  # backtracks for ever, and never gives the GIL back


def sleep_for_ever(one: Planned) -> None:
    threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()
    while True:
        time.sleep(0.05)


def wait_for_oneself(one: Planned) -> None:
    held = threading.Lock()
    held.acquire()
    held.acquire()


def wait_for_nothing(one: Planned) -> None:
    threading.Event().wait()


def cut_connections(one: Planned) -> None:
    """What waits for a connection is left alone: to end that would be another fault."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as line:
                if line.family in (socket.AF_INET, socket.AF_INET6):
                    line.getpeername()  # an error where there is no other end
                    line.shutdown(socket.SHUT_RDWR)


def leave_a_collective_out(one: Planned) -> None:
    """The next all_reduce of this rank returns at once; the others wait for it."""
    distributed = sys.modules["torch.distributed"]
    real = distributed.all_reduce

    def skip(*_: object, **__: object) -> None:
        distributed.all_reduce = real  # type: ignore[attr-defined]

    distributed.all_reduce = skip  # type: ignore[attr-defined]


def be_slow(one: Planned) -> None:
    time.sleep(one.seconds or 0.0)


_jump = [0.0]


def jump(one: Planned) -> None:
    _jump[0] += one.seconds or 0.0


def _take_the_clock() -> None:
    real = time.time

    def shifted() -> float:
        return real() + _jump[0]

    time.time = shifted
    # A default is read once, when a function is made.
    defaults = journal.Journal.__init__.__kwdefaults__
    assert defaults is not None
    defaults["clock"] = shifted


DEEDS: dict[str, Callable[[Planned], None]] = {
    "sigkill": signal_oneself,
    "segfault": read_address_zero,
    "abort": lambda one: os.abort(),
    "exception": raise_error,
    "async-exception": raise_from_another_thread,
    "exit": leave,
    "out-of-memory": run_out_of_memory,
    "gil": hold_the_gil,
    "sleep": sleep_for_ever,
    "lock": wait_for_oneself,
    "loader": wait_for_nothing,
    "disconnect": cut_connections,
    "desync": leave_a_collective_out,
    "hardware": name_hardware,
    "crash-loop": raise_error,
    "slow-first": be_slow,
    "slow-checkpoint": be_slow,
    "slow-evaluation": be_slow,
    "stall": be_slow,
    "clock-jump": jump,
}


def main(deeds: dict[str, Callable[[Planned], None]] | None = None) -> None:
    """Arm what is planned, then be the script."""
    rank = int(os.environ.get("RANK", "0"))
    arm(Striker(Path(os.environ[FOLDER]), rank=rank, deeds=deeds))
    run(sys.argv[1:])


if __name__ == "__main__":
    main()
