"""Whether hosts share their home: the leader makes a file in it, and the others must see it."""

import time
from collections.abc import Callable
from pathlib import Path

from steadytrain.errors import SettingError
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


def insist_on_one_home(home: Path, token: str, leader: str, *, is_over: Callable[[], bool]) -> None:
    """The leader's file must be here too, unless that start is over meanwhile.

    Raises:
        SettingError: it is not.
    """
    if not _is_shared(home, token) and not is_over():
        raise SettingError(
            f"{home} on this host is not the same folder as on {leader}, so checkpoints of one "
            "would be missing on the other. Write --home with a folder on a file system that all "
            "hosts share."
        )


def _is_shared(home: Path, token: str) -> bool:
    end = time.monotonic() + SHARED_SECONDS
    while not _mark(home, token).exists():
        if time.monotonic() > end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _mark(home: Path, token: str) -> Path:
    return home / FOLDER / f"met.{token}"
