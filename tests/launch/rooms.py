"""Several "hosts" on one machine: a supervisor each, with an address of its own on the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HARMS = ROOT / "tests" / "launch" / "harms.py"

CONF = "host_timeout=6,last_call_timeout=1,join_timeout=120,rejoin_timeout=60"
"""Short enough for a test, long enough for a machine that has other work."""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Host:
    """A supervisor as a process of its own.

    Args:
        number: its address is 127.0.0.<number + 1>, or `address`.
        prefix: a program to run it under, such as `ip netns exec NAME`.
        options: more of the command's.
    """

    def __init__(
        self, folder, number, command, *, nnodes, endpoint, nproc=1, conf=CONF, address=None,
        prefix=(), env=None, hang_after=60.0, grace=20.0, options=(),
    ):  # fmt: skip
        self.name = address or f"127.0.0.{number + 1}"
        self.log = Path(folder, f"host{number}.{time.monotonic_ns()}.log")
        shared = Path(folder, f"shm{number}")
        shared.mkdir(exist_ok=True)
        with open(self.log, "wb") as file:
            self.process = subprocess.Popen(
                [
                    *prefix, sys.executable, "-m", "steadytrain.cli", "run",
                    "--home", str(Path(folder, "run")), "--nproc", str(nproc),
                    "--nnodes", nnodes, "--rdzv-endpoint", endpoint, "--rdzv-conf", conf,
                    "--local-addr", self.name, "--hang-after", str(hang_after),
                    "--grace", str(grace), *options, "--", *map(str, command),
                ],
                stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
                env={
                    **os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "OMP_NUM_THREADS": "1",
                    "STEADYTRAIN_SHM": str(shared), **(env or {}),
                },
            )  # fmt: skip

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, words, seconds=120.0):
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, f"{self.name} never said {words!r}:\n{self.text}"
            time.sleep(0.05)

    def wait(self, seconds=240.0):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end:\n{self.text}") from None

    def send(self, signum):
        self.process.send_signal(signum)

    def kill(self):
        """The supervisor alone; its guard ends the rest."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
