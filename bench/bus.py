"""Snapshots from a GPU against what the bus can carry, and what they cost the steps around them.

    PYTHONPATH=src:bench python bench/bus.py --params 300e6

The limit is one copy of as many bytes from one tensor into pinned memory. A snapshot is begun in
the order of the current stream, since a loop may write weights between its steps; so the device
waits for the bytes, and the host does not. Times are medians over the rounds, each after a
synchronize; ratios are of numbers of the same round.
"""

import argparse
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

import machine
from snapshots import SNAPSHOTS, make_state, print_times, race
from steadytrain.slots import Folder
from steadytrain.train.mapped import Mapped
from steadytrain.train.snapshots import Snapshots

STEPS, EVERY = 40, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=float, default=300e6)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
    print(machine.line())
    state = make_state(int(options.params), "cuda")
    live = [one.detach() for one in state.tensors().values()]
    num_bytes = sum(one.numel() * one.itemsize for one in live)
    print(f"{len(live)} tensors, {num_bytes / 1e9:.2f} GB")
    shared = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="steadytrain-"))
    try:
        folder = Folder(shared, home=shared, rank=0, world=1, fingerprint=state.fingerprint())
        mapped = Mapped(folder, keep=SNAPSHOTS)
        kept = Snapshots(state, keep=SNAPSHOTS)
        slots = Snapshots(state, keep=SNAPSHOTS, mapped=mapped)
        _measure(kept, slots, mapped, num_bytes, options.rounds)
        slots.close(has_ended=True)
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _measure(
    kept: Snapshots, slots: Snapshots, mapped: Mapped, num_bytes: int, rounds: int
) -> None:
    there = torch.empty(num_bytes, dtype=torch.uint8, device="cuda")
    here = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    steps = iter(range(10**6))
    for snapshots in (kept, slots):
        for _ in range(SNAPSHOTS):  # pins its memory
            snapshots.take(next(steps), 0)
    mapped.settle()
    back = kept.take(next(steps), 0)

    def waited(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            work()
            torch.cuda.synchronize()

        return run

    def take(snapshots: Snapshots) -> None:
        snapshots.take(next(steps), 0)

    # The host returns after the third and fifth of them; what is left is waited for in the next.
    ways = {
        "one copy to the host": waited(lambda: here.copy_(there, non_blocking=True)),
        "snapshot": waited(lambda: take(kept)),
        "snapshot, the host's part": lambda: take(kept),
        "(its rest)": torch.cuda.synchronize,
        "snapshot, shared memory": waited(lambda: take(slots)),
        "its seal, beside training": mapped.settle,
        "one copy to the device": waited(lambda: there.copy_(here, non_blocking=True)),
        "restore": waited(lambda: kept.restore(back)),
    }
    with back.lease():
        times = race(ways, rounds)
    print_times(times, "one copy to the host", num_bytes)
    _around(slots, mapped)


def _around(slots: Snapshots, mapped: Mapped) -> None:
    """Steps of pure computation, with and without a snapshot every ten, turn about."""
    left, right = (torch.randn(4096, 4096, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    steps = iter(range(10**6, 10**9))

    def run(takes: bool) -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for number in range(STEPS):
            for _ in range(200):
                torch.mm(left, right)
            if takes and number % EVERY == 0:
                slots.take(next(steps), 0)
        torch.cuda.synchronize()
        return (time.perf_counter() - began) / STEPS

    found = [(run(False), run(True)) for _ in range(4)][1:]
    mapped.settle()
    bare, guarded = (statistics.median(one) for one in zip(*found, strict=True))
    print(
        f"  a step of computation {1e3 * bare:.2f} ms, {1e3 * guarded:.2f} ms with a snapshot every "
        f"{EVERY}: {1e3 * EVERY * (guarded - bare):.2f} ms for each, {guarded / bare:.4f} x"
    )


if __name__ == "__main__":
    main()
