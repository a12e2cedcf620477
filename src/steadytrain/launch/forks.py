"""Ranks forked from a parent that has imported what they need: a start in hundredths of a second.

2 of the 2.3 seconds of a restart are `import torch` and what the first optimizer imports. The
parent (parent.py) does both once. Where a fork is not safe, or the parent is not there, the rank
is started as any program is, and one line says so.
"""

import contextlib
import ctypes
import os
import re
import select
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from steadytrain.launch import parent
from steadytrain.launch.output import FOLDER as LOGS
from steadytrain.launch.output import say

PRELOAD = ("torch", "torch.distributed", "torch._dynamo", "steadytrain.train")
"""torch._dynamo: the first `torch.optim.AdamW(...)` imports it, which takes as long as torch."""

PATIENCE_SECONDS = 120.0
"""How long the very first start waits for the imports; they would take each rank as long."""

REPLY_SECONDS = 20.0
"""For a parent to fork. One that was stopped or swapped out is replaced."""

END_SECONDS = 2.0

MOST_FAILURES = 2
"""Parents in a row that end before they are ready; then no more are made."""

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?$")
_FLAGS = re.compile(r"-[bBdEIOPqsSuv]+$")
_ASKS_FOR_SPAWN = re.compile(rb"^#[ \t]*steadytrain:[ \t]*spawn\b", re.M)
_HEAD_BYTES = 4096
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # PR_SET_CHILD_SUBREAPER of linux/prctl.h


