"""What a snapshot and a checkpoint cost the training loop, against torch's own ways.

    python bench/snapshots.py                  100 M parameters, AdamW moments: 1.2 GB of float32
    python bench/snapshots.py --params 10e6    a tenth of it
    python bench/snapshots.py --folder PATH    checkpoints on the disk of that folder

Of each way to the disk: how long the training loop is blocked, until when the bytes are durable,
processor time of the training process, and how much a step of pure computation takes longer
while the save is under way ("slowed"). Raw write, torch.save and dcp.save have the machine to
themselves while they block; "alone" is ours with nothing computed beside it, for that comparison.

All in one process, each round runs every way once, medians over the rounds. The first round of each
way is not counted: it pays for memory that has never been touched, and is printed apart. Ratios are
of two numbers of the same round, so that a busy machine spoils both.
"""

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

from steadytrain.events import CheckpointSaved
from steadytrain.slots import Folder
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.mapped import Mapped
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
    shared = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="steadytrain-"))
    try:
        print_memory(*measure_memory(state, shared, options.rounds), num_bytes)
    finally:
        shutil.rmtree(shared)
    shared = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="steadytrain-"))
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        print_disk(*measure_disk(state, folder, shared, options.rounds))
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(shared)


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


def make_state(num_parameters: int, device: str = "cpu") -> TrainingState:
    model = Blocks(num_parameters).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return TrainingState(model, optimizer)


def measure_memory(state: TrainingState, shared: Path, rounds: int) -> tuple[Times, Times]:
    live = [one.detach() for one in state.tensors().values()]
    buffers = [torch.zeros_like(one) for one in live]
    snapshots = Snapshots(state, keep=SNAPSHOTS)
    folder = Folder(shared, home=shared, rank=0, world=1, fingerprint=state.fingerprint())
    mapped = Mapped(folder, keep=SNAPSHOTS)
    in_slots = Snapshots(state, keep=SNAPSHOTS, mapped=mapped)
    steps = iter(range(10**6))

    def copy_each() -> None:
        for buffer, tensor in zip(buffers, live, strict=True):
            buffer.copy_(tensor)

    def take() -> None:
        snapshots.take(next(steps), 0)

    def take_in_slot() -> None:
        in_slots.take(next(steps), 0)

    def restore() -> None:
        snapshots.restore(snapshots.newest_at_or_before(10**6) or snapshots.take(0, 0))

    first = {
        "plain memory": [timed(take) for _ in range(SNAPSHOTS)],
        "shared memory": [timed(take_in_slot) for _ in range(SNAPSHOTS)],
    }
    mapped.settle()
    ways = {
        "plain copy": copy_each,
        "snapshot": take,
        "snapshot, shared memory": take_in_slot,
        "its seal, beside training": mapped.settle,
        "restore": restore,
    }
    times = race(ways, rounds)
    found, _ = Snapshots(state, keep=1, mapped=Mapped(folder, keep=SNAPSHOTS)).find()
    again = Snapshots(state, keep=1)
    times["next life: verify"] = [timed(found[0].inspect) for _ in range(rounds)]
    times["next life: restore"] = [
        timed(lambda: again.restore_found(found[0])) for _ in range(rounds)
    ]
    return first, times


