"""From an object store to the disk: of a journal and of checkpoints what is sound."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import xxhash

from steadytrain import durable
from steadytrain.errors import CheckpointError
from steadytrain.train.manifest import MANIFEST, inspect, read_manifest
from steadytrain.train.retention import PARTIAL, CheckpointRef
from steadytrain.train.store import CHECKPOINTS, JOURNAL, Store


def fetch_journal(store: Store, home: Path) -> None:
    """The longest beginning that is as it was written; a file lacks its end at most."""
    folder = home / JOURNAL
    folder.mkdir(parents=True, exist_ok=True)
    for name, pieces in store.pieces().items():
        whole, is_damaged = b"", False
        for begin, end, digest in pieces:
            if end <= len(whole):
                continue  # it arrived, nobody heard of it, and a longer one was sent
            body = store.read_stretch(name, begin, end, digest)
            is_damaged = begin > len(whole) or xxhash.xxh3_128_hexdigest(body) != digest
            if is_damaged:
                break
            whole += body[len(whole) - begin :]
        if whole:
            durable.write(folder / name, whole)
        if is_damaged:
            return


def fetch_newest(
    store: Store, folder: Path, wanted: Callable[[CheckpointRef], bool]
) -> CheckpointRef | None:
    """The newest checkpoint that is wanted and sound; where it lies now, None if there is none."""
    for ref in store.refs():
        if not wanted(ref):
            continue
        with contextlib.suppress(CheckpointError):  # damaged there too: an older one
            return _fetch_one(store, ref, folder)
    return None


def _fetch_one(store: Store, ref: CheckpointRef, folder: Path) -> CheckpointRef:
    name = ref.path.name
    partial = folder / (name + PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    store.get(f"{CHECKPOINTS}/{name}/{MANIFEST}", partial / MANIFEST)
    files = read_manifest(partial)["files"]
    for one in files:
        store.get(f"{CHECKPOINTS}/{name}/{one}", partial / one)
    inspect(partial, files)
    durable.sync_folder(partial)
    shutil.rmtree(folder / name, ignore_errors=True)  # it was refused
    partial.rename(folder / name)
    durable.sync_folder(folder)
    return CheckpointRef(folder / name, ref.attempt, ref.step)
