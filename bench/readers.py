"""A TensorBoard event file read by us, and by TensorBoard's own EventAccumulator: time and memory.

The file is what torch's SummaryWriter leaves: one scalar per record, the tags in turn.
Each reader runs in a process of its own. A process inherits the peak memory of the one that starts
it, so this one stays small: the writing has its own process too, and torch's version comes last.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import machine
from steadytrain.readers.tensorboard import TensorBoard
from steadytrain.readers.tfrecord import crc_tables

NAMES = ("loss", "lr", "grad_norm", "perf/tokens_per_sec", "perf/mfu", "loss/code", "loss/web")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--tags", type=int, default=10)
    parser.add_argument("--child", nargs=2, metavar=("WORK", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is None:
        _compare(options.steps, options.tags)
    elif options.child[0] == "write":
        write(Path(options.child[1]), options.steps, options.tags)
    else:
        print(json.dumps(_measure(*options.child)))


def _compare(steps: int, num_tags: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.out.tfevents.0.bench.1.0"
        _in_child("write", path, "--steps", str(steps), "--tags", str(num_tags))
        print(f"{steps:,} steps x {num_tags} tags, {path.stat().st_size / 1e6:.0f} MB")
        ours = _report("steadytrain", path)
        if importlib.util.find_spec("tensorboard") is None:
            print("EventAccumulator: the package tensorboard is not installed, nothing to compare")
        else:
            theirs = _report("EventAccumulator", path)
            faster = theirs["seconds"] / ours["seconds"]
            smaller = theirs["peak_mb"] / ours["peak_mb"]
            print(f"EventAccumulator takes {faster:.1f} x the time and {smaller:.1f} x the memory")
    print(machine.line())


def write(path: Path, steps: int, num_tags: int) -> None:
    """Write the records of `steps` steps, all of those with steps of equal length at once."""
    tags = [NAMES[i] if i < len(NAMES) else f"train/extra_{i}" for i in range(num_tags)]
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        version = b"\x09" + bytes(8) + b"\x1a\x0dbrain.Event:2"
        file.write(_framed(np.frombuffer(version, np.uint8)[None].copy()).tobytes())
        for begin in range(0, steps, 1 << 16):
            for first, stop in _equal_lengths(begin, min(begin + (1 << 16), steps)):
                values = rng.normal(2.0, 0.1, (stop - first, num_tags)).astype("<f4")
                rows = [_records(first, stop, tag, values[:, i]) for i, tag in enumerate(tags)]
                file.write(np.concatenate(rows, axis=1).tobytes())


def _equal_lengths(begin: int, stop: int) -> list[tuple[int, int]]:
    """Pieces of a range of steps within which the varint of the step has one length."""
    cuts = [begin, *(c for c in (1, 1 << 7, 1 << 14, 1 << 21) if begin < c < stop), stop]
    return list(zip(cuts, cuts[1:], strict=False))


def _records(first: int, stop: int, tag: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One record per row."""
    steps = np.arange(first, stop)
    width = -(-int(first).bit_length() // 7)
    value = b"\x0a" + bytes([len(tag)]) + tag.encode() + b"\x15" + bytes(4)
    summary = b"\x0a" + bytes([len(value)]) + value
    head = b"\x09" + bytes(8) + (b"\x10" + bytes(width) if width else b"")
    event = np.frombuffer(head + b"\x2a" + bytes([len(summary)]) + summary, np.uint8)
    rows = np.repeat(event[None], len(steps), axis=0)
    rows[:, 1:9] = (1.7e9 + 0.5 * steps).astype("<f8")[:, None].view(np.uint8)
    for i in range(width):
        more = 0x80 if i < width - 1 else 0
        rows[:, 10 + i] = (steps >> 7 * i) & 0x7F | more
    rows[:, -4:] = np.ascontiguousarray(values)[:, None].view(np.uint8)
    return _framed(rows)


def _framed(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Rows with size, CRC of the size and CRC of the bytes around them."""
    num, size = rows.shape
    sizes = np.full((num, 1), size, "<u8").view(np.uint8)
    parts = (sizes, _crcs(sizes), rows, _crcs(rows))
    return np.concatenate(parts, axis=1)


def _crcs(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Masked CRC-32C of each row, byte by byte."""
    table = crc_tables()[0]
    crcs = np.full(len(rows), 0xFFFF_FFFF, np.uint32)
    for i in range(rows.shape[1]):
        crcs = (crcs >> 8) ^ table[(crcs & 0xFF) ^ rows[:, i]]
    crcs = ~crcs
    masked = ((crcs >> 15) | (crcs << 17)) + np.uint32(0xA282_EAD8)
    return masked.astype("<u4")[:, None].view(np.uint8)


def _in_child(work: str, path: Path, *options: str) -> str:
    command = [sys.executable, __file__, "--child", work, str(path), *options]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _report(reader: str, path: Path) -> dict[str, float]:
    figures: dict[str, float] = json.loads(_in_child(reader, path))
    print(
        f"{reader}: {figures['seconds']:.2f} s ({figures['cpu_seconds']:.2f} s of processor), "
        f"{figures['points'] / figures['seconds'] / 1e6:.2f} million points/s, "
        f"peak {figures['peak_mb']:.0f} MB, of which {figures['bare_mb']:.0f} MB are imports; "
        f"{figures['points']:,} points"
    )
    return figures


def _measure(reader: str, path: str) -> dict[str, float]:
    """Read the file in this process; the time is without the imports."""
    read = {"steadytrain": _ours, "EventAccumulator": _theirs}[reader]
    if reader == "EventAccumulator":
        importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    bare = _peak_mb()
    began, began_cpu = time.perf_counter(), time.process_time()
    points = read(path)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - began_cpu,
        "points": points,
        "bare_mb": bare,
        "peak_mb": _peak_mb(),
    }


def _ours(path: str) -> int:
    (run,) = TensorBoard().read(Path(path))
    return sum(len(series.steps) for series in run.series.values())


def _theirs(path: str) -> int:
    module = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    run = module.EventAccumulator(path, size_guidance={"scalars": 0})
    run.Reload()
    return sum(len(run.Scalars(tag)) for tag in run.Tags()["scalars"])


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
