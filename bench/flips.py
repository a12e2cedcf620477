"""How many single flipped bits are refused: slots and checkpoints of ours, and torch's own formats.

    python bench/flips.py                      10 M parameters with AdamW moments: 0.12 GB
    python bench/flips.py --params 100e6       ten times that
    python bench/flips.py --flips 1000         of each sort, at random places from a seed

A flip counts as refused if the loader raises, and as silent if it returns. Exhaustively, bit for bit, the
same is tested on a small state (tests/test_slots.py, tests/train/test_checkpoints.py).
"""

import argparse
import os
import pickle
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader

from snapshots import machine, make_state
from steadytrain.errors import CheckpointError
from steadytrain.slots import Folder, Slot
from steadytrain.train.checkpoints import Checkpoints
from steadytrain.train.mapped import Mapped
from steadytrain.train.snapshots import Snapshots
from steadytrain.train.state import TrainingState

REFUSALS = (
    CheckpointError,
    CheckpointException,
    SafetensorError,
    RuntimeError,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    AttributeError,
    TypeError,
    pickle.UnpicklingError,
)
Span = tuple[int, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=float, default=10e6)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    print(machine())
    state = make_state(int(options.params))
    folder = Path(tempfile.mkdtemp())
    shared = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="steadytrain-"))
    try:
        race(state, folder, shared, flips=options.flips, seed=options.seed)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(shared)


def race(state: TrainingState, folder: Path, shared: Path, *, flips: int, seed: int) -> None:
    tensors = {name: one.detach() for name, one in state.tensors().items()}
    mapped = Mapped(
        Folder(shared, home=folder, rank=0, world=1, fingerprint=state.fingerprint()), keep=1
    )
    snapshots = Snapshots(state, keep=1, mapped=mapped)
    checkpoints = Checkpoints(folder / "checkpoints", state, keep=1)
    checkpoints.save(snapshots.take(1, 0), 1, {}, blocked_seconds=0.0)
    checkpoints.wait()
    mapped.settle()
    (ref,) = checkpoints.candidates()
    (slot,) = shared.iterdir()
    payload = ref.path / "__0_0.distcp"
    moments = [
        (info.offset, info.offset + info.length)
        for index, info in FileSystemReader(ref.path).read_metadata().storage_data.items()
        if index.fqn.startswith("optimizer.")
    ]
    dcp.save(tensors, checkpoint_id=folder / "dcp", no_dist=True)
    torch.save(tensors, folder / "torch.pt")
    save_file({name: one.contiguous() for name, one in tensors.items()}, folder / "a.safetensors")

    def inspect() -> None:
        opened = Slot.open(slot)
        opened.header()
        opened.inspect()

    def verify() -> None:
        checkpoints.verify(ref.path)

    def load_dcp() -> None:
        into = {name: torch.empty_like(one) for name, one in tensors.items()}
        dcp.load(into, checkpoint_id=folder / "dcp", no_dist=True)

    head = Slot.open(slot).payload
    ways: list[tuple[str, Path, list[Span] | None, Callable[[], object]]] = [
        ("our slot: payload", slot, [(head, slot.stat().st_size)], inspect),
        ("our slot: header, names, random states", slot, [(0, head)], inspect),
        ("our checkpoint: any byte", payload, None, verify),
        ("our checkpoint: moments", payload, moments, verify),
        ("our checkpoint: DCP's metadata", ref.path / ".metadata", None, verify),
        ("our checkpoint: manifest", ref.path / "manifest.json", None, verify),
        ("torch.distributed.checkpoint", folder / "dcp" / "__0_0.distcp", None, load_dcp),
        ("torch.save", folder / "torch.pt", None, lambda: torch.load(folder / "torch.pt")),
        (
            "safetensors",
            folder / "a.safetensors",
            None,
            lambda: load_file(folder / "a.safetensors"),
        ),
    ]
    for name, path, spans, load in ways:
        load()  # sound before
        refused = sum(is_refused(path, bit, load) for bit in places(path, spans, flips, seed))
        load()  # and after
        print(f"  {name:42} {refused:4} of {flips} refused   {refused / flips:.3f}")


def places(path: Path, spans: list[Span] | None, count: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    spans = spans or [(0, path.stat().st_size)]
    sizes = [end - begin for begin, end in spans]
    found = []
    for begin, end in chance.choices(spans, sizes, k=count):
        found.append(8 * chance.randrange(begin, end) + chance.randrange(8))
    return found


def is_refused(path: Path, bit: int, load: Callable[[], object]) -> bool:
    flip(path, bit)
    try:
        load()
    except REFUSALS:
        return True
    finally:
        flip(path, bit)
    return False


def flip(path: Path, bit: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        (old,) = os.pread(file.fileno(), 1, bit // 8)
        os.pwrite(file.fileno(), bytes([old ^ 1 << bit % 8]), bit // 8)


if __name__ == "__main__":
    main()