def measure_disk(
    state: TrainingState, folder: Path, shared: Path, rounds: int
) -> tuple[dict[str, Times], float]:
    # DCP's writer process wants to know the ranks, even where there is one.
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    tensors = {name: one.detach() for name, one in state.tensors().items()}
    slots = Folder(shared, home=shared, rank=0, world=1, fingerprint=state.fingerprint())
    in_slots = Snapshots(state, keep=SNAPSHOTS, mapped=Mapped(slots, keep=SNAPSHOTS))
    in_memory = Snapshots(state, keep=SNAPSHOTS)
    checkpoints = Checkpoints(folder / "checkpoints", state, keep=1)
    for step in range(SNAPSHOTS):
        in_memory.take(step, 0)
        in_slots.take(step, 0)
    steps = iter(range(SNAPSHOTS, 10**6))
    found: dict[str, Times] = {"blocked": {}, "durable": {}, "processor": {}, "slowed": {}}
    stager = DefaultStager(StagingOptions(False, False, False, False))

    def cached_async_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
        response = dcp.async_save(tensors, checkpoint_id=path, no_dist=True, async_stager=stager)
        return getattr(response, "upload_completion", response).result

    def note(name: str, save: Callable[[], Callable[[], object]], *, computes: bool = True) -> None:
        calm = statistics.median(timed(compute) for _ in range(5))
        began, computed = time.perf_counter(), time.process_time()
        finish = save()
        found["blocked"].setdefault(name, []).append(time.perf_counter() - began)
        waiter = threading.Thread(target=finish)
        waiter.start()
        beside, own = [], 0.0
        if not computes:
            waiter.join()
        while waiter.is_alive():
            before = time.thread_time()
            beside.append(timed(compute))
            own += time.thread_time() - before
        found["durable"].setdefault(name, []).append(time.perf_counter() - began)
        found["processor"].setdefault(name, []).append(time.process_time() - computed - own)
        found["slowed"].setdefault(name, []).append(statistics.mean(beside or [calm]) / calm)

    def ours(name: str, snapshots: Snapshots, *, computes: bool = True) -> None:
        def save() -> Callable[[], object]:
            snapshot = snapshots.take(next(steps), 0)
            checkpoints.save(snapshot, 1, {}, blocked_seconds=0.0)
            return checkpoints.wait

        note(name, save, computes=computes)
        assert all(isinstance(event, CheckpointSaved) for event in checkpoints.poll())
        checkpoints.prune(None)
        checkpoints.wait()

    def theirs(name: str, save: Callable[[Path, dict[str, Tensor]], Callable[[], object]]) -> None:
        path = folder / "other"
        note(name, lambda: save(path, tensors))
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    for _ in range(rounds + 1):
        ours("steadytrain, process", in_slots)
        ours("the same, alone", in_slots, computes=False)
        ours("steadytrain, thread", in_memory)
        theirs("raw write and fsync", raw_write)
        theirs("torch.save, no fsync", torch_save)
        theirs("torch.save and fsync", torch_save_synced)
        theirs("dcp.save", dcp_save)
        theirs("dcp.async_save", dcp_async_save)
        theirs("the same, cached stager", cached_async_save)
        theirs("dcp.async_save, process", dcp_process_save)
    for times in found.values():
        for one in times.values():
            del one[0]
    newest = checkpoints.candidates()[0].path
    verified = statistics.median(timed(lambda: checkpoints.verify(newest)) for _ in range(rounds))
    checkpoints.close()
    return found, verified


_left, _right = torch.randn(256, 256), torch.randn(256, 256)


def compute() -> None:
    """A step of training as far as this bench is concerned: kernels, and Python between them."""
    for _ in range(20):
        torch.mm(_left, _right).relu_().sum()


def torch_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    torch.save(tensors, path)
    return lambda: None


def torch_save_synced(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    with open(path, "wb") as file:
        torch.save(tensors, file)
        file.flush()
        os.fsync(file.fileno())
    return lambda: None


def raw_write(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    """The least that anything durable can cost: bytes to the file, one sync."""
    with open(path, "wb", buffering=0) as file:
        for tensor in tensors.values():
            view = memoryview(tensor.numpy()).cast("B") if tensor.numel() else b""
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())
    return lambda: None


def dcp_process_save(path: Path, tensors: dict[str, Tensor]) -> Callable[[], object]:
    response = dcp.async_save(
        tensors,
        checkpoint_id=path,
        no_dist=True,
        async_checkpointer_type=AsyncCheckpointerType.PROCESS,
    )
    return response.result


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
    print_times(times, "plain copy", num_bytes)
    for where, seconds in first.items():
        untouched = ", ".join(f"{one:.3f}" for one in seconds)
        print(f"  first snapshots, into {where} never touched before: {untouched} s")


def print_times(times: Times, against: str, num_bytes: int) -> None:
    """A line for each way, with its ratio to one of them."""
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(
            f"  {name:26} {median:.4f} s (least {min(seconds):.4f})   "
            f"{ratio(seconds, times[against]):5.2f} x {against}"
            f"   {num_bytes / median / 1e9:5.1f} GB/s"
        )


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios round by round."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def print_disk(found: dict[str, Times], verified: float) -> None:
    durable = found["durable"]
    raw = durable["raw write and fsync"]
    for name, seconds in found["blocked"].items():
        print(
            f"  {name:24} {statistics.median(seconds):.4f} s blocked   "
            f"{ratio(seconds, found['blocked']['steadytrain, process']):5.2f} x ours   "
            f"{statistics.median(durable[name]):.2f} s until it returned or was durable   "
            f"{ratio(durable[name], raw):.2f} x raw write   "
            f"{statistics.median(found['processor'][name]):.3f} s of processor   "
            f"slowed {statistics.median(found['slowed'][name]):.2f} x"
        )
    print(f"  verifying a checkpoint, from page cache: {verified:.3f} s")


if __name__ == "__main__":
    main()
