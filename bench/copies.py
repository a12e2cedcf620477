"""Copies of states in a neighbour's memory: seconds until they are whole, and to bring them back.

Two couriers of this machine, one rank's state each, over the loopback: an upper bound of what a
network gives. Then one host's memory is emptied, and its state fetched. Processor time is of both
ends together; the slots lie in /dev/shm.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import machine
from steadytrain.launch.courier import Courier
from steadytrain.launch.letters import Member, Word
from steadytrain.slots import Slot

SECRET = bytes(32)


def write(folder: Path, rank: int, key: tuple[int, int, int], num_bytes: int) -> Path:
    slot = Slot.create(
        folder / f"r{rank}of2-{key[1]}.slot", header_bytes=9000, payload_bytes=num_bytes
    )
    slot.memory[slot.payload :] = os.urandom(2**20) * (num_bytes // 2**20)
    words = {
        "rank": rank, "world": 2, "attempt": key[0], "step": key[1], "draw": key[2],
        "tensors": {"w": [[num_bytes], "uint8", [num_bytes], [1], 0]},
    }  # fmt: skip
    slot.seal(json.dumps(words).encode())
    return slot.path


def wait_for(courier: Courier, key: tuple[int, int, int]) -> None:
    while courier._report.copied != key:
        time.sleep(0.005)
    if courier._report.lacks:
        sys.exit(courier._report.lacks)


def measure(megabytes: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as where:
        folders = [Path(where, name) for name in "ab"]
        for one in folders:
            one.mkdir(mode=0o700)
        couriers = [Courier(one, SECRET) for one in folders]
        members = [
            Member(token=name, name=name, address="127.0.0.1", nproc=1, copies_port=one.port)
            for name, one in zip("ab", couriers, strict=True)
        ]
        for at, one in enumerate(couriers):
            one.enter(members, at, lambda: False)
        safe, rows = None, []
        for step in range(repeats):
            key = (1, step, step)
            paths = [write(one, at, key, megabytes * 2**20) for at, one in enumerate(folders)]
            began, used = time.monotonic(), time.process_time()
            for one in couriers:
                one.follow(Word(copy=key, safe=safe))
            for one in couriers:
                wait_for(one, key)
            rows.append((time.monotonic() - began, time.process_time() - used))
            safe = key
            if step < repeats - 1:
                for path in paths:
                    path.unlink()
        shutil.rmtree(folders[1])
        folders[1].mkdir(mode=0o700)
        couriers[1].enter(members, 1, lambda: False)
        brought = couriers[1]._brought
        for one in couriers:
            one.close()
    assert brought is not None
    assert brought.ranks == (1,), brought
    first, later = rows[0], sorted(rows[1:])[len(rows[1:]) // 2]
    print(
        f"{megabytes:5} MB a rank: first copy {first[0]:.2f} s, later ones {later[0]:.2f} s "
        f"({megabytes * 2 / later[0] / 1000:.2f} GB/s in both ways together, processor "
        f"{later[1]:.2f} s); brought to an empty host in {brought.seconds:.2f} s; "
        f"load {os.getloadavg()[0]:.0f}",
        flush=True,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, nargs="*", default=[16, 128, 512])
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    print(machine.line())
    for megabytes in given.megabytes:
        measure(megabytes, given.repeats)


if __name__ == "__main__":
    main()
