"""kill -9 of rank 1 of 2, until the first step that is new: ours, torchrun, ft_launcher.

The same script under each: two gloo ranks, DDP, AdamW, a checkpoint after every step, so that what
is measured is the restart and not the work that is made again. Each launcher gets its kills one
after the other in one run; a kill that brings no new step within `--patience` is not recovered, and
the run begins anew. `--session` adds a guarded run (Session: verified checkpoints, judge, journal)
under our supervisor, forked and plain.

ft_launcher is measured where nvidia-resiliency-ext is installed.
"""

import argparse
import importlib.util
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import machine

ROOT = Path(__file__).parents[1]

PLAIN = """
import os, sys, time
import torch
import torch.distributed as dist

if "STEADYTRAIN_HOME" in os.environ:
    from steadytrain.progress import beat
else:
    beat = lambda *said: None
folder = sys.argv[1]
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(
    torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
path, step = f"{folder}/state.pt", 0
if os.path.exists(path):
    saved = torch.load(path)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    step = saved["step"]
steps = open(f"{folder}/rank{rank}", "a", buffering=1)
while True:
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(2 * step + rank))
    model(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    if rank == 0:
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        torch.save(saved, path + ".new")
        os.replace(path + ".new", path)
    dist.barrier()
    beat("step", step)
    steps.write(f"{os.getpid()} {step} {time.monotonic()}\\n")
    time.sleep(0.02)
"""

GUARDED = """
import os, sys, time
from pathlib import Path
from steadytrain.train import Ranks
from tests import rig

folder = sys.argv[1]
ranks = Ranks.join()
model, optimizer, guarded = rig.session(
    Path(folder, "run"), steps=10**6, ranks=ranks, checkpoint_every=1, snapshot_every=1
)
steps = open(f"{folder}/rank{ranks.rank}", "a", buffering=1)
with guarded as run:
    for batch in run:
        run.backward(model(batch.tokens_BT), batch)
        run.step()
        steps.write(f"{os.getpid()} {run.step_number} {time.monotonic()}\\n")
        time.sleep(0.02)
"""

Launch = Callable[[Path, Path], list[str]]


def ours(*options: str) -> Launch:
    def command(folder: Path, script: Path) -> list[str]:
        own = ["--home", str(folder / "run"), "--nproc", "2", *options]
        return [sys.executable, "-m", "steadytrain", "run", *own, "--", str(script), str(folder)]

    return command


def torchrun(*options: str) -> Launch:
    def command(folder: Path, script: Path) -> list[str]:
        own = ["--nproc-per-node", "2", "--max-restarts", "1000", *options]
        return [sys.executable, "-m", "torch.distributed.run", *own, str(script), str(folder)]

    return command


def ft_launcher(folder: Path, script: Path) -> list[str]:
    module = "nvidia_resiliency_ext.fault_tolerance.launcher"
    own = ["--nproc-per-node", "2", "--max-restarts", "1000", *C10D]
    return [sys.executable, "-m", module, *own, str(script), str(folder)]


C10D = ("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0")


def last(folder: Path) -> tuple[int, int, float] | None:
    """(pid, step, time) of the newest whole line of rank 1."""
    try:
        rows = (folder / "rank1").read_text().split("\n")[:-1]
    except OSError:
        return None
    if not rows:
        return None
    pid, step, at = rows[-1].split()
    return int(pid), int(step), float(at)


def first_after(folder: Path, step: int) -> float:
    """When rank 1 reached a step beyond `step` first."""
    for row in (folder / "rank1").read_text().split("\n")[:-1]:
        if int(row.split()[1]) > step:
            return float(row.split()[2])
    raise LookupError(step)


class Run:
    """One run under one launcher, in a folder of its own."""

    def __init__(self, launch: Launch, source: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="restarts-"))
        script = self.folder / "train.py"
        script.write_text(source)
        # tests/rig.py, and the thread count that every launcher but a plain start sets.
        paths = f"{ROOT}:{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}"
        with open(self.folder / "said", "w") as said:
            self.process = subprocess.Popen(
                launch(self.folder, script),
                env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait_for(self, step: int, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            found = last(self.folder)
            if found is not None and found[1] > step:
                return True
            time.sleep(0.005)
        return False

    def kill_rank(self, patience: float) -> float | None:
        """Seconds from the kill to the first new step; None if none came in time."""
        found = last(self.folder)
        assert found is not None
        time.sleep(random.random() * 0.05)
        os.kill(found[0], signal.SIGKILL)
        at = time.monotonic()
        newest = last(self.folder)
        assert newest is not None
        if not self.wait_for(newest[1], patience):
            return None
        return first_after(self.folder, newest[1]) - at

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        pids = {row.split()[0] for one in (0, 1) for row in self._rows(one)}
        for pid in pids:  # a launcher that gave up, or was killed, may leave its ranks
            try:
                if str(self.folder) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)

    def _rows(self, rank: int) -> list[str]:
        path = self.folder / f"rank{rank}"
        return path.read_text().split("\n")[:-1] if path.exists() else []


def measure(launch: Launch, source: str, *, kills: int, patience: float) -> tuple[list[float], int]:
    """Seconds of those recovered, and how many were not."""
    seconds: list[float] = []
    lost = 0
    while len(seconds) + lost < kills:
        run = Run(launch, source)
        try:
            if not run.wait_for(3, 120.0):
                raise SystemExit((run.folder / "said").read_text())
            while len(seconds) + lost < kills:
                found = last(run.folder)
                assert found is not None
                run.wait_for(found[1] + 5, patience)
                took = run.kill_rank(patience)
                if took is None:
                    lost += 1
                    break
                seconds.append(took)
        finally:
            run.close()
    return seconds, lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--patience", type=float, default=25.0, metavar="SECONDS")
    parser.add_argument("--session", action="store_true", help="a guarded run as well")
    parser.add_argument(
        "--only", metavar="WORD", default="", help="launchers with this in the name"
    )
    options = parser.parse_args()
    print(machine.line())
    rows: list[tuple[str, Launch, str]] = [
        ("steadytrain run", ours(), PLAIN),
        ("steadytrain run --no-fork", ours("--no-fork"), PLAIN),
        ("torchrun, static", torchrun("--master-port", "29511"), PLAIN),
        ("torchrun, c10d", torchrun(*C10D), PLAIN),
    ]
    if importlib.util.find_spec("nvidia_resiliency_ext") is not None:
        rows.append(("ft_launcher, c10d", ft_launcher, PLAIN))
    else:
        print("ft_launcher: left out, nvidia-resiliency-ext is not installed")
    if options.session:
        rows += [
            ("steadytrain run, Session", ours(), GUARDED),
            ("steadytrain run --no-fork, Session", ours("--no-fork"), GUARDED),
        ]
    base = None
    for name, launch, source in rows:
        if options.only not in name:
            continue
        seconds, lost = measure(launch, source, kills=options.kills, patience=options.patience)
        told = f"{name}: {len(seconds)} of {len(seconds) + lost} kills recovered"
        if seconds:
            median = statistics.median(seconds)
            base = base or median
            told += (
                f"; first new step after {median:.2f} s (fastest {min(seconds):.2f}, slowest "
                f"{max(seconds):.2f}), ratio to ours {median / base:.1f}"
            )
        print(f"{told}; load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
