"""`steadytrain doctor HOME`: what a run asks of the file system of its home, tried there.

Local disks, NFS and Lustre do it; object stores that are mounted as a folder do not. What each
point is for: docs/checkpoints.md.
"""

import contextlib
import fcntl
import mmap
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from steadytrain.errors import SettingError
from steadytrain.sayings import say

MOUNTS = Path("/proc/self/mountinfo")

SYNCED_BYTES = 4096
"""Written and synced to see what a judgment costs: a line of the journal is shorter."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was tried, and how it went.

    Attributes:
        why_not: what it breaks; None if all is well.
        is_needed: no run can live there without it.
    """

    what: str
    why_not: str | None = None
    is_needed: bool = True


def run(home: Path, lang: str = "en") -> int:
    """Print a line for each point. 0: a run can live there; 1: it cannot.

    Raises:
        SettingError: nothing can be made there, or there is no such folder.
    """
    folder = next(one for one in (home, *home.parents) if one.exists())
    try:
        answers, seconds = inspect(folder), sync_seconds(folder)
    except OSError as error:
        raise SettingError(
            f"nothing can be written in {folder} ({error.strerror}), so no run can have its home "
            "there. Choose a folder of this user."
        ) from error
    where = f"{folder} lies on {kind_of(folder)}; a synced line takes {1000 * seconds:.1f} ms"
    print(say(where, lang))
    for one in answers:
        state = "yes" if one.why_not is None else f"NO ({one.why_not})"
        print(say(f"  {one.what}: {state}", lang))
    if all(one.why_not is None for one in answers):
        return 0
    if any(one.why_not is not None and one.is_needed for one in answers):
        print(say("no run can live there: choose a home on a local disk, NFS or Lustre", lang))
        return 1
    print(say("nothing there keeps two supervisors out of one home: start only one", lang))
    return 0


def inspect(folder: Path) -> list[Answer]:
    """Try everything in a folder of its own, which is removed.

    Raises:
        OSError: nothing can be made there.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".steadytrain-") as name:
        place = Path(name)
        return [
            _try("a file is replaced by another in one step", _replaces, place),
            _try("a folder gets its name in one step", _names_folder, place),
            _try("a folder can be put on the disk", _syncs_folder, place),
            _try("a file is made only if there is none", _makes_new, place),
            _try("a file mapped into memory is read by others", _maps, place),
            _try("a file can be locked", _locks, place, is_needed=False),
        ]


def kind_of(folder: Path) -> str:
    """The file system's name, as nfs4 or ext4; "unknown" where the system does not tell."""
    path, best, kind = str(folder.resolve()), "", "unknown"
    with contextlib.suppress(OSError):
        for line in MOUNTS.read_text().splitlines():
            left, _, right = line.partition(" - ")
            point = left.split()[4].encode().decode("unicode_escape")
            is_above = path == point or path.startswith(point.rstrip("/") + "/")
            if is_above and len(point) >= len(best):
                best, kind = point, right.split()[0]
    return kind


def sync_seconds(folder: Path, *, tries: int = 5) -> float:
    """What a synced line costs there: the shortest of some tries. [seconds]"""
    found = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(tries):
            began = time.perf_counter()
            file.write(bytes(SYNCED_BYTES))
            file.flush()
            os.fsync(file.fileno())
            found.append(time.perf_counter() - began)
    return min(found)


def _try(
    what: str, does: Callable[[Path], str | None], place: Path, *, is_needed: bool = True
) -> Answer:
    try:
        return Answer(what, does(place), is_needed)
    except (OSError, ValueError) as error:
        return Answer(what, str(error), is_needed)


def _replaces(place: Path) -> str | None:
    old, new = place / "manifest.json", place / ".manifest.json"
    old.write_text("old")
    new.write_text("new")
    new.rename(old)
    return None if old.read_text() == "new" and not new.exists() else "the old one is read"


def _names_folder(place: Path) -> str | None:
    partial, whole = place / "a.partial", place / "a"
    partial.mkdir()
    (partial / "file").write_text("whole")
    partial.rename(whole)
    return None if (whole / "file").read_text() == "whole" else "another file is read"


def _syncs_folder(place: Path) -> str | None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return None


def _makes_new(place: Path) -> str | None:
    path = place / "rank0.0.jsonl"
    path.write_text("")
    with contextlib.suppress(FileExistsError), open(path, "xb"):
        return "two lives would write one journal"
    return None


def _maps(place: Path) -> str | None:
    path = place / "rank0.board"
    path.write_bytes(bytes(128))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 128) as memory:
        memory[:4] = b"beat"
        return None if path.read_bytes()[:4] == b"beat" else "a hang would not be seen"


def _locks(place: Path) -> str | None:
    with open(place / "lock", "w") as one, open(place / "lock", "w") as other:
        fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return "two may hold one lock"
    return None
