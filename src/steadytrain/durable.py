"""Files that are whole under their name or not there, and still there after a power cut."""

import os
from pathlib import Path


def write(path: Path, body: bytes) -> None:
    """Write a file beside its place, put it on the disk, then give it its name.

    Raises:
        OSError: the disk does not take it; what stood under the name still does.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut; without it they may come undone."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
