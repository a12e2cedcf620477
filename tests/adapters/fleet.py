"""Replicas as processes around a real lighthouse of torchft's."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "adapters" / "replica.py"

LIGHTHOUSE = """
import json, sys
from torchft.coordination import LighthouseServer
server = LighthouseServer(**json.loads(sys.argv[1]))
print(server.address(), flush=True)
sys.stdin.read()
server.shutdown()
"""


class Replicas:
    """Starts replicas by name, waits for them, reads what they wrote.

    Args:
        out: where they write; HOME of replica r0 is `out / "r0"`.
        heartbeat_seconds: without a sign of life for so long a replica counts as gone.
    """

    def __init__(self, out, *, min_replicas=1, heartbeat_seconds=1.0, join_seconds=1.0):
        self.out = out
        self._settings = {
            "bind": "[::]:0",
            "min_replicas": min_replicas,
            "join_timeout_ms": int(1000 * join_seconds),
            "quorum_tick_ms": 50,
            "heartbeat_timeout_ms": int(1000 * heartbeat_seconds),
        }
        self.processes = {}
        self.light()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._lighthouse.communicate()

    def light(self):
        """Start the lighthouse, again at the port that it had."""
        with open(self.out / "lighthouse.log", "ab") as log:
            self._lighthouse = subprocess.Popen(
                [sys.executable, "-c", LIGHTHOUSE, json.dumps(self._settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.address = self._lighthouse.stdout.readline().strip()
        self._settings["bind"] = f"[::]:{self.address.rpartition(':')[2]}"

    def darken(self):
        """Kill the lighthouse."""
        self._lighthouse.kill()
        self._lighthouse.communicate()

    def start(self, name, *words, supervised=(), nproc=1):
        """`supervised`: options of `steadytrain run`; () starts the script alone."""
        command = [sys.executable, str(SCRIPT), name, str(self.out), *map(str, words)]
        if supervised:
            run = [sys.executable, "-m", "steadytrain", "run", "--home", str(self.out / name)]
            preload = ["--preload", "steadytrain.adapters.torchft"]
            command = [*run, "--nproc", str(nproc), *preload, *supervised, "--", *command]
        env = {
            key: value
            for key, value in os.environ.items()
            if key not in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "STEADYTRAIN_HOME")
        }
        env |= {
            "TORCHFT_LIGHTHOUSE": self.address,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}",
        }
        with open(self.out / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=env, stdout=log, stderr=log, start_new_session=True
            )

    def wait(self, *names, seconds=300.0):
        """Exit statuses of these replicas, or of all."""
        end = time.monotonic() + seconds
        return {
            name: self.processes[name].wait(max(0.1, end - time.monotonic()))
            for name in names or self.processes
        }

    def wait_for_step(self, name, step, *, seconds=60.0):
        end = time.monotonic() + seconds
        while not any(one["step"] >= step for one in self.updates(name)):
            assert time.monotonic() < end, (self.out / f"{name}.log").read_text()[-3000:]
            time.sleep(0.02)

    def lines(self, name):
        path = self.out / f"{name}.jsonl"
        if not path.exists():
            return []
        rows = path.read_text().splitlines()
        return [json.loads(row) for row in rows if row.endswith("}")]

    def updates(self, name):
        """step, replicas and time of every update that this replica made."""
        return [line for line in self.lines(name) if "step" in line]

    def numbers(self, name):
        """The parameters that this replica ended with."""
        return json.loads((self.out / f"{name}.json").read_text())

    def struck(self, name, harm):
        """When a harm struck. [seconds, monotonic]"""
        return float((self.out / f"{name}.{harm}").read_text())
