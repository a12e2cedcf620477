"""Seconds from a host's end to the first new step of the others: ours beside torchrun c10d.

Three hosts in network namespaces with addresses of their own, one gloo rank each, the script of
`restarts.py`. A host `dies` (every process of it is killed at once) or is `cut` off (its cable is
pulled and its processes go on). Each launcher is measured with its own defaults, and with waits as
short as it can be told: a host silent for 3 s is lost, 1 s for the last call.

Needs root and `ip netns`. What brings no new step within `--patience` is not recovered.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from restarts import PLAIN

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.launch.networks import Network, why_not  # noqa: E402

PORT = 29400
LEAST, MOST = 2, 3


def ours(folder: Path, address: str, endpoints: list[str], conf: str) -> list[str]:
    return [
        sys.executable, "-m", "steadytrain.cli", "run", "--home", str(folder / "home"),
        "--nnodes", f"{LEAST}:{MOST}", "--rdzv-endpoint", ",".join(endpoints[:2]),
        "--rdzv-conf", conf, "--local-addr", address, "--", "train.py", str(folder),
    ]  # fmt: skip


def torchrun(folder: Path, address: str, endpoints: list[str], conf: str) -> list[str]:
    # By itself it looks for the endpoint among the addresses of the machine's name.
    conf += f",is_host={int(endpoints[0].startswith(f'{address}:'))}"
    return [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", f"{LEAST}:{MOST}",
        "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", endpoints[0],
        "--rdzv-id", "bench", "--rdzv-conf", conf, "--local-addr", address,
        "--max-restarts", "100", "train.py", str(folder),
    ]  # fmt: skip


LAUNCHERS = {
    "ours": (ours, ""),
    "torchrun": (torchrun, "join_timeout=600"),
    "ours, quick": (ours, "host_timeout=3,last_call_timeout=1"),
    "torchrun, quick": (
        torchrun,
        "keep_alive_interval=1,keep_alive_max_attempt=3,last_call_timeout=1,join_timeout=600",
    ),
}


def newest(folder: Path, *, after: float = 0.0) -> tuple[int, float] | None:
    """Highest step that any rank has written since; when it was first written."""
    found: dict[int, float] = {}
    for path in folder.glob("rank*"):
        for line in path.read_text().splitlines():
            part = line.split()
            if len(part) == 3 and float(part[2]) > after:
                step, at = int(part[1]), float(part[2])
                found[step] = min(at, found.get(step, at))
    return max(found.items(), default=None)


def first_beyond(folder: Path, step: int, after: float) -> float | None:
    """When a step beyond this one was first made, after that time."""
    times = [
        float(part[2])
        for path in folder.glob("rank*")
        for part in map(str.split, path.read_text().splitlines())
        if len(part) == 3 and int(part[1]) > step and float(part[2]) > after
    ]
    return min(times, default=None)


def measure(name: str, how: str, *, patience: float) -> float | None:
    """One run, one host lost; seconds until the others make a new step. [s]"""
    make, conf = LAUNCHERS[name]
    with (
        Network(MOST) as network,
        tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as where,
    ):
        folder = Path(where)
        (folder / "train.py").write_text(PLAIN)
        endpoints = [f"{address}:{PORT}" for address in network.addresses]
        hosts = []
        for at, address in enumerate(network.addresses):
            shared = folder / f"shm{at}"
            shared.mkdir()
            hosts.append(
                subprocess.Popen(
                    [*network.prefix(at), *make(folder, address, endpoints, conf)],
                    cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env={
                        **os.environ, **network.env, "OMP_NUM_THREADS": "1",
                        "PYTHONPATH": str(ROOT / "src"), "STEADYTRAIN_SHM": str(shared),
                    },
                )
            )  # fmt: skip
        try:
            end = time.monotonic() + 2 * patience
            while (made := newest(folder)) is None or made[0] < 20:
                if time.monotonic() > end:
                    sys.exit(f"{name}: the run did not begin")
                time.sleep(0.1)
            lost = MOST - 1  # neither the rendezvous nor rank 0: torchrun survives neither
            began = time.monotonic()
            if how == "dies":
                for pid in network.pids(lost):
                    os.kill(pid, signal.SIGKILL)
            else:
                network.cut(lost)
            made = newest(folder)
            assert made is not None
            while time.monotonic() < began + patience:
                at = first_beyond(folder, made[0] + 1, began + 0.5)
                if at is not None:
                    return at - began
                time.sleep(0.1)
            return None
        finally:
            for at in range(MOST):
                for pid in network.pids(at):
                    os.kill(pid, signal.SIGKILL)
            for one in hosts:
                one.wait()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--patience", type=float, default=120.0, help="[s]")
    options.add_argument("--launcher", action="append", choices=LAUNCHERS)
    options.add_argument("--how", action="append", choices=["dies", "cut"])
    given = options.parse_args()
    reason = why_not()
    if reason is not None:
        sys.exit(f"cannot be measured here: {reason}")
    print(machine.line())
    for how in given.how or ["dies", "cut"]:
        for name in given.launcher or LAUNCHERS:
            found = [measure(name, how, patience=given.patience) for _ in range(given.repeats)]
            good = sorted(one for one in found if one is not None)
            middle = f"{statistics.median(good):.1f} s" if good else "-"
            rest = ", ".join(f"{one:.1f}" for one in good)
            print(
                f"{how:5} {name:16} recovered {len(good)} of {len(found)}; median {middle} ({rest})"
                f"; load {os.getloadavg()[0]:.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