class Process(Protocol):
    """What is asked of a rank's process, whichever way it was started."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | Any: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def send_signal(self, sig: int, /) -> None: ...


class Forked:
    """A forked rank, with the part of `subprocess.Popen` that torch's agent and we use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while end is not None and self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"rank {self.pid}", timeout or 0.0)
            time.sleep(0.005)
        code = self._reap(0)
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A command that runs Python: its interpreter with options, then a script or a module."""

    interpreter: tuple[str, ...]
    argv: tuple[str, ...]
    module: str | None = None


def read_command(command: Sequence[str]) -> Program | str:
    """What a command runs; in words, why it cannot be forked.

    >>> read_command(["python3", "-u", "-m", "my.train", "--lr", "1"]).module
    'my.train'
    >>> read_command(["bash", "train.sh"])
    'bash is not Python'
    """
    if not _PYTHON.fullmatch(Path(command[0]).name) and command[0] != sys.executable:
        return f"{Path(command[0]).name} is not Python"
    at = 1
    while at < len(command) and command[at].startswith("-"):
        one = command[at]
        if one in ("-W", "-X", "--check-hash-based-pycs"):
            at += 2
        elif _FLAGS.match(one) or one.startswith(("-W", "-X")):
            at += 1
        elif one == "-m" and at + 1 < len(command):
            return Program(
                interpreter=tuple(command[:at]),
                argv=tuple(command[at + 1 :]),
                module=command[at + 1],
            )
        else:
            return f"python {one} is not a script or a module"
    if at >= len(command):
        return "no script is named"
    program = Program(interpreter=tuple(command[:at]), argv=tuple(command[at:]))
    return _reason_of_script(Path(program.argv[0])) or program


class Forks:
    """The parent, kept at hand: started early, replaced when it dies or its files change.

    Args:
        command: what every rank runs.
        preload: modules to import besides `PRELOAD`; None: no rank is ever forked.
        env: the ranks' environment, as far as it is known before they are.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        preload: Sequence[str] | None,
        home: Path,
        env: Mapping[str, str],
    ) -> None:
        self._command = list(command)
        self._home = home
        self._env = dict(env)
        self._preload = [
            *((name, False) for name in PRELOAD),
            *((one, True) for one in preload or ()),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._is_ready = False
        self._is_first = True
        self._num_failures = 0
        found = read_command(command) if sys.platform == "linux" else f"{sys.platform} is not Linux"
        self._program = None if isinstance(found, str) or preload is None else found
        if isinstance(found, str) and preload is not None:
            say(f"each start imports everything again: {found}")

    @property
    def pid(self) -> int | None:
        """Of the parent, which is no rank and must outlive them."""
        return None if self._process is None else self._process.pid

    def begin(self) -> None:
        """Start the parent, if it can be of use and there is none; it imports while others work."""
        if self._program is None or self._process is not None:
            return
        ours, theirs = socket.socketpair()
        ours.settimeout(REPLY_SECONDS)
        read_end, write_end = os.pipe()
        arguments = [*self._program.interpreter, parent.__file__, str(theirs.fileno())]
        self._process = subprocess.Popen(
            [*arguments, *self._program.argv],  # the script's name and arguments: `ps` shows them
            env=self._env,
            pass_fds=(theirs.fileno(),),
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
        self._line, self._is_ready = ours, False
        os.close(write_end)
        theirs.close()
        with contextlib.suppress(OSError):
            parent.send(ours, self._plan(self._program))
        os.close(read_end)  # by now, or on its first line, the parent writes into its log

    def fork(
        self, args: Sequence[str], env: Mapping[str, str], *, out: IO[Any], err: IO[Any]
    ) -> Forked | None:
        """A rank; None where it has to be started as any program is."""
        if self._program is None or list(args) != self._command:
            return None
        is_first, self._is_first = self._is_first, False
        self.begin()
        if not self._wait_until_ready(PATIENCE_SECONDS if is_first else 0.0):
            return None
        assert self._line is not None
        read_end, write_end = os.pipe()
        try:
            request = {"env": dict(env), "cwd": os.getcwd(), "stacks": self._stacks_path(env)}
            with _adopting():
                parent.send(self._line, request, (out.fileno(), err.fileno(), read_end))
                reply = parent.receive(self._line)
            if reply is not None and "pid" in reply:
                os.write(write_end, parent.GO)
                return Forked(reply["pid"])
            self._replace("it ended" if reply is None else reply["spawn"])
        except OSError as error:  # a timeout, a broken pipe
            self._replace(error.strerror or "it did not answer")
        finally:
            os.close(read_end)
            os.close(write_end)
        return None

    def close(self) -> None:
        """End the parent."""
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            try:
                self._process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._line = self._process = None

    def _plan(self, program: Program) -> dict[str, Any]:
        logs = self._home / LOGS
        logs.mkdir(parents=True, exist_ok=True)
        return {
            "argv": program.argv,
            "module": program.module,
            "command": self._command,
            "preload": self._preload,
            "log": str(logs / "parent.log"),
        }

    def _stacks_path(self, env: Mapping[str, str]) -> str | None:
        folder = self._home / "stacks"
        folder.mkdir(exist_ok=True)
        return str(folder / f"rank{env['RANK']}.txt") if "RANK" in env else None

    def _wait_until_ready(self, seconds: float) -> bool:
        if self._is_ready:
            return True
        assert self._line is not None
        if not select.select([self._line], [], [], seconds)[0]:
            say("this start imports everything by itself: its parent is still at it")
            return False
        try:
            told = parent.receive(self._line)
        except OSError:
            told = None
        if told is not None and "ready" in told:
            self._is_ready, self._num_failures = True, 0
            return True
        self._num_failures += 1
        if told is not None or self._num_failures > MOST_FAILURES:
            reason = "its parent ends again and again" if told is None else told["refused"]
            say(f"each start imports everything again: {reason}")
            self.close()
            self._program = None
        else:
            self._replace(f"it ended; see {LOGS}/parent.log")
        return False

    def _replace(self, reason: str) -> None:
        """A new parent for the next start. This one may be stopped, so it is not asked to go."""
        say(f"this start imports everything by itself, its parent is replaced: {reason}")
        if self._process is not None:
            self._process.kill()
        self.close()
        self.begin()


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """While this holds, a descendant whose parent ends becomes this process's child."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = ctypes.c_int()
    libc.prctl(_GET_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_SET_SUBREAPER, before.value, 0, 0, 0)


def _reason_of_script(path: Path) -> str | None:
    if not path.is_file() or path.suffix in (".pyc", ".pyz") or zipfile.is_zipfile(path):
        return f"{path} is not a file of Python source"
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return f"{path} asks for it" if _ASKS_FOR_SPAWN.search(head) else None
