"""Whether hosts share their home: the leader makes a file in it, and the others must see it."""

import time
from pathlib import Path

from steadytrain.launch.workers import POLL_SECONDS
from steadytrain.progress import FOLDER

SHARED_SECONDS = 10.0
"""For a file that another host made to be seen here: a network file system caches folders."""


def show_home(home: Path, token: str) -> None:
    """Make the file that the others look for, and remove those of earlier starts."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("met.*"):
        old.unlink(missing_ok=True)
    _mark(home, token).write_bytes(b"")


def is_shared(home: Path, token: str) -> bool:
    """Whether the leader's file is here too."""
    end = time.monotonic() + SHARED_SECONDS
    while not _mark(home, token).exists():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _mark(home: Path, token: str) -> Path:
    return home / FOLDER / f"met.{token}"
