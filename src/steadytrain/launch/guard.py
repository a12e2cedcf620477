"""Nothing outlives the supervisor: a process of its own that waits for its end and then cleans up.

Run as `python guard.py MARK SLOTS`; it reads its standard input until that closes, which it does
however the supervisor dies, SIGKILL included. Then it kills every process whose environment holds
the mark, and removes the run's folder in shared memory.

A mark finds what process groups and parents do not: a child in a session of its own whose parent
is already dead. PR_SET_PDEATHSIG would spare the grandchildren.

This file imports nothing of steadytrain, so that it starts in a few hundredths of a second.
"""

import contextlib
import shutil
import signal
import subprocess
import sys
import time

import psutil

MARK = "STEADYTRAIN_SUPERVISOR"

KILL_SECONDS = 30.0
"""How long a killed process may take to go: one in uninterruptible sleep never does."""


class Guard:
    """The supervisor's end. While a guard lives it holds `lock`, a file descriptor, open.

    Args:
        slots: folder of the states in shared memory.
    """

    def __init__(self, mark: str, *, lock: int, slots: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-P", __file__, mark, slots],
            stdin=subprocess.PIPE,
            pass_fds=(lock,),
            start_new_session=True,  # a Ctrl-C in the terminal is for the supervisor alone
        )

    def close(self) -> None:
        """Let it clean up what is left, and wait for that."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(timeout=KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def marked(mark: str) -> list[psutil.Process]:
    """Living processes that were started with this mark in their environment."""
    return [
        process
        for process in psutil.process_iter()
        if _environment(process).get(MARK) == mark and _is_alive(process)
    ]


def terminate_marked(mark: str, *, seconds: float) -> None:
    """SIGTERM, then wait until all are gone or the time is up."""
    left = marked(mark)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    end = time.monotonic() + seconds
    while any(map(_is_alive, left)) and time.monotonic() < end:
        time.sleep(0.002)


def kill_marked(mark: str, *, seconds: float = KILL_SECONDS) -> list[int]:
    """SIGKILL until none is left or the time is up; returns the pids of those that stayed."""
    end = time.monotonic() + seconds
    while left := marked(mark):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if time.monotonic() > end:
            return [process.pid for process in left]
        time.sleep(0.01)
    return []


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except (psutil.Error, OSError):  # of another user, or gone
        return {}


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    for unwanted in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(unwanted, signal.SIG_IGN)
    sys.stdin.buffer.read()
    kill_marked(sys.argv[1])
    # A rank between fork and exec does not carry the mark yet.
    time.sleep(0.1)
    kill_marked(sys.argv[1])
    shutil.rmtree(sys.argv[2], ignore_errors=True)
