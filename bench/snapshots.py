"""What a snapshot and a checkpoint cost the training loop, against torch's own ways.

    python bench/snapshots.py                  100 M parameters, AdamW moments: 1.2 GB of float32
    python bench/snapshots.py --params 10e6    a tenth of it

All in one process, each round runs every way once, medians over the rounds. The first round of each
way is not counted: it pays for memory that has never been touched, and is printed apart.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from steadytrain.events import CheckpointSaved
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState

WIDTH, VOCAB = 768, 257
SNAPSHOTS = 3
Times = dict[str, list[float]]


class Blocks(nn.Module):
    """The weights of a decoder-only transformer of about so many parameters; no forward."""

    def __init__(self, num_parameters: int) -> None:
        super().__init__()
        shapes = [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)]
        shapes += [(WIDTH,), (WIDTH,)]
        per_block = sum(torch.Size(shape).numel() for shape in shapes)
        layers = max(1, round((num_parameters - 2 * VOCAB * WIDTH) / per_block))
        all_shapes = [(VOCAB, WIDTH), *shapes * layers, (WIDTH, VOCAB)]
        self.weights = nn.ParameterList(torch.randn(shape) * 0.02 for shape in all_shapes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=float, default=100e6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured")
    options = parser.parse_args()
    # DCP says so whenever one rank saves alone.
    warnings.filterwarnings("ignore", message="torch.distributed is disabled")
    warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
    print(machine())
    state = make_state(int(options.params))
    num_bytes = sum(one.numel() * one.itemsize for one in state.tensors().values())
    print(
        f"{state.num_parameters / 1e6:.1f} M parameters, {len(state.tensors())} tensors, "
        f"{num_bytes / 1e9:.3f} GB, median of {options.rounds} rounds"
    )
    print_memory(*measure_memory(state, options.rounds), num_bytes)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print_disk(*measure_disk(state, folder, options.rounds))
    finally:
        shutil.rmtree(folder)


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [one for one in cpuinfo.read_text().splitlines() if one.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return (
        f"{model}, {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}"
    )


def make_state(num_parameters: int) -> TrainingState:
    model = Blocks(num_parameters)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return TrainingState(model, optimizer)


def measure_memory(state: TrainingState, rounds: int) -> tuple[Times, Times]:
    live = [one.detach() for one in state.tensors().values()]
    buffers = [torch.zeros_like(one) for one in live]
    snapshots = Snapshots(state, keep=SNAPSHOTS)
    steps = iter(range(10**6))

    def copy_each() -> None:
        for buffer, tensor in zip(buffers, live, strict=True):
            buffer.copy_(tensor)

    def take() -> None:
        snapshots.take(next(steps), 0)

    def restore() -> None:
        snapshots.restore(snapshots.newest_at_or_before(10**6) or snapshots.take(0, 0))

    first = {"snapshot": [timed(take) for _ in range(SNAPSHOTS)]}
    ways = {"plain copy": copy_each, "snapshot": take, "restore": restore}
    return first, race(ways, rounds)


def measure_disk(state: TrainingState, folder: Path, rounds: int) -> tuple[Times, Times, float]:
    tensors = {name: one.detach() for name, one in state.tensors().items()}
    snapshots = Snapshots(state, keep=SNAPSHOTS)
    checkpoints = Checkpoints(folder / "checkpoints", state, keep=1)
    for step in range(SNAPSHOTS):
        snapshots.take(step, 0)
    steps = iter(range(SNAPSHOTS, 10**6))
    blocked: Times = {}
    durable: Times = {}
    stager = DefaultStager(StagingOptions(False, False, False, False))

    def cached_async_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
        response = dcp.async_save(tensors, checkpoint_id=path, no_dist=True, async_stager=stager)
        return getattr(response, "upload_completion", response).result

    def ours() -> None:
        began = time.perf_counter()
        snapshot = snapshots.take(next(steps), 0)
        checkpoints.save(snapshot, 1, {}, blocked_seconds=0.0)
        blocked.setdefault("steadytrain", []).append(time.perf_counter() - began)
        checkpoints.wait()
        durable.setdefault("steadytrain", []).append(time.perf_counter() - began)
        assert all(isinstance(event, CheckpointSaved) for event in checkpoints.poll())
        checkpoints.prune(None)
        checkpoints.wait()

    def theirs(name: str, save: Callable[[Path, dict[str, Tensor]], Callable[[], object]]) -> None:
        path = folder / "other"
        began = time.perf_counter()
        finish = save(path, tensors)
        blocked.setdefault(name, []).append(time.perf_counter() - began)
        finish()
        durable.setdefault(name, []).append(time.perf_counter() - began)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    for _ in range(rounds + 1):
        ours()
        theirs("torch.save, no fsync", torch_save)
        theirs("dcp.save", dcp_save)
        theirs("dcp.async_save", dcp_async_save)
        theirs("the same, cached stager", cached_async_save)
    for times in (*blocked.values(), *durable.values()):
        del times[0]
    newest = checkpoints.candidates()[0].path
    verified = statistics.median(timed(lambda: checkpoints.verify(newest)) for _ in range(rounds))
    return blocked, durable, verified


def torch_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    torch.save(tensors, path)
    return lambda: None


def dcp_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    dcp.save(tensors, checkpoint_id=path, no_dist=True)
    return lambda: None


def dcp_async_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    return dcp.async_save(tensors, checkpoint_id=path, no_dist=True).result


def race(ways: dict[str, Callable[[], None]], rounds: int) -> Times:
    times: Times = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = timed(way)
            if number:
                times[name].append(seconds)
    return times


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def print_memory(first: Times, times: Times, num_bytes: int) -> None:
    plain = statistics.median(times["plain copy"])
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(
            f"  {name:24} {median:.4f} s (least {min(seconds):.4f})   "
            f"{median / plain:5.2f} x plain copy"
            f"   {num_bytes / median / 1e9:5.1f} GB/s"
        )
    untouched = ", ".join(f"{seconds:.3f}" for seconds in first["snapshot"])
    print(f"  first snapshots, into memory never touched before: {untouched} s")


def print_disk(blocked: Times, durable: Times, verified: float) -> None:
    ours = statistics.median(blocked["steadytrain"])
    for name, seconds in blocked.items():
        median = statistics.median(seconds)
        print(
            f"  {name:24} {median:.4f} s blocked (least {min(seconds):.4f})   "
            f"{median / ours:5.2f} x steadytrain"
            f"   {statistics.median(durable[name]):.2f} s until it returned or was durable"
        )
    print(f"  verifying a checkpoint, from page cache: {verified:.3f} s")


if __name__ == "__main__":
    main()
